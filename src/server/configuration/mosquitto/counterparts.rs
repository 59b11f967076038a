//! The names that Mosquitto has for options of ringmq, for those who look one up.

/// Each translated option of Mosquitto, and the option that it becomes.
const COUNTERPARTS: &[(&str, &str)] = &[
    ("listener", "listen"),
    ("port", "listen"),
    ("bind_address", "listen"),
    ("bind_interface", "listen"),
    ("socket_domain", "listen"),
    ("protocol", "listen"),
    ("certfile", "tls-cert"),
    ("keyfile", "tls-key"),
    ("cafile", "tls-chain"),
    ("capath", "tls-chain"),
    ("cafile", "tls-client-ca"),
    ("capath", "tls-client-ca"),
    ("crlfile", "tls-crl"),
    ("tls_version", "tls-min-version"),
    ("require_certificate", "client-certificates"),
    ("use_identity_as_username", "certificate-user"),
    ("use_subject_as_username", "certificate-user"),
    ("use_username_as_clientid", "client-id"),
    ("allow_zero_length_clientid", "allow-empty-client-id"),
    ("auto_id_prefix", "assigned-client-id-prefix"),
    ("listener_auto_id_prefix", "assigned-client-id-prefix"),
    ("clientid_prefixes", "client-id-prefix"),
    ("accept_protocol_versions", "mqtt-version"),
    ("max_qos", "max-qos"),
    ("maximum_qos", "max-qos"),
    ("websockets_origin", "websocket-origin"),
    ("enable_proxy_protocol", "proxy-from"),
    ("allow_anonymous", "allow-anonymous"),
    ("listener_allow_anonymous", "allow-anonymous"),
    ("password_file", "password-file"),
    ("acl_file", "acl-file"),
    ("persistence_location", "data-dir"),
    ("persistence", "data-dir"),
    ("persistence_file", "data-dir"),
    ("max_connections", "max-connections"),
    ("global_max_connections", "max-connections"),
    ("max_inflight_messages", "max-inflight"),
    ("max_queued_messages", "max-queued-messages"),
    ("max_queued_bytes", "max-queued-bytes"),
    ("memory_limit", "max-memory"),
    ("max_packet_size", "max-packet-size"),
    ("message_size_limit", "max-payload-size"),
    ("max_keepalive", "max-keep-alive"),
    ("persistent_client_expiration", "max-session-expiry"),
    ("persistent_client_expiration", "max-anonymous-expiry"),
    ("max_topic_alias", "max-topic-alias"),
    ("retain_available", "retain-available"),
    ("sys_interval", "sys-interval"),
    ("log_type", "log-level"),
    ("log_dest", "log-dest"),
    ("log_facility", "log-dest"),
    ("log_timestamp", "log-timestamp"),
    ("user", "user"),
    ("pid_file", "pid-file"),
];

/// Mosquitto's names for the option `name`.
pub(in crate::server) fn mosquitto_names(name: &str) -> impl Iterator<Item = &'static str> {
    let of_it = COUNTERPARTS.iter().filter(move |(_, option)| *option == name);
    of_it.map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::super::table::{Meaning, meaning, names};
    use super::*;
    use crate::options::find_option;

    #[test]
    fn every_option_that_is_translated_has_its_counterpart() {
        // These only say what ringmq does anyway, or are refused with the fix.
        let without = ["include_dir", "per_listener_settings", "connection"];
        let is_translated = |name: &str| match meaning(name).unwrap() {
            Meaning::Structure
            | Meaning::Listener(_)
            | Meaning::Security(_)
            | Meaning::Broker(_) => !without.contains(&name),
            Meaning::Bridge | Meaning::Ignored(..) | Meaning::Refused(..) | Meaning::Part(_) => {
                false
            }
        };
        for name in names() {
            let has_one = COUNTERPARTS.iter().any(|(known, _)| *known == name);
            assert_eq!(has_one, is_translated(name), "{name}");
        }
        for (name, option) in COUNTERPARTS {
            assert!(meaning(name).is_some() && find_option(option).is_some(), "{name}");
        }
    }
}

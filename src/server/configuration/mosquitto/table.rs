//! All options of Mosquitto 2, and their translation.
//!
//! Three rules decide. An option with a counterpart is translated. An option without a counterpart
//! is named in a warning, with the reason, when the loss is one of comfort. An option that decides
//! which clients come in, what a client may do, or whether messages arrive is refused: a broker
//! that starts without it would be more open than its owner has written, or would lose messages
//! silently.

/// The treatment of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The option changes the meaning of the lines behind it.
    Structure,
    /// The option describes the listener above it, or the default one.
    Listener(Kind),
    /// The option describes the listener above it or all listeners, depending on
    /// `per_listener_settings`.
    Security(Kind),
    /// The option belongs to the broker.
    Broker(Kind),
    /// The option is ignored, with a warning that gives the cause, unless the value is one of those
    /// without an effect.
    Ignored(&'static [&'static str], &'static str),
    /// The option is refused with the cause and the fix, unless the value is one of those without
    /// an effect.
    Refused(&'static [&'static str], &'static str),
    /// The option describes the bridge above it.
    Bridge,
    /// The option belongs to a plugin, whose first line is refused.
    Part(&'static str),
}

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// true, false, 1 or 0.
    Boolean,
    /// A whole number.
    Number,
    /// One word.
    Word,
    /// The rest of the line; may be given once.
    Text,
    /// The rest of the line; may be repeated.
    Texts,
}

use Kind::{Boolean, Number, Text, Texts, Word};
use Meaning::{Bridge, Broker, Ignored, Listener, Part, Refused, Security, Structure};

/// The treatment of the option `name`; None when Mosquitto has no such option.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    if let Some((_, meaning)) = TABLE.iter().find(|(known, _)| *known == name) {
        return Some(*meaning);
    }
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if starts(&["auth_opt_", "plugin_opt_"]) {
        return Some(Part("plugin"));
    }
    None
}

/// The names of all options.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

const FALSE: &[&str] = &["false", "0"];
const TRUE: &[&str] = &["true", "1"];
const ZERO: &[&str] = &["0"];
const ALWAYS: &[&str] = &[];

const PLUGIN: &str = "ringmq loads no plugins, and without this one other clients would come in; \
                      use password_file and acl_file, or ask a service with --http-auth-url";
const PSK: &str = "ringmq has no TLS with pre-shared keys; give the listener certfile and keyfile, \
                   or remove it";
const ENGINE: &str = "ringmq reads keys from files only; give the listener a keyfile in PEM";
const OWN_BRIDGE: &str = "what a bridge does here needs no login, and no permission";
const BRIDGE_TCP: &str =
    "the bridge asks the other broker by keepalive_interval whether it is there";
const LOG_LINES: &str = "lines have the time in UTC, as RFC 3339 writes it";
const WRITTEN: &str = "with persistence true ringmq writes each change before it acknowledges it";
const CIPHERS: &str = "ringmq offers only suites with forward secrecy and authenticated \
                       encryption: AES-GCM and ChaCha20-Poly1305, with keys from ECDHE";

const TABLE: &[(&str, Meaning)] = &[
    // What the file is made of.
    ("listener", Structure),
    ("include_dir", Structure),
    ("per_listener_settings", Structure),
    ("connection", Structure),
    ("plugin", Refused(ALWAYS, PLUGIN)),
    ("auth_plugin", Refused(ALWAYS, PLUGIN)),
    ("global_plugin", Refused(ALWAYS, PLUGIN)),
    ("plugin_load", Refused(ALWAYS, PLUGIN)),
    ("plugin_use", Refused(ALWAYS, PLUGIN)),
    // Listeners.
    ("port", Listener(Number)),
    ("bind_address", Listener(Text)),
    ("bind_interface", Listener(Text)),
    ("protocol", Listener(Word)),
    ("socket_domain", Listener(Word)),
    ("max_connections", Listener(Number)),
    ("max_topic_alias", Listener(Number)),
    ("accept_protocol_versions", Listener(Texts)),
    ("max_qos", Listener(Number)),
    ("maximum_qos", Listener(Number)),
    ("certfile", Listener(Text)),
    ("keyfile", Listener(Text)),
    ("cafile", Listener(Text)),
    ("capath", Listener(Text)),
    ("crlfile", Listener(Text)),
    ("require_certificate", Listener(Boolean)),
    ("use_identity_as_username", Listener(Boolean)),
    ("use_subject_as_username", Listener(Boolean)),
    ("use_username_as_clientid", Listener(Boolean)),
    ("tls_version", Listener(Text)),
    ("websockets_origin", Listener(Texts)),
    ("listener_allow_anonymous", Listener(Boolean)),
    ("enable_proxy_protocol", Listener(Number)),
    (
        "proxy_protocol_v2_require_tls",
        Refused(
            FALSE,
            "ringmq does not look whether the proxy's client came by TLS; let the proxy refuse \
             those that did not",
        ),
    ),
    (
        "mount_point",
        Refused(
            ALWAYS,
            "without it clients of this listener would see the topics of all others; use an \
             acl_file that keeps them apart",
        ),
    ),
    ("psk_hint", Refused(ALWAYS, PSK)),
    ("tls_engine", Refused(ALWAYS, ENGINE)),
    ("tls_engine_kpass_sha1", Refused(ALWAYS, ENGINE)),
    ("tls_keyform", Refused(&["pem"], ENGINE)),
    ("ciphers", Ignored(ALWAYS, CIPHERS)),
    ("ciphers_tls1.3", Ignored(ALWAYS, CIPHERS)),
    ("dhparamfile", Ignored(ALWAYS, "ringmq takes keys from ECDHE, which needs no parameters")),
    (
        "disable_client_cert_date_checks",
        Ignored(FALSE, "certificates that have expired are refused"),
    ),
    ("max_topic_alias_broker", Ignored(ALWAYS, "max_topic_alias counts for both directions")),
    ("http_dir", Ignored(ALWAYS, "ringmq serves no web pages: leave them to a web server")),
    // Who may come in.
    ("allow_anonymous", Security(Boolean)),
    ("password_file", Security(Text)),
    ("acl_file", Security(Text)),
    ("psk_file", Refused(ALWAYS, PSK)),
    ("allow_zero_length_clientid", Security(Boolean)),
    ("auto_id_prefix", Security(Text)),
    ("listener_auto_id_prefix", Listener(Text)),
    ("clientid_prefixes", Broker(Text)),
    (
        "check_retain_source",
        Ignored(FALSE, "a retained message stays when its publisher loses the right to publish it"),
    ),
    // The broker.
    ("max_inflight_messages", Broker(Number)),
    ("max_queued_messages", Broker(Number)),
    ("max_queued_bytes", Broker(Number)),
    ("memory_limit", Broker(Number)),
    ("sys_interval", Broker(Number)),
    ("max_packet_size", Broker(Number)),
    ("message_size_limit", Broker(Number)),
    ("max_keepalive", Broker(Number)),
    ("persistent_client_expiration", Broker(Word)),
    ("retain_available", Broker(Boolean)),
    ("global_max_connections", Broker(Number)),
    ("log_type", Broker(Word)),
    ("log_dest", Broker(Texts)),
    ("log_facility", Broker(Number)),
    ("log_timestamp", Broker(Boolean)),
    ("user", Broker(Text)),
    ("pid_file", Broker(Text)),
    ("persistence", Broker(Boolean)),
    (
        "retained_persistence",
        Ignored(TRUE, "retained messages are kept with everything else, or nothing is"),
    ),
    (
        "retain_expiry_interval",
        Ignored(
            ALWAYS,
            "each retained message is removed as soon as its Message Expiry Interval is over",
        ),
    ),
    ("packet_buffer_size", Ignored(ALWAYS, "ringmq sizes its buffers itself")),
    ("persistence_file", Broker(Text)),
    ("persistence_location", Broker(Text)),
    ("autosave_interval", Ignored(ALWAYS, WRITTEN)),
    ("autosave_on_changes", Ignored(FALSE, WRITTEN)),
    (
        "queue_qos0_messages",
        Ignored(FALSE, "QoS 0 waits only for clients that are connected and slow"),
    ),
    (
        "upgrade_outgoing_qos",
        Ignored(FALSE, "the QoS of a delivery is the lower one of publish and subscription"),
    ),
    ("max_inflight_bytes", Ignored(ZERO, "max_inflight_messages and max_queued_bytes limit it")),
    ("global_max_clients", Ignored(&["-1"], "max_connections limits those that are connected")),
    ("set_tcp_nodelay", Ignored(TRUE, "small packets are always sent at once")),
    ("allow_duplicate_messages", Ignored(ALWAYS, "Mosquitto itself has dropped it")),
    ("retry_interval", Ignored(ALWAYS, "Mosquitto itself has dropped it")),
    ("enable_control_api", Ignored(FALSE, "ringmq has no $CONTROL topics")),
    ("connection_messages", Ignored(ALWAYS, "log_type decides which lines are logged")),
    ("log_timestamp_format", Ignored(ALWAYS, LOG_LINES)),
    ("websockets_log_level", Ignored(ALWAYS, "log_type decides which lines are logged")),
    ("websockets_headers_size", Ignored(ALWAYS, "ringmq reads headers up to a limit of its own")),
    ("quic_log_level", Ignored(ALWAYS, "ringmq does not speak QUIC")),
    // What describes a bridge.
    ("bridge_alpn", Bridge),
    ("bridge_cafile", Bridge),
    ("bridge_capath", Bridge),
    ("bridge_certfile", Bridge),
    ("bridge_insecure", Bridge),
    ("bridge_keyfile", Bridge),
    ("bridge_max_packet_size", Bridge),
    ("bridge_outgoing_retain", Bridge),
    ("bridge_protocol_version", Bridge),
    ("bridge_tls_use_os_certs", Bridge),
    ("bridge_tls_version", Bridge),
    (
        "bridge_attempt_unsubscribe",
        Ignored(FALSE, "what no rule lets in is acknowledged and goes no further"),
    ),
    (
        "bridge_bind_address",
        Refused(
            ALWAYS,
            "the bridge would leave by another address; let a route decide, and remove the line",
        ),
    ),
    ("bridge_ciphers", Ignored(ALWAYS, CIPHERS)),
    ("bridge_ciphers_tls1.3", Ignored(ALWAYS, CIPHERS)),
    ("bridge_identity", Refused(ALWAYS, PSK)),
    ("bridge_psk", Refused(ALWAYS, PSK)),
    ("bridge_max_topic_alias", Ignored(ALWAYS, "a bridge uses no topic aliases")),
    ("bridge_receive_maximum", Ignored(ALWAYS, "receive-maximum counts for bridges as well")),
    ("bridge_reload_type", Ignored(ALWAYS, "bridges change at the next start")),
    (
        "bridge_require_ocsp",
        Refused(FALSE, "ringmq asks no OCSP responder; remove it if the authorities are enough"),
    ),
    (
        "bridge_session_expiry_interval",
        Ignored(ALWAYS, "the session there lasts until a cleansession true ends it"),
    ),
    ("bridge_tcp_keepalive", Ignored(ALWAYS, BRIDGE_TCP)),
    ("bridge_tcp_user_timeout", Ignored(ALWAYS, BRIDGE_TCP)),
    ("bridge_tls_engine", Refused(ALWAYS, ENGINE)),
    ("bridge_tls_engine_kpass_sha1", Refused(ALWAYS, ENGINE)),
    ("bridge_tls_keyform", Refused(&["pem"], ENGINE)),
    // What describes a plugin.
    ("auth_plugin_deny_special_chars", Part("plugin")),
    ("address", Bridge),
    ("addresses", Bridge),
    ("cleansession", Bridge),
    ("clientid", Bridge),
    ("idle_timeout", Bridge),
    ("keepalive_interval", Bridge),
    ("local_cleansession", Bridge),
    ("local_clientid", Bridge),
    ("local_password", Ignored(ALWAYS, OWN_BRIDGE)),
    ("local_username", Ignored(ALWAYS, OWN_BRIDGE)),
    ("notification_topic", Bridge),
    ("notifications", Bridge),
    ("notifications_local_only", Bridge),
    ("password", Bridge),
    ("remote_clientid", Bridge),
    ("remote_password", Bridge),
    ("remote_username", Bridge),
    ("restart_timeout", Bridge),
    ("round_robin", Bridge),
    ("start_type", Bridge),
    ("threshold", Bridge),
    ("topic", Bridge),
    ("try_private", Bridge),
    ("username", Bridge),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_there_once() {
        for (index, (name, _)) in TABLE.iter().enumerate() {
            assert!(TABLE[..index].iter().all(|(other, _)| other != name), "{name}");
        }
        assert_eq!(meaning("auth_opt_host"), Some(Part("plugin")));
        assert_eq!(meaning("bridge_cafile"), Some(Bridge));
        assert_eq!(meaning("nonsense"), None);
    }
}

//! All options, each defined once: the command line, its help, the environment variables, the keys
//! of the configuration file and the defaults all come from [`OPTIONS`].
#![forbid(unsafe_code)]

mod bridge;
mod given;
mod listener;
mod option_def;
mod parsers;
pub(crate) mod places;
mod table;
mod values;

pub(crate) use bridge::{BRIDGE_OPTIONS, bridge_option, mosquittos_bridge_option};
pub use bridge::{BridgeAddress, BridgeOptions, BridgeStart, BridgeTls, BridgeTopic, GivenBridge};
pub use given::{Given, GivenListener, InForce, Value, Wrong};
pub use listener::{
    CertificateUser, ClientCertificates, ClientIdSource, Endpoint, JwtAlgorithm, ListenerOptions,
    Scheme, TlsVersion,
};
pub use option_def::{OptionDef, Set};
pub use table::OPTIONS;
pub(crate) use table::find_option;
pub(crate) use values::core_list;
pub use values::{
    AdminSocket, ClientIdOwner, Durability, EngineChoice, Expected, LogDestination, LogFormat,
    LogLevel, MaxMemory, MqttVersion, Pin,
};

use std::net::SocketAddr;
use std::path::PathBuf;

/// The settings of a broker; the same for all its workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The listeners; at least one.
    pub listeners: Vec<ListenerOptions>,
    /// The connections that the broker opens to others.
    pub bridges: Vec<BridgeOptions>,
    /// The number of workers: 0 for one per usable physical core.
    pub workers: usize,
    /// The core on which each worker's thread stays.
    pub pin: Pin,
    /// Microseconds for which a worker without work spins before it sleeps.
    pub busy_poll_us: u32,
    /// The way to the kernel.
    pub engine: EngineChoice,
    /// The directory of sessions and messages; none keeps them in memory.
    pub data_dir: Option<PathBuf>,
    /// The database that Mosquitto would use with the same file: it is imported into a data
    /// directory without data. No option of its own, but what a file of Mosquitto's says.
    pub mosquitto_db: Option<PathBuf>,
    /// The safety of an acknowledged change.
    pub durability: Durability,
    /// The owner of a client identifier.
    pub client_id_owner: ClientIdOwner,
    /// Milliseconds for which changes gather when acknowledgements do not wait for them.
    pub durability_interval_ms: u32,
    /// The maximum number of open connections: 0 for as many as the descriptor limit allows.
    pub max_connections: u32,
    /// The maximum number of connections from one address: 0 for any number.
    pub max_connections_per_address: u32,
    /// The maximum number of new connections a second: 0 for any number.
    pub max_connect_rate: u32,
    /// Seconds for which a peer may be silent before its CONNECT, at least 1.
    pub connect_timeout_s: u16,
    /// Seconds of silence after which TCP probes a peer: 0 for never.
    pub tcp_keep_alive_s: u16,
    /// Failed logins within a minute, with one user name from one address, after which the next
    /// ones are delayed: 0 for any.
    pub max_login_failures: u32,
    /// The number of threads that check passwords.
    pub login_threads: u16,
    /// Seconds for which a verified password need not be hashed again: 0 for never.
    pub login_cache_s: u16,
    /// Messages a second that one client may publish: 0 for any number.
    pub max_publish_rate: u32,
    /// Bytes a second that one client may publish: 0 for any number.
    pub max_publish_bytes: u64,
    /// The largest packet accepted from a client, in bytes; at least 20.
    pub max_packet_size: u32,
    /// The largest payload of a message from a client, in bytes: 0 for any.
    pub max_payload_size: u32,
    /// The maximum number of QoS 1 and 2 messages in flight to one client, at least 1.
    pub max_inflight: u16,
    /// The maximum number of QoS 1 and 2 messages in flight from one client, at least 1.
    pub receive_maximum: u16,
    /// The maximum number of messages that wait for one session.
    pub max_queued_messages: u32,
    /// The maximum number of bytes that the messages for one session take while they wait, or are
    /// in flight.
    pub max_queued_bytes: u64,
    /// The memory from which the broker refuses and sheds.
    pub max_memory: MaxMemory,
    /// Seconds between two looks at what changes under `$SYS`; 0 for none.
    pub sys_interval_s: u32,
    /// The address that answers the operator by HTTP.
    pub admin_listen: Option<SocketAddr>,
    /// The Unix socket that does the same.
    pub admin_socket: AdminSocket,
    /// The file of the operators' tokens; none makes one token for this process.
    pub admin_token_file: Option<PathBuf>,
    /// The certificate chain of `admin_listen`, if it speaks HTTPS.
    pub admin_tls_cert: Option<PathBuf>,
    /// The private key of the certificate.
    pub admin_tls_key: Option<PathBuf>,
    /// The authorities of operators' certificates.
    pub admin_client_ca: Option<PathBuf>,
    /// Seconds over which clients are sent away upon SIGTERM.
    pub drain_s: u32,
    /// The user that a broker becomes which root started; none keeps the one that started it.
    pub user: Option<String>,
    /// The file that has the number of the process while it runs.
    pub pid_file: Option<PathBuf>,
    /// The address that serves metrics by HTTP.
    pub metrics_listen: Option<SocketAddr>,
    /// The maximum number of sessions of one user that outlive their connections: 0 for any number.
    pub max_sessions: u32,
    /// The maximum number of topics with a retained message of one user: 0 for any number.
    pub max_retained: u32,
    /// The maximum number of subscriptions of one session, at least 1.
    pub max_subscriptions: u32,
    /// The maximum number of shared ones among them; 0 refuses all.
    pub max_shared_subscriptions: u32,
    /// The maximum number of bytes of all filters of one session.
    pub max_filter_bytes: u32,
    /// The maximum number of Subscription Identifiers on one delivery, at least 1.
    pub max_subscription_ids: u16,
    /// The maximum number of levels in a topic, at least 1.
    pub max_topic_levels: u16,
    /// The longest keep-alive in seconds: 0 for any, or for none at all.
    pub max_keep_alive: u16,
    /// The longest session expiry interval in seconds; `u32::MAX` for sessions that never expire.
    pub max_session_expiry: u32,
    /// The same for clients without a verified name.
    pub max_anonymous_expiry: u32,
    /// The highest topic alias, in both directions; 0 turns aliases off.
    pub max_topic_alias: u16,
    /// Whether retained messages are kept.
    pub retain_available: bool,
    /// The least important level of log lines that are written.
    pub log_level: LogLevel,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The places that log lines go to.
    pub log_destination: LogDestination,
    /// Whether log lines of text begin with the time.
    pub log_timestamp: bool,
    /// The file of the audit log; none for no audit log.
    pub audit_log: Option<PathBuf>,
    /// The bytes at which a new audit log begins; 0 for never.
    pub audit_log_max_bytes: u64,
    /// The number of old audit logs that are kept; 0 for all.
    pub audit_log_keep: u32,
}

impl Options {
    /// The options before [`OPTIONS`] fills them in.
    const fn unset() -> Self {
        Self {
            listeners: Vec::new(),
            bridges: Vec::new(),
            workers: 0,
            pin: Pin::Auto,
            busy_poll_us: 0,
            data_dir: None,
            mosquitto_db: None,
            engine: EngineChoice::Auto,
            durability: Durability::Commit,
            client_id_owner: ClientIdOwner::Connected,
            durability_interval_ms: 0,
            max_connections: 0,
            max_connections_per_address: 0,
            max_connect_rate: 0,
            connect_timeout_s: 0,
            tcp_keep_alive_s: 0,
            max_login_failures: 0,
            login_threads: 0,
            login_cache_s: 0,
            max_publish_rate: 0,
            max_publish_bytes: 0,
            max_packet_size: 0,
            max_payload_size: 0,
            max_inflight: 0,
            receive_maximum: 0,
            max_queued_messages: 0,
            max_queued_bytes: 0,
            max_memory: MaxMemory::Percent(100),
            sys_interval_s: 10,
            admin_listen: None,
            admin_socket: AdminSocket::Auto,
            admin_token_file: None,
            admin_tls_cert: None,
            admin_tls_key: None,
            admin_client_ca: None,
            drain_s: 0,
            user: None,
            pid_file: None,
            metrics_listen: None,
            max_sessions: 0,
            max_retained: 0,
            max_subscriptions: 0,
            max_shared_subscriptions: 0,
            max_filter_bytes: 0,
            max_subscription_ids: 0,
            max_topic_levels: 0,
            max_keep_alive: 0,
            max_session_expiry: 0,
            max_anonymous_expiry: 0,
            max_topic_alias: 0,
            retain_available: false,
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            log_destination: LogDestination::NONE,
            log_timestamp: true,
            audit_log: None,
            audit_log_max_bytes: 0,
            audit_log_keep: 0,
        }
    }

    /// The longest session expiry interval of a client, which has a verified name or not.
    #[must_use]
    pub fn expiry_max_s(&self, has_name: bool) -> u32 {
        let anonymous_max_s = if has_name { u32::MAX } else { self.max_anonymous_expiry };
        self.max_session_expiry.min(anonymous_max_s)
    }

    /// True when the payload of a client's message is larger than it may be.
    #[must_use]
    pub(crate) fn has_too_large(&self, payload: &[u8]) -> bool {
        self.max_payload_size > 0 && payload.len() > self.max_payload_size as usize
    }

    /// Checks that whoever reaches the operator's address from afar has to prove who they are.
    fn check_admin(&self) -> Result<(), &'static str> {
        let is_local = self.admin_listen.is_none_or(|address| address.ip().is_loopback());
        match (&self.admin_tls_cert, &self.admin_tls_key) {
            (None, None) if !is_local => Err(
                "an address that other machines reach needs --admin-tls-cert and --admin-tls-key; \
                 without them use 127.0.0.1:9883, and from afar ssh -L 9883:127.0.0.1:9883",
            ),
            (None, None) if self.admin_client_ca.is_some() => {
                Err("--admin-client-ca needs --admin-tls-cert and --admin-tls-key")
            }
            (Some(_), None) => Err("--admin-tls-cert needs --admin-tls-key"),
            (None, Some(_)) => Err("--admin-tls-key needs --admin-tls-cert"),
            _ => Ok(()),
        }
    }

    /// Makes options from the given values, and the defaults of [`OPTIONS`] for the rest.
    ///
    /// # Errors
    /// The first value that is refused, and its place.
    pub fn build(given: &Given) -> Result<Self, Wrong> {
        Self::build_or_list(given).map_err(|mut wrong| wrong.swap_remove(0))
    }

    /// Does the same as [`Options::build`], and reports every error.
    ///
    /// # Errors
    /// All values that are refused, at least one. Checks that combine values run only once each
    /// value is valid.
    pub(crate) fn build_or_list(given: &Given) -> Result<Self, Vec<Wrong>> {
        let mut options = Self::unset();
        options.mosquitto_db = given.mosquitto_db();
        let mut defaults = ListenerOptions::unset();
        let mut wrong = Vec::new();
        for option in OPTIONS {
            let given = given.values(option);
            let default = [Value::new(option.default, "the default")];
            let values = match given {
                [] if option.default.is_empty() => continue,
                [] => &default,
                given => given,
            };
            let set = option.set_for(&mut options, values);
            wrong.extend(set.and_then(|()| option.set_of(&mut defaults, values)).err());
        }
        let listeners = given.listeners();
        let mut of_listeners = Vec::new();
        for listener in listeners {
            match listener.by_address() {
                Ok(listeners) => of_listeners.extend(listeners),
                Err(cause) => wrong.push(cause),
            }
        }
        for listener in &of_listeners {
            match listener.build(&defaults) {
                Ok(listener) => options.listeners.push(listener),
                Err(causes) => wrong.extend(causes),
            }
        }
        let mut names = Vec::new();
        for bridge in given.bridges() {
            match bridge.build() {
                Ok(built) if names.contains(&built.name) => {
                    let cause = "another bridge has this name";
                    wrong.push(Wrong::new(&bridge.name.origin, cause));
                }
                Ok(built) => {
                    names.push(built.name.clone());
                    options.bridges.push(built);
                }
                Err(causes) => wrong.extend(causes),
            }
        }
        wrong.extend(
            options.check_admin().map_err(|cause| Wrong::new("--admin-listen", cause)).err(),
        );
        if !wrong.is_empty() {
            return Err(wrong);
        }
        listener::settle_anonymous(&mut options.listeners).map_err(|(index, cause)| {
            vec![Wrong::new(&of_listeners[index].listen.origin, cause)]
        })?;
        Ok(options)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::build(&Given::default()).expect("the table's defaults are accepted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(given: &[(&str, &[&str])]) -> Result<Options, String> {
        let mut all = Given::default();
        for (name, values) in given {
            let option = find_option(name).expect("a known option");
            all.add(option, values.iter().map(|&text| Value::new(text, format!("--{name}"))));
        }
        Options::build(&all).map_err(|wrong| wrong.to_string())
    }

    fn set(name: &str, value: &str) -> Result<Options, String> {
        build(&[(name, &[value])])
    }

    #[test]
    fn the_defaults_are_what_the_documentation_promises() {
        let options = Options::default();
        assert_eq!(options.listeners[0].to_string(), "mqtt://127.0.0.1:1883");
        assert_eq!(options.listeners[0].allow_anonymous, Some(true));
        assert_eq!(options.max_packet_size, 2_000_000);
        assert_eq!(options.max_session_expiry, u32::MAX);
        assert!(options.retain_available);
    }

    #[test]
    fn names_are_unique_and_variables_follow_from_them() {
        for (index, option) in OPTIONS.iter().enumerate() {
            assert!(OPTIONS[..index].iter().all(|other| other.name != option.name));
            assert!(option.help.ends_with('.'), "{}", option.name);
        }
        assert_eq!(find_option("busy-poll-us").unwrap().variable(), "RINGMQ_BUSY_POLL_US");
    }

    /// V11: each numeric setting at 0, 1 and its maximum is accepted or refused, without a panic.
    #[test]
    fn numbers_at_the_edges_are_taken_or_refused_with_their_range() {
        let extremes =
            ["0", "1", "65535", "4294967295", "18446744073709551615", "99999999999999999999"];
        for option in OPTIONS {
            for value in extremes.iter().chain(&["-1", "+1", " 1", "1 ", "", "1e3", "\u{0661}"]) {
                if let Err(wrong) = set(option.name, value) {
                    assert!(!wrong.contains('\n'), "{wrong}");
                }
            }
        }
        assert_eq!(
            set("max-inflight", "0").unwrap_err(),
            "--max-inflight: \"0\" is not a number from 1 to 65535"
        );
        assert_eq!(set("max-inflight", "65535").unwrap().max_inflight, u16::MAX);
        assert!(set("max-packet-size", "19").is_err());
        assert!(set("workers", "129").is_err());
    }

    #[test]
    fn a_pin_list_names_each_core_once() {
        assert_eq!(core_list("0,2,4-7"), Some(vec![0, 2, 4, 5, 6, 7]));
        assert_eq!(core_list("3"), Some(vec![3]));
        for wrong in
            ["", ",", "1,", "2-1", "1-", "-1", "1,1", "0-2,1", "a", "1 2", "1024", "0-99999999"]
        {
            assert_eq!(core_list(wrong), None, "{wrong:?}");
        }
        assert_eq!(set("pin", "auto").unwrap().pin, Pin::Auto);
        assert_eq!(set("pin", "1").unwrap().pin, Pin::Cores(vec![1]));
        assert!(set("pin", "all").is_err());
    }

    #[test]
    fn listeners_are_urls_with_usual_ports() {
        let urls: &[(&str, &str)] = &[
            ("[::1]:1", "mqtt://[::1]:1"),
            ("127.0.0.1", "mqtt://127.0.0.1:1883"),
            ("ws://[::1]", "ws://[::1]:8083/mqtt"),
            ("ws://127.0.0.1/", "ws://127.0.0.1:8083/mqtt"),
            ("ws://127.0.0.1:1/a/b", "ws://127.0.0.1:1/a/b"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
        ];
        for (url, shown) in urls {
            assert_eq!(set("listen", url).unwrap().listeners[0].to_string(), *shown);
        }
        let addresses = |url| {
            let listeners = set("listen", url).unwrap().listeners;
            listeners.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(addresses("localhost:1885").contains(&"mqtt://127.0.0.1:1885".to_owned()));
        assert!(addresses("ws://localhost/a").contains(&"ws://127.0.0.1:8083/a".to_owned()));
        for wrong in [
            "no-such-host.invalid:1883",
            "http://127.0.0.1",
            "unix:a",
            "mqtt://127.0.0.1/a",
            "",
            "?",
        ] {
            assert!(set("listen", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_listener_has_options_of_its_own_and_the_rest_from_all() {
        let files: &[(&str, &[&str])] =
            &[("tls-cert", &["a.pem"]), ("tls-key", &["a.key"]), ("acl-file", &["acl"])];
        let urls = ["mqtts://127.0.0.1?tls-cert=b.pem,c.pem&tls-key=b,c&acl-file=other", "[::1]"];
        let options = build(&[files, &[("listen", &urls)]].concat()).unwrap();
        let [tls, plain] = &*options.listeners else { panic!() };
        assert_eq!(tls.tls_cert, ["b.pem", "c.pem"].map(std::path::PathBuf::from));
        assert_eq!(tls.acl_file.as_deref(), Some("other".as_ref()));
        assert_eq!(plain.acl_file.as_deref(), Some("acl".as_ref()));
    }

    #[test]
    fn what_a_listener_cannot_heed_is_refused() {
        let wrong = [
            "mqtt://[::1]?client-certificates=required",
            "mqtt://[::1]?websocket-origin=https://a",
            "mqtt://[::1]?max-inflight=1",
            "mqtt://[::1]?nonsense=1",
            "mqtts://[::1]",
            "mqtts://[::1]?tls-cert=a",
            "mqtts://[::1]?tls-cert=a&tls-key=b&client-certificates=required",
            "mqtts://[::1]?tls-cert=a&tls-key=b&tls-client-ca=c",
            "mqtts://[::1]?tls-cert=a&tls-key=b&certificate-user=cn",
        ];
        for url in wrong {
            assert!(set("listen", url).is_err(), "{url}");
        }
    }

    #[test]
    fn strangers_are_let_in_only_by_name() {
        let wrong = set("listen", "0.0.0.0:1883").unwrap_err();
        assert!(wrong.contains("--allow-anonymous true"), "{wrong}");
        let open = build(&[("listen", &["0.0.0.0:1883"]), ("allow-anonymous", &["true"])]);
        assert_eq!(open.unwrap().listeners[0].allow_anonymous, Some(true));
        let closed = build(&[("listen", &["0.0.0.0:1883"]), ("password-file", &["p"])]);
        assert_eq!(closed.unwrap().listeners[0].allow_anonymous, Some(false));
        let local = set("password-file", "p").unwrap();
        assert_eq!(local.listeners[0].allow_anonymous, Some(false));
    }

    fn given(values: &[(&str, &str)]) -> Given {
        let mut given = Given::default();
        for (name, value) in values {
            given.add(find_option(name).unwrap(), [Value::new(*value, *name)]);
        }
        given
    }

    #[test]
    fn what_counts_more_overrules_listeners_too_and_replaces_them_by_its_own() {
        let acl = |given| Options::build(&given).unwrap().listeners[0].acl_file.clone().unwrap();
        let file = || {
            let mut file = given(&[("acl-file", "top"), ("max-inflight", "7")]);
            let option = find_option("acl-file").unwrap();
            let own = vec![(option, vec![Value::new("own", "file")])];
            file.add_listener(GivenListener::new(Value::new("[::1]:1?acl-file=query", ""), own));
            file
        };
        assert_eq!(acl(file()).to_str(), Some("own"));
        assert_eq!(acl(given(&[("acl-file", "flag")]).or(file())).to_str(), Some("flag"));
        let other = given(&[("listen", "[::1]:2")]).or(file());
        assert_eq!(acl(other.clone()).to_str(), Some("top"));
        let options = Options::build(&other).unwrap();
        assert_eq!((options.listeners.len(), options.max_inflight), (1, 7));
        // The command line names every option, most of them without a value.
        let mut empty = Given::default();
        OPTIONS.iter().for_each(|option| empty.add(option, []));
        assert_eq!(
            Options::build(&empty.or(given(&[("max-inflight", "7")]))).unwrap().max_inflight,
            7
        );
    }

    #[test]
    fn everything_wrong_is_listed() {
        let wrong = [("max-inflight", "0"), ("listen", "x"), ("listen", "mqtts://[::1]")];
        let wrong = Options::build_or_list(&given(&wrong)).unwrap_err();
        let origins: Vec<_> = wrong.iter().map(|wrong| &*wrong.origin).collect();
        assert_eq!(origins, ["max-inflight", "listen", "listen"]);
    }
}

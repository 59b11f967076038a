//! The options of one bridge: a connection that this broker opens to another one.

use super::given::{Value, Wrong};
use super::parsers::{mqtt_version, path};
use super::values::{Expected, MqttVersion, parse, within};
use std::path::PathBuf;

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeOptions {
    /// The name of the bridge, unlike that of any other.
    pub name: String,
    /// The places of the other broker, in order of preference; at least one.
    pub addresses: Vec<BridgeAddress>,
    /// Whether each new connection goes to the next place, instead of the first that answers.
    pub round_robin: bool,
    /// The topics that are carried, and where they go; at least one.
    pub topics: Vec<BridgeTopic>,
    /// The client identifier there; none for the machine's name and the bridge's.
    pub client_id: Option<String>,
    /// The client identifier of the bridge's session here; none for one made of the other.
    pub local_client_id: Option<String>,
    /// The user name there.
    pub user: Option<String>,
    /// The password there.
    pub password: Option<String>,
    /// The version of MQTT that is spoken.
    pub version: MqttVersion,
    /// Whether MQTT 3 is asked for subscriptions as bridges need them, which some brokers refuse.
    pub try_private: bool,
    /// Seconds of silence after which the other broker is asked whether it is there, at least 5.
    pub keep_alive_s: u16,
    /// Whether the other broker forgets the bridge between two connections.
    pub clean_session: bool,
    /// The same for this broker; None for as there.
    pub local_clean_session: Option<bool>,
    /// Whether the state of the bridge is published.
    pub notifications: bool,
    /// Whether only this broker is told the state.
    pub notifications_local_only: bool,
    /// The topic of the state; none for one below `$SYS`.
    pub notification_topic: Option<String>,
    /// The occasions on which a connection is opened.
    pub start: BridgeStart,
    /// Seconds without a message after which a lazy bridge closes its connection.
    pub idle_timeout_s: u16,
    /// Messages that wait for a lazy bridge when it opens its connection.
    pub threshold: u32,
    /// Seconds between two attempts, the first time and at most.
    pub restart_s: (u16, u16),
    /// The most bytes of a packet for the other broker; None for as many as it says.
    pub packet_bytes_max: Option<u32>,
    /// Whether messages keep their RETAIN flag on their way out.
    pub outgoing_retain: bool,
    /// TLS, if the bridge uses it.
    pub tls: Option<BridgeTls>,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeAddress {
    /// A name, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// One rule: topics that match `pattern` behind one prefix go to the same topics behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeTopic {
    /// A topic filter; empty for the two prefixes themselves.
    pub pattern: String,
    /// Whether messages of this broker go out.
    pub is_out: bool,
    /// Whether messages of the other broker come in.
    pub is_in: bool,
    /// The highest QoS.
    pub qos: u8,
    /// The beginning of topics here.
    pub local_prefix: String,
    /// The beginning of topics there.
    pub remote_prefix: String,
}

/// The occasions on which a bridge opens its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeStart {
    /// At the start, and again whenever it is lost.
    Automatic,
    /// When messages wait for it.
    Lazy,
    /// At the start alone.
    Once,
}

/// TLS of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BridgeTls {
    /// The authorities of the other broker's certificate: files and folders; none for those that
    /// the system trusts.
    pub authorities: Vec<PathBuf>,
    /// The certificate that the bridge shows, if any.
    pub certificate: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
    /// Whether the certificate may be for another host.
    pub is_insecure: bool,
    /// The application protocol that is asked for.
    pub alpn: Option<String>,
    /// Whether TLS 1.2 is too old.
    pub is_at_least_1_3: bool,
}

/// One option of a bridge.
pub(crate) struct BridgeOptionDef {
    /// The name in ringmq's own format.
    pub(crate) name: &'static str,
    /// The names in Mosquitto's.
    pub(crate) aliases: &'static [&'static str],
    set: fn(&mut BridgeOptions, &str) -> Result<(), Expected>,
}

impl std::fmt::Debug for BridgeOptionDef {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

/// A bridge as the user gave it: its name, and the values of its options, in order.
#[derive(Debug, Clone)]
pub struct GivenBridge {
    /// The name of the bridge.
    pub name: Value,
    /// The options of [`BRIDGE_OPTIONS`], and their values.
    pub(crate) values: Vec<(&'static BridgeOptionDef, Value)>,
}

const BOOLEAN: &str = "true or false";

const fn option(
    name: &'static str,
    aliases: &'static [&'static str],
    set: fn(&mut BridgeOptions, &str) -> Result<(), Expected>,
) -> BridgeOptionDef {
    BridgeOptionDef { name, aliases, set }
}

fn boolean(value: &str) -> Result<bool, Expected> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        value => parse(value, BOOLEAN),
    }
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn with_tls(options: &mut BridgeOptions, set: impl FnOnce(&mut BridgeTls)) {
    set(options.tls.get_or_insert_default());
}

/// All options of a bridge.
pub(crate) const BRIDGE_OPTIONS: &[BridgeOptionDef] = &[
    option("address", &["address", "addresses"], |bridge, value| {
        for word in value.split_whitespace() {
            bridge.add_address(word)?;
        }
        Ok(())
    }),
    option("topic", &["topic"], |bridge, value| topic(value).map(|it| bridge.topics.push(it))),
    option("round-robin", &["round_robin"], |bridge, value| {
        boolean(value).map(|it| bridge.round_robin = it)
    }),
    option("client-id", &["remote_clientid", "clientid"], |bridge, value| {
        bridge.client_id = text(value);
        Ok(())
    }),
    option("local-client-id", &["local_clientid"], |bridge, value| {
        bridge.local_client_id = text(value);
        Ok(())
    }),
    option("user", &["remote_username", "username"], |bridge, value| {
        bridge.user = text(value);
        Ok(())
    }),
    option("password", &["remote_password", "password"], |bridge, value| {
        bridge.password = text(value);
        Ok(())
    }),
    option("version", &["bridge_protocol_version"], |bridge, value| {
        bridge.version = match value {
            "mqttv31" => MqttVersion::V31,
            "mqttv311" => MqttVersion::V311,
            "mqttv50" => MqttVersion::V5,
            value => mqtt_version(value)?,
        };
        Ok(())
    }),
    option("try-private", &["try_private"], |bridge, value| {
        boolean(value).map(|it| bridge.try_private = it)
    }),
    option("keep-alive", &["keepalive_interval"], |bridge, value| {
        within(value, 5..=u16::MAX).map(|it| bridge.keep_alive_s = it)
    }),
    option("clean-session", &["cleansession"], |bridge, value| {
        boolean(value).map(|it| bridge.clean_session = it)
    }),
    option("local-clean-session", &["local_cleansession"], |bridge, value| {
        boolean(value).map(|it| bridge.local_clean_session = Some(it))
    }),
    option("notifications", &["notifications"], |bridge, value| {
        boolean(value).map(|it| bridge.notifications = it)
    }),
    option("notifications-local-only", &["notifications_local_only"], |bridge, value| {
        boolean(value).map(|it| bridge.notifications_local_only = it)
    }),
    option("notification-topic", &["notification_topic"], |bridge, value| {
        if value.contains(['+', '#']) {
            return Err(Expected::refused(value, "a topic, which has no wildcards"));
        }
        bridge.notification_topic = text(value);
        Ok(())
    }),
    option("start", &["start_type"], |bridge, value| {
        bridge.start = match value {
            "automatic" => BridgeStart::Automatic,
            "lazy" => BridgeStart::Lazy,
            "once" => BridgeStart::Once,
            _ => return Err(Expected::refused(value, "automatic, lazy or once")),
        };
        Ok(())
    }),
    option("idle-timeout", &["idle_timeout"], |bridge, value| {
        within(value, 1..=u16::MAX).map(|it| bridge.idle_timeout_s = it)
    }),
    option("threshold", &["threshold"], |bridge, value| {
        within(value, 1..=u32::MAX).map(|it| bridge.threshold = it)
    }),
    option("restart-timeout", &["restart_timeout"], |bridge, value| {
        let mut words = value.split_whitespace();
        let first = within(words.next().unwrap_or_default(), 1..=u16::MAX)?;
        let most = words.next().map_or(Ok(first), |word| within(word, first..=u16::MAX))?;
        bridge.restart_s = (first, most);
        Ok(())
    }),
    option("max-packet-size", &["bridge_max_packet_size"], |bridge, value| {
        let bytes: u32 = within(value, 0..=268_435_460)?;
        bridge.packet_bytes_max = (bytes > 0).then_some(bytes);
        Ok(())
    }),
    option("outgoing-retain", &["bridge_outgoing_retain"], |bridge, value| {
        boolean(value).map(|it| bridge.outgoing_retain = it)
    }),
    option("tls-ca", &["bridge_cafile", "bridge_capath"], |bridge, value| {
        with_tls(bridge, |tls| tls.authorities.extend(path(value)));
        Ok(())
    }),
    option("tls-cert", &["bridge_certfile"], |bridge, value| {
        with_tls(bridge, |tls| tls.certificate = path(value));
        Ok(())
    }),
    option("tls-key", &["bridge_keyfile"], |bridge, value| {
        with_tls(bridge, |tls| tls.key = path(value));
        Ok(())
    }),
    option("tls-insecure", &["bridge_insecure"], |bridge, value| {
        let is_insecure = boolean(value)?;
        if is_insecure || bridge.tls.is_some() {
            with_tls(bridge, |tls| tls.is_insecure = is_insecure);
        }
        Ok(())
    }),
    option("tls-alpn", &["bridge_alpn"], |bridge, value| {
        with_tls(bridge, |tls| tls.alpn = text(value));
        Ok(())
    }),
    option("tls-min-version", &["bridge_tls_version"], |bridge, value| {
        let is_at_least_1_3 = match value {
            "1.3" | "tlsv1.3" => true,
            "1.2" | "tlsv1.2" | "tlsv1.1" => false,
            _ => return Err(Expected::refused(value, "1.2 or 1.3")),
        };
        with_tls(bridge, |tls| tls.is_at_least_1_3 = is_at_least_1_3);
        Ok(())
    }),
    option("tls", &["bridge_tls_use_os_certs"], |bridge, value| {
        if boolean(value)? {
            with_tls(bridge, |_| {});
        }
        Ok(())
    }),
];

/// The option of this name in ringmq's own format.
pub(crate) fn bridge_option(name: &str) -> Option<&'static BridgeOptionDef> {
    BRIDGE_OPTIONS.iter().find(|option| option.name == name)
}

/// The option of this name in Mosquitto's format.
pub(crate) fn mosquittos_bridge_option(name: &str) -> Option<&'static BridgeOptionDef> {
    BRIDGE_OPTIONS.iter().find(|option| option.aliases.contains(&name))
}

impl BridgeOptionDef {
    /// True when the value is the path of a file.
    fn is_path(&self) -> bool {
        matches!(self.name, "tls-ca" | "tls-cert" | "tls-key")
    }
}

impl BridgeOptions {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            addresses: Vec::new(),
            round_robin: false,
            topics: Vec::new(),
            client_id: None,
            local_client_id: None,
            user: None,
            password: None,
            version: MqttVersion::V311,
            try_private: true,
            keep_alive_s: 60,
            clean_session: false,
            local_clean_session: None,
            notifications: true,
            notifications_local_only: false,
            notification_topic: None,
            start: BridgeStart::Automatic,
            idle_timeout_s: 60,
            threshold: 10,
            restart_s: (5, 30),
            packet_bytes_max: None,
            outgoing_retain: true,
            tls: None,
        }
    }

    /// Adds `HOST`, `HOST:PORT`, or a URL with one of the schemes mqtt and mqtts.
    fn add_address(&mut self, text: &str) -> Result<(), Expected> {
        let refused = || Expected::refused(text, "HOST, HOST:PORT, mqtt://HOST or mqtts://HOST");
        let (scheme, place) = text.split_once("://").unwrap_or(("", text));
        match scheme {
            "" | "mqtt" => {}
            "mqtts" => with_tls(self, |_| {}),
            _ => return Err(refused()),
        }
        let port = if scheme == "mqtts" { 8883 } else { 1883 };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, _)) if host.contains(':') && !host.ends_with(']') => (place, Some(port)),
            Some((host, number)) => (host, number.parse().ok().filter(|port| *port > 0)),
            None => (place, Some(port)),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.filter(|_| !host.is_empty() && !host.contains('/')).ok_or_else(refused)?;
        self.addresses.push(BridgeAddress { host: host.to_owned(), port });
        Ok(())
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.addresses.is_empty() {
            return Err("the bridge leads nowhere: add address HOST:PORT");
        }
        if self.topics.is_empty() {
            return Err("the bridge carries nothing: add a topic, such as \"# out 1\"");
        }
        match &self.tls {
            Some(BridgeTls { certificate: Some(_), key: None, .. }) => {
                Err("the bridge's certificate needs its key")
            }
            Some(BridgeTls { certificate: None, key: Some(_), .. }) => {
                Err("the bridge's key needs its certificate")
            }
            _ => Ok(()),
        }
    }
}

impl GivenBridge {
    /// The options of the bridge, or all faults in them.
    pub(super) fn build(&self) -> Result<BridgeOptions, Vec<Wrong>> {
        let mut bridge = BridgeOptions::named(&self.name.text);
        let mut wrong = Vec::new();
        for (option, value) in &self.values {
            let path = value.folder.as_ref().filter(|_| option.is_path());
            let text = path.map(|folder| folder.join(&value.text).to_string_lossy().into_owned());
            let set = (option.set)(&mut bridge, text.as_deref().unwrap_or(&value.text));
            wrong.extend(set.map_err(|expected| Wrong::new(&value.origin, expected)).err());
        }
        if wrong.is_empty() {
            wrong
                .extend(bridge.check().map_err(|cause| Wrong::new(&self.name.origin, cause)).err());
        }
        if wrong.is_empty() { Ok(bridge) } else { Err(wrong) }
    }
}

/// A rule in Mosquitto's words: `PATTERN [out|in|both [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]`, where
/// `""` is an empty word.
fn topic(value: &str) -> Result<BridgeTopic, Expected> {
    let refused = |expected: &str| Err(Expected::refused(value, expected));
    let mut words = value.split_whitespace().map(|word| if word == "\"\"" { "" } else { word });
    let pattern = words.next().unwrap_or_default().to_owned();
    let (is_out, is_in) = match words.next() {
        None | Some("out") => (true, false),
        Some("in") => (false, true),
        Some("both") => (true, true),
        Some(_) => return refused("a rule such as \"sensors/# out 1\": it is out, in or both"),
    };
    let qos = match words.next() {
        None => 0,
        Some(word) => match word.parse() {
            Ok(qos @ 0..=2) => qos,
            _ => return refused("a rule such as \"sensors/# out 1\": the QoS is 0, 1 or 2"),
        },
    };
    let local_prefix = words.next().unwrap_or_default().to_owned();
    let remote_prefix = words.next().unwrap_or_default().to_owned();
    if words.next().is_some() {
        return refused("a rule of at most five words");
    }
    let rule = BridgeTopic { pattern, is_out, is_in, qos, local_prefix, remote_prefix };
    if rule.pattern.is_empty() && (rule.local_prefix.is_empty() || rule.remote_prefix.is_empty()) {
        return refused("a rule with a pattern, or with both prefixes");
    }
    match [&rule.local_prefix, &rule.remote_prefix].iter().all(|it| is_filter(it, &rule.pattern)) {
        true => Ok(rule),
        false => refused("a rule whose prefixes and pattern make topic filters"),
    }
}

/// True when a prefix and a pattern make a topic filter, and the prefix has no wildcards.
fn is_filter(prefix: &str, pattern: &str) -> bool {
    let filter = format!("{prefix}{pattern}");
    let mut levels = filter.split('/').peekable();
    let mut is_right = !prefix.contains(['+', '#']) && !filter.is_empty();
    while let Some(level) = levels.next() {
        is_right &=
            level == "+" || level == "#" && levels.peek().is_none() || !level.contains(['+', '#']);
    }
    is_right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(values: &[(&str, &str)]) -> Result<BridgeOptions, String> {
        let value = |(name, text): &(&str, &str)| {
            (mosquittos_bridge_option(name).expect("it is known"), Value::new(*text, *name))
        };
        let name = Value::new("up", "connection");
        let given = GivenBridge { name, values: values.iter().map(value).collect() };
        given.build().map_err(|wrong| wrong[0].to_string())
    }

    #[test]
    fn mosquittos_lines_make_a_bridge() {
        let bridge = build(&[
            ("address", "one.example:1884 [::1]:1885 two"),
            ("topic", "sensors/# both 2 here/ there/"),
            ("topic", "\"\" in 0 a b"),
            ("topic", "x"),
            ("restart_timeout", "3 60"),
        ])
        .unwrap();
        let places: Vec<_> = bridge.addresses.iter().map(|it| (&*it.host, it.port)).collect();
        assert_eq!(places, [("one.example", 1884), ("::1", 1885), ("two", 1883)]);
        assert_eq!(bridge.topics[0].remote_prefix, "there/");
        assert_eq!((bridge.topics[1].is_in, bridge.topics[1].is_out), (true, false));
        assert!(bridge.topics[2].is_out && bridge.topics[2].qos == 0);
        assert_eq!(bridge.restart_s, (3, 60));
    }

    #[test]
    fn wrong_values_name_what_is_expected() {
        for (name, value, part) in [
            ("topic", "a sideways", "out, in or both"),
            ("topic", "a out 3", "QoS is 0, 1 or 2"),
            ("topic", "\"\" out 1 a", "both prefixes"),
            ("topic", "a/#/b out 1", "topic filters"),
            ("topic", "# out 1 a", "topic filters"),
            ("address", "http://a", "HOST:PORT"),
            ("address", "a:0", "HOST:PORT"),
            ("bridge_protocol_version", "6", "3.1.1"),
            ("keepalive_interval", "4", "5 to"),
            ("restart_timeout", "5 4", "5 to"),
            ("bridge_keyfile", "a", "certificate"),
        ] {
            let all = [("address", "a"), ("topic", "#"), (name, value)];
            let wrong = build(&all).unwrap_err();
            assert!(wrong.contains(part), "{name} {value}: {wrong}");
        }
        assert!(build(&[("address", "a")]).unwrap_err().contains("carries nothing"));
        assert!(build(&[("topic", "#")]).unwrap_err().contains("leads nowhere"));
    }
}

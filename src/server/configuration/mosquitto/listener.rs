//! Options of listeners.

use super::super::Contents;
use super::reader::{Line, Section, last};
use super::{add, security};
use crate::options::places::{LOCAL, of_interface, resolve, usable};
use crate::options::{GivenListener, OptionDef, Value, Wrong, find_option};
use std::net::SocketAddr;
use std::path::Path;

const PORT: u16 = 1883;

/// Lines without an effect unless the listener has TLS; their authors rely on them.
const OF_TLS: &[&str] = &[
    "cafile",
    "capath",
    "crlfile",
    "require_certificate",
    "use_identity_as_username",
    "use_subject_as_username",
    "tls_version",
];

/// Lines above all listeners that do not open the default one: Mosquitto ignores them.
const NO_REASON: &[&str] =
    &["tls_version", "max_topic_alias", "websockets_origin", "allow_anonymous", "acl_file"];

/// Lines that Mosquitto refuses above all listeners.
const NEED_LISTENER: &[&str] = &[
    "accept_protocol_versions",
    "listener_auto_id_prefix",
    "allow_zero_length_clientid",
    "auto_id_prefix",
];

/// Lines about the access of each listener, where `per_listener_settings` is true.
const OF_ACCESS: &[&str] = &[
    "allow_anonymous",
    "password_file",
    "acl_file",
    "allow_zero_length_clientid",
    "auto_id_prefix",
];

type Own = Vec<(&'static OptionDef, Vec<Value>)>;

/// Adds listeners to a file's content.
pub(super) struct Listeners<'a> {
    path: &'a Path,
    is_per_listener: bool,
    contents: &'a mut Contents,
}

impl<'a> Listeners<'a> {
    pub(super) fn new(path: &'a Path, is_per_listener: bool, contents: &'a mut Contents) -> Self {
        Self { path, is_per_listener, contents }
    }

    /// Adds the listeners for this machine alone, for a file that opens none.
    pub(super) fn add_local(&mut self, section: &Section) {
        let mut own = self.security_of(section, true);
        self.add_limits(&section.lines, &mut own);
        for line in &section.lines {
            let is_done = OF_ACCESS.contains(&&*line.name)
                || matches!(&*line.name, "max_qos" | "maximum_qos");
            if is_done {
                continue;
            }
            let is_tls = OF_TLS.contains(&&*line.name) || line.name.ends_with("file");
            if NEED_LISTENER.contains(&&*line.name) || line.name == "bind_interface" {
                self.refuse(line, "has to stand below the listener that it describes");
            } else if is_tls && !line.is_any(&["false", "0"]) {
                self.refuse(
                    line,
                    "describes a listener, and there is none; begin it: listener 8883",
                );
            } else {
                self.warn(line, "describes a listener, and there is none: it is ignored");
            }
        }
        for address in usable(LOCAL.to_vec()) {
            let listen = SocketAddr::new(address, PORT).to_string();
            self.add_one(Value::new(listen, self.path.display().to_string()), own.clone());
        }
    }

    /// Adds the listeners that a file opens; the first section is the default listener's.
    pub(super) fn add(&mut self, sections: &[Section]) {
        let (default, others) = sections.split_at(1);
        for section in others {
            self.add_section(section);
        }
        self.add_default(&default[0]);
        self.limit_connections(sections);
        self.limit_aliases(sections);
    }

    /// Adds the default listener, when any line describes it.
    fn add_default(&mut self, section: &Section) {
        let Some(reason) = reason(section) else {
            for line in &section.lines {
                match NEED_LISTENER.contains(&&*line.name) {
                    true => self.refuse(line, "has to stand below the listener that it describes"),
                    false => {
                        self.warn(line, "stands above all listeners, where it changes nothing");
                    }
                }
            }
            return;
        };
        if last(&section.lines, "port").is_none() && last(&section.lines, "bind_address").is_none()
        {
            self.warn(
                reason,
                "stands above all listeners: as in Mosquitto it opens one more, on port 1883",
            );
        }
        self.add_section(section);
    }

    fn add_section(&mut self, section: &Section) {
        let lines = &section.lines;
        let mut own = self.security_of(section, false);
        if let Some(line) = last(lines, "listener_allow_anonymous") {
            own.retain(|(option, _)| option.name != "allow-anonymous");
            push(&mut own, "allow-anonymous", line, if line.is_true() { "true" } else { "false" });
        }
        self.add_limits(lines, &mut own);
        if let Some(line) = last(lines, "listener_auto_id_prefix") {
            own.retain(|(option, _)| option.name != "assigned-client-id-prefix");
            push(&mut own, "assigned-client-id-prefix", line, &line.value);
        }
        match last(lines, "enable_proxy_protocol") {
            Some(line) if ["1", "2"].contains(&&*line.value) => {
                for everywhere in ["0.0.0.0/0", "::/0"] {
                    push(&mut own, "proxy-from", line, everywhere);
                }
            }
            Some(line) => return self.refuse(line, "is 1 or 2"),
            None => {}
        }
        let Some(is_tls) = self.add_tls(lines, &mut own) else { return };
        let is_websocket = match last(lines, "protocol") {
            Some(line) if line.value == "websockets" => true,
            Some(line) if line.value == "http_api" => {
                let cause = "http_api: the dashboard and the API of operators are at \
                             --admin-listen, 127.0.0.1:9883 as it is: the listener is ignored";
                return self.warn(line, cause);
            }
            Some(line) if line.value != "mqtt" => {
                let cause = format!("{:?} is not mqtt, websockets or http_api", line.value);
                return self.refuse(line, cause);
            }
            _ => false,
        };
        if let Some(line) = last(lines, "use_username_as_clientid").filter(|line| line.is_true()) {
            push(&mut own, "client-id", line, "user-name");
        }
        for line in lines.iter().filter(|line| line.name == "websockets_origin") {
            match is_websocket {
                true => push(&mut own, "websocket-origin", line, &line.value),
                false => self.warn(line, "is for protocol websockets: it is ignored"),
            }
        }
        if let Some(line) = last(lines, "protocol").filter(|_| is_websocket) {
            push(&mut own, "websocket-path", line, "/*");
        }
        let scheme = match (is_tls, is_websocket) {
            (false, false) => "mqtt",
            (true, false) => "mqtts",
            (false, true) => "ws",
            (true, true) => "wss",
        };
        match self.places(section, scheme) {
            Ok(places) => places.into_iter().for_each(|place| self.add_one(place, own.clone())),
            Err(wrong) => self.contents.wrong.push(wrong),
        }
    }

    /// Adds the versions and the QoS that clients of the listener may speak and use.
    fn add_limits(&mut self, lines: &[Line], own: &mut Own) {
        if let Some(line) = last(lines, "accept_protocol_versions") {
            let words = line.value.split([',', ' ', '\t']).filter(|word| !word.is_empty());
            for word in words.take_while(|word| !word.starts_with('#')) {
                match word {
                    "3" => push(own, "mqtt-version", line, "3.1"),
                    "4" => push(own, "mqtt-version", line, "3.1.1"),
                    "5" => push(own, "mqtt-version", line, "5.0"),
                    other => self.refuse(line, format!("{other:?} is not 3, 4 or 5")),
                }
            }
        }
        let is_of_qos = |line: &&Line| matches!(&*line.name, "max_qos" | "maximum_qos");
        if let Some(line) = lines.iter().rfind(is_of_qos) {
            push(own, "max-qos", line, &line.value);
        }
    }

    /// The URLs of a section's listeners.
    fn places(&self, section: &Section, scheme: &str) -> Result<Vec<Value>, Wrong> {
        let lines = &section.lines;
        let (port, host, origin) = place(section, self.path)?;
        let refused = |cause: String| Wrong::new(&origin, format!("listener: {cause}"));
        if port == 0 {
            let path = host.ok_or_else(|| refused("port 0 needs the path of a socket".into()))?;
            if scheme != "mqtt" {
                let cause = "a socket in the file system has no TLS and no WebSocket";
                return Err(refused(cause.into()));
            }
            let path = std::path::absolute(path).map_err(|error| refused(error.to_string()))?;
            return Ok(vec![Value::new(format!("unix:{}", path.display()), origin)]);
        }
        let family = last(lines, "socket_domain");
        if let Some(line) = family.filter(|line| !line.is_any(&["ipv4", "ipv6"])) {
            let cause = format!("socket_domain: {:?} is not ipv4 or ipv6", line.value);
            return Err(Wrong::new(&line.value_origin, cause));
        }
        let unknown = |error| {
            let host = host.unwrap_or_default();
            refused(format!("{host:?} is no address of this machine: {error}"))
        };
        let addresses = resolve(host, family.map(|line| &*line.value)).map_err(unknown)?;
        if addresses.is_empty() {
            return Err(refused("no address is left: socket_domain excludes all".into()));
        }
        let addresses = match last(lines, "bind_interface") {
            None => addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(),
            Some(line) => of_interface(&line.value, &addresses, port).map_err(|cause| {
                Wrong::new(&line.value_origin, format!("bind_interface: {cause}"))
            })?,
        };
        let url = |address: SocketAddr| format!("{scheme}://{address}");
        Ok(addresses.into_iter().map(|address| Value::new(url(address), &*origin)).collect())
    }

    /// The lines that decide which clients come in, where each listener has its own.
    fn security_of(&self, section: &Section, anonymous: bool) -> Own {
        if !self.is_per_listener {
            return Vec::new();
        }
        let origin = section.listener.as_ref().map(|line| line.origin.clone());
        let origin = origin.unwrap_or_else(|| self.path.display().to_string());
        let security = security(&section.lines, Value::new(anonymous.to_string(), origin));
        security.into_iter().map(|(name, value)| (option(name), vec![value])).collect()
    }

    /// Adds TLS, if the section has it; returns None after a fault.
    fn add_tls(&mut self, lines: &[Line], own: &mut Own) -> Option<bool> {
        let before = self.contents.wrong.len();
        let has_tls = match (last(lines, "certfile"), last(lines, "keyfile")) {
            (Some(certificate), Some(key)) => {
                push(own, "tls-cert", certificate, &certificate.value);
                push(own, "tls-key", key, &key.value);
                // Mosquitto sends what is missing of the chain from there.
                for line in authorities(lines) {
                    push(own, "tls-chain", line, &line.value);
                }
                self.add_version(lines, own);
                self.add_client_certificates(lines, own);
                true
            }
            (Some(line), None) => {
                self.refuse(line, "needs the certificate's key: keyfile FILE");
                true
            }
            (None, Some(line)) => {
                self.refuse(line, "needs the key's certificate: certfile FILE");
                true
            }
            (None, None) => {
                let is_off = |line: &&Line| line.is_any(&["false", "0"]);
                for line in lines.iter().filter(|line| OF_TLS.contains(&&*line.name)) {
                    if !is_off(&line) {
                        let fix =
                            "needs TLS: give this listener certfile and keyfile, or remove it";
                        self.refuse(line, fix);
                    }
                }
                false
            }
        };
        (self.contents.wrong.len() == before).then_some(has_tls)
    }

    fn add_version(&mut self, lines: &[Line], own: &mut Own) {
        let Some(line) = last(lines, "tls_version") else { return };
        match line.value.as_str() {
            "tlsv1.3" => push(own, "tls-min-version", line, "1.3"),
            "tlsv1.2" => push(own, "tls-min-version", line, "1.2"),
            "tlsv1.1" | "tlsv1" => {
                self.warn(line, "is at least tlsv1.2 here: older clients are refused");
            }
            other => self.refuse(line, format!("{other:?} is not tlsv1.2 or tlsv1.3")),
        }
    }

    /// Adds the demands on clients' certificates, and their use.
    fn add_client_certificates(&mut self, lines: &[Line], own: &mut Own) {
        let given = |name| last(lines, name).filter(|line| line.is_true());
        let user = given("use_identity_as_username").map(|line| (line, "cn"));
        let user = user.or_else(|| given("use_subject_as_username").map(|line| (line, "subject")));
        let Some(required) = given("require_certificate") else {
            if let Some((line, _)) = user {
                // As there, no other name counts, and no client is asked for the one that does.
                push(own, "allow-anonymous", line, "false");
                push(own, "password-file", line, "");
                let cause = "lets no client in, as in Mosquitto: none is asked for a certificate; \
                             add require_certificate true";
                self.warn(line, cause);
            }
            if let Some(line) = last(lines, "crlfile") {
                self.warn(line, "changes nothing: no client is asked for a certificate");
            }
            return;
        };
        if authorities(lines).next().is_none() {
            return self.refuse(
                required,
                "needs the authorities of the certificates: cafile FILE, or capath FOLDER",
            );
        }
        push(own, "client-certificates", required, "required");
        for line in authorities(lines) {
            push(own, "tls-client-ca", line, &line.value);
        }
        if let Some(line) = last(lines, "crlfile") {
            push(own, "tls-crl", line, &line.value);
        }
        if let Some((line, user)) = user {
            push(own, "certificate-user", line, user);
        }
    }

    /// Adds a limit of connections: Mosquitto limits each listener, ringmq all together.
    fn limit_connections(&mut self, sections: &[Section]) {
        let is_open = |section: &&Section| section.listener.is_some() || reason(section).is_some();
        let limit = |section: &Section| {
            let line = last(&section.lines, "max_connections")?;
            line.value.parse::<i64>().ok().filter(|limit| *limit > 0)
        };
        let mut lines = sections.iter().filter_map(|s| last(&s.lines, "max_connections"));
        let Some(line) = lines.next_back() else { return };
        let limits: Option<Vec<i64>> = sections.iter().filter(is_open).map(limit).collect();
        let Some(limits) = limits else {
            if sections.iter().any(|section| limit(section).is_some()) {
                self.warn(line, "counts for all listeners together, and one has none: no limit");
            }
            return;
        };
        if limits.len() > 1 {
            self.warn(line, "counts for all listeners together: their sum is used");
        }
        let sum = limits.iter().fold(0, |sum: i64, limit| sum.saturating_add(*limit));
        let value = sum.min(u32::MAX.into()).to_string();
        add(&mut self.contents.given, "max-connections", Value::new(value, &*line.value_origin));
    }

    /// Adds a limit of topic aliases: Mosquitto limits each listener; ringmq has one limit, the
    /// highest.
    fn limit_aliases(&mut self, sections: &[Section]) {
        let lines = sections.iter().filter_map(|section| last(&section.lines, "max_topic_alias"));
        let number = |line: &&Line| line.value.parse::<i64>().unwrap_or_default();
        if let Some(line) = lines.max_by_key(number) {
            let value = Value::new(&*line.value, &*line.value_origin);
            add(&mut self.contents.given, "max-topic-alias", value);
        }
    }

    fn add_one(&mut self, listen: Value, own: Own) {
        self.contents.given.add_listener(GivenListener::new(listen, own));
    }

    fn warn(&mut self, line: &Line, cause: &str) {
        self.contents.warnings.push(Wrong::new(&line.origin, format!("{} {cause}", line.name)));
    }

    fn refuse(&mut self, line: &Line, cause: impl std::fmt::Display) {
        self.contents.wrong.push(Wrong::new(&line.origin, format!("{} {cause}", line.name)));
    }
}

/// The lines of a section that name certificates of authorities.
fn authorities(lines: &[Line]) -> impl Iterator<Item = &Line> {
    ["cafile", "capath"].into_iter().filter_map(|name| last(lines, name))
}

/// The line that opens the default listener, if any.
fn reason(section: &Section) -> Option<&Line> {
    section.lines.iter().find(|line| {
        let changes_nothing = NO_REASON.contains(&&*line.name)
            || NEED_LISTENER.contains(&&*line.name)
            || line.is_any(&["false", "0"]) && OF_TLS.contains(&&*line.name)
            || line.name == "protocol" && line.value == "mqtt"
            || line.name == "max_connections" && line.value.starts_with('-');
        !changes_nothing
    })
}

/// A section's port, its host or path, and the place of both in the file.
fn place<'a>(section: &'a Section, path: &Path) -> Result<(u16, Option<&'a str>, String), Wrong> {
    let (line, port, host) = match &section.listener {
        Some(line) => {
            let mut words = line.value.split_whitespace();
            let port = words.next();
            (Some(line), port, words.next().filter(|word| !word.starts_with('#')))
        }
        None => {
            let port = last(&section.lines, "port");
            let host = last(&section.lines, "bind_address");
            (port.or(host), port.map(|line| &*line.value), host.map(|line| &*line.value))
        }
    };
    let origin = line.map_or_else(|| path.display().to_string(), |line| line.value_origin.clone());
    let number = match port {
        None if section.listener.is_none() => Some(PORT),
        port => port.and_then(|port| port.parse().ok()),
    };
    // Only a listener's line has the place for a socket's path.
    match number.filter(|number| *number != 0 || section.listener.is_some()) {
        Some(port) => Ok((port, host, origin)),
        None => {
            let cause = format!("{:?} is no port", port.unwrap_or_default());
            Err(Wrong::new(&origin, format!("listener: {cause}, a number from 1 to 65535")))
        }
    }
}

fn push(own: &mut Own, name: &str, line: &Line, value: &str) {
    let value = Value::new(value, format!("{}: {}", line.value_origin, line.name));
    match own.iter_mut().find(|(option, _)| option.name == name) {
        Some((_, values)) => values.push(value),
        None => own.push((option(name), vec![value])),
    }
}

fn option(name: &str) -> &'static OptionDef {
    find_option(name).expect("translations name options of the table")
}

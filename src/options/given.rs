//! Values from the command line, the environment and files, before they are checked.

use super::bridge::GivenBridge;
use super::listener::ListenerOptions;
use super::option_def::OptionDef;
use super::places::{LOCAL, resolve, usable};
use super::table::OPTIONS;
use super::values::{Expected, LogFormat};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The port without a given one.
const DEFAULT_PORT: u16 = 1883;

/// A value as the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The text.
    pub text: String,
    /// The place of the value, for messages: a flag, a variable, or a file with line and column.
    pub origin: String,
    /// The folder in which relative paths begin; None for the working directory.
    pub folder: Option<PathBuf>,
}

impl Value {
    /// Makes a value from `origin`.
    #[must_use]
    pub fn new(text: impl Into<String>, origin: impl Into<String>) -> Self {
        Self { text: text.into(), origin: origin.into(), folder: None }
    }

    /// Makes a part of this value, from the same place.
    pub(super) fn part(&self, text: &str, origin: String) -> Self {
        Self { text: text.to_owned(), origin, folder: self.folder.clone() }
    }

    /// The text as a value of `option`: a relative path begins in the value's folder.
    pub(super) fn text_for(&self, option: &OptionDef) -> Cow<'_, str> {
        let Some(folder) = self.folder.as_ref().filter(|_| option.is_path()) else {
            return Cow::Borrowed(&self.text);
        };
        if self.text.is_empty() {
            return Cow::Borrowed("");
        }
        // Paths come from text everywhere, so that a folder with another name cannot be said.
        Cow::Owned(folder.join(&self.text).to_string_lossy().into_owned())
    }
}

/// A listener as the user gave it.
#[derive(Debug, Clone)]
pub struct GivenListener {
    /// The listener's URL.
    pub listen: Value,
    /// The options of this listener alone.
    pub own: Vec<(&'static OptionDef, Vec<Value>)>,
    /// Options also given with a higher rank: the listener's own values of them are ignored.
    overruled: Vec<&'static str>,
}

/// All values that the user gave.
#[derive(Debug, Clone, Default)]
pub struct Given {
    values: BTreeMap<&'static str, Vec<Value>>,
    listeners: Vec<GivenListener>,
    bridges: Vec<GivenBridge>,
    /// As [`Options::mosquitto_db`](super::Options::mosquitto_db).
    mosquitto_db: Option<PathBuf>,
}

/// A value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The listener that the value is for alone.
    pub listener: Option<String>,
    /// The name of the option.
    pub name: &'static str,
    /// The value, without a secret; several have commas between.
    pub value: String,
    /// The flag, the variable, the file with line and column, or the default.
    pub origin: String,
}

/// A text without the user's name and password if it is a URL that has them.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // What a hook is asked by may be as secret.
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let query = if scheme.starts_with("http") { path } else { &rest[end..] };
    format!("{scheme}://{host}{query}")
}

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The place of the value.
    pub origin: String,
    /// The fault of the value.
    pub cause: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.origin, self.cause)
    }
}

impl std::error::Error for Wrong {}

impl Wrong {
    /// Makes an error about a value from `origin`.
    #[must_use]
    pub(crate) fn new(origin: &str, cause: impl fmt::Display) -> Self {
        Self { origin: origin.to_owned(), cause: cause.to_string() }
    }

    pub(super) fn expected(value: &Value, expected: &Expected) -> Self {
        Self::new(&value.origin, expected)
    }
}

impl Given {
    /// Adds values of an option; the last value counts where the option may not be repeated. Adding
    /// no values leaves the option unset.
    pub fn add(&mut self, option: &'static OptionDef, values: impl IntoIterator<Item = Value>) {
        if option.name == "listen" {
            let listener = |listen| GivenListener::new(listen, Vec::new());
            self.listeners.extend(values.into_iter().map(listener));
            return;
        }
        for value in values {
            self.values.entry(option.name).or_default().push(value);
        }
    }

    /// Names the database that Mosquitto would use.
    pub(crate) fn set_mosquitto_db(&mut self, path: PathBuf) {
        self.mosquitto_db = Some(path);
    }

    pub(super) fn mosquitto_db(&self) -> Option<PathBuf> {
        self.mosquitto_db.clone()
    }

    /// Adds a listener with options of its own.
    pub(crate) fn add_listener(&mut self, listener: GivenListener) {
        self.listeners.push(listener);
    }

    /// Adds a bridge.
    pub(crate) fn add_bridge(&mut self, bridge: GivenBridge) {
        self.bridges.push(bridge);
    }

    pub(super) fn bridges(&self) -> &[GivenBridge] {
        &self.bridges
    }

    /// The values of `self`, and those of `other` for the options that `self` lacks. Listeners are
    /// taken from one of both, and the options of `self` count for them all.
    #[must_use]
    pub(crate) fn or(mut self, other: Self) -> Self {
        if self.listeners.is_empty() {
            self.listeners = other.listeners;
            for listener in &mut self.listeners {
                listener.overruled.extend(self.values.keys());
            }
        }
        self.bridges.extend(other.bridges);
        self.mosquitto_db = self.mosquitto_db.or(other.mosquitto_db);
        for (name, values) in other.values {
            self.values.entry(name).or_insert(values);
        }
        self
    }

    /// True when both have the same texts for an option.
    #[must_use]
    pub(crate) fn agrees_with(&self, other: &Self, option: &OptionDef) -> bool {
        let texts = |given: &'_ Self| -> Vec<String> {
            given.values(option).iter().map(|value| value.text.clone()).collect()
        };
        texts(self) == texts(other)
    }

    /// The texts of an option, or its default.
    #[must_use]
    pub(crate) fn shown(&self, option: &OptionDef) -> String {
        let texts: Vec<&str> = self.values(option).iter().map(|value| &*value.text).collect();
        if texts.is_empty() { option.default.to_owned() } else { texts.join(",") }
    }

    /// The format of the log, if it is given and valid, even where other values are not.
    #[must_use]
    pub(crate) fn log_format(&self) -> Option<LogFormat> {
        let values = self.values(super::find_option("log-format")?);
        values.last()?.text.parse().ok()
    }

    /// The value in force of each option, of each listener and of the broker, with the place where
    /// it was given; passwords in URLs are left out.
    #[must_use]
    pub fn in_force(&self) -> Vec<InForce> {
        let mut all = Vec::new();
        let mut add = |listener: Option<&str>, option: &'static OptionDef, values: &[Value]| {
            let shown = |value: &Value| without_password(&value.text_for(option));
            let texts: Vec<String> = values.iter().map(shown).collect();
            all.push(InForce {
                listener: listener.map(without_password),
                name: option.name,
                value: texts.join(","),
                origin: values.first().map_or_else(String::new, |value| value.origin.clone()),
            });
        };
        for option in OPTIONS.iter().filter(|option| option.name != "listen") {
            let default = [Value::new(option.default, "the default")];
            match self.values(option) {
                [] => add(None, option, &default),
                values if option.set.is_list() => add(None, option, values),
                [.., last] => add(None, option, std::slice::from_ref(last)),
            }
        }
        let listen = super::find_option("listen").expect("it is in the table");
        for listener in self.listeners() {
            let url = listener.listen.text.clone();
            add(None, listen, &[listener.listen]);
            for (option, values) in &listener.own {
                if !listener.overruled.contains(&option.name) {
                    add(Some(&url), option, values);
                }
            }
        }
        all
    }

    /// True when the user gave the option.
    #[must_use]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(super) fn values(&self, option: &OptionDef) -> &[Value] {
        self.values.get(option.name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn listeners(&self) -> Vec<GivenListener> {
        if !self.listeners.is_empty() {
            return self.listeners.clone();
        }
        let default = |address| {
            let listen = SocketAddr::new(address, DEFAULT_PORT).to_string();
            GivenListener::new(Value::new(listen, "the default"), Vec::new())
        };
        usable(LOCAL.to_vec()).into_iter().map(default).collect()
    }
}

impl GivenListener {
    /// Makes a listener at `listen` with options of its own.
    #[must_use]
    pub(crate) const fn new(listen: Value, own: Vec<(&'static OptionDef, Vec<Value>)>) -> Self {
        Self { listen, own, overruled: Vec::new() }
    }

    /// The listener, once for each address where its URL has a name.
    ///
    /// # Errors
    /// The name has no address.
    pub(super) fn by_address(self) -> Result<Vec<Self>, Wrong> {
        let text = &self.listen.text;
        let start = text.find("://").map_or(0, |at| at + 3);
        let end = text[start..].find(['/', '?']).map_or(text.len(), |at| start + at);
        let host = text[start..end].rsplit_once(':').map_or(&text[start..end], |(host, _)| host);
        let is_name = host.starts_with(|c: char| c.is_ascii_alphabetic())
            && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
        if !is_name || text.starts_with("unix:") {
            return Ok(vec![self]);
        }
        let unknown = |error| {
            let cause = format!("{host:?} is no address of this machine: {error}");
            Wrong::new(&self.listen.origin, cause)
        };
        let addresses = resolve(Some(host), None).map_err(unknown)?;
        let rest = &text[start + host.len()..];
        let at = |address: &IpAddr| {
            let host = match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            let text = format!("{}{host}{rest}", &text[..start]);
            Self { listen: Value { text, ..self.listen.clone() }, ..self.clone() }
        };
        Ok(addresses.iter().map(at).collect())
    }

    /// The listener's settings: its own, and for the rest `defaults`; or all its faults.
    pub(super) fn build(&self, defaults: &ListenerOptions) -> Result<ListenerOptions, Vec<Wrong>> {
        let mut listener = defaults.clone();
        let from_url = listener.set_url(&self.listen).map_err(|wrong| vec![wrong])?;
        let mut wrong = Vec::new();
        for (option, values) in from_url.iter().chain(&self.own) {
            if self.overruled.contains(&option.name) {
                continue;
            }
            let set = listener.check_own(option, values);
            wrong.extend(set.and_then(|()| option.set_of(&mut listener, values)).err());
        }
        if wrong.is_empty() {
            wrong.extend(listener.check(&self.listen.origin).err());
        }
        if wrong.is_empty() { Ok(listener) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_force_name_their_place_and_no_password() {
        let mut given = Given::default();
        let option = |name| super::super::find_option(name).unwrap();
        let url = "https://me:secret@auth.example.org/mqtt?key=secret";
        given.add(option("http-auth-url"), [Value::new(url, "a.toml:3:1")]);
        given
            .add(option("max-inflight"), ["1", "2"].map(|text| Value::new(text, "--max-inflight")));
        given.add(option("listen"), [Value::new("mqtt://[::1]?acl-file=a", "--listen")]);
        let all = given.in_force();
        let find = |name: &str| {
            let found = all.iter().find(|value| value.name == name).unwrap();
            (&*found.value, &*found.origin)
        };
        assert_eq!(find("http-auth-url"), ("https://auth.example.org/mqtt", "a.toml:3:1"));
        assert_eq!(find("max-inflight"), ("2", "--max-inflight"));
        assert_eq!(find("listen"), ("mqtt://[::1]?acl-file=a", "--listen"));
        assert_eq!(find("log-level"), ("info", "the default"));
        assert!(!format!("{all:?}").contains("secret"));
    }
}

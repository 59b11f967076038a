//! What a user has given, before it is known to be right: from the command line, the environment
//! and files alike.

use super::listener::ListenerOptions;
use super::table::OptionDef;
use super::values::{Expected, LogFormat};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A value as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The text.
    pub text: String,
    /// Where it was given, for messages: a flag, a variable, or a file with line and column.
    pub origin: String,
    /// Where relative paths in it begin; None for the working directory.
    pub folder: Option<PathBuf>,
}

impl Value {
    /// A value from `origin`.
    #[must_use]
    pub fn new(text: impl Into<String>, origin: impl Into<String>) -> Self {
        Self { text: text.into(), origin: origin.into(), folder: None }
    }

    /// A value like this one from the same place.
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

/// A listener as it was given.
#[derive(Debug, Clone)]
pub struct GivenListener {
    /// Its URL.
    pub listen: Value,
    /// The options that it has of its own.
    pub own: Vec<(&'static OptionDef, Vec<Value>)>,
    /// Options that were given where it counts more: what the listener has of them is left.
    overruled: Vec<&'static str>,
}

/// Everything that was given.
#[derive(Debug, Clone, Default)]
pub struct Given {
    values: BTreeMap<&'static str, Vec<Value>>,
    listeners: Vec<GivenListener>,
}

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Where it was given.
    pub origin: String,
    /// What is wrong with it.
    pub cause: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.origin, self.cause)
    }
}

impl std::error::Error for Wrong {}

impl Wrong {
    /// The value is not what it should have been.
    #[must_use]
    pub(crate) fn new(origin: &str, cause: impl fmt::Display) -> Self {
        Self { origin: origin.to_owned(), cause: cause.to_string() }
    }

    pub(super) fn expected(value: &Value, expected: &Expected) -> Self {
        Self::new(&value.origin, expected)
    }
}

impl Given {
    /// Adds values of an option; for one that may not be repeated, the last is used. None at all
    /// are as if the option was not given.
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

    /// Adds a listener with options of its own.
    pub(crate) fn add_listener(&mut self, listener: GivenListener) {
        self.listeners.push(listener);
    }

    /// What was given here, and for the rest what was given there. Listeners are taken from one
    /// of both; what was given here counts for them all.
    #[must_use]
    pub(crate) fn or(mut self, other: Self) -> Self {
        if self.listeners.is_empty() {
            self.listeners = other.listeners;
            for listener in &mut self.listeners {
                listener.overruled.extend(self.values.keys());
            }
        }
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

    /// How the log is to look, if that is given and right, whatever else is not.
    #[must_use]
    pub(crate) fn log_format(&self) -> Option<LogFormat> {
        let values = self.values(super::find_option("log-format")?);
        values.last()?.text.parse().ok()
    }

    pub(super) fn values(&self, option: &OptionDef) -> &[Value] {
        self.values.get(option.name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn listeners(&self) -> Vec<GivenListener> {
        if !self.listeners.is_empty() {
            return self.listeners.clone();
        }
        let default = super::find_option("listen").expect("it is in the table").default;
        vec![GivenListener::new(Value::new(default, "the default"), Vec::new())]
    }
}

impl GivenListener {
    /// A listener at `listen` with options of its own.
    #[must_use]
    pub(crate) const fn new(listen: Value, own: Vec<(&'static OptionDef, Vec<Value>)>) -> Self {
        Self { listen, own, overruled: Vec::new() }
    }

    /// The listener's settings: its own, and for the rest `defaults`; or all that is wrong.
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

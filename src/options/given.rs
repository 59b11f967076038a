//! Values from the command line, the environment and files, before they are checked.

use super::listener::ListenerOptions;
use super::table::OptionDef;
use super::values::{Expected, LogFormat};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

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

    /// Adds a listener with options of its own.
    pub(crate) fn add_listener(&mut self, listener: GivenListener) {
        self.listeners.push(listener);
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
    /// Makes a listener at `listen` with options of its own.
    #[must_use]
    pub(crate) const fn new(listen: Value, own: Vec<(&'static OptionDef, Vec<Value>)>) -> Self {
        Self { listen, own, overruled: Vec::new() }
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

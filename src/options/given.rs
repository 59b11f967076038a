//! What a user has given, before it is known to be right: from the command line, the environment
//! and files alike.

use super::listener::ListenerOptions;
use super::table::OptionDef;
use super::values::Expected;
use std::collections::BTreeMap;
use std::fmt;

/// A value as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The text.
    pub text: String,
    /// Where it was given, for messages: a flag, a variable, or a file with line and column.
    pub origin: String,
}

impl Value {
    /// A value from `origin`.
    #[must_use]
    pub fn new(text: impl Into<String>, origin: impl Into<String>) -> Self {
        Self { text: text.into(), origin: origin.into() }
    }
}

/// A listener as it was given.
#[derive(Debug, Clone)]
pub struct GivenListener {
    /// Its URL.
    pub listen: Value,
    /// The options that it has of its own.
    pub own: Vec<(&'static OptionDef, Vec<Value>)>,
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

impl Wrong {
    /// The value is not what it should have been.
    #[must_use]
    pub fn new(origin: &str, cause: impl fmt::Display) -> Self {
        Self { origin: origin.to_owned(), cause: cause.to_string() }
    }

    pub(super) fn expected(value: &Value, expected: &Expected) -> Self {
        Self::new(&value.origin, expected)
    }
}

impl Given {
    /// Adds values of an option; for one that may not be repeated, the last is used.
    pub fn add(&mut self, option: &'static OptionDef, values: impl IntoIterator<Item = Value>) {
        if option.name == "listen" {
            let listener = |listen| GivenListener { listen, own: Vec::new() };
            self.listeners.extend(values.into_iter().map(listener));
        } else {
            self.values.entry(option.name).or_default().extend(values);
        }
    }

    /// Adds a listener with options of its own.
    pub fn add_listener(&mut self, listener: GivenListener) {
        self.listeners.push(listener);
    }

    /// What was given here, and for the rest what was given there.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (name, values) in other.values {
            self.values.entry(name).or_insert(values);
        }
        if self.listeners.is_empty() {
            self.listeners = other.listeners;
        }
        self
    }

    pub(super) fn values(&self, option: &OptionDef) -> &[Value] {
        self.values.get(option.name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn listeners(&self) -> Vec<GivenListener> {
        if !self.listeners.is_empty() {
            return self.listeners.clone();
        }
        let default = super::find_option("listen").expect("it is in the table").default;
        vec![GivenListener { listen: Value::new(default, "the default"), own: Vec::new() }]
    }
}

impl GivenListener {
    /// The listener's settings: its own, and for the rest `defaults`.
    pub(super) fn build(&self, defaults: &ListenerOptions) -> Result<ListenerOptions, Wrong> {
        let mut listener = defaults.clone();
        let from_url = listener.set_url(&self.listen)?;
        for (option, values) in from_url.iter().chain(&self.own) {
            listener.check_own(option, values)?;
            option.set.listener(&mut listener, values)?;
        }
        listener.check().map_err(|cause| Wrong::new(&self.listen.origin, cause))?;
        Ok(listener)
    }
}

//! The definition of one option.

use super::Options;
use super::given::{Value, Wrong};
use super::listener::ListenerOptions;
use super::values::Expected;
use std::fmt;

/// One option: its name on the command line, in files and in the environment, its values, and its
/// field.
#[derive(Debug)]
pub struct OptionDef {
    /// The long flag without its dashes, and the key in a configuration file.
    pub name: &'static str,
    /// The placeholder for the value in the help text.
    pub value_name: &'static str,
    /// The value without a given one; empty for none.
    pub default: &'static str,
    /// The help text: one or two sentences.
    pub help: &'static str,
    /// The field that the value sets.
    pub set: Set,
    /// Whether a running broker takes a new value.
    pub is_reloaded: bool,
}

/// The field that an option sets. Each function parses a value into its field; its error describes
/// the expected values.
pub enum Set {
    /// The list of listeners.
    Listen,
    /// A field of the broker.
    Broker(fn(&mut Options, &str) -> Result<(), Expected>),
    /// A field of a listener.
    Listener(fn(&mut ListenerOptions, &str) -> Result<(), Expected>),
    /// A list in a listener.
    ListenerList(fn(&mut ListenerOptions, &[&str]) -> Result<(), Expected>),
}

impl fmt::Debug for Set {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Listen => "Listen",
            Self::Broker(_) => "Broker",
            Self::Listener(_) => "Listener",
            Self::ListenerList(_) => "ListenerList",
        })
    }
}

impl Set {
    /// True when each listener may have a value of its own.
    #[must_use]
    pub(crate) const fn is_of_listener(&self) -> bool {
        matches!(self, Self::Listener(_) | Self::ListenerList(_))
    }

    /// True when the flag may be repeated, and the environment variable holds a list with commas.
    #[must_use]
    pub(crate) const fn is_list(&self) -> bool {
        matches!(self, Self::Listen | Self::ListenerList(_))
    }
}

impl OptionDef {
    /// The environment variable that sets this option when the flag is not given.
    #[must_use]
    pub(crate) fn variable(&self) -> String {
        format!("RINGMQ_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// True when the value is the path of a file.
    #[must_use]
    pub(crate) fn is_path(&self) -> bool {
        matches!(self.value_name, "FILE" | "DIR")
    }

    /// True when the value is the user's own text, so a number in its place is a mistake.
    #[must_use]
    pub(crate) fn is_text(&self) -> bool {
        let texts = ["FILE", "DIR", "URL", "PATH", "ORIGIN", "NETWORK", "NAME", "PREFIX"];
        texts.contains(&self.value_name)
    }

    /// Sets the field of the broker, if the option belongs to the broker.
    pub(super) fn set_for(&self, options: &mut Options, values: &[Value]) -> Result<(), Wrong> {
        let (Set::Broker(set), Some(value)) = (&self.set, values.last()) else { return Ok(()) };
        let result = set(options, &value.text_for(self));
        result.map_err(|expected| Wrong::expected(value, &expected))
    }

    /// Sets the field of a listener, if the option belongs to a listener.
    pub(super) fn set_of(
        &self,
        listener: &mut ListenerOptions,
        values: &[Value],
    ) -> Result<(), Wrong> {
        let texts: Vec<_> = values.iter().map(|value| value.text_for(self)).collect();
        let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
        match (&self.set, values) {
            (Set::Listener(set), [.., value]) => set(listener, texts[texts.len() - 1])
                .map_err(|expected| Wrong::expected(value, &expected)),
            (Set::ListenerList(set), values) => set(listener, &texts).map_err(|expected| {
                // Which one it was shows when each is set alone.
                let is_wrong = |text: &&str| set(&mut listener.clone(), &[text]).is_err();
                let index = texts.iter().position(is_wrong).unwrap_or_default();
                Wrong::expected(&values[index], &expected)
            }),
            _ => Ok(()),
        }
    }

    pub(super) const fn new(
        name: &'static str,
        value_name: &'static str,
        default: &'static str,
        help: &'static str,
        set: Set,
    ) -> Self {
        Self { name, value_name, default, help, set, is_reloaded: false }
    }

    pub(super) const fn broker(
        name: &'static str,
        value_name: &'static str,
        default: &'static str,
        help: &'static str,
        set: fn(&mut Options, &str) -> Result<(), Expected>,
    ) -> Self {
        Self::new(name, value_name, default, help, Set::Broker(set))
    }

    pub(super) const fn listener(
        name: &'static str,
        value_name: &'static str,
        default: &'static str,
        help: &'static str,
        set: fn(&mut ListenerOptions, &str) -> Result<(), Expected>,
    ) -> Self {
        Self::new(name, value_name, default, help, Set::Listener(set)).reloaded()
    }

    pub(super) const fn list(
        name: &'static str,
        value_name: &'static str,
        help: &'static str,
        set: fn(&mut ListenerOptions, &[&str]) -> Result<(), Expected>,
    ) -> Self {
        Self::new(name, value_name, "", help, Set::ListenerList(set)).reloaded()
    }

    pub(super) const fn reloaded(mut self) -> Self {
        self.is_reloaded = true;
        self
    }
}

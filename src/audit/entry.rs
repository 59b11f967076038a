//! Entries: what happened, as the fields of a JSON object.

use crate::limits::{AUDIT_FILTERS_MAX, AUDIT_TEXT_CHARS_MAX};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;

/// The bytes of most entries.
const ENTRY_BYTES: usize = 384;

/// An event for the audit log, with its fields in order. Texts are cut, so an entry with a bounded
/// number of fields has a bounded length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry(String);

impl Entry {
    /// An entry about `event`.
    #[must_use]
    pub fn new(event: &'static str) -> Self {
        let mut fields = String::with_capacity(ENTRY_BYTES);
        // Writing to a string does not fail.
        let _ = write!(fields, "\"event\":\"{event}\"");
        Self(fields)
    }

    /// Adds a text, which is cut at [`AUDIT_TEXT_CHARS_MAX`] characters.
    #[must_use]
    pub fn text(mut self, name: &str, text: &str) -> Self {
        self.name(name);
        push_text(&mut self.0, &cut(text));
        self
    }

    /// Adds a text if there is one, else `null`.
    #[must_use]
    pub fn maybe(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self.value(name, &Value::Null),
        }
    }

    /// Adds a number.
    #[must_use]
    pub fn number(self, name: &str, number: u64) -> Self {
        self.value(name, &number.into())
    }

    /// Adds true or false.
    #[must_use]
    pub fn flag(self, name: &str, is_so: bool) -> Self {
        self.value(name, &is_so.into())
    }

    /// Adds a value; texts in it are cut by the caller, with [`Entry::cut`].
    #[must_use]
    pub fn value(mut self, name: &str, value: &Value) -> Self {
        self.name(name);
        push_visible(&mut self.0, &value.to_string());
        self
    }

    fn name(&mut self, name: &str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    /// Adds the number of filters and the first of them.
    #[must_use]
    pub fn filters(self, filters: &Filters) -> Self {
        let Filters { named, count } = filters;
        self.number("count", *count).value("filters", &named[..].into())
    }

    /// The beginning of a text, as long as an entry shows it.
    #[must_use]
    pub fn cut(text: &str) -> String {
        cut(text).into_owned()
    }

    /// The fields as they stand in a JSON object, without its braces.
    #[must_use]
    pub fn fields(&self) -> &str {
        &self.0
    }
}

/// The filters of one packet: the first [`AUDIT_FILTERS_MAX`] by name, the others by number.
#[derive(Debug, Default)]
pub struct Filters {
    named: Vec<Value>,
    count: u64,
}

impl Filters {
    /// Adds a filter, and something about it.
    pub fn add(&mut self, filter: &str, detail: Option<(&str, Value)>) {
        self.count += 1;
        if self.named.len() < AUDIT_FILTERS_MAX {
            let detail = detail.map(|(name, value)| (name.to_owned(), value));
            let filter = ("filter".to_owned(), cut(filter).into());
            self.named.push(std::iter::once(filter).chain(detail).collect::<Map<_, _>>().into());
        }
    }

    /// True without filters.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(AUDIT_TEXT_CHARS_MAX) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

/// Appends a text as JSON. Most texts have nothing to escape.
fn push_text(out: &mut String, text: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        push_visible(out, &Value::from(text).to_string());
    }
}

/// Appends JSON; characters that may control a terminal, or are not seen there, are escaped.
fn push_visible(out: &mut String, json: &str) {
    for character in json.chars() {
        let is_seen = character.is_ascii() || character.escape_debug().len() == 1;
        if is_seen && character != '\x7f' {
            out.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
}

/// The way of entries to the audit log. Taking one never waits.
#[derive(Clone)]
pub struct Trail(Arc<dyn Fn(&Entry) + Send + Sync>);

impl Trail {
    /// A trail that calls `take`, which returns at once.
    pub fn new(take: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Sends an entry.
    pub fn note(&self, entry: &Entry) {
        (self.0)(entry);
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Trail")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_json_whatever_its_texts_say() {
        let nasty = "a\"\\\r\n\0\u{1b}[31m\u{7f}\u{9b}\u{2028}\u{202e}\u{e0001}é漢";
        let entry = Entry::new("login").text("client_id", nasty).maybe("user", None);
        let entry = entry.number("protocol", 5).flag("clean_start", true);
        let json = format!("{{{}}}", entry.fields());
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["client_id"], nasty);
        assert_eq!((&value["user"], &value["protocol"]), (&Value::Null, &5.into()));
        let is_seen = |c: char| !c.is_control() && c != '\u{2028}' && c != '\u{202e}';
        assert!(json.chars().all(is_seen), "{json:?}");
        assert!(json.contains("é漢"), "{json:?}");
    }

    #[test]
    fn so_many_filters_are_named_and_the_others_counted() {
        let mut filters = Filters::default();
        assert!(filters.is_empty());
        for number in 0..100_000 {
            filters.add(&format!("a/{number}"), Some(("qos", 1.into())));
        }
        let json = format!("{{{}}}", Entry::new("subscribe").filters(&filters).fields());
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["count"], 100_000);
        let named = value["filters"].as_array().unwrap();
        assert_eq!(named.len(), AUDIT_FILTERS_MAX);
        assert_eq!(named[19], serde_json::json!({"filter": "a/19", "qos": 1}));
    }

    #[test]
    fn texts_are_cut() {
        let long = "é".repeat(AUDIT_TEXT_CHARS_MAX);
        assert_eq!(Entry::cut(&long), long);
        assert_eq!(Entry::cut(&format!("{long}x")), format!("{long}…"));
        let entry = Entry::new("login").text("client_id", &"\u{e0001}".repeat(70_000));
        assert!(entry.fields().len() < 13 * AUDIT_TEXT_CHARS_MAX);
    }
}

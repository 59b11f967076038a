//! The configuration file of ringmq itself: TOML, with the flags' names as keys, and a table for
//! each listener that has options of its own.

use super::Contents;
use super::source::{Source, nearest, shown};
use crate::limits::{CONFIGURATION_FAULTS_MAX, CONFIGURATION_VALUES_MAX};
use crate::options::{
    BRIDGE_OPTIONS, GivenBridge, GivenListener, OPTIONS, OptionDef, Value, Wrong, bridge_option,
    find_option,
};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

/// Reads a file's text. Relative paths in it begin in the file's folder.
pub(super) fn read(path: &Path, text: &str) -> Contents {
    let mut reader = Reader {
        source: Source::new(path, text),
        folder: path.parent().map(Path::to_owned),
        contents: Contents::default(),
        wrong: Vec::new(),
        faults: 0,
        values: 0,
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        reader.refuse(offset, one_line(error.message()));
    }
    // What stands in a broken file is not what was meant, so there is no use in naming it.
    if errors.is_empty() {
        reader.read(table.get_ref());
    }
    reader.finish()
}

/// The key of a table that describes a listener.
const LISTENER: &str = "listener";
/// The key of a table that describes a bridge.
const BRIDGE: &str = "bridge";

struct Reader<'a> {
    source: Source<'a>,
    folder: Option<PathBuf>,
    contents: Contents,
    /// The faults, and the byte at which each stands.
    wrong: Vec<(usize, Wrong)>,
    /// The number of faults, also those beyond the limit.
    faults: usize,
    /// The number of values read so far.
    values: usize,
}

type Key<'a> = Spanned<DeString<'a>>;
type Item<'a> = Spanned<DeValue<'a>>;

impl Reader<'_> {
    fn read(&mut self, table: &DeTable<'_>) {
        for (key, item) in table {
            let name = key.get_ref();
            if name == LISTENER {
                self.read_tables(item, LISTENER, Self::read_listener);
            } else if name == BRIDGE {
                self.read_tables(item, BRIDGE, Self::read_bridge);
            } else if let Some(option) = find_option(name) {
                let values = self.values(option, item);
                self.contents.given.add(option, values);
            } else {
                self.refuse_unknown(key, OPTIONS.iter().map(|option| option.name));
            }
        }
    }

    /// Reads the tables under a key, each of which begins at an offset.
    fn read_tables(
        &mut self,
        item: &Item<'_>,
        key: &str,
        read: impl Fn(&mut Self, usize, &DeTable<'_>),
    ) {
        let wrong = format!("begin each {key} with [[{key}]]");
        let DeValue::Array(tables) = item.get_ref() else {
            return self.refuse(item.span().start, wrong);
        };
        for table in tables {
            match table.get_ref() {
                DeValue::Table(content) => read(self, table.span().start, content),
                _ => self.refuse(table.span().start, &wrong),
            }
        }
    }

    fn read_bridge(&mut self, start: usize, table: &DeTable<'_>) {
        let (mut name, mut values) = (None, Vec::new());
        for (key, item) in table {
            let text = key.get_ref();
            if text == "name" {
                name = self.text_value("name", false, item);
                continue;
            }
            let Some(option) = bridge_option(text) else {
                let known = BRIDGE_OPTIONS.iter().map(|option| option.name).chain(["name"]);
                self.refuse_unknown(key, known);
                continue;
            };
            let items = match item.get_ref() {
                DeValue::Array(items) => items.iter().collect(),
                _ => vec![item],
            };
            for item in items {
                values
                    .extend(self.text_value(option.name, false, item).map(|value| (option, value)));
            }
        }
        match name.filter(|name| !name.text.is_empty()) {
            Some(name) => self.contents.given.add_bridge(GivenBridge { name, values }),
            None => self.refuse(start, "this bridge has no name: give it name = \"NAME\""),
        }
    }

    fn read_listener(&mut self, start: usize, table: &DeTable<'_>) {
        let (mut listen, mut own) = (None, Vec::new());
        for (key, item) in table {
            let of_listener =
                |option: &&OptionDef| option.set.is_of_listener() || option.name == "listen";
            match find_option(key.get_ref()) {
                Some(option) if option.name == "listen" => listen = Some((option, item)),
                Some(option) if option.set.is_of_listener() => {
                    own.push((option, self.values(option, item)));
                }
                Some(option) => {
                    let name = option.name;
                    let cause = format!("{name} is no listener's: put it above all [[listener]]");
                    self.refuse(key.span().start, cause);
                }
                None => {
                    let names = OPTIONS.iter().filter(of_listener).map(|option| option.name);
                    self.refuse_unknown(key, names);
                }
            }
        }
        let Some((option, item)) = listen else {
            return self.refuse(start, "this listener has no address: give it listen = \"URL\"");
        };
        if let Some(listen) = self.value(option, item) {
            self.contents.given.add_listener(GivenListener::new(listen, own));
        }
    }

    /// The value, or the values of a list where the option may have several.
    fn values(&mut self, option: &OptionDef, item: &Item<'_>) -> Vec<Value> {
        match item.get_ref() {
            DeValue::Array(items) if option.set.is_list() => {
                items.iter().filter_map(|item| self.value(option, item)).collect()
            }
            _ => self.value(option, item).into_iter().collect(),
        }
    }

    fn value(&mut self, option: &OptionDef, item: &Item<'_>) -> Option<Value> {
        self.text_value(option.name, option.is_text(), item)
    }

    /// A value of the option `name`, as text. `is_text`: nothing else is meant for it.
    fn text_value(&mut self, name: &str, is_text: bool, item: &Item<'_>) -> Option<Value> {
        let start = item.span().start;
        self.values += 1;
        if self.values > CONFIGURATION_VALUES_MAX {
            if self.values == CONFIGURATION_VALUES_MAX + 1 {
                let cause = format!("a file has at most {CONFIGURATION_VALUES_MAX} values");
                self.refuse(start, cause);
            }
            return None;
        }
        let value = item.get_ref();
        let text = match value {
            DeValue::String(text) => text.clone().into_owned(),
            DeValue::Array(_) | DeValue::Table(_) | DeValue::Datetime(_) => {
                let cause = format!("{name} takes one value, and this is {}", kind(value));
                self.refuse(start, cause);
                return None;
            }
            _ if is_text => {
                let cause = format!("{name} takes text in quotes, and this is {}", kind(value));
                self.refuse(start, cause);
                return None;
            }
            DeValue::Integer(integer) => decimal(integer),
            DeValue::Float(float) => float.as_str().to_owned(),
            DeValue::Boolean(boolean) => boolean.to_string(),
        };
        let origin = format!("{}: {name}", self.source.at(start));
        Some(Value { folder: self.folder.clone(), ..Value::new(text, origin) })
    }

    fn refuse_unknown<'n>(&mut self, key: &Key<'_>, known: impl Iterator<Item = &'n str>) {
        let name = key.get_ref();
        if self.faults >= CONFIGURATION_FAULTS_MAX {
            self.faults += 1;
            return;
        }
        let fix = match nearest(name, known) {
            Some(known) => format!("did you mean {known}?"),
            None => "ringmq check --example shows all".to_owned(),
        };
        self.refuse(key.span().start, format!("{} is no option here; {fix}", shown(name)));
    }

    /// Adds a fault. After very many, only their number is kept.
    fn refuse(&mut self, offset: usize, cause: impl std::fmt::Display) {
        self.faults += 1;
        if self.faults > CONFIGURATION_FAULTS_MAX {
            return;
        }
        self.wrong.push((offset, Wrong::new(&self.source.at(offset), cause)));
    }

    fn finish(mut self) -> Contents {
        self.wrong.sort_by_key(|(offset, _)| *offset);
        self.contents.wrong = self.wrong.into_iter().map(|(_, wrong)| wrong).collect();
        if self.faults > CONFIGURATION_FAULTS_MAX {
            let more = self.faults - CONFIGURATION_FAULTS_MAX;
            let cause = format!("{more} more are wrong; correct these first");
            self.contents.wrong.push(Wrong::new(self.source.name(), cause));
        }
        self.contents
    }
}

/// The number without sign and underscores, which TOML allows and flags do not.
fn decimal(integer: &DeInteger<'_>) -> String {
    i128::from_str_radix(integer.as_str(), integer.radix())
        .map_or_else(|_| integer.to_string(), |number| number.to_string())
}

const fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn one_line(message: &str) -> String {
    match message {
        "duplicate key" => "this key is given twice; keep one of them".to_owned(),
        message => message.lines().collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn contents(text: &str) -> Contents {
        read(Path::new("conf/a.toml"), text)
    }

    fn accepted(text: &str) -> Options {
        let contents = contents(text);
        assert_eq!(contents.wrong, []);
        Options::build(&contents.given).expect("accepted")
    }

    /// All faults of a text, from the reader and from the options.
    fn refused(text: &str) -> Vec<String> {
        let contents = contents(text);
        let wrong = match &*contents.wrong {
            [] => Options::build_or_list(&contents.given).expect_err(text),
            wrong => wrong.to_vec(),
        };
        wrong.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values_are_written_as_fits_them() {
        let options = accepted(
            "max-inflight = 1_000\nmax-queued-messages = \"7\"\nallow-anonymous = true\n\
             retain-available = false\ntls-min-version = 1.3\npin = 3\nlog-level = 'debug'\n\
             max-packet-size = 0x10000\nlisten = ['127.0.0.1:1', '[::1]:2']\n",
        );
        assert_eq!((options.max_inflight, options.max_queued_messages), (1000, 7));
        assert_eq!((options.retain_available, options.max_packet_size), (false, 65_536));
        assert_eq!(options.listeners.len(), 2);
        assert_eq!(options.listeners[1].allow_anonymous, Some(true));
    }

    #[test]
    fn a_listener_has_its_own_options_and_the_rest_from_the_top() {
        let options = accepted(
            "acl-file = 'all'\nproxy-from = ['10.0.0.0/8']\nlisten = '127.0.0.1:1'\n\
             [[listener]]\nlisten = '127.0.0.1:2?acl-file=query'\nproxy-from = []\n\
             [[listener]]\nlisten = '127.0.0.1:3'\nacl-file = '/own'\n",
        );
        let files = options.listeners.iter().map(|listener| listener.acl_file.clone().unwrap());
        let files: Vec<_> = files.map(|file| file.to_str().unwrap().to_owned()).collect();
        assert_eq!(files, ["conf/all", "conf/query", "/own"]);
        let networks: Vec<_> = options.listeners.iter().map(|l| l.proxy_from.len()).collect();
        assert_eq!(networks, [1, 0, 1]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let wrong = [
            ("max-inflght = 1", "a.toml:1:1: \"max-inflght\" is no option here; did you mean max-"),
            ("\n  nonsense = 1", "a.toml:2:3: \"nonsense\" is no option here; ringmq check --exam"),
            (
                "max-inflight = 0",
                "a.toml:1:16: max-inflight: \"0\" is not a number from 1 to 65535",
            ),
            ("max-inflight = true", "a.toml:1:16: max-inflight: \"true\" is not a number"),
            ("max-inflight = [1]", "a.toml:1:16: max-inflight takes one value, and this is a list"),
            ("pin = 1979-05-27", "a.toml:1:7: pin takes one value, and this is a time"),
            ("acl-file = true", "a.toml:1:12: acl-file takes text in quotes, and this is true or"),
            ("listen = ['127.0.0.1:1', '!']", "a.toml:1:26: listen: \"!\" is not a listener such"),
            ("proxy-from = ['x', '::1']", "a.toml:1:15: proxy-from: \"x\" is not a network"),
            ("listen = '0.0.0.0:1'", "a.toml:1:10: listen: mqtt://0.0.0.0:1: no option says which"),
            ("[listener]\nlisten = 'x'", "begin each listener with [[listener]]"),
            ("listener = 1", "a.toml:1:12: begin each listener with [[listener]]"),
            ("[[listener]]\nacl-file = 'x'", "a.toml:1:1: this listener has no address"),
            ("[[listener]]\nmax-inflight = 1\nlisten = '[::1]'", "a.toml:2:1: max-inflight is no"),
            (
                "[[listener]]\nacl_file = 'x'\nlisten = '[::1]'",
                "a.toml:2:1: \"acl_file\" is no opt",
            ),
            (
                "[[listener]]\nlisten = '[::1]'\ntls-cert='x'",
                "a.toml:3:10: tls-cert: tls-cert needs",
            ),
            ("pin = 'none'\npin = 'auto'", "a.toml:2:1: this key is given twice"),
            ("pin = 'none", "a.toml:1:12: invalid literal string"),
            ("pin", "a.toml:1:4: "),
        ];
        for (text, start) in wrong {
            let found = refused(text);
            assert!(found.len() == 1 && found[0].contains(start), "{text:?}: {found:?}");
            assert!(found[0].starts_with("conf/a.toml:") && !found[0].contains('\n'), "{found:?}");
        }
    }

    #[test]
    fn everything_wrong_is_said_at_once_and_in_order() {
        let lines = |text: &str| -> Vec<String> {
            let line = |wrong: &String| wrong.split(':').nth(1).unwrap().to_owned();
            refused(text).iter().map(line).collect()
        };
        assert_eq!(lines("zzz = 1\nyyy = 2\n\nmax-inflight = []\naaa = 1"), ["1", "2", "4", "5"]);
        assert_eq!(lines("workers = -1\nmax-inflight = 0\nlisten = 'x'"), ["1", "2", "3"]);
    }

    /// Any beginning of a file, and any piece cut out of it: refused or not, but never a panic.
    #[test]
    fn no_file_is_a_panic() {
        let text = super::super::example().replace("\n#", "\n");
        let text = text.lines().filter(|line| line.contains('=') || line.starts_with('['));
        let text = text.collect::<Vec<_>>().join("\n");
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let end = (cut + 7).min(text.len());
            let without = [&text[..cut], text.get(end..).unwrap_or_default()].concat();
            for text in [&text[..cut], &without] {
                let contents = contents(text);
                let built = Options::build_or_list(&contents.given);
                for wrong in contents.wrong.iter().chain(built.err().iter().flatten()) {
                    assert!(!wrong.to_string().contains('\n'), "{wrong}");
                }
            }
        }
    }
}

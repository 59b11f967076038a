//! Every option, defined once: the command line, its help, the environment variables and the
//! defaults all come from [`OPTIONS`].
#![forbid(unsafe_code)]

use crate::limits::WORKERS_MAX;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The settings of a broker; the same for all its workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to accept MQTT over TCP; at least one, port 0 for any free one.
    pub listen: Vec<SocketAddr>,
    /// How many workers to run: 0 for one per usable physical core.
    pub workers: usize,
    /// Which core each worker's thread stays on.
    pub pin: Pin,
    /// How many microseconds a worker without work spins before it sleeps.
    pub busy_poll_us: u32,
    /// How many connections are open at most: 0 for what the descriptor limit allows.
    pub max_connections: u32,
    /// The largest packet accepted from a client, in bytes.
    pub max_packet_size: u32,
    /// How many QoS 1 and 2 messages are in flight to one client at most, at least 1.
    pub max_inflight: u16,
    /// How many QoS 1 and 2 messages a client may have in flight to the broker, at least 1.
    pub receive_maximum: u16,
    /// How many messages wait for one session at most.
    pub max_queued_messages: u32,
    /// How many bytes of messages wait for one session at most.
    pub max_queued_bytes: u64,
    /// How many levels a topic may have, at least 1.
    pub max_topic_levels: u16,
    /// The longest keep-alive in seconds: 0 for any, also none.
    pub max_keep_alive: u16,
    /// The longest session expiry interval in seconds; `u32::MAX` for sessions that never expire.
    pub max_session_expiry: u32,
    /// The highest topic alias, in both directions; 0 turns aliases off.
    pub max_topic_alias: u16,
    /// Whether retained messages are kept.
    pub retain_available: bool,
    /// The least important log lines still written.
    pub log_level: LogLevel,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// Which core each worker's thread stays on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// One hardware thread of each physical core that this process may use.
    Auto,
    /// Wherever the kernel puts them.
    None,
    /// These cores, one after the other; never empty, no core twice.
    Cores(Vec<usize>),
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// The broker could not do what it has to.
    Error,
    /// Something needs attention.
    Warn,
    /// Start, stop and what happens rarely.
    Info,
    /// What happens per connection.
    Debug,
    /// What happens per packet; only in builds with debug assertions.
    Trace,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// One option: its name on the command line and in the environment, what it accepts, what it sets.
#[derive(Debug)]
pub struct OptionDef {
    /// The long flag without its dashes.
    pub name: &'static str,
    /// What stands for the value in the help text.
    pub value_name: &'static str,
    /// The value when none is given.
    pub default: &'static str,
    /// One or two sentences.
    pub help: &'static str,
    /// True when the flag may be repeated, and the environment variable holds a list with commas.
    pub repeatable: bool,
    /// Parses a value into its field, or says what it should have been.
    pub set: fn(&mut Options, &str) -> Result<(), Expected>,
}

/// What a refused value should have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(String);

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl OptionDef {
    /// The environment variable that sets this option when the flag is not given.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("RINGMQ_{}", self.name.replace('-', "_").to_uppercase())
    }

    const fn new(
        name: &'static str,
        value_name: &'static str,
        default: &'static str,
        help: &'static str,
        set: fn(&mut Options, &str) -> Result<(), Expected>,
    ) -> Self {
        Self { name, value_name, default, help, repeatable: false, set }
    }
}

/// Every option, in the order of the help text.
pub const OPTIONS: &[OptionDef] = &[
    OptionDef {
        repeatable: true,
        ..OptionDef::new(
            "listen",
            "ADDRESS:PORT",
            "127.0.0.1:1883",
            "Accept MQTT over TCP here, for example 0.0.0.0:1883 or [::1]:1883; may be repeated. \
             Port 0 takes a free one.",
            |options, value| parse(value, ADDRESS).map(|address| options.listen.push(address)),
        )
    },
    OptionDef::new(
        "workers",
        "COUNT",
        "0",
        "Run this many workers (at most 128), each a thread with its own connections. 0 runs one \
         per usable physical core; more than there are cores share them.",
        |options, value| within(value, 0..=WORKERS_MAX).map(|count| options.workers = count),
    ),
    OptionDef::new(
        "pin",
        "CORES",
        "auto",
        "Keep each worker on one core: auto takes one hardware thread of each physical core that \
         this process may use, none lets the kernel choose, and a list such as 0,2,4-7 is used in \
         turn.",
        |options, value| parse(value, PIN).map(|pin| options.pin = pin),
    ),
    OptionDef::new(
        "busy-poll-us",
        "MICROSECONDS",
        "0",
        "Let a worker without work spin this long (at most 1000000) before it sleeps: lower \
         latency for more CPU time.",
        |options, value| within(value, 0..=1_000_000).map(|time| options.busy_poll_us = time),
    ),
    OptionDef::new(
        "max-connections",
        "COUNT",
        "0",
        "Close connections above this number at once. 0 allows what the descriptor limit does.",
        |options, value| within(value, 0..=u32::MAX).map(|count| options.max_connections = count),
    ),
    OptionDef::new(
        "max-packet-size",
        "BYTES",
        "2000000",
        "Refuse larger packets from clients (16384 to 268435455).",
        |options, value| {
            within(value, 16_384..=268_435_455).map(|bytes| options.max_packet_size = bytes)
        },
    ),
    OptionDef::new(
        "max-inflight",
        "COUNT",
        "256",
        "Send a client at most this many QoS 1 and 2 messages before it acknowledges (1 to 65535).",
        |options, value| within(value, 1..=u16::MAX).map(|count| options.max_inflight = count),
    ),
    OptionDef::new(
        "receive-maximum",
        "COUNT",
        "1024",
        "Let a client send at most this many QoS 1 and 2 messages before they are acknowledged (1 \
         to 65535).",
        |options, value| within(value, 1..=u16::MAX).map(|count| options.receive_maximum = count),
    ),
    OptionDef::new(
        "max-queued-messages",
        "COUNT",
        "1000",
        "Queue at most this many messages for a session that is slow or offline (1 to 10000000).",
        |options, value| {
            within(value, 1..=10_000_000).map(|count| options.max_queued_messages = count)
        },
    ),
    OptionDef::new(
        "max-queued-bytes",
        "BYTES",
        "67108864",
        "Queue at most this many bytes for a session that is slow or offline (65536 to \
         1099511627776).",
        |options, value| {
            within(value, 65_536..=1 << 40).map(|bytes| options.max_queued_bytes = bytes)
        },
    ),
    OptionDef::new(
        "max-topic-levels",
        "COUNT",
        "200",
        "Refuse topics and filters with more levels (1 to 1000).",
        |options, value| within(value, 1..=1000).map(|count| options.max_topic_levels = count),
    ),
    OptionDef::new(
        "max-keep-alive",
        "SECONDS",
        "0",
        "Cap the keep-alive of clients (1 to 65535). 0 leaves it to them.",
        |options, value| within(value, 0..=u16::MAX).map(|time| options.max_keep_alive = time),
    ),
    OptionDef::new(
        "max-session-expiry",
        "SECONDS",
        "4294967295",
        "Cap the session expiry interval of clients. 4294967295 lets sessions live for ever.",
        |options, value| within(value, 0..=u32::MAX).map(|time| options.max_session_expiry = time),
    ),
    OptionDef::new(
        "max-topic-alias",
        "COUNT",
        "64",
        "Use topic aliases up to this number, in both directions. 0 turns them off.",
        |options, value| within(value, 0..=u16::MAX).map(|count| options.max_topic_alias = count),
    ),
    OptionDef::new(
        "retain-available",
        "true|false",
        "true",
        "Keep retained messages. When false, publishing one is refused.",
        |options, value| {
            parse(value, BOOLEAN).map(|available| options.retain_available = available)
        },
    ),
    OptionDef::new(
        "log-level",
        "LEVEL",
        "info",
        "Log what is at least this important: error, warn, info, debug or trace.",
        |options, value| parse(value, LEVEL).map(|level| options.log_level = level),
    ),
    OptionDef::new(
        "log-format",
        "text|json",
        "text",
        "Write log lines for people or as JSON objects.",
        |options, value| parse(value, FORMAT).map(|format| options.log_format = format),
    ),
];

const ADDRESS: &str = "an IP address and a port such as 127.0.0.1:1883 or [::1]:1883";
const PIN: &str = "auto, none or a list of different cores such as 0,2,4-7";
const BOOLEAN: &str = "true or false";
const LEVEL: &str = "error, warn, info, debug or trace";
const FORMAT: &str = "text or json";

impl Options {
    /// Nothing set yet: [`OPTIONS`] fills it in.
    #[must_use]
    pub const fn unset() -> Self {
        Self {
            listen: Vec::new(),
            workers: 0,
            pin: Pin::Auto,
            busy_poll_us: 0,
            max_connections: 0,
            max_packet_size: 0,
            max_inflight: 0,
            receive_maximum: 0,
            max_queued_messages: 0,
            max_queued_bytes: 0,
            max_topic_levels: 0,
            max_keep_alive: 0,
            max_session_expiry: 0,
            max_topic_alias: 0,
            retain_available: false,
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        let mut options = Self::unset();
        for option in OPTIONS {
            (option.set)(&mut options, option.default).expect("the table's defaults are accepted");
        }
        options
    }
}

impl FromStr for Pin {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            list => core_list(list).map(Self::Cores).ok_or(()),
        }
    }
}

impl FromStr for LogLevel {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(()),
        }
    }
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// The cores of a list such as `0,2,4-7`, in its order; `None` when it is not one.
///
/// The kernel writes its own lists of cores in the same way, so this reads those, too.
#[must_use]
pub fn core_list(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (number(first)?, number(last)?);
        if first > last || last > CORE_MAX {
            return None;
        }
        for core in first..=last {
            if cores.contains(&core) {
                return None;
            }
            cores.push(core);
        }
    }
    Some(cores)
}

/// The highest core number that affinity masks of a fixed size hold.
const CORE_MAX: usize = 1023;

fn parse<T: FromStr>(value: &str, expected: &str) -> Result<T, Expected> {
    value.parse().map_err(|_| refused(value, expected))
}

fn within<T>(value: &str, range: RangeInclusive<T>) -> Result<T, Expected>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    number(value).filter(|number| range.contains(number)).ok_or_else(|| {
        refused(value, &format!("a number from {} to {}", range.start(), range.end()))
    })
}

/// Digits only: no sign, no spaces.
fn number<T: FromStr>(digits: &str) -> Option<T> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

fn refused(value: &str, expected: &str) -> Expected {
    Expected(format!("{value:?} is not {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<Options, Expected> {
        let option = OPTIONS.iter().find(|option| option.name == name).expect("a known option");
        let mut options = Options::default();
        (option.set)(&mut options, value).map(|()| options)
    }

    #[test]
    fn the_defaults_are_what_the_documentation_promises() {
        let options = Options::default();
        assert_eq!(options.listen, ["127.0.0.1:1883".parse().unwrap()]);
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
        assert_eq!(OPTIONS[3].variable(), "RINGMQ_BUSY_POLL_US");
    }

    /// V11: each numeric setting at 0, 1 and its maximum is taken or refused, never a panic.
    #[test]
    fn numbers_at_the_edges_are_taken_or_refused_with_their_range() {
        let extremes =
            ["0", "1", "65535", "4294967295", "18446744073709551615", "99999999999999999999"];
        for option in OPTIONS {
            for value in extremes.iter().chain(&["-1", "+1", " 1", "1 ", "", "1e3", "\u{0661}"]) {
                let mut options = Options::default();
                if let Err(expected) = (option.set)(&mut options, value) {
                    assert!(!expected.to_string().contains('\n'));
                }
            }
        }
        assert_eq!(
            set("max-inflight", "0").unwrap_err().to_string(),
            "\"0\" is not a number from 1 to 65535"
        );
        assert_eq!(set("max-inflight", "65535").unwrap().max_inflight, u16::MAX);
        assert!(set("max-packet-size", "16383").is_err());
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
    fn addresses_of_both_families_are_taken_and_names_are_not() {
        assert_eq!(set("listen", "[::1]:1883").unwrap().listen.len(), 2);
        assert!(set("listen", "localhost:1883").is_err());
        assert!(set("listen", "127.0.0.1").is_err());
    }
}

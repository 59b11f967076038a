//! What values may be, and what is said of those that are not.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What a refused value should have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(String);

impl Expected {
    pub(super) fn refused(value: &str, expected: &str) -> Self {
        Self(format!("{value:?} is not {expected}"))
    }

    /// The same without the value, which may be a secret.
    pub(super) fn hidden(expected: &str) -> Self {
        Self(format!("the value is not {expected}"))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
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

/// What an acknowledgement means, where state outlives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// What it is about is on disk.
    Commit,
    /// It is on disk an interval later.
    Interval,
    /// The kernel has it an interval later; it survives this process, but not a power cut.
    None,
}

/// Whose a client identifier is, where users are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientIdOwner {
    /// The user's who is connected with it.
    Connected,
    /// Also the user's whose session is kept under it.
    Session,
    /// Nobody's: whoever may come in may take over any session, as with Mosquitto.
    None,
}

impl FromStr for ClientIdOwner {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "connected" => Ok(Self::Connected),
            "session" => Ok(Self::Session),
            "none" => Ok(Self::None),
            _ => Err(()),
        }
    }
}

impl FromStr for Durability {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "commit" => Ok(Self::Commit),
            "interval" => Ok(Self::Interval),
            "none" => Ok(Self::None),
            _ => Err(()),
        }
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
pub(crate) fn core_list(list: &str) -> Option<Vec<usize>> {
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

pub(super) fn parse<T: FromStr>(value: &str, expected: &str) -> Result<T, Expected> {
    value.parse().map_err(|_| Expected::refused(value, expected))
}

pub(super) fn within<T>(value: &str, range: RangeInclusive<T>) -> Result<T, Expected>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    number(value).filter(|number| range.contains(number)).ok_or_else(|| {
        Expected::refused(value, &format!("a number from {} to {}", range.start(), range.end()))
    })
}

/// Digits only: no sign, no spaces.
fn number<T: FromStr>(digits: &str) -> Option<T> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

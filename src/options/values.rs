//! Types of values, and the errors of invalid ones.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// The description of the values that an option expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(String);

impl Expected {
    pub(super) fn refused(value: &str, expected: &str) -> Self {
        Self(format!("{value:?} is not {expected}"))
    }

    /// Makes the error without the value, which may be a secret.
    pub(super) fn hidden(expected: &str) -> Self {
        Self(format!("the value is not {expected}"))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The core on which each worker's thread stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// One hardware thread of each physical core that this process may use.
    Auto,
    /// The kernel's choice.
    None,
    /// The cores of this list, one after the other; at least one, no core twice.
    Cores(Vec<usize>),
}

/// The Unix socket for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminSocket {
    /// One in the runtime directory, if there is one.
    Auto,
    /// None.
    None,
    /// A socket at this path.
    At(PathBuf),
}

/// The importance of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// The broker could not do its work.
    Error,
    /// A condition needs attention.
    Warn,
    /// Start, stop and rare events.
    Info,
    /// Events of each connection.
    Debug,
    /// Events of each packet; only in builds with debug assertions.
    Trace,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// The places that log lines go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDestination {
    /// The standard error.
    pub has_stderr: bool,
    /// A file.
    pub file: Option<PathBuf>,
    /// The system's log, with this facility.
    pub syslog: Option<u8>,
    /// Topics below `$SYS/broker/log`.
    pub has_topic: bool,
}

impl LogDestination {
    pub(super) const NONE: Self =
        Self { has_stderr: false, file: None, syslog: None, has_topic: false };

    /// The places in a list with commas.
    pub(super) fn parse(text: &str) -> Result<Self, Expected> {
        let refused =
            || Expected::refused(text, "stderr, none, file:PATH, syslog, syslog:local0 or topic");
        let mut all = Self::NONE;
        for word in text.split(',') {
            match word.split_once(':').unwrap_or((word, "")) {
                ("stderr", "") => all.has_stderr = true,
                ("none", "") => {}
                ("file", path) if path.starts_with('/') => all.file = Some(path.into()),
                ("syslog", facility) => {
                    all.syslog = Some(facility_of(facility).ok_or_else(refused)?)
                }
                ("topic", "") => all.has_topic = true,
                _ => return Err(refused()),
            }
        }
        Ok(all)
    }
}

/// The number of a facility of the system's log.
fn facility_of(name: &str) -> Option<u8> {
    match name.strip_prefix("local") {
        _ if name.is_empty() || name == "daemon" => Some(3),
        Some(number) => {
            number.parse().ok().filter(|number| *number < 8).map(|number: u8| 16 + number)
        }
        None => None,
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The safety of an acknowledged change, where state outlives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The change is on disk.
    Commit,
    /// The change is on disk an interval later.
    Interval,
    /// The kernel has the change an interval later: the change survives this process, but no power
    /// cut.
    None,
}

/// The way to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// io_uring where that is permitted, readiness elsewhere.
    Auto,
    /// io_uring.
    IoUring,
    /// Readiness.
    Poll,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MqttVersion {
    /// 3.1
    V31,
    /// 3.1.1
    V311,
    /// 5.0
    V5,
}

impl FromStr for MqttVersion {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "3.1" => Ok(Self::V31),
            "3.1.1" => Ok(Self::V311),
            "5.0" | "5" => Ok(Self::V5),
            _ => Err(()),
        }
    }
}

impl FromStr for EngineChoice {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        match value {
            "auto" => Ok(Self::Auto),
            "io-uring" => Ok(Self::IoUring),
            "poll" => Ok(Self::Poll),
            _ => Err(()),
        }
    }
}

impl Durability {
    /// The name, as the option has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Interval => "interval",
            Self::None => "none",
        }
    }
}

/// The owner of a client identifier, on listeners that tell users apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientIdOwner {
    /// The user who is connected with the identifier.
    Connected,
    /// Also the user whose session has the identifier.
    Session,
    /// No one: every client may take over any session, as with Mosquitto.
    None,
}

/// The memory that the broker may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxMemory {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of what the machine has, or of what the control group allows.
    Percent(u8),
}

impl FromStr for MaxMemory {
    type Err = ();

    fn from_str(value: &str) -> Result<Self, ()> {
        if let Some(percent) = value.strip_suffix('%') {
            let percent = number(percent).filter(|percent| (1..=100).contains(percent));
            return percent.map(Self::Percent).ok_or(());
        }
        let bytes = number(value).filter(|bytes| *bytes >= MAX_MEMORY_MIN);
        bytes.map(Self::Bytes).ok_or(())
    }
}

/// The least that `--max-memory` can be: what the broker itself takes, and something for clients.
const MAX_MEMORY_MIN: u64 = 32 * 1024 * 1024;

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
        let all = [Self::Commit, Self::Interval, Self::None];
        all.into_iter().find(|durability| durability.name() == value).ok_or(())
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

/// Parses a list of cores such as `0,2,4-7`, in its order; `None` for any other text.
///
/// The kernel writes its own lists of cores in the same form.
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

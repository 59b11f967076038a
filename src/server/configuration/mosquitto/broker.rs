//! Options of the broker as a whole.

use super::super::super::user;
use super::super::Contents;
use super::add;
use super::reader::{Line, last};
use crate::options::{Value, Wrong};
use std::path::{Path, PathBuf};

/// The limit of queued messages in ringmq; Mosquitto accepts more, or has none.
const QUEUED_MESSAGES_MAX: i64 = 10_000_000;
const QUEUED_BYTES_MIN: i64 = 65_536;
const QUEUED_BYTES_MAX: i64 = 1 << 40;
const PACKET_SIZE_MIN: i64 = 20;
const PACKET_SIZE_MAX: i64 = 268_435_455;
const INFLIGHT_MAX: i64 = 65_535;
const MEMORY_MIN: i64 = 33_554_432;

/// Adds the values of `lines`, which `file` has, to `contents`.
pub(super) fn translate(file: &str, lines: &[Line], contents: &mut Contents) {
    let mut translation = Translation { contents };
    for line in lines {
        translation.line(line);
    }
    if let Some(line) = last(lines, "clientid_prefixes") {
        translation.add("client-id-prefix", line, &line.value);
    }
    translation.persistence(lines);
    translation.log_level(lines);
    translation.log_destinations(lines);
    translation.user(lines, file);
}

struct Translation<'a> {
    contents: &'a mut Contents,
}

impl Translation<'_> {
    fn line(&mut self, line: &Line) {
        let number: i64 = line.value.parse().unwrap_or_default();
        match line.name.as_str() {
            "max_inflight_messages" if number <= 0 => self.add("max-inflight", line, INFLIGHT_MAX),
            "max_inflight_messages" => self.add("max-inflight", line, number),
            "max_queued_messages" => {
                self.limit("max-queued-messages", line, (1, QUEUED_MESSAGES_MAX));
            }
            "max_queued_bytes" => {
                self.limit("max-queued-bytes", line, (QUEUED_BYTES_MIN, QUEUED_BYTES_MAX));
            }
            // Without a limit of its own the default share of the machine holds.
            "memory_limit" if number <= 0 => {}
            "sys_interval" => self.limit("sys-interval", line, (0, 86_400)),
            "memory_limit" => self.limit("max-memory", line, (MEMORY_MIN, i64::MAX)),
            "max_packet_size" => self.packet_size(line),
            "message_size_limit" => self.add("max-payload-size", line, number),
            "max_keepalive" => self.add("max-keep-alive", line, number),
            "global_max_connections" => self.add("max-connections", line, number.max(0)),
            "retain_available" => self.add("retain-available", line, line.is_true()),
            "persistent_client_expiration" => self.session_expiry(line),
            "log_timestamp" => self.add("log-timestamp", line, line.is_true()),
            "pid_file" => self.add("pid-file", line, &line.value),
            // These are seen together.
            _ => {}
        }
    }

    /// Adds a limit. In Mosquitto 0 means no limit; here it becomes the highest one.
    fn limit(&mut self, option: &str, line: &Line, (min, max): (i64, i64)) {
        let number = match line.value.parse().unwrap_or_default() {
            ..=0 => max,
            number => number,
        };
        if number < min {
            self.warn(line, format!("{} is at least {min} here, which is used", line.name));
        }
        self.add(option, line, number.clamp(min, max));
    }

    /// Adds the largest packet; as there, a packet has at least 20 bytes.
    fn packet_size(&mut self, line: &Line) {
        let size: i64 = line.value.parse().unwrap_or_default();
        if size < PACKET_SIZE_MIN {
            let cause = format!("{}: a packet has at least {PACKET_SIZE_MIN} bytes", line.name);
            return self.refuse(line, cause);
        }
        self.add("max-packet-size", line, size.min(PACKET_SIZE_MAX));
    }

    /// Adds a data directory: a folder of ringmq's own beside Mosquitto's database, which is
    /// imported when the folder has no data yet.
    fn persistence(&mut self, lines: &[Line]) {
        let Some(line) = last(lines, "persistence").filter(|line| line.is_true()) else { return };
        let location = last(lines, "persistence_location").filter(|line| !line.value.is_empty());
        let file = last(lines, "persistence_file").filter(|line| !line.value.is_empty());
        let name = file.map_or("mosquitto.db", |line| &line.value);
        // Mosquitto puts one behind the other, also where the name is an absolute path.
        let database = match location {
            Some(location) => PathBuf::from(format!("{}/{name}", location.value)),
            None => PathBuf::from(name),
        };
        // The log names the path, so each separator stands once.
        let database: PathBuf = database.components().collect();
        self.add("data-dir", location.or(file).unwrap_or(line), folder_beside(&database).display());
        self.contents.given.set_mosquitto_db(database);
    }

    /// Adds an expiry of hours, days, weeks, months of 30 days, or years of 365.
    fn session_expiry(&mut self, line: &Line) {
        let (count, unit) = line.value.split_at(line.value.len() - last_character(&line.value));
        let seconds: Option<u64> = match unit {
            "h" => Some(3600),
            "d" => Some(86_400),
            "w" => Some(7 * 86_400),
            "m" => Some(30 * 86_400),
            "y" => Some(365 * 86_400),
            _ => None,
        };
        let count = count.parse::<u64>().ok().filter(|count| *count > 0);
        let Some((seconds, count)) = seconds.zip(count) else {
            let cause = format!(
                "{}: {:?} is not a number of h, d, w, m or y, such as 14d",
                line.name, line.value
            );
            return self.refuse(line, cause);
        };
        let seconds = seconds.saturating_mul(count).min(u32::MAX.into());
        self.add("max-session-expiry", line, seconds);
        self.add("max-anonymous-expiry", line, seconds);
    }

    /// Adds the least important of the named levels.
    fn log_level(&mut self, lines: &[Line]) {
        let levels = ["error", "warn", "info", "debug"];
        let mut found: Option<(usize, &Line)> = None;
        for line in lines.iter().filter(|line| line.name == "log_type") {
            let level = match line.value.as_str() {
                // `none` forgets what was named before it.
                "none" => {
                    found = Some((0, line));
                    continue;
                }
                "error" | "internal" | "websockets" | "quic" => 0,
                "warning" => 1,
                "notice" | "information" => 2,
                "debug" | "subscribe" | "unsubscribe" | "all" => 3,
                other => {
                    self.refuse(line, format!("log_type: {other:?} is no type of Mosquitto's"));
                    continue;
                }
            };
            let before = found.map_or(0, |(level, _)| level);
            found = Some((level.max(before), line));
        }
        let Some((level, line)) = found else { return };
        if line.value == "none" {
            self.warn(line, "log_type none: errors are logged all the same");
        }
        self.add("log-level", line, levels[level]);
    }

    /// Adds all places that log lines go to.
    fn log_destinations(&mut self, lines: &[Line]) {
        let facility = last(lines, "log_facility").map(|line| line.value.clone());
        let mut places: Vec<String> = Vec::new();
        let mut named = None;
        for line in lines.iter().filter(|line| line.name == "log_dest") {
            let (word, path) = line.value.split_once([' ', '\t']).unwrap_or((&line.value, ""));
            let place = match word {
                "stderr" | "topic" => word.to_owned(),
                "stdout" => {
                    self.warn(line, "log_dest stdout: ringmq logs to the standard error instead");
                    "stderr".to_owned()
                }
                "syslog" => match &facility {
                    Some(facility) => format!("syslog:local{facility}"),
                    None => "syslog".to_owned(),
                },
                "file" => match std::path::absolute(path.trim()) {
                    Ok(path) => format!("file:{}", path.display()),
                    Err(_) => {
                        self.refuse(line, "log_dest file: name the file: log_dest file PATH");
                        continue;
                    }
                },
                // As there, it forgets what was named before it.
                "none" => {
                    places.clear();
                    named = Some(line);
                    continue;
                }
                "dlt" => {
                    self.warn(line, "log_dest dlt: ringmq does not log there");
                    continue;
                }
                other => {
                    self.refuse(line, format!("log_dest: {other:?} is no place of Mosquitto's"));
                    continue;
                }
            };
            named = Some(line);
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let Some(line) = named else { return };
        let places = if places.is_empty() { "none".to_owned() } else { places.join(",") };
        self.add("log-dest", line, places);
    }

    /// Adds the user that a broker becomes which root starts: Mosquitto gives up root, whether a
    /// line names the user or not.
    fn user(&mut self, lines: &[Line], file: &str) {
        let (name, origin) = match last(lines, "user") {
            Some(line) => (line.value.clone(), line.value_origin.clone()),
            None if !user::is_root() => return,
            None => match user::usual() {
                Some(name) => (name.to_owned(), file.to_owned()),
                None => {
                    let cause = "root starts the broker, and this machine has neither a user \
                                 mosquitto nor ringmq to become: add user NAME, or user root";
                    return self.contents.wrong.push(Wrong::new(file, cause));
                }
            },
        };
        add(&mut self.contents.given, "user", Value::new(name, origin));
    }

    fn add(&mut self, option: &str, line: &Line, value: impl ToString) {
        let origin = format!("{}: {}", line.value_origin, line.name);
        add(&mut self.contents.given, option, Value::new(value.to_string(), origin));
    }

    fn warn(&mut self, line: &Line, cause: impl ToString) {
        self.contents.warnings.push(Wrong::new(&line.value_origin, cause.to_string()));
    }

    fn refuse(&mut self, line: &Line, cause: impl ToString) {
        self.contents.wrong.push(Wrong::new(&line.value_origin, cause.to_string()));
    }
}

/// The folder of ringmq's own beside a file; in the working directory where the file has no folder.
fn folder_beside(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join("ringmq")
}

/// The length of a text's last character in bytes.
fn last_character(text: &str) -> usize {
    text.chars().next_back().map_or(0, char::len_utf8)
}

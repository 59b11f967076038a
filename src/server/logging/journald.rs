//! The form of lines for journald, systemd's journal, which has a time and a level of its own for
//! each line: `<4>` before the text instead of a time and `WARN`.

use rustix::fs::fstat;
use std::os::fd::AsFd;

/// True when journald reads this stream.
pub(in crate::server) fn reads(stream: impl AsFd) -> bool {
    // Device and inode of the journal's stream; only in a process that systemd has started.
    let Some(named) = std::env::var_os("JOURNAL_STREAM") else { return false };
    fstat(stream).is_ok_and(|file| *named == *format!("{}:{}", file.st_dev, file.st_ino))
}

/// Appends a line of the log in journald's form. A line of JSON keeps its time and level.
pub(super) fn append(line: &[u8], text: &mut Vec<u8>) {
    let (level, rest) = match line {
        [b'{', ..] => (level_of_json(line), line),
        _ => level_of_text(line).unwrap_or((b"", line)),
    };
    text.extend_from_slice(priority(level));
    text.extend_from_slice(rest);
}

/// Appends a line of the log as a packet for the system's log.
pub(super) fn append_packet(line: &[u8], facility: u8, text: &mut Vec<u8>) {
    let mut told = Vec::new();
    append(line, &mut told);
    // `<4>`, and what stands behind it.
    let (level, rest) = (told[1] - b'0', &told[3..]);
    let priority = u32::from(facility) * 8 + u32::from(level);
    text.extend_from_slice(format!("<{priority}>ringmq[{}]: ", std::process::id()).as_bytes());
    text.extend_from_slice(rest);
}

/// Several lines of an error in journald's form.
pub(super) fn error(lines: &str) -> String {
    lines.lines().map(|line| format!("<3>{line}\n")).collect()
}

/// The level of a line `TIME LEVEL MESSAGE`, and what stands behind it.
fn level_of_text(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let time = line.iter().position(|byte| *byte == b' ')?;
    let behind = line[time..].trim_ascii_start();
    let level = behind.iter().position(|byte| *byte == b' ')?;
    Some((&behind[..level], &behind[level + 1..]))
}

/// The level of a line whose second field it is.
fn level_of_json(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b'"').nth(7).unwrap_or_default()
}

fn priority(level: &[u8]) -> &'static [u8] {
    match level {
        b"ERROR" => b"<3>",
        b"WARN" => b"<4>",
        b"DEBUG" | b"TRACE" => b"<7>",
        _ => b"<6>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::LogFormat;
    use crate::server::logging::line;
    use tracing::Level;

    #[test]
    fn each_level_has_its_priority_and_text_loses_its_time() {
        let levels = [
            (Level::ERROR, 3),
            (Level::WARN, 4),
            (Level::INFO, 6),
            (Level::DEBUG, 7),
            (Level::TRACE, 7),
        ];
        for (level, priority) in levels {
            let mut written = Vec::new();
            append(line(LogFormat::Text, level, "one  two", &[]).as_bytes(), &mut written);
            assert_eq!(String::from_utf8_lossy(&written), format!("<{priority}>one  two\n"));
            let json = line(LogFormat::Json, level, "one", &[]);
            written.clear();
            append(json.as_bytes(), &mut written);
            assert_eq!(String::from_utf8_lossy(&written), format!("<{priority}>{json}"));
        }
        let mut written = Vec::new();
        append(b"strange\n", &mut written);
        assert_eq!(written, b"<6>strange\n");
    }
}

//! Lines that do not come through `tracing`: before it is set up, on the standard output, and about
//! the log itself. Their form is that of lines of `tracing`.

use crate::options::LogFormat;
use std::fmt::Write;
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) enum Field<'a> {
    Number(u64),
    Text(&'a str),
}

/// One line, its newline included.
pub(in crate::server) fn line(
    format: LogFormat,
    level: Level,
    message: &str,
    fields: &[(&str, Field<'_>)],
) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = match format {
        LogFormat::Text => write_text(&mut text, level, message, fields),
        LogFormat::Json => write_json(&mut text, level, message, fields),
    };
    text.push('\n');
    text
}

fn write_text(
    text: &mut String,
    level: Level,
    message: &str,
    fields: &[(&str, Field<'_>)],
) -> std::fmt::Result {
    write!(text, "{} {level:>5} {message}", time())?;
    for (name, field) in fields {
        match field {
            Field::Number(number) => write!(text, " {name}={number}")?,
            Field::Text(value) => write!(text, " {name}={value:?}")?,
        }
    }
    Ok(())
}

fn write_json(
    text: &mut String,
    level: Level,
    message: &str,
    fields: &[(&str, Field<'_>)],
) -> std::fmt::Result {
    let message = quoted(message);
    write!(text, r#"{{"timestamp":"{}","level":"{level}","message":{message}"#, time())?;
    for (name, field) in fields {
        match field {
            Field::Number(number) => write!(text, r#","{name}":{number}"#)?,
            Field::Text(value) => write!(text, r#","{name}":{}"#, quoted(value))?,
        }
    }
    text.write_char('}')
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The time now, in RFC 3339 and UTC.
pub(in crate::server) fn time() -> String {
    let mut text = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_is_an_object_with_numbers_as_numbers() {
        let fields = [("left_out", Field::Number(3)), ("path", Field::Text("a\"\n"))];
        let line = line(LogFormat::Json, Level::WARN, "two\nlines", &fields);
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["left_out"], &value["level"]), (&3.into(), &"WARN".into()));
        assert_eq!((&value["path"], &value["message"]), (&"a\"\n".into(), &"two\nlines".into()));
    }
}

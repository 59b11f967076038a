//! Answers for people: rows in columns.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// One row for each duration, QoS and span that has any.
pub(super) fn durations(value: &Value) -> Vec<Value> {
    let mut rows = Vec::new();
    for (what, spans) in value.as_object().into_iter().flatten() {
        let is_family = spans.get("all").is_none();
        let of_label: Vec<(&str, &Value)> = match is_family {
            true => spans.as_object().into_iter().flatten().map(|(l, v)| (l.as_str(), v)).collect(),
            false => vec![("-", spans)],
        };
        for (qos, spans) in of_label {
            for (since, shown) in spans.as_object().into_iter().flatten() {
                let mut row = shown.clone();
                row["what"] = what.as_str().into();
                row["qos"] = qos.into();
                row["since"] = since.as_str().into();
                rows.extend((shown["count"] != 0).then_some(row));
            }
        }
    }
    rows
}

/// Rows as text, in columns as wide as they have to be.
pub(super) fn table(rows: &[Value], columns: &[&str]) -> String {
    let head = columns.iter().map(|column| (*column).to_owned()).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|column| plain(&row[*column])).collect());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// A value for people; control characters of a client's text do nothing to a terminal.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.escape_debug().to_string(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.3}", number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    }
}

/// A packet of a trace on one line; nothing for a sign of life.
pub(super) fn packet(value: &Value) -> String {
    if let Some(left_out) = value["left_out"].as_u64() {
        return if left_out > 0 { format!("({left_out} packets left out)") } else { String::new() };
    }
    let at = value["at_s"].as_f64().unwrap_or_default();
    let (second, micros) = (at as u64 % 86_400, (at.fract() * 1e6) as u64);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let text = |name: &str| value[name].as_str().unwrap_or_default().escape_debug().to_string();
    let mut line = format!(
        "{hour:02}:{minute:02}:{second:02}.{micros:06} {:3} {:11} {}",
        text("direction"),
        text("type"),
        text("client_id")
    );
    let topics = value["topics"].as_array().into_iter().flatten().map(plain);
    for topic in topics {
        line += &format!(" {topic}");
    }
    for name in ["packet_id", "qos", "alias", "bytes", "payload_bytes"] {
        if value[name].is_number() {
            line += &format!(" {name}={}", value[name]);
        }
    }
    for name in ["dup", "retain"] {
        if value[name] == true {
            line += &format!(" {name}");
        }
    }
    for code in value["reason_codes"].as_array().into_iter().flatten() {
        line += &format!(" 0x{:02x}", code.as_u64().unwrap_or_default());
    }
    if let Some(delay) = value["delay_ms"].as_f64() {
        line += &format!(" delay={delay:.3}ms");
    }
    if let Some(payload) = value["payload_base64"].as_str() {
        let bytes = STANDARD.decode(payload).unwrap_or_default();
        line += &format!(" {:?}", String::from_utf8_lossy(&bytes));
    }
    line
}

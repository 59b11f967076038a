//! Answers for people: rows in columns.

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

//! The log as events: its last lines, then those that come.

use super::super::logging::Tail;
use super::Observer;
use super::api::Nothing;
use super::document::STREAM;
use super::stream::{Viewers, event};
use crate::base::ids::WorkerId;
use crate::worker::Notice;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::mpsc::Sender;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The viewers at a time.
const VIEWERS_MAX: usize = 8;

/// The lines that are sent at once.
const LINES_AT_ONCE: usize = 100;

/// Serves `/api/v1/log`.
pub(super) fn routes(tail: Tail) -> OpenApiRouter {
    let state = (Viewers::new(VIEWERS_MAX), tail);
    OpenApiRouter::default().routes(routes!(log)).with_state(state)
}

/// Tells the last lines of the log, then those that come: events of the type `message`, each with a
/// JSON object of `number`, `time`, `level`, `message` and `fields`. 8 viewers at a time.
#[utoipa::path(
    get, path = "/api/v1/log", tag = STREAM,
    responses(
        (status = 200, description = "Events without an end.", body = String,
            content_type = "text/event-stream"),
        (status = 503)
    )
)]
async fn log(
    Query(Nothing {}): Query<Nothing>,
    State((viewers, tail)): State<(Viewers, Tail)>,
) -> Response {
    viewers.show(|sender| send_lines(tail, sender))
}

impl Observer {
    /// Publishes the lines that come from now on below `$SYS/broker/log`, where Mosquitto has its
    /// own: E, W, I and D.
    pub(in crate::server) async fn publish_log(self) {
        let mut news = self.tail.news();
        let mut next = *news.borrow_and_update();
        loop {
            let (first, lines) = self.tail.lines(next, LINES_AT_ONCE);
            if lines.is_empty() {
                if news.changed().await.is_err() {
                    return;
                }
                continue;
            }
            next = first + lines.len() as u64;
            let topics = lines.iter().map(|line| {
                let (time, level, message, _) = parts(line);
                let letter = level.chars().next().unwrap_or('I');
                (format!("$SYS/broker/log/{letter}"), format!("{time}: {message}"))
            });
            let topics: Arc<[(String, String)]> = topics.collect();
            for worker in WorkerId::all(self.notices.workers()) {
                self.notices.send(worker, Notice::Tell(Arc::clone(&topics)));
            }
        }
    }
}

async fn send_lines(tail: Tail, sender: Sender<Bytes>) {
    let (mut news, mut next) = (tail.news(), 0);
    loop {
        let (first, lines) = tail.lines(next, LINES_AT_ONCE);
        if lines.is_empty() {
            if news.changed().await.is_err() {
                return;
            }
            continue;
        }
        next = first + lines.len() as u64;
        let events = (first..).zip(&lines).map(|(number, line)| event(&line_json(number, line)));
        if sender.send(events.collect::<String>().into()).await.is_err() {
            return;
        }
    }
}

/// A line as an object: its number, time, level and message, and its fields where the log is JSON.
fn line_json(number: u64, line: &[u8]) -> String {
    let (time, level, message, fields) = parts(line);
    json!({ "number": number, "time": time, "level": level, "message": message, "fields": fields })
        .to_string()
}

/// The time, the level, the message and the fields of a line in either format.
fn parts(line: &[u8]) -> (String, String, String, Map<String, Value>) {
    let line = without_colours(&String::from_utf8_lossy(line));
    match serde_json::from_str::<Map<String, Value>>(&line) {
        Ok(mut fields) => {
            let mut take = |name| match fields.remove(name) {
                Some(Value::String(text)) => text,
                _ => String::new(),
            };
            (take("timestamp"), take("level"), take("message"), fields)
        }
        Err(_) => {
            let (time, rest) = line.split_once(' ').unwrap_or_default();
            let (level, message) = rest.trim_start().split_once(' ').unwrap_or_default();
            (time.to_owned(), level.to_owned(), message.trim_end().to_owned(), Map::new())
        }
    }
}

/// The text without the sequences that colour it on a terminal.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, text)| text));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Value {
        serde_json::from_str(&line_json(7, line.as_bytes())).unwrap()
    }

    #[test]
    fn lines_of_both_formats_become_objects() {
        let expected = |fields: Value| {
            json!({ "number": 7, "time": "2026-01-02T03:04:05Z", "level": "WARN",
                "message": "a \"b\"", "fields": fields })
        };
        let text = "2026-01-02T03:04:05Z  WARN a \"b\"\n";
        assert_eq!(parsed(text), expected(json!({})));
        let coloured = "\u{1b}[2m2026-01-02T03:04:05Z\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m a \"b\"\n";
        assert_eq!(parsed(coloured), expected(json!({})));
        let object = r#"{"timestamp":"2026-01-02T03:04:05Z","level":"WARN","message":"a \"b\"",
            "worker":1}"#;
        assert_eq!(parsed(object), expected(json!({ "worker": 1 })));
    }

    #[test]
    fn a_line_that_is_cut_off_is_an_object_all_the_same() {
        assert_eq!(parsed("{\"timestamp\":\"2026")["number"], 7);
        assert_eq!(parsed("")["message"], "");
    }
}

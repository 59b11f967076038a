//! Retained messages by HTTP: a level of the tree, a page that a filter matches, one message; and
//! their deletion.

use super::Observer;
use super::access::Caller;
use super::acts::{check_topic, no_answer};
use super::api::{plain_topic, problem, rows};
use super::clients::ROWS_MAX;
use crate::base::ids::WorkerId;
use crate::broker::{Act, RetainedAsked, RetainedRow};
use crate::mqtt::{QoS, TopicFilter};
use crate::server::logging::Field;
use crate::worker::Question;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn routes() -> Router<Observer> {
    Router::new()
        .route("/api/v1/retained", get(levels).delete(delete))
        .route("/api/v1/retained/messages", get(messages))
        .route("/api/v1/retained/message", get(message))
}

fn row_json(row: &RetainedRow) -> Value {
    let mut json = json!({
        "topic": row.topic,
        "qos": row.qos,
        "bytes": row.bytes,
        "user": row.user,
        "age_s": row.age.as_secs_f64(),
        "expiry_s": row.expiry_s,
    });
    if let Some(payload) = &row.payload {
        json["payload_base64"] = STANDARD.encode(payload).into();
    }
    json
}

/// Checks a filter of retained messages.
pub(super) fn check_filter(filter: &str) -> Result<(), String> {
    match TopicFilter::parse(filter, usize::MAX) {
        Ok(parsed) if parsed.share_name.is_some() => Err("filter: a shared one".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("filter: {}", error.cause)),
    }
}

impl Observer {
    /// The first messages behind the topic `after` that match a filter, of all workers, by topic,
    /// with the topic behind which the next ones begin.
    async fn retained(
        &self,
        asked: RetainedAsked,
    ) -> Option<(BTreeMap<String, RetainedRow>, Option<String>)> {
        let (count, mut rows) = (asked.count, BTreeMap::new());
        let mut is_cut = false;
        for worker in WorkerId::all(self.notices.workers()) {
            let (mut after, mut found) = (asked.after.clone(), 0);
            // One more than is wanted tells whether that is all.
            while found <= count {
                let part = RetainedAsked { after, count: count + 1, ..asked.clone() };
                let page = self.ask(worker, |reply| Question::Retained(part, reply)).await?;
                found += page.rows.len();
                rows.extend(page.rows.into_iter().map(|row| (row.topic.clone(), row)));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            while rows.len() > count {
                rows.pop_last();
                is_cut = true;
            }
        }
        let next = rows.last_key_value().filter(|_| is_cut).map(|(topic, _)| topic.clone());
        Some((rows, next))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelsAsked {
    below: Option<String>,
    prefix: Option<String>,
}

async fn levels(State(observer): State<Observer>, Query(asked): Query<LevelsAsked>) -> Response {
    let begins = asked.prefix.unwrap_or_default();
    let question = |reply| Question::Levels(asked.below.clone(), begins.clone(), reply);
    let answers = observer.ask_all(question).await;
    if answers.len() < observer.notices.workers() {
        return no_answer();
    }
    let mut names: BTreeMap<String, (Option<usize>, bool)> = BTreeMap::new();
    let mut is_cut = false;
    for (_, found) in answers {
        is_cut |= found.is_cut;
        for level in found.levels {
            let known = names.entry(level.name).or_default();
            known.0 = known.0.or(level.message_bytes);
            known.1 |= level.has_more;
        }
    }
    let above = asked.below.map(|below| below + "/").unwrap_or_default();
    let levels = names.into_iter().map(|(level, (bytes, has_more))| {
        json!({
            "topic": format!("{above}{level}"),
            "level": level,
            "is_retained": bytes.is_some(),
            "bytes": bytes,
            "has_more": has_more,
        })
    });
    let levels: Vec<Value> = levels.collect();
    Json(json!({ "levels": levels, "is_cut": is_cut })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessagesAsked {
    filter: String,
    limit: Option<usize>,
    after: Option<String>,
}

async fn messages(
    State(observer): State<Observer>,
    Query(asked): Query<MessagesAsked>,
) -> Response {
    let count = match rows(asked.limit) {
        Ok(count) => count,
        Err(wrong) => return wrong.into_response(),
    };
    if let Err(cause) = check_filter(&asked.filter) {
        return problem(StatusCode::BAD_REQUEST, &cause);
    }
    let MessagesAsked { filter, after, .. } = asked;
    let asked = RetainedAsked { filter, after, count, has_payloads: false };
    let Some((rows, next)) = observer.retained(asked).await else { return no_answer() };
    let rows: Vec<Value> = rows.values().map(row_json).collect();
    Json(json!({ "messages": rows, "next": next })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageAsked {
    topic: String,
}

async fn message(State(observer): State<Observer>, Query(asked): Query<MessageAsked>) -> Response {
    if let Err(wrong) = plain_topic(&asked.topic) {
        return wrong.into_response();
    }
    let asked = RetainedAsked { filter: asked.topic, after: None, count: 1, has_payloads: true };
    match observer.retained(asked).await.map(|(rows, _)| rows.into_values().next()) {
        Some(Some(row)) => Json(row_json(&row)).into_response(),
        Some(None) => problem(StatusCode::NOT_FOUND, "no message is retained on this topic"),
        None => no_answer(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deleted {
    filter: String,
    #[serde(default)]
    dry_run: bool,
}

/// Deletes the messages that a filter matches, as a client does that publishes empty ones.
async fn delete(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Deleted>,
) -> Response {
    if let Err(cause) = check_filter(&asked.filter) {
        return problem(StatusCode::BAD_REQUEST, &cause);
    }
    let (mut count, mut after) = (0, None);
    loop {
        let filter = asked.filter.clone();
        let page = RetainedAsked { filter, after, count: ROWS_MAX, has_payloads: false };
        let Some((rows, next)) = observer.retained(page).await else { return no_answer() };
        let topics = rows.into_keys().filter(|topic| check_topic(topic).is_ok());
        for topic in topics {
            count += 1;
            if asked.dry_run {
                continue;
            }
            let (topic, payload) = (topic.into(), Arc::default());
            let qos = QoS::AtLeastOnce;
            let act = Act::Publish { topic, payload, qos, retain: true, expiry_s: None };
            if observer.act(WorkerId(0), act).await.is_none() {
                return no_answer();
            }
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    if !asked.dry_run {
        let fields = [("filter", Field::Text(&asked.filter)), ("count", Field::Number(count))];
        observer.tell_act(&caller, "delete retained messages", &fields);
    }
    Json(json!({ "count": count, "dry_run": asked.dry_run })).into_response()
}

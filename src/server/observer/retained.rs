//! Retained messages by HTTP: a level of the tree, a page that a filter matches, one message; and
//! their deletion.

use super::Observer;
use super::access::Caller;
use super::acts::check_topic;
use super::api::{plain_text, plain_topic, rows};
use super::clients::ROWS_MAX;
use super::problem::{Answer, Wrong};
use crate::base::ids::WorkerId;
use crate::broker::{Act, RetainedAsked, RetainedRow};
use crate::mqtt::{QoS, TopicFilter};
use crate::server::logging::Field;
use crate::worker::Question;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Observer> {
    OpenApiRouter::default()
        .routes(routes!(levels, delete))
        .routes(routes!(messages))
        .routes(routes!(message))
}

/// A retained message.
#[derive(Debug, Serialize, ToSchema)]
struct RetainedMessage {
    topic: String,
    /// The QoS with which the message came.
    #[schema(maximum = 2)]
    qos: u8,
    /// Bytes of the payload.
    bytes: usize,
    /// The verified name of the publisher's user.
    #[schema(required)]
    user: Option<String>,
    /// Seconds since the message came, to this process at least.
    #[schema(minimum = 0)]
    age_s: f64,
    /// Seconds until the message expires; null for never.
    #[schema(required)]
    expiry_s: Option<u32>,
    /// The payload in base64, where one message is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(content_encoding = "base64", nullable = false)]
    payload_base64: Option<String>,
}

impl From<RetainedRow> for RetainedMessage {
    fn from(row: RetainedRow) -> Self {
        Self {
            topic: row.topic,
            qos: row.qos,
            bytes: row.bytes,
            user: row.user,
            age_s: row.age.as_secs_f64(),
            expiry_s: row.expiry_s,
            payload_base64: row.payload.map(|payload| STANDARD.encode(payload)),
        }
    }
}

/// The form of a filter of retained messages: a topic filter that is not shared.
struct PlainFilter;

impl PartialSchema for PlainFilter {
    fn schema() -> RefOr<Schema> {
        let pattern =
            r"^(?!$)(?!\$share(?:/|$))(?:(?:[^+#/\x00]*|\+)(?:/(?:[^+#/\x00]*|\+))*(?:/#)?|#)$";
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
        schema.into()
    }
}

impl ToSchema for PlainFilter {}

/// Refuses what is no filter of retained messages.
pub(super) fn check_filter(filter: &str) -> Result<(), Wrong> {
    match TopicFilter::parse(filter, usize::MAX) {
        Ok(parsed) if parsed.share_name.is_some() => Err(Wrong::bad("filter: a shared one")),
        Ok(_) => plain_text("filter", filter),
        Err(error) => Err(Wrong::bad(format!("filter: {}", error.cause))),
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

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct LevelsAsked {
    /// The topic below which the level is; the first level without it.
    below: Option<String>,
    /// Only those whose name on the level begins so.
    prefix: Option<String>,
}

/// A level of the tree of topics with retained messages.
#[derive(Debug, Serialize, ToSchema)]
struct Levels {
    levels: Vec<Level>,
    /// The level has more names: each worker tells 1000 at most.
    is_cut: bool,
}

/// A name on a level.
#[derive(Debug, Serialize, ToSchema)]
struct Level {
    /// The whole topic.
    topic: String,
    /// The name of the level alone.
    level: String,
    /// A message is retained on the topic itself.
    is_retained: bool,
    /// Bytes of its payload; null without one.
    #[schema(required)]
    bytes: Option<usize>,
    /// Messages are retained below the topic.
    has_more: bool,
}

/// Tells one level of the tree of topics with retained messages.
#[utoipa::path(
    get, path = "/api/v1/retained", params(LevelsAsked), operation_id = "retained_levels",
    responses((status = 200, description = "The names.", body = Levels), (status = 503))
)]
async fn levels(
    State(observer): State<Observer>,
    Query(asked): Query<LevelsAsked>,
) -> Answer<Levels> {
    let begins = asked.prefix.unwrap_or_default();
    let question = |reply| Question::Levels(asked.below.clone(), begins.clone(), reply);
    let answers = observer.ask_all(question).await;
    if answers.len() < observer.notices.workers() {
        return Err(Wrong::no_answer());
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
        let topic = format!("{above}{level}");
        Level { topic, level, is_retained: bytes.is_some(), bytes, has_more }
    });
    Ok(Json(Levels { levels: levels.collect(), is_cut }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct MessagesAsked {
    /// A topic filter, not a shared one.
    #[param(value_type = PlainFilter, inline)]
    filter: String,
    /// The rows of the answer; 100 unless another number is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The topic behind which the page begins: the `next` of the page before.
    after: Option<String>,
}

/// A page of retained messages.
#[derive(Debug, Serialize, ToSchema)]
struct Messages {
    /// The messages without their payloads, by topic.
    messages: Vec<RetainedMessage>,
    /// The `after` of the next page; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// Lists the retained messages that a filter matches, without payloads, in pages.
#[utoipa::path(
    get, path = "/api/v1/retained/messages", params(MessagesAsked),
    operation_id = "retained_messages",
    responses((status = 200, description = "A page.", body = Messages), (status = 503))
)]
async fn messages(
    State(observer): State<Observer>,
    Query(asked): Query<MessagesAsked>,
) -> Answer<Messages> {
    let count = rows(asked.limit)?;
    check_filter(&asked.filter)?;
    let MessagesAsked { filter, after, .. } = asked;
    let asked = RetainedAsked { filter, after, count, has_payloads: false };
    let (rows, next) = observer.retained(asked).await.ok_or_else(Wrong::no_answer)?;
    let messages = rows.into_values().map(RetainedMessage::from).collect();
    Ok(Json(Messages { messages, next }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct MessageAsked {
    /// A topic, without wildcards.
    #[param(pattern = r"^[^+#\x00]+$")]
    topic: String,
}

/// Tells the message that is retained on a topic, with its payload.
#[utoipa::path(
    get, path = "/api/v1/retained/message", params(MessageAsked),
    operation_id = "retained_message",
    responses(
        (status = 200, description = "The message.", body = RetainedMessage),
        (status = 404), (status = 503)
    )
)]
async fn message(
    State(observer): State<Observer>,
    Query(asked): Query<MessageAsked>,
) -> Answer<RetainedMessage> {
    plain_topic(&asked.topic)?;
    let asked = RetainedAsked { filter: asked.topic, after: None, count: 1, has_payloads: true };
    let (rows, _) = observer.retained(asked).await.ok_or_else(Wrong::no_answer)?;
    let row = rows.into_values().next();
    let row = row.ok_or(Wrong::not_found("no message is retained on this topic"))?;
    Ok(Json(row.into()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Deleted {
    /// A topic filter, not a shared one.
    #[param(value_type = PlainFilter, inline)]
    filter: String,
    /// Only tells how many would be deleted.
    #[serde(default)]
    dry_run: bool,
}

/// The deletion of retained messages.
#[derive(Debug, Serialize, ToSchema)]
struct RetainedDeletion {
    /// How many were deleted, or would be.
    count: u64,
    dry_run: bool,
}

/// Deletes the retained messages that a filter matches, as a client does that publishes empty
/// ones; those of the broker's own stay.
#[utoipa::path(
    delete, path = "/api/v1/retained", params(Deleted), operation_id = "delete_retained",
    responses(
        (status = 200, description = "The messages are being deleted.", body = RetainedDeletion),
        (status = 503)
    )
)]
async fn delete(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Deleted>,
) -> Answer<RetainedDeletion> {
    check_filter(&asked.filter)?;
    let options = observer.options();
    let (mut count, mut after) = (0, None);
    loop {
        let filter = asked.filter.clone();
        let page = RetainedAsked { filter, after, count: ROWS_MAX, has_payloads: false };
        let (rows, next) = observer.retained(page).await.ok_or_else(Wrong::no_answer)?;
        let topics = rows.into_keys().filter(|topic| check_topic(topic, &options).is_ok());
        for topic in topics {
            count += 1;
            if asked.dry_run {
                continue;
            }
            let (topic, payload) = (topic.into(), Arc::default());
            let qos = QoS::AtLeastOnce;
            let act = Act::Publish { topic, payload, qos, retain: true, expiry_s: None };
            observer.act(WorkerId(0), act).await.ok_or_else(Wrong::no_answer)?;
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
    Ok(Json(RetainedDeletion { count, dry_run: asked.dry_run }))
}

//! Changes that operators make by HTTP: clients are disconnected, sessions and queues go, messages
//! are published.

use super::Observer;
use super::access::Caller;
use super::api::{ClientAsked, Nothing, Whole, plain_text};
use super::problem::{Answer, Wrong};
use crate::base::ids::WorkerId;
use crate::broker::{Act, Deed, Farewell};
use crate::mqtt::{QoS, ReasonCode, check_topic_name, level_count};
use crate::options::Options;
use crate::server::logging::Field::{self, Number, Text};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AllOfBuilder, AnyOfBuilder, Object, ObjectBuilder, Schema, SchemaType, Type,
};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Observer> {
    OpenApiRouter::default()
        .routes(routes!(disconnect))
        .routes(routes!(delete_session))
        .routes(routes!(cut_queue))
        .routes(routes!(publish))
}

impl Observer {
    /// Has every worker act until nothing is left to do; what has come of it in all, or None when a
    /// worker does not answer in time.
    pub(super) async fn act_everywhere(&self, act: &Act) -> Option<usize> {
        let mut count = 0;
        for worker in WorkerId::all(self.notices.workers()) {
            loop {
                let Deed { count: done, next } = self.act(worker, act.clone()).await?;
                count += done;
                if next.is_none() {
                    break;
                }
            }
        }
        Some(count)
    }
}

/// How many an act about one client was about, or why it was about none.
fn about_client(done: Option<usize>, none: &'static str) -> Result<usize, Wrong> {
    match done {
        Some(0) => Err(Wrong::not_found(none)),
        Some(count) => Ok(count),
        None => Err(Wrong::no_answer()),
    }
}

/// How much was found, for logs.
fn found(done: Option<usize>) -> Field<'static> {
    done.map_or(Text("no answer"), |count| Number(count as u64))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Disconnected {
    /// The client identifier.
    id: String,
    #[param(schema_with = farewells)]
    reason_code: Option<u8>,
    /// The broker that the client should use instead; only with the reason codes 156 (use another
    /// server) and 157 (server moved). The limit is that of the request's head.
    server_reference: Option<String>,
}

fn farewells() -> Object {
    let description = "The reason code that a client of 5.0 is told; 152 (administrative action) \
        unless another one is given.";
    let schema = ObjectBuilder::new().schema_type(Type::Integer).description(Some(description));
    schema.enum_values(Some(FAREWELLS.map(|code| code as u8))).build()
}

/// The reason codes by which an operator may send a client away.
const FAREWELLS: [ReasonCode; 8] = [
    ReasonCode::UnspecifiedError,
    ReasonCode::NotAuthorized,
    ReasonCode::ServerBusy,
    ReasonCode::ServerShuttingDown,
    ReasonCode::QuotaExceeded,
    ReasonCode::AdministrativeAction,
    ReasonCode::UseAnotherServer,
    ReasonCode::ServerMoved,
];

/// The client that was disconnected.
#[derive(Debug, Serialize, ToSchema)]
struct Disconnection {
    /// The client identifier.
    disconnected: String,
}

/// Disconnects a client; its session stays, and its will is published.
#[utoipa::path(
    post, path = "/api/v1/client/disconnect", params(Disconnected),
    responses(
        (status = 200, description = "The client is disconnected.", body = Disconnection),
        (status = 404), (status = 503)
    )
)]
async fn disconnect(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Disconnected>,
) -> Answer<Disconnection> {
    let wanted = asked.reason_code.unwrap_or(ReasonCode::AdministrativeAction as u8);
    let Some(code) = FAREWELLS.into_iter().find(|code| *code as u8 == wanted) else {
        let codes = FAREWELLS.map(|code| (code as u8).to_string()).join(", ");
        return Err(Wrong::bad(format!("reason_code is one of {codes}")));
    };
    let has_place = matches!(code, ReasonCode::UseAnotherServer | ReasonCode::ServerMoved);
    if asked.server_reference.is_some() && !has_place {
        return Err(Wrong::bad("server_reference goes with the reason codes 156 and 157 alone"));
    }
    let farewell = Farewell { code, server_reference: reference(asked.server_reference)? };
    let act = Act::Disconnect { client_id: asked.id.as_str().into(), farewell };
    let done = observer.act_everywhere(&act).await;
    let fields = [("client_id", Text(&asked.id)), ("found", found(done))];
    observer.tell_act(&caller, "disconnect a client", &fields);
    about_client(done, "no client with this identifier is connected")?;
    Ok(Json(Disconnection { disconnected: asked.id }))
}

/// The name of another broker as packets carry it.
pub(super) fn reference(given: Option<String>) -> Result<Option<Arc<str>>, Wrong> {
    given.iter().try_for_each(|given| plain_text("server_reference", given))?;
    Ok(given.map(Into::into))
}

/// The client whose session was ended.
#[derive(Debug, Serialize, ToSchema)]
struct Deletion {
    /// The client identifier.
    deleted: String,
}

/// Ends the session of a client, and its connection if it has one.
#[utoipa::path(
    delete, path = "/api/v1/client/session", params(ClientAsked),
    responses(
        (status = 200, description = "The session has ended.", body = Deletion),
        (status = 404), (status = 503)
    )
)]
async fn delete_session(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<ClientAsked>,
) -> Answer<Deletion> {
    let act = Act::EndSession { client_id: asked.id.as_str().into() };
    let done = observer.act_everywhere(&act).await;
    let fields = [("client_id", Text(&asked.id)), ("found", found(done))];
    observer.tell_act(&caller, "delete a session", &fields);
    about_client(done, "no client has this identifier")?;
    Ok(Json(Deletion { deleted: asked.id }))
}

/// The messages that were dropped.
#[derive(Debug, Serialize, ToSchema)]
struct Cut {
    /// How many there were; 0 as well when no client has this identifier.
    dropped: usize,
}

/// Drops what waits for a client, not what is in flight to it.
#[utoipa::path(
    delete, path = "/api/v1/client/queue", params(ClientAsked),
    responses((status = 200, description = "The queue is empty.", body = Cut), (status = 503))
)]
async fn cut_queue(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<ClientAsked>,
) -> Answer<Cut> {
    let act = Act::CutQueue { client_id: asked.id.as_str().into() };
    let done = observer.act_everywhere(&act).await;
    let fields = [("client_id", Text(&asked.id)), ("dropped", found(done))];
    observer.tell_act(&caller, "empty a queue", &fields);
    Ok(Json(Cut { dropped: done.ok_or_else(Wrong::no_answer)? }))
}

/// A message to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MessageAsked {
    /// A topic without wildcards, of 65535 bytes and `--max-topic-levels` levels at most, and not
    /// below `$SYS/` and `$CONTROL/`.
    #[schema(pattern = r"^(?!\$SYS/|\$CONTROL/)[^+#\x00]+$")]
    topic: String,
    /// The payload as text; empty unless this or `payload_base64` is given.
    payload: Option<String>,
    #[schema(schema_with = nullable_base64)]
    payload_base64: Option<String>,
    #[serde(default)]
    #[schema(value_type = u8, maximum = 2)]
    qos: Whole<u8>,
    /// Refused with `--retain-available false`.
    #[serde(default)]
    retain: bool,
    /// Seconds after which the message is not delivered any more.
    #[schema(value_type = Option<u32>, maximum = 4_294_967_295_u32)]
    expiry_s: Option<Whole<u32>>,
}

/// Base64 of the standard alphabet, with padding, and without bits behind the last byte.
fn nullable_base64() -> Object {
    let pattern = "^(?:[A-Za-z0-9+/]{4})*\
        (?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .description(Some("The payload in base64, with padding."))
        .content_encoding("base64")
        .pattern(Some(pattern))
        .build()
}

/// A message to publish, whose payload stands in one field at most.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Published(MessageAsked);

impl PartialSchema for Published {
    fn schema() -> RefOr<Schema> {
        let without = |name| {
            ObjectBuilder::new().property(name, ObjectBuilder::new().schema_type(Type::Null))
        };
        let one = AnyOfBuilder::new().item(without("payload")).item(without("payload_base64"));
        AllOfBuilder::new().item(MessageAsked::schema()).item(one).into()
    }
}

impl ToSchema for Published {
    fn name() -> Cow<'static, str> {
        "Message".into()
    }
}

/// Refuses a topic that an operator may not publish to.
pub(super) fn check_topic(topic: &str, options: &Options) -> Result<(), Wrong> {
    if topic.starts_with("$SYS/") || topic.starts_with("$CONTROL/") {
        return Err(Wrong::bad("topic: topics of the broker's own are not published to"));
    }
    let wrong = |cause: &str| Wrong::bad(format!("topic: {cause}"));
    check_topic_name(topic).map_err(|error| wrong(error.cause))?;
    if level_count(topic) > options.max_topic_levels as usize {
        return Err(wrong("more levels than --max-topic-levels"));
    }
    plain_text("topic", topic)
}

/// The payload, from whichever field has it.
fn payload(text: Option<String>, base64: Option<String>) -> Result<Arc<[u8]>, Wrong> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(Wrong::bad("payload or payload_base64, not both")),
        (None, None) => Ok(Arc::default()),
        (Some(text), None) => Ok(text.into_bytes().into()),
        (None, Some(text)) => {
            let bytes = STANDARD.decode(text);
            bytes.map(Into::into).map_err(|_| Wrong::bad("payload_base64 is not base64"))
        }
    }
}

/// A message that is on its way.
#[derive(Debug, Serialize, ToSchema)]
struct OnItsWay {
    topic: String,
    /// Some client gets it.
    is_wanted: bool,
}

/// Publishes a message, which may not be on disk yet when the answer comes.
#[utoipa::path(
    post, path = "/api/v1/publish", request_body = Published,
    responses(
        (status = 202, description = "The message is on its way.", body = OnItsWay),
        (status = 503)
    )
)]
async fn publish(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Query(Nothing {}): Query<Nothing>,
    Json(Published(asked)): Json<Published>,
) -> Result<(StatusCode, Json<OnItsWay>), Wrong> {
    let options = observer.options();
    check_topic(&asked.topic, &options)?;
    let qos = QoS::from_bits(asked.qos.0).ok_or(Wrong::bad("qos is 0, 1 or 2"))?;
    let payload = payload(asked.payload, asked.payload_base64)?;
    if asked.retain && !options.retain_available {
        return Err(Wrong::bad("retained messages are turned off: see --retain-available"));
    }
    let room = options.max_packet_size as usize;
    if payload.len() + asked.topic.len() > room {
        let detail = format!("the message is larger than --max-packet-size, {room} bytes");
        return Err(Wrong::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let (bytes, topic) = (payload.len(), asked.topic.as_str().into());
    let (retain, expiry_s) = (asked.retain, asked.expiry_s.map(|it| it.0));
    let act = Act::Publish { topic, payload, qos, retain, expiry_s };
    let done = observer.act(WorkerId(0), act).await;
    let fields = [
        ("topic", Text(&asked.topic)),
        ("payload_bytes", Number(bytes as u64)),
        ("retain", Text(if retain { "true" } else { "false" })),
    ];
    observer.tell_act(&caller, "publish a message", &fields);
    let deed = done.ok_or_else(Wrong::no_answer)?;
    let answer = OnItsWay { topic: asked.topic, is_wanted: deed.count > 0 };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

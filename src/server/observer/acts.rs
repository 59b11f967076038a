//! Changes that operators make by HTTP: clients are disconnected, sessions and queues go, messages
//! are published.

use super::Observer;
use super::access::Caller;
use super::api::problem;
use crate::base::ids::WorkerId;
use crate::broker::{Act, Deed, Farewell};
use crate::mqtt::{QoS, ReasonCode, check_topic_name};
use crate::server::logging::Field::{self, Number, Text};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Extension, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

pub(super) fn routes() -> Router<Observer> {
    Router::new()
        .route("/api/v1/client/disconnect", post(disconnect))
        .route("/api/v1/client/session", delete(delete_session))
        .route("/api/v1/client/queue", delete(cut_queue))
        .route("/api/v1/publish", post(publish))
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

/// The answer of an act about one client.
fn about_client(
    done: Option<usize>,
    none: &str,
    answer: impl FnOnce(usize) -> Response,
) -> Response {
    match done {
        Some(0) => problem(StatusCode::NOT_FOUND, none),
        Some(count) => answer(count),
        None => no_answer(),
    }
}

/// How much was found, for logs.
fn found(done: Option<usize>) -> Field<'static> {
    done.map_or(Text("no answer"), |count| Number(count as u64))
}

pub(super) fn no_answer() -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "a worker does not answer")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnected {
    id: String,
    reason_code: Option<u8>,
    server_reference: Option<String>,
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

async fn disconnect(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Disconnected>,
) -> Response {
    let wanted = asked.reason_code.unwrap_or(ReasonCode::AdministrativeAction as u8);
    let Some(code) = FAREWELLS.into_iter().find(|code| *code as u8 == wanted) else {
        let codes = FAREWELLS.map(|code| (code as u8).to_string()).join(", ");
        return problem(StatusCode::BAD_REQUEST, &format!("reason_code is one of {codes}"));
    };
    let has_place = matches!(code, ReasonCode::UseAnotherServer | ReasonCode::ServerMoved);
    if asked.server_reference.is_some() && !has_place {
        let detail = "server_reference goes with the reason codes 156 and 157 alone";
        return problem(StatusCode::BAD_REQUEST, detail);
    }
    let farewell = Farewell { code, server_reference: asked.server_reference.map(Into::into) };
    let act = Act::Disconnect { client_id: asked.id.as_str().into(), farewell };
    let done = observer.act_everywhere(&act).await;
    let fields = [("client_id", Text(&asked.id)), ("found", found(done))];
    observer.tell_act(&caller, "disconnect a client", &fields);
    about_client(done, "no client with this identifier is connected", |_| {
        Json(json!({ "disconnected": asked.id })).into_response()
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: String,
}

async fn delete_session(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Named>,
) -> Response {
    let act = Act::EndSession { client_id: asked.id.as_str().into() };
    let done = observer.act_everywhere(&act).await;
    let fields = [("client_id", Text(&asked.id)), ("found", found(done))];
    observer.tell_act(&caller, "delete a session", &fields);
    about_client(done, "no client has this identifier", |_| {
        Json(json!({ "deleted": asked.id })).into_response()
    })
}

async fn cut_queue(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Named>,
) -> Response {
    let act = Act::CutQueue { client_id: asked.id.as_str().into() };
    let done = observer.act_everywhere(&act).await;
    let fields = [("client_id", Text(&asked.id)), ("dropped", found(done))];
    observer.tell_act(&caller, "empty a queue", &fields);
    match done {
        Some(count) => Json(json!({ "dropped": count })).into_response(),
        None => no_answer(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    topic: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
    expiry_s: Option<u32>,
}

/// Checks a topic that an operator publishes to.
pub(super) fn check_topic(topic: &str) -> Result<(), &'static str> {
    if topic.starts_with("$SYS/") || topic.starts_with("$CONTROL/") {
        return Err("topics of the broker's own are not published to");
    }
    check_topic_name(topic).map_err(|error| error.cause)
}

async fn publish(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<Published>,
) -> Response {
    let wrong = |detail: &str| problem(StatusCode::BAD_REQUEST, detail);
    if let Err(cause) = check_topic(&asked.topic) {
        return wrong(&format!("topic: {cause}"));
    }
    let Some(qos) = QoS::from_bits(asked.qos) else { return wrong("qos is 0, 1 or 2") };
    let payload: Arc<[u8]> = match (asked.payload, asked.payload_base64) {
        (Some(_), Some(_)) => return wrong("payload or payload_base64, not both"),
        (None, None) => Arc::default(),
        (Some(text), None) => text.into_bytes().into(),
        (None, Some(text)) => match STANDARD.decode(text) {
            Ok(bytes) => bytes.into(),
            Err(_) => return wrong("payload_base64 is not base64"),
        },
    };
    let options = observer.options();
    if asked.retain && !options.retain_available {
        return wrong("retained messages are turned off: see --retain-available");
    }
    let room = options.max_packet_size as usize;
    if payload.len() + asked.topic.len() > room {
        let detail = format!("the message is larger than --max-packet-size, {room} bytes");
        return problem(StatusCode::PAYLOAD_TOO_LARGE, &detail);
    }
    let (bytes, topic) = (payload.len(), asked.topic.as_str().into());
    let (retain, expiry_s) = (asked.retain, asked.expiry_s);
    let act = Act::Publish { topic, payload, qos, retain, expiry_s };
    let done = observer.act(WorkerId(0), act).await;
    let fields = [
        ("topic", Text(&asked.topic)),
        ("payload_bytes", Number(bytes as u64)),
        ("retain", Text(if retain { "true" } else { "false" })),
    ];
    observer.tell_act(&caller, "publish a message", &fields);
    match done {
        Some(deed) => {
            let answer = Json(json!({ "topic": asked.topic, "is_wanted": deed.count > 0 }));
            (StatusCode::ACCEPTED, answer).into_response()
        }
        None => no_answer(),
    }
}

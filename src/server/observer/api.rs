//! The operator's questions by HTTP: JSON below `/api/v1/`.
//!
//! Only this machine reaches it, and no web page: the name in `Host` has to be one of this machine,
//! and requests that a page of another origin causes are refused.

use super::super::dashboard;
use super::clients::{Column, ROWS_MAX};
use super::history::labelled;
use super::{Observer, http, live, log_tail};
use crate::base::ids::WorkerId;
use crate::broker::{ClientRow, ClientsQuery, Recipient};
use crate::mqtt::Version;
use crate::worker::Question;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Serves the questions, and with them what [`http::routes`] serves.
pub(in crate::server) fn routes(observer: Observer) -> Router {
    Router::new()
        .route("/api/v1/clients", get(clients))
        .route("/api/v1/client", get(client))
        .route("/api/v1/subscribers", get(subscribers))
        .route("/api/v1/metrics", get(metrics))
        .route("/api/v1/rates", get(rates))
        .route("/api/v1/durations", get(durations))
        .route("/api/v1/version", get(version))
        .with_state(observer.clone())
        .merge(live::routes(observer.clone()))
        .merge(log_tail::routes(observer.fixed.tail.clone()))
        .merge(dashboard::routes(observer.clone()))
        .merge(http::routes(observer))
        .layer(middleware::from_fn(from_here))
}

/// Refuses what a web page may cause by a name that it makes point to this machine.
async fn from_here(request: Request, next: Next) -> Response {
    match is_from_here(request.headers()) {
        true => next.run(request).await,
        false => problem(StatusCode::FORBIDDEN, "Host and Origin must name this machine"),
    }
}

fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_here = |authority: &str| {
        let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority }
        });
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
    };
    let origin = text(header::ORIGIN).map(|origin| origin.trim_start_matches("http://"));
    text(header::HOST).is_some_and(is_here) && origin.is_none_or(is_here)
}

pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    (status, Json(json!({ "error": detail }))).into_response()
}

#[derive(Debug, Serialize)]
struct ClientJson {
    client_id: String,
    user: Option<String>,
    connected: bool,
    worker: u16,
    listener: String,
    address: Option<String>,
    version: Option<&'static str>,
    keep_alive_s: Option<u16>,
    silent_s: Option<f64>,
    blocked: bool,
    session_expiry_s: u32,
    subscriptions: usize,
    queued_messages: usize,
    queued_bytes: usize,
    inflight_messages: usize,
}

impl ClientJson {
    fn new(observer: &Observer, worker: WorkerId, row: ClientRow) -> Self {
        let settings = observer.settings.borrow();
        let listener = settings.options.listeners.get(row.listener.index());
        let connection = row.connection.as_ref();
        Self {
            connected: connection.is_some(),
            worker: worker.0,
            listener: listener.map(ToString::to_string).unwrap_or_default(),
            address: connection.and_then(|c| c.address).map(|address| address.to_string()),
            version: connection.map(|c| match c.version {
                Version::V31 => "3.1",
                Version::V311 => "3.1.1",
                Version::V5 => "5.0",
            }),
            keep_alive_s: connection.map(|c| c.keep_alive_s),
            silent_s: connection.map(|c| c.silent_for.as_secs_f64()),
            blocked: connection.is_some_and(|c| c.is_blocked),
            session_expiry_s: row.expiry_s,
            subscriptions: row.subscriptions,
            queued_messages: row.queued_messages,
            queued_bytes: row.queued_bytes,
            inflight_messages: row.inflight_messages,
            client_id: row.client_id,
            user: row.user,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientsAsked {
    prefix: Option<String>,
    user: Option<String>,
    connected: Option<bool>,
    sort: Option<Column>,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn clients(State(observer): State<Observer>, Query(asked): Query<ClientsAsked>) -> Response {
    let query = ClientsQuery {
        from: 0,
        prefix: asked.prefix.unwrap_or_default(),
        user: asked.user,
        is_connected: asked.connected,
        is_waiting: false,
    };
    let (column, limit) = (asked.sort.unwrap_or(Column::ClientId), asked.limit.unwrap_or(100));
    if !(1..=ROWS_MAX).contains(&limit) {
        return problem(StatusCode::BAD_REQUEST, "limit is from 1 to 1000");
    }
    let listed = observer.sorted_clients(query, column, asked.cursor.as_deref(), limit).await;
    let row = |(worker, row)| ClientJson::new(&observer, worker, row);
    let clients: Vec<_> = listed.rows.into_iter().map(row).collect();
    Json(json!({ "clients": clients, "next": listed.next })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientAsked {
    id: String,
}

async fn client(State(observer): State<Observer>, Query(asked): Query<ClientAsked>) -> Response {
    let found = observer.ask_all(|reply| Question::Client(asked.id.clone(), reply)).await;
    let found = found.into_iter().find_map(|(worker, details)| Some((worker, details?)));
    let Some((worker, details)) = found else {
        return problem(StatusCode::NOT_FOUND, "no client has this identifier");
    };
    let filter = |(filter, qos)| json!({ "filter": filter, "qos": qos });
    let filters: Vec<Value> = details.filters.into_iter().map(filter).collect();
    let client = ClientJson::new(&observer, worker, details.row);
    Json(json!({ "client": client, "filters": filters })).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscribersAsked {
    topic: String,
}

async fn subscribers(
    State(observer): State<Observer>,
    Query(asked): Query<SubscribersAsked>,
) -> Response {
    if asked.topic.is_empty() || asked.topic.contains(['+', '#', '\0']) {
        return problem(StatusCode::BAD_REQUEST, "topic is a topic, without + and #");
    }
    let all = observer.ask_all(|reply| Question::Recipients(asked.topic.clone(), reply)).await;
    let json =
        |it: Recipient| json!({ "client_id": it.client_id, "filter": it.filter, "qos": it.qos });
    let all = all.into_iter().flat_map(|(_, recipients)| recipients);
    let all: Vec<Value> = all.map(json).collect();
    Json(json!({ "topic": asked.topic, "subscribers": all })).into_response()
}

/// The sums over all workers, by name; families as objects by label.
async fn metrics(State(observer): State<Observer>) -> Response {
    let values = observer.look().await.values();
    let all = values.into_iter().map(|(metric, values)| {
        let values = values.into_iter().map(|value| json!(value));
        (metric.name.to_owned(), labelled(metric.values, values))
    });
    Json(Value::Object(all.collect())).into_response()
}

async fn rates(State(observer): State<Observer>) -> Response {
    Json(observer.rates().await).into_response()
}

async fn durations(State(observer): State<Observer>) -> Response {
    Json(observer.durations().await).into_response()
}

async fn version() -> Response {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") })).into_response()
}

//! The operator's questions by HTTP: JSON below `/api/v1/`.

use super::super::dashboard;
use super::access::admit;
use super::acts::no_answer;
use super::clients::{Column, ROWS_MAX, Wanted, rate};
use super::history::by_name;
use super::{Observer, acts, http, live, log_tail, retained, state, trace};
use crate::base::ids::WorkerId;
use crate::broker::{ClientRow, ClientsQuery, Recipient, Sought, WaitingRow};
use crate::metrics::Counters;
use crate::mqtt::{TopicFilter, Version, check_topic_name};
use crate::options::Scheme;
use crate::worker::Question;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;
use wildmatch::WildMatch;

/// The most bytes of a request's body.
const BODY_MAX: usize = 4 * 1024 * 1024;

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
        .merge(acts::routes())
        .merge(retained::routes())
        .merge(state::routes())
        .merge(trace::routes())
        .with_state(observer.clone())
        .merge(live::routes(observer.clone()))
        .merge(log_tail::routes(observer.tail.clone()))
        .merge(dashboard::routes(observer.clone()))
        .merge(http::routes(observer.clone()))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(observer, admit))
}

/// The fault of a request.
#[derive(Debug)]
pub(super) struct Wrong(pub(super) StatusCode, pub(super) &'static str);

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        problem(self.0, self.1)
    }
}

/// The rows that an answer has.
pub(super) fn rows(asked: Option<usize>) -> Result<usize, Wrong> {
    let count = Some(asked.unwrap_or(100)).filter(|count| (1..=ROWS_MAX).contains(count));
    count.ok_or(Wrong(StatusCode::BAD_REQUEST, "limit is from 1 to 1000"))
}

/// Refuses what is no topic name.
pub(super) fn plain_topic(topic: &str) -> Result<(), Wrong> {
    let wrong = |_| Wrong(StatusCode::BAD_REQUEST, "topic is a topic, without + and #");
    check_topic_name(topic).map_err(wrong)
}

/// An answer that says what is wrong.
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
    oldest_s: Option<f64>,
    connected_s: Option<f64>,
    packets_received: Option<u64>,
    messages_sent: Option<u64>,
    ack_mean_ms: Option<f64>,
    ack_max_ms: Option<f64>,
    rate_per_s: Option<f64>,
    memory_bytes: usize,
    dropped_messages: u64,
    drops: Map<String, Value>,
    departed: Option<&'static str>,
}

fn version_named(name: &str) -> Option<Version> {
    let all = [Version::V31, Version::V311, Version::V5];
    all.into_iter().find(|version| version.name() == name)
}

/// The label values of a metric.
fn labels(name: &str) -> &'static [&'static str] {
    Counters::TABLE.iter().find(|metric| metric.name == name).map_or(&[], |metric| metric.values)
}

impl ClientJson {
    fn new(observer: &Observer, worker: WorkerId, row: ClientRow) -> Self {
        let options = observer.options();
        let listener = options.listeners.get(row.listener.index());
        let connection = row.connection.as_ref();
        Self {
            connected: connection.is_some(),
            worker: worker.0,
            listener: listener.map(ToString::to_string).unwrap_or_default(),
            address: connection.and_then(|c| c.address).map(|address| address.to_string()),
            version: connection.map(|c| c.version.name()),
            keep_alive_s: connection.map(|c| c.keep_alive_s),
            silent_s: connection.map(|c| c.silent_for.as_secs_f64()),
            blocked: connection.is_some_and(|c| c.is_blocked),
            session_expiry_s: row.expiry_s,
            subscriptions: row.subscriptions,
            queued_messages: row.queued_messages,
            queued_bytes: row.queued_bytes,
            inflight_messages: row.inflight_messages,
            oldest_s: row.oldest.map(|age| age.as_secs_f64()),
            connected_s: connection.map(|c| c.connected_for.as_secs_f64()),
            packets_received: connection.map(|c| c.packets_received),
            messages_sent: connection.map(|c| c.messages_sent),
            ack_mean_ms: connection.and_then(|c| c.acknowledged).map(|it| milliseconds(it.0)),
            ack_max_ms: connection.and_then(|c| c.acknowledged).map(|it| milliseconds(it.1)),
            rate_per_s: connection.map(rate),
            memory_bytes: row.memory,
            dropped_messages: row.drops.iter().sum(),
            drops: labels("messages_dropped")
                .iter()
                .zip(row.drops)
                .filter(|(_, count)| *count > 0)
                .map(|(reason, count)| ((*reason).to_owned(), count.into()))
                .collect(),
            departed: row.departed.map(|it| labels("clients_departed")[it.place()]),
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
    glob: Option<String>,
    address: Option<String>,
    version: Option<String>,
    transport: Option<String>,
    worker: Option<u16>,
    #[serde(default)]
    has_drops: bool,
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
    let column = asked.sort.unwrap_or(Column::ClientId);
    let limit = match rows(asked.limit) {
        Ok(limit) => limit,
        Err(wrong) => return wrong.into_response(),
    };
    let version = match asked.version.as_deref().map(version_named) {
        Some(None) => return problem(StatusCode::BAD_REQUEST, "version is 3.1, 3.1.1 or 5.0"),
        version => version.flatten(),
    };
    let transport = match asked.transport.as_deref().map(Scheme::named) {
        Some(None) => {
            return problem(StatusCode::BAD_REQUEST, "transport is mqtt, mqtts, ws, wss or unix");
        }
        transport => transport.flatten(),
    };
    let wanted = Wanted {
        glob: asked.glob.as_deref().map(WildMatch::new),
        address: asked.address,
        version,
        transport,
        worker: asked.worker,
        has_drops: asked.has_drops,
    };
    let cursor = asked.cursor.as_deref();
    let listed = observer.sorted_clients((query, wanted), column, cursor, limit).await;
    let Some(listed) = listed else { return no_answer() };
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
    let Some((worker, (details, figures))) = found else {
        return problem(StatusCode::NOT_FOUND, "no client has this identifier");
    };
    let filter = |(filter, qos)| json!({ "filter": filter, "qos": qos });
    let filters: Vec<Value> = details.filters.into_iter().map(filter).collect();
    let client = ClientJson::new(&observer, worker, details.row);
    let waiting = |rows: Vec<WaitingRow>| rows.into_iter().map(waiting_json).collect::<Vec<_>>();
    let tcp = figures.map(|it| {
        json!({
            "round_trip_ms": milliseconds(it.round_trip),
            "received_bytes": it.received_bytes,
            "acknowledged_bytes": it.acknowledged_bytes,
            "unsent_bytes": it.unsent_bytes,
            "resent_segments": it.resent_segments,
        })
    });
    Json(json!({
        "client": client,
        "filters": filters,
        "tcp": tcp,
        "inflight": waiting(details.inflight),
        "queued": waiting(details.queued),
    }))
    .into_response()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn waiting_json(row: WaitingRow) -> Value {
    json!({
        "packet_id": row.packet_id,
        "topic": row.topic,
        "bytes": row.bytes,
        "qos": row.qos,
        "age_s": row.age.as_secs_f64(),
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscribersAsked {
    topic: Option<String>,
    filter: Option<String>,
}

async fn subscribers(
    State(observer): State<Observer>,
    Query(asked): Query<SubscribersAsked>,
) -> Response {
    let wrong = |detail| problem(StatusCode::BAD_REQUEST, detail);
    let sought = match (asked.topic.clone(), asked.filter) {
        (Some(topic), None) => match plain_topic(&topic) {
            Ok(()) => Sought::Topic(topic),
            Err(wrong) => return wrong.into_response(),
        },
        (None, Some(filter)) => match TopicFilter::parse(&filter, usize::MAX) {
            Ok(_) => Sought::Filter(filter),
            Err(error) => return wrong(&format!("filter: {}", error.cause)),
        },
        _ => return wrong("either topic or filter says which subscribers are wanted"),
    };
    let answers = observer.ask_all(|reply| Question::Recipients(sought.clone(), reply)).await;
    let count: usize = answers.iter().map(|(_, recipients)| recipients.count).sum();
    let json =
        |it: Recipient| json!({ "client_id": it.client_id, "filter": it.filter, "qos": it.qos });
    let rows = answers.into_iter().flat_map(|(_, recipients)| recipients.rows);
    let rows: Vec<Value> = rows.map(json).collect();
    Json(json!({ "topic": asked.topic, "subscribers": rows, "count": count })).into_response()
}

/// The sums over all workers, by name; families as objects by label.
async fn metrics(State(observer): State<Observer>) -> Response {
    Json(by_name(observer.look().await.values())).into_response()
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

//! The operator's questions by HTTP: JSON below `/api/v1/`.

use super::super::dashboard;
use super::access::admit;
use super::clients::{Column, Place, ROWS_MAX, Wanted, rate};
use super::document::{self, Document};
use super::history::{ByName, OfSpans, Rates, by_name};
use super::problem::{Answer, Wrong, explain};
use super::{Observer, acts, http, live, log_tail, retained, state, trace};
use crate::base::ids::WorkerId;
use crate::broker::{ClientRow, ClientsQuery, Recipient, Sought, WaitingRow};
use crate::io::socket::TcpFigures;
use crate::metrics::Counters;
use crate::mqtt::{TopicFilter, Version, check_topic_name};
use crate::options::Scheme;
use crate::worker::Question;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::{Extension, Json, Router, middleware};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use wildmatch::WildMatch;

/// The most bytes of a request's body.
const BODY_MAX: usize = 4 * 1024 * 1024;

/// The most bytes of a text in MQTT.
const TEXT_MAX: usize = 65_535;

/// Serves the questions, and with them what [`http::routes`] serves. All routes of the API come
/// through `routes!`, so that each stands in the document.
pub(in crate::server) fn routes(observer: Observer) -> Router {
    let (api, document) = document::begin()
        .routes(routes!(clients))
        .routes(routes!(client))
        .routes(routes!(subscribers))
        .routes(routes!(metrics))
        .routes(routes!(rates))
        .routes(routes!(durations))
        .routes(routes!(version))
        .merge(acts::routes())
        .merge(retained::routes())
        .merge(state::routes())
        .merge(trace::routes())
        .with_state(observer.clone())
        .merge(live::routes(observer.clone()))
        .merge(log_tail::routes(observer.tail.clone()))
        .split_for_parts();
    api.layer(Extension(Document::complete(document)))
        .merge(dashboard::routes(observer.clone()))
        .merge(http::routes(observer.clone()))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(observer, admit))
        .layer(middleware::from_fn(explain))
}

/// The rows that an answer has.
pub(super) fn rows(asked: Option<usize>) -> Result<usize, Wrong> {
    let count = Some(asked.unwrap_or(100)).filter(|count| (1..=ROWS_MAX).contains(count));
    count.ok_or(Wrong::bad("limit is from 1 to 1000"))
}

/// Refuses what is no topic name.
pub(super) fn plain_topic(topic: &str) -> Result<(), Wrong> {
    let wrong = |_| Wrong::bad("topic is a topic, without + and #");
    check_topic_name(topic).map_err(wrong)?;
    plain_text("topic", topic)
}

/// Refuses what no packet can carry as a text: more than its length can tell, or U+0000.
pub(super) fn plain_text(name: &str, text: &str) -> Result<(), Wrong> {
    // [MQTT-1.5.4-2]
    match text.len() > TEXT_MAX || text.contains('\0') {
        true => Err(Wrong::bad(format!("{name} has at most {TEXT_MAX} bytes, and no U+0000"))),
        false => Ok(()),
    }
}

/// The query of a route that takes none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A whole number in a body, however JSON writes it: 2 and 2.0 are the same.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Whole<T>(pub(super) T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(from)?;
        let is_whole = |it: &f64| it.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(it);
        let whole = || number.as_f64().filter(is_whole).map(|it| it as u64);
        let whole = number.as_u64().or_else(whole).and_then(|it| T::try_from(it).ok());
        let wrong = || D::Error::custom(format!("{number} is no whole number of the range"));
        whole.map(Self).ok_or_else(wrong)
    }
}

/// One client, or the session of one that is away.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Client)]
struct ClientJson {
    client_id: String,
    /// The verified name of the client's user.
    #[schema(required)]
    user: Option<String>,
    connected: bool,
    /// The worker that has the session, from 0 on.
    worker: u16,
    /// The listener by which the client came last, as `--listen` has it; empty after a restart.
    listener: String,
    /// Address and port; null while it is away, or by a Unix socket.
    #[schema(required)]
    address: Option<String>,
    /// The version of MQTT, as `version` of the question has it; null while it is away.
    #[schema(required)]
    version: Option<&'static str>,
    /// Seconds, from 0, which is none, to 65535; null while it is away.
    #[schema(required)]
    keep_alive_s: Option<u16>,
    /// Seconds since something last came from the client; null while it is away.
    #[schema(required, minimum = 0)]
    silent_s: Option<f64>,
    /// The client's socket has not taken all that was sent.
    blocked: bool,
    /// Seconds for which the session outlives a connection; 4294967295 is for ever.
    session_expiry_s: u32,
    /// Subscriptions, shared ones included.
    subscriptions: usize,
    /// Messages that wait for the client.
    queued_messages: usize,
    /// Bytes of memory of those messages.
    queued_bytes: usize,
    /// Messages that were sent and not acknowledged.
    inflight_messages: usize,
    /// Seconds since the oldest message came that waits or is in flight; null without one.
    #[schema(required, minimum = 0)]
    oldest_s: Option<f64>,
    /// Seconds since the client was let in; null while it is away.
    #[schema(required, minimum = 0)]
    connected_s: Option<f64>,
    /// Packets that came on this connection; null while it is away.
    #[schema(required)]
    packets_received: Option<u64>,
    /// PUBLISH packets that were sent on this connection; null while it is away.
    #[schema(required)]
    messages_sent: Option<u64>,
    /// Milliseconds from a message's receipt until the client acknowledged it, the mean of late;
    /// null before the first.
    #[schema(required, minimum = 0)]
    ack_mean_ms: Option<f64>,
    /// The greatest of those times.
    #[schema(required, minimum = 0)]
    ack_max_ms: Option<f64>,
    /// Packets received and messages sent a second, the mean since it was let in; null while it is
    /// away.
    #[schema(required, minimum = 0)]
    rate_per_s: Option<f64>,
    /// Bytes of memory of the session, of its connection and of what waits for it.
    memory_bytes: usize,
    /// Messages that did not reach the client, for whatever reason.
    dropped_messages: u64,
    /// The same by reason, without those that are 0; the reasons are those of the metric
    /// `messages_dropped`.
    drops: BTreeMap<&'static str, u64>,
    /// The reason for which the last connection ended, one of the metric `clients_departed`; null
    /// while the client is connected.
    #[schema(required)]
    departed: Option<&'static str>,
}

/// The versions of the protocol.
const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn versions() -> Object {
    let description = "Only those who speak this version, and are connected.";
    one_of(description, VERSIONS.map(Version::name))
}

fn transports() -> Object {
    one_of("Only those whose listener has this scheme.", Scheme::ALL.map(Scheme::name))
}

/// The schema of a text that is one of these.
pub(super) fn one_of<const COUNT: usize>(
    description: &str,
    names: [&'static str; COUNT],
) -> Object {
    let schema = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
    schema.description(Some(description)).build()
}

fn version_named(name: &str) -> Option<Version> {
    VERSIONS.into_iter().find(|version| version.name() == name)
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
                .map(|(reason, count)| (*reason, count))
                .collect(),
            departed: row.departed.map(|it| labels("clients_departed")[it.place()]),
            client_id: row.client_id,
            user: row.user,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ClientsAsked {
    /// Only those whose identifier begins so.
    prefix: Option<String>,
    /// Only those of this user.
    user: Option<String>,
    /// Only those that are connected, or are not.
    connected: Option<bool>,
    /// Only those whose identifier is like it: `*` is any text, `?` any character.
    glob: Option<String>,
    /// Only those whose address begins so, and who are connected.
    address: Option<String>,
    #[param(schema_with = versions)]
    version: Option<String>,
    #[param(schema_with = transports)]
    transport: Option<String>,
    /// Only those of this worker.
    #[param(maximum = 65_535)]
    worker: Option<u16>,
    /// Only those that messages did not reach.
    #[serde(default)]
    has_drops: bool,
    /// The order: identifiers from the first on, numbers and times from the greatest on; each page
    /// looks at all clients for it. Without it a page looks at no more than it shows.
    #[param(inline)]
    sort: Option<Column>,
    /// The rows of the answer; 100 unless another number is given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before, with the same other parameters.
    #[param(pattern = "^[0-9]{1,19}:")]
    cursor: Option<String>,
}

/// A page of clients.
#[derive(Debug, Serialize, ToSchema)]
struct Clients {
    clients: Vec<ClientJson>,
    /// The `cursor` of the next page; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// Lists clients, and the sessions of those that are away, in pages.
#[utoipa::path(
    get, path = "/api/v1/clients", params(ClientsAsked),
    responses((status = 200, description = "A page.", body = Clients), (status = 503))
)]
async fn clients(
    State(observer): State<Observer>,
    Query(asked): Query<ClientsAsked>,
) -> Answer<Clients> {
    let query = ClientsQuery {
        from: 0,
        prefix: asked.prefix.unwrap_or_default(),
        user: asked.user,
        is_connected: asked.connected,
        is_waiting: false,
    };
    let limit = rows(asked.limit)?;
    let version = match asked.version.as_deref().map(version_named) {
        Some(None) => return Err(Wrong::bad("version is 3.1, 3.1.1 or 5.0")),
        version => version.flatten(),
    };
    let transport = match asked.transport.as_deref().map(Scheme::named) {
        Some(None) => return Err(Wrong::bad("transport is mqtt, mqtts, ws, wss or unix")),
        transport => transport.flatten(),
    };
    let after = match asked.cursor.as_deref().map(Place::parse) {
        Some(None) => return Err(Wrong::bad("cursor is the next of the page before")),
        after => after.flatten(),
    };
    let wanted = Wanted {
        glob: asked.glob.as_deref().map(WildMatch::new),
        address: asked.address,
        version,
        transport,
        worker: asked.worker,
        has_drops: asked.has_drops,
    };
    let listed = match asked.sort {
        Some(column) => observer.sorted_clients((query, wanted), column, after, limit).await,
        None => observer.listed_clients((query, wanted), after, limit).await,
    };
    let listed = listed.ok_or_else(Wrong::no_answer)?;
    let row = |(worker, row)| ClientJson::new(&observer, worker, row);
    let clients = listed.rows.into_iter().map(row).collect();
    Ok(Json(Clients { clients, next: listed.next }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientAsked {
    /// The client identifier.
    pub(super) id: String,
}

/// A client with what it has subscribed to and what is on its way to it.
#[derive(Debug, Serialize, ToSchema)]
struct ClientDetails {
    client: ClientJson,
    /// The filters of its subscriptions.
    #[schema(max_items = 1000)]
    filters: Vec<Filter>,
    /// The kernel's figures of its connection; null without one over TCP.
    #[schema(required)]
    tcp: Option<Tcp>,
    /// The first messages in flight.
    #[schema(max_items = 100)]
    inflight: Vec<Waiting>,
    /// The first messages that wait.
    #[schema(max_items = 100)]
    queued: Vec<Waiting>,
}

/// A subscription.
#[derive(Debug, Serialize, ToSchema)]
struct Filter {
    /// The topic filter, with `$share` and the group where it is shared.
    filter: String,
    /// The QoS that was granted.
    #[schema(maximum = 2)]
    qos: u8,
}

/// The kernel's figures of a connection.
#[derive(Debug, Serialize, ToSchema)]
struct Tcp {
    #[schema(minimum = 0)]
    round_trip_ms: f64,
    received_bytes: u64,
    /// Bytes that the client's machine has acknowledged.
    acknowledged_bytes: u64,
    /// Bytes in the kernel that were not sent yet.
    unsent_bytes: u32,
    resent_segments: u32,
}

/// A message on its way to a client.
#[derive(Debug, Serialize, ToSchema)]
struct Waiting {
    /// The packet identifier, once there is one.
    #[schema(required, minimum = 1)]
    packet_id: Option<u16>,
    /// The topic; null for a message that has arrived and whose PUBREL or PUBCOMP is awaited.
    #[schema(required)]
    topic: Option<String>,
    /// Bytes of the payload.
    bytes: usize,
    #[schema(maximum = 2)]
    qos: u8,
    /// Seconds since the message came.
    #[schema(minimum = 0)]
    age_s: f64,
}

/// Tells what is known of one client.
#[utoipa::path(
    get, path = "/api/v1/client", params(ClientAsked),
    responses((status = 200, description = "The client.", body = ClientDetails), (status = 404))
)]
async fn client(
    State(observer): State<Observer>,
    Query(asked): Query<ClientAsked>,
) -> Answer<ClientDetails> {
    let found = observer.ask_all(|reply| Question::Client(asked.id.clone(), reply)).await;
    let found = found.into_iter().find_map(|(worker, details)| Some((worker, details?)));
    let Some((worker, (details, figures))) = found else {
        return Err(Wrong::not_found("no client has this identifier"));
    };
    let filters = details.filters.into_iter().map(|(filter, qos)| Filter { filter, qos });
    let waiting = |rows: Vec<WaitingRow>| rows.into_iter().map(Waiting::from).collect();
    Ok(Json(ClientDetails {
        filters: filters.collect(),
        tcp: figures.map(Tcp::from),
        inflight: waiting(details.inflight),
        queued: waiting(details.queued),
        client: ClientJson::new(&observer, worker, details.row),
    }))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl From<TcpFigures> for Tcp {
    fn from(figures: TcpFigures) -> Self {
        Self {
            round_trip_ms: milliseconds(figures.round_trip),
            received_bytes: figures.received_bytes,
            acknowledged_bytes: figures.acknowledged_bytes,
            unsent_bytes: figures.unsent_bytes,
            resent_segments: figures.resent_segments,
        }
    }
}

impl From<WaitingRow> for Waiting {
    fn from(WaitingRow { packet_id, topic, bytes, qos, age }: WaitingRow) -> Self {
        Self { packet_id, topic, bytes, qos, age_s: age.as_secs_f64() }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct SubscribersAsked {
    /// A topic, without wildcards: those who get what is published to it.
    #[param(pattern = r"^[^+#\x00]+$")]
    topic: Option<String>,
    /// A topic filter, in place of the topic: those who have subscribed to it.
    #[param(pattern = r"^[^\x00]+$")]
    filter: Option<String>,
}

/// The clients that get messages on a topic, or that have subscribed to a filter.
#[derive(Debug, Serialize, ToSchema)]
struct Subscribers {
    /// The topic of the question; null for a filter.
    #[schema(required)]
    topic: Option<String>,
    /// At most 1000 of each worker; all members of shared subscriptions are among them.
    subscribers: Vec<Subscriber>,
    /// All of them, those that are not shown as well.
    count: usize,
}

/// A client with the filter that matches.
#[derive(Debug, Serialize, ToSchema)]
struct Subscriber {
    client_id: String,
    filter: String,
    /// The QoS that was granted.
    #[schema(maximum = 2)]
    qos: u8,
}

/// Tells who gets what is published to a topic and by which filter, or who has subscribed to one
/// filter.
#[utoipa::path(
    get, path = "/api/v1/subscribers", params(SubscribersAsked),
    responses((status = 200, description = "The subscribers.", body = Subscribers))
)]
async fn subscribers(
    State(observer): State<Observer>,
    Query(asked): Query<SubscribersAsked>,
) -> Answer<Subscribers> {
    let sought = match (asked.topic.clone(), asked.filter) {
        (Some(topic), None) => {
            plain_topic(&topic)?;
            Sought::Topic(topic)
        }
        (None, Some(filter)) => {
            TopicFilter::parse(&filter, usize::MAX)
                .map_err(|error| Wrong::bad(format!("filter: {}", error.cause)))?;
            Sought::Filter(filter)
        }
        _ => return Err(Wrong::bad("either topic or filter says which subscribers are wanted")),
    };
    let answers = observer.ask_all(|reply| Question::Recipients(sought.clone(), reply)).await;
    let count = answers.iter().map(|(_, recipients)| recipients.count).sum();
    let rows = answers.into_iter().flat_map(|(_, recipients)| recipients.rows);
    let subscriber = |Recipient { client_id, filter, qos }| Subscriber { client_id, filter, qos };
    Ok(Json(Subscribers { topic: asked.topic, subscribers: rows.map(subscriber).collect(), count }))
}

/// Tells all counts and states, summed over all workers, by the names of docs/METRICS.md.
#[utoipa::path(
    get, path = "/api/v1/metrics",
    responses((status = 200, description = "The metrics.", body = ByName<u64>))
)]
async fn metrics(
    Query(Nothing {}): Query<Nothing>,
    State(observer): State<Observer>,
) -> Json<ByName<u64>> {
    Json(by_name(observer.look().await.values()))
}

/// Tells counts a second.
#[utoipa::path(
    get, path = "/api/v1/rates",
    responses((status = 200, description = "The rates.", body = Rates))
)]
async fn rates(Query(Nothing {}): Query<Nothing>, State(observer): State<Observer>) -> Json<Rates> {
    Json(observer.rates().await)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DurationsAsked {
    /// Only those of this worker.
    #[param(maximum = 65_535)]
    worker: Option<u16>,
}

/// Tells how long deliveries, turns, commits, logins and handshakes take.
#[utoipa::path(
    get, path = "/api/v1/durations", params(DurationsAsked),
    responses(
        (status = 200, description = "The durations.", body = ByName<OfSpans>),
        (status = 404),
        (status = 503)
    )
)]
async fn durations(
    State(observer): State<Observer>,
    Query(asked): Query<DurationsAsked>,
) -> Answer<ByName<OfSpans>> {
    let (worker, workers) = (asked.worker.map(WorkerId), observer.notices.workers());
    if worker.is_some_and(|worker| worker.index() >= workers) {
        return Err(Wrong::not_found(format!("the broker has workers 0 to {}", workers - 1)));
    }
    observer.durations(worker).await.map(Json).ok_or_else(Wrong::no_answer)
}

/// The version of the broker.
#[derive(Debug, Serialize, ToSchema)]
struct BrokerVersion {
    version: &'static str,
}

/// Tells the version of the broker.
#[utoipa::path(
    get, path = "/api/v1/version",
    responses((status = 200, description = "The version.", body = BrokerVersion))
)]
async fn version(Query(Nothing {}): Query<Nothing>) -> Json<BrokerVersion> {
    Json(BrokerVersion { version: env!("CARGO_PKG_VERSION") })
}

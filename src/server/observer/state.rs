//! The broker as a whole by HTTP: its state, its configuration, and the orders that change them.

use super::access::Caller;
use super::acts::reference;
use super::api::{Nothing, Whole, one_of};
use super::history::{ByName, Percentiles, by_name};
use super::problem::{Answer, Wrong};
use super::{Drain, Observer, Stage};
use crate::metrics::Journal;
use crate::options::LogLevel;
use crate::server::bridges::Shared;
use crate::server::control::Order;
use crate::server::logging::Field;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Observer> {
    OpenApiRouter::default()
        .routes(routes!(status))
        .routes(routes!(health))
        .routes(routes!(journal))
        .routes(routes!(config))
        .routes(routes!(token))
        .routes(routes!(reload))
        .routes(routes!(log_level))
        .routes(routes!(drain))
}

impl Observer {
    /// Has the control thread do something.
    async fn order(&self, order: Order) -> Result<(), Wrong> {
        let sent = self.orders.send(order).await;
        sent.map_err(|_| Wrong::new(StatusCode::SERVICE_UNAVAILABLE, "the broker stops"))
    }
}

/// The state of the broker.
#[derive(Debug, Serialize, ToSchema)]
struct Status {
    version: &'static str,
    stage: StageName,
    /// Whole seconds since the start.
    uptime_s: u64,
    /// The listeners, as `--listen` has them.
    listeners: Vec<String>,
    workers: Vec<WorkerStatus>,
    /// The connections that the broker opens to others.
    bridges: Vec<BridgeStatus>,
    #[schema(required, schema_with = journal_states)]
    journal: &'static str,
    /// The folder of the journal; null without one.
    #[schema(required, value_type = Option<String>)]
    data_dir: Option<PathBuf>,
}

fn journal_states() -> Object {
    let description = "Whether acknowledged messages can be kept; `none` without a journal.";
    one_of(description, ["none", "works", "failing"])
}

/// The part of its life that the broker is in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StageName {
    Serving,
    Draining,
    Stopping,
}

impl From<Stage> for StageName {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Serving => Self::Serving,
            Stage::Draining => Self::Draining,
            Stage::Stopping => Self::Stopping,
        }
    }
}

/// The state of a worker.
#[derive(Debug, Serialize, ToSchema)]
struct WorkerStatus {
    /// The number, from 0 on.
    worker: usize,
    /// The core that it is pinned to; null for any.
    #[schema(required)]
    core: Option<usize>,
    /// An answer of the worker has come within 2 s.
    answers: bool,
}

/// The state of a bridge.
#[derive(Debug, Serialize, ToSchema)]
struct BridgeStatus {
    name: String,
    /// The client identifier of its session here, whose queue it empties.
    client: String,
    /// The place of the other broker that is or was tried last.
    address: String,
    /// The other broker has let the bridge in.
    is_connected: bool,
    /// Connections that the other broker has let in.
    connections: u64,
    /// Messages that came in.
    messages_in: u64,
    /// Messages that went out.
    messages_out: u64,
    /// Messages that were acknowledged and not carried: too large, or no rule names them.
    messages_dropped: u64,
    /// The reason for which the last connection ended or did not come about; null while there is
    /// one, and before the first.
    #[schema(required)]
    cause: Option<String>,
}

impl BridgeStatus {
    fn of(bridge: &Shared) -> Self {
        let (name, client, status) = bridge.look();
        Self {
            name: name.to_owned(),
            client: client.to_owned(),
            address: status.address,
            is_connected: status.is_connected,
            connections: status.connections,
            messages_in: status.carried.inward,
            messages_out: status.carried.outward,
            messages_dropped: status.dropped,
            cause: status.cause,
        }
    }
}

/// Tells the state of the broker and of its journal.
#[utoipa::path(
    get, path = "/api/v1/status",
    responses((status = 200, description = "The state.", body = Status))
)]
async fn status(
    Query(Nothing {}): Query<Nothing>,
    State(observer): State<Observer>,
) -> Json<Status> {
    let view = observer.glance().await;
    let options = observer.options();
    let cores = observer.cores.iter().enumerate();
    let workers = cores.map(|(worker, core)| {
        let answers = view.workers.iter().any(|it| it.worker.index() == worker);
        WorkerStatus { worker, core: *core, answers }
    });
    let stage = *observer.stage.borrow();
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        stage: stage.into(),
        uptime_s: view.process.uptime,
        listeners: options.listeners.iter().map(ToString::to_string).collect(),
        workers: workers.collect(),
        bridges: observer.bridges.iter().map(|bridge| BridgeStatus::of(bridge)).collect(),
        journal: observer.journal_state(&view),
        data_dir: options.data_dir.clone(),
    })
}

/// The readiness of the broker.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// True: anything else is a refusal.
    ready: bool,
}

/// Tells that clients are served, and what is acknowledged can be kept, as `/health/ready` does; or
/// refuses with the cause.
#[utoipa::path(
    get, path = "/api/v1/health",
    responses((status = 200, description = "The broker is ready.", body = Health), (status = 503))
)]
async fn health(
    Query(Nothing {}): Query<Nothing>,
    State(observer): State<Observer>,
) -> Answer<Health> {
    match observer.unready().await {
        None => Ok(Json(Health { ready: true })),
        Some(cause) => Err(Wrong::new(StatusCode::SERVICE_UNAVAILABLE, cause)),
    }
}

/// The state of the journal.
#[derive(Debug, Serialize, ToSchema)]
struct JournalTold {
    #[schema(required, schema_with = journal_states)]
    state: &'static str,
    /// The cause for which it cannot be written; null while it can.
    #[schema(required)]
    failure: Option<String>,
    /// The folder of the journal; null without one.
    #[schema(required, value_type = Option<String>)]
    data_dir: Option<PathBuf>,
    /// The state of a commit that an acknowledgement waits for, as `--durability` has it.
    durability: &'static str,
    /// Bytes of changes that gather for the next commit.
    waiting_bytes: u64,
    /// How long commits took, since the start.
    commit: Percentiles,
    /// The metrics of the journal's thread.
    metrics: ByName<u64>,
}

/// Tells the state of the journal, and how far behind the disk is.
#[utoipa::path(
    get, path = "/api/v1/journal",
    responses((status = 200, description = "The state of the journal.", body = JournalTold))
)]
async fn journal(
    Query(Nothing {}): Query<Nothing>,
    State(observer): State<Observer>,
) -> Json<JournalTold> {
    let view = observer.glance().await;
    let options = observer.options();
    let values = view.journal.values();
    let metrics = Journal::TABLE.iter().zip(values.iter().map(|values| values.to_vec()));
    Json(JournalTold {
        state: observer.journal_state(&view),
        failure: observer.journal_status().failure.clone(),
        data_dir: options.data_dir.clone(),
        durability: options.durability.name(),
        waiting_bytes: view.sums().1.journal_waiting,
        commit: Percentiles::new(&view.durations().commit),
        metrics: by_name(metrics.collect()),
    })
}

/// The configuration.
#[derive(Debug, Serialize, ToSchema)]
struct Config {
    options: Vec<OptionInForce>,
}

/// The value of an option that is in force.
#[derive(Debug, Serialize, ToSchema)]
struct OptionInForce {
    /// The listener that the value is for alone; null for all.
    #[schema(required)]
    listener: Option<String>,
    name: &'static str,
    /// The value, without a secret; several have commas between.
    value: String,
    /// The flag, the variable, the file with line and column, or the default.
    source: String,
}

/// Tells each option in force, and where it was given.
#[utoipa::path(
    get, path = "/api/v1/config",
    responses((status = 200, description = "The options.", body = Config))
)]
async fn config(
    Query(Nothing {}): Query<Nothing>,
    State(observer): State<Observer>,
) -> Json<Config> {
    let all = observer.in_force.borrow().given.in_force();
    let options = all.into_iter().map(|value| OptionInForce {
        listener: value.listener,
        name: value.name,
        value: value.value,
        source: value.origin,
    });
    Json(Config { options: options.collect() })
}

/// The token that this start of the broker has made, or one of its file.
#[derive(Debug, Serialize, ToSchema)]
struct TokenTold {
    /// Null when the file has none that may change something.
    #[schema(required)]
    token: Option<String>,
    /// The dashboard's address with the token; null without `--admin-listen`.
    #[schema(required)]
    dashboard: Option<String>,
}

/// Tells the dashboard's address with a token, to those who ask over the Unix socket alone.
#[utoipa::path(
    get, path = "/api/v1/token",
    responses((status = 200, description = "The token.", body = TokenTold))
)]
async fn token(
    Query(Nothing {}): Query<Nothing>,
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
) -> Answer<TokenTold> {
    if !caller.is_owner {
        return Err(Wrong::new(StatusCode::FORBIDDEN, "the Unix socket alone tells the token"));
    }
    let in_force = observer.in_force.borrow();
    let token = in_force.admin.tokens.full();
    let address = in_force.settings.options.admin_listen;
    let scheme = if in_force.admin.tls.is_some() { "https" } else { "http" };
    let url = address.zip(token).map(|(it, token)| format!("{scheme}://{it}/#token={token}"));
    Ok(Json(TokenTold { token: token.map(ToOwned::to_owned), dashboard: url }))
}

/// The outcome of a reload.
#[derive(Debug, Serialize, ToSchema)]
struct Reloaded {
    /// True: the new settings are in force.
    reloaded: bool,
}

/// Has all files read again, as SIGHUP does; the old settings stay when one of them is wrong.
#[utoipa::path(
    post, path = "/api/v1/reload",
    responses(
        (status = 200, description = "The new settings are in force.", body = Reloaded),
        (status = 422), (status = 503)
    )
)]
async fn reload(
    Query(Nothing {}): Query<Nothing>,
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
) -> Answer<Reloaded> {
    observer.tell_act(&caller, "reload", &[]);
    let (sender, answer) = oneshot::channel();
    observer.order(Order::Reload(Arc::clone(&caller.name), sender)).await?;
    match answer.await {
        Ok(Ok(())) => Ok(Json(Reloaded { reloaded: true })),
        Ok(Err(cause)) => Err(Wrong::new(StatusCode::UNPROCESSABLE_ENTITY, cause)),
        Err(_) => Err(Wrong::no_answer()),
    }
}

/// The least important lines of the log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogLevelSet {
    #[schema(required, schema_with = levels)]
    level: String,
}

fn levels() -> Object {
    one_of("The level of the log.", ["error", "warn", "info", "debug", "trace"])
}

/// Changes the level of the log until the next reload.
#[utoipa::path(
    put, path = "/api/v1/log-level", request_body = LogLevelSet,
    responses((status = 200, description = "The new level.", body = LogLevelSet), (status = 503))
)]
async fn log_level(
    Query(Nothing {}): Query<Nothing>,
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<LogLevelSet>,
) -> Answer<LogLevelSet> {
    let Ok(level) = asked.level.parse::<LogLevel>() else {
        return Err(Wrong::bad("level is error, warn, info, debug or trace"));
    };
    observer.tell_act(&caller, "change the log's level", &[("level", Field::Text(&asked.level))]);
    observer.order(Order::LogLevel(level)).await?;
    Ok(Json(asked))
}

/// How clients are sent away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DrainAsked {
    /// Seconds over which they are.
    #[serde(default)]
    #[schema(value_type = u32, maximum = 4_294_967_295_u32)]
    over_s: Whole<u32>,
    /// The broker that they should use instead, of at most 65535 bytes; those of 5.0 are told.
    #[schema(pattern = r"^[^\x00]*$")]
    server_reference: Option<String>,
}

/// The beginning of a drain.
#[derive(Debug, Serialize, ToSchema)]
struct Draining {
    /// True: clients are being sent away.
    draining: bool,
}

/// Sends all clients away, a part at a time, and ends the broker then. No more connections are
/// accepted, and `/health/ready` says so.
#[utoipa::path(
    post, path = "/api/v1/drain", request_body = DrainAsked,
    responses(
        (status = 202, description = "The drain begins.", body = Draining),
        (status = 503)
    )
)]
async fn drain(
    Query(Nothing {}): Query<Nothing>,
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<DrainAsked>,
) -> Result<(StatusCode, Json<Draining>), Wrong> {
    let server_reference = reference(asked.server_reference)?;
    let over_s = Field::Number(asked.over_s.0.into());
    observer.tell_act(&caller, "drain and stop", &[("over_s", over_s)]);
    // At once is a drain, too: clients are told where to go.
    let over = Duration::from_secs(asked.over_s.0.into()).max(Duration::from_millis(1));
    observer.order(Order::Drain(Drain { over, server_reference })).await?;
    Ok((StatusCode::ACCEPTED, Json(Draining { draining: true })))
}

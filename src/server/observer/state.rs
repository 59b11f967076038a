//! The broker as a whole by HTTP: its state, its configuration, and the orders that change them.

use super::access::Caller;
use super::acts::no_answer;
use super::api::{Wrong, problem};
use super::history::percentiles;
use super::{Drain, Observer, Stage};
use crate::metrics::Journal;
use crate::options::LogLevel;
use crate::server::control::Order;
use crate::server::logging::Field;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

pub(super) fn routes() -> Router<Observer> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/journal", get(journal))
        .route("/api/v1/config", get(config))
        .route("/api/v1/token", get(token))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/log-level", put(log_level))
        .route("/api/v1/drain", post(drain))
}

impl Observer {
    /// Has the control thread do something.
    async fn order(&self, order: Order) -> Result<(), Wrong> {
        let sent = self.orders.send(order).await;
        sent.map_err(|_| Wrong(StatusCode::SERVICE_UNAVAILABLE, "the broker stops"))
    }
}

async fn status(State(observer): State<Observer>) -> Response {
    let view = observer.glance().await;
    let stage = match *observer.stage.borrow() {
        Stage::Serving => "serving",
        Stage::Draining => "draining",
        Stage::Stopping => "stopping",
    };
    let options = observer.options();
    let cores = observer.cores.iter().enumerate();
    let workers: Vec<Value> = cores
        .map(|(worker, core)| {
            let answers = view.workers.iter().any(|it| it.worker.index() == worker);
            json!({ "worker": worker, "core": core, "answers": answers })
        })
        .collect();
    let listeners: Vec<String> = options.listeners.iter().map(ToString::to_string).collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "stage": stage,
        "uptime_s": view.process.uptime,
        "listeners": listeners,
        "workers": workers,
        "journal": observer.journal_state(&view),
        "data_dir": options.data_dir,
    }))
    .into_response()
}

/// The state of the journal and its figures, by the metrics' names.
async fn journal(State(observer): State<Observer>) -> Response {
    let view = observer.glance().await;
    let options = observer.options();
    let mut answer = json!({
        "state": observer.journal_state(&view),
        "failure": observer.journal_status().failure,
        "data_dir": options.data_dir,
        "durability": options.durability.name(),
        "journal_waiting": view.sums().1.journal_waiting,
        "commit": percentiles(&view.durations().commit),
    });
    for (metric, values) in Journal::TABLE.iter().zip(view.journal.values()) {
        answer[metric.name] = values.iter().sum::<u64>().into();
    }
    Json(answer).into_response()
}

async fn config(State(observer): State<Observer>) -> Response {
    let all = observer.in_force.borrow().given.in_force();
    let options = all.into_iter().map(|value| {
        json!({
            "listener": value.listener,
            "name": value.name,
            "value": value.value,
            "source": value.origin,
        })
    });
    let options: Vec<Value> = options.collect();
    Json(json!({ "options": options })).into_response()
}

/// The dashboard's address with a token, for the owner of the broker alone.
async fn token(State(observer): State<Observer>, Extension(caller): Extension<Caller>) -> Response {
    if !caller.is_owner {
        return problem(StatusCode::FORBIDDEN, "the Unix socket alone tells the token");
    }
    let in_force = observer.in_force.borrow();
    let token = in_force.admin.tokens.full();
    let address = in_force.settings.options.admin_listen;
    let scheme = if in_force.admin.tls.is_some() { "https" } else { "http" };
    let url = address.zip(token).map(|(it, token)| format!("{scheme}://{it}/#token={token}"));
    Json(json!({ "token": token, "dashboard": url })).into_response()
}

async fn reload(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
) -> Response {
    observer.tell_act(&caller, "reload", &[]);
    let (sender, answer) = oneshot::channel();
    let ordered = observer.order(Order::Reload(Arc::clone(&caller.name), sender)).await;
    match (ordered, answer.await) {
        (Err(wrong), _) => wrong.into_response(),
        (Ok(()), Ok(Ok(()))) => Json(json!({ "reloaded": true })).into_response(),
        (Ok(()), Ok(Err(cause))) => problem(StatusCode::UNPROCESSABLE_ENTITY, &cause),
        (Ok(()), Err(_)) => no_answer(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelAsked {
    level: String,
}

async fn log_level(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<LevelAsked>,
) -> Response {
    let Ok(level) = asked.level.parse::<LogLevel>() else {
        return problem(StatusCode::BAD_REQUEST, "level is error, warn, info, debug or trace");
    };
    observer.tell_act(&caller, "change the log's level", &[("level", Field::Text(&asked.level))]);
    let ordered = observer.order(Order::LogLevel(level)).await;
    ordered.map(|()| Json(json!({ "level": asked.level }))).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainAsked {
    #[serde(default)]
    over_s: u32,
    server_reference: Option<String>,
}

async fn drain(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<DrainAsked>,
) -> Response {
    let over_s = Field::Number(asked.over_s.into());
    observer.tell_act(&caller, "drain and stop", &[("over_s", over_s)]);
    // At once is a drain, too: clients are told where to go.
    let over = Duration::from_secs(asked.over_s.into()).max(Duration::from_millis(1));
    let server_reference = asked.server_reference.map(Into::into);
    let ordered = observer.order(Order::Drain(Drain { over, server_reference })).await;
    let answer = (StatusCode::ACCEPTED, Json(json!({ "draining": true })));
    ordered.map(|()| answer).into_response()
}

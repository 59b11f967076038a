//! Traces by HTTP: a JSON object a line for each packet, for as long as whoever asked reads.

use super::Observer;
use super::access::Caller;
use super::document::STREAM;
use super::problem::Wrong;
use super::retained::check_filter;
use crate::base::ids::WorkerId;
use crate::broker::{Seen, Watched, Witness};
use crate::io::clock;
use crate::server::logging::Field::Text;
use crate::worker::{Notice, Question};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The packets that wait for whoever watches; further ones are counted.
const WAITING_MAX: usize = 1024;

/// The time after which a line without a packet shows that the trace goes on, or finds out that
/// nobody reads it any more.
const SIGN_INTERVAL: Duration = Duration::from_secs(5);

pub(super) fn routes() -> OpenApiRouter<Observer> {
    OpenApiRouter::default().routes(routes!(trace))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct TraceAsked {
    /// Packets of this client.
    client: Option<String>,
    /// Packets of this user's clients.
    user: Option<String>,
    /// PUBLISH packets on topics that this filter, not a shared one, matches.
    topic: Option<String>,
    /// Show the first 1024 bytes of payloads, too.
    #[serde(default)]
    payload: bool,
}

/// The lines of a trace on their way.
struct Lines {
    seen: mpsc::Receiver<Seen>,
    left_out: Arc<AtomicU64>,
    observer: Observer,
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.seen.close();
        for worker in WorkerId::all(self.observer.notices.workers()) {
            self.observer.notices.send(worker, Notice::EndTraces);
        }
    }
}

impl Lines {
    /// The next lines.
    async fn next(&mut self) -> Bytes {
        let first = timeout(SIGN_INTERVAL, self.seen.recv()).await.ok().flatten();
        let mut text = String::new();
        let more = std::iter::from_fn(|| self.seen.try_recv().ok()).take(WAITING_MAX);
        for seen in first.into_iter().chain(more) {
            text += &line(&self.observer, &seen);
        }
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 || text.is_empty() {
            text += &format!("{}\n", json!({ "left_out": left_out }));
        }
        text.into()
    }
}

/// Shows packets as they pass, until the asker goes; never a password. One of `client`, `user` and
/// `topic` is needed; all that are given have to hold.
#[utoipa::path(
    get, path = "/api/v1/trace", params(TraceAsked), tag = STREAM,
    responses(
        (status = 200, content_type = "application/x-ndjson", body = String,
            description = "A JSON object a line for each packet: `at_s` (seconds since 1970), \
                `direction` (`in` or `out`), `client_id`, `type`, `bytes`, `packet_id`, \
                `reason_codes`, `topics`, `delay_ms` (since a delivery's message was received); \
                for PUBLISH besides `qos`, `retain`, `dup`, `alias`, `payload_bytes` and, if \
                asked for, `payload_base64`. Objects with `left_out` alone tell how many packets \
                were not shown, and every 5 s that the trace goes on. 8 traces at a time."),
        (status = 503)
    )
)]
async fn trace(
    State(observer): State<Observer>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<TraceAsked>,
) -> Result<Response, Wrong> {
    if asked.client.is_none() && asked.user.is_none() && asked.topic.is_none() {
        return Err(Wrong::bad("client, user or topic says which packets are wanted"));
    }
    if asked.topic.as_ref().is_some_and(|filter| check_filter(filter).is_err()) {
        return Err(Wrong::bad("topic is a topic filter, not a shared one"));
    }
    let given = |value: &'_ Option<String>| value.clone().unwrap_or_default();
    let which = [given(&asked.client), given(&asked.user), given(&asked.topic)];
    let fields = ["client", "user", "topic"].into_iter().zip(which.iter().map(|it| Text(it)));
    let with_payload = ("payload", Text(if asked.payload { "true" } else { "false" }));
    let fields: Vec<_> = fields.chain([with_payload]).collect();
    observer.tell_act(&caller, "trace packets", &fields);
    let watched = Watched {
        client_id: asked.client,
        user: asked.user,
        topic: asked.topic,
        has_payloads: asked.payload,
    };
    let (sender, seen) = mpsc::channel(WAITING_MAX);
    let left_out = Arc::new(AtomicU64::new(0));
    let lines = Lines { seen, left_out: Arc::clone(&left_out), observer: observer.clone() };
    for worker in WorkerId::all(observer.notices.workers()) {
        let (sender, left_out) = (sender.clone(), Arc::clone(&left_out));
        let witness = Witness::new(move |seen| {
            let Some(seen) = seen else { return !sender.is_closed() };
            match sender.try_send(seen) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    left_out.fetch_add(1, Ordering::Relaxed);
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
        let watched = watched.clone();
        let begun = observer.ask(worker, |reply| Question::Trace(watched, witness, reply)).await;
        match begun {
            Some(true) => {}
            Some(false) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return Err(Wrong::new(status, "8 traces are under way already"));
            }
            None => return Err(Wrong::no_answer()),
        }
    }
    let stream = futures_util::stream::unfold(lines, |mut lines| async {
        let bytes = lines.next().await;
        Some((Ok::<_, Infallible>(bytes), lines))
    });
    let head = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((head, Body::from_stream(stream)).into_response())
}

/// A packet as JSON.
fn line(observer: &Observer, seen: &Seen) -> String {
    let ago = observer.clock.now().since(seen.at);
    let wall = Duration::from_millis(clock::wall_ms());
    let mut object = json!({
        "at_s": wall.saturating_sub(ago).as_secs_f64(),
        "direction": if seen.is_sent { "out" } else { "in" },
        "client_id": seen.client_id,
        "type": seen.kind.name(),
        "bytes": seen.bytes,
        "packet_id": seen.packet_id,
        "reason_codes": seen.codes,
        "topics": seen.topics,
        "delay_ms": seen.delay.map(|delay| delay.as_secs_f64() * 1000.0),
    });
    if let Some(publish) = &seen.publish {
        object["qos"] = publish.qos.into();
        object["retain"] = publish.retain.into();
        object["dup"] = publish.dup.into();
        object["alias"] = publish.alias.into();
        object["payload_bytes"] = publish.payload_bytes.into();
        if let Some(payload) = &publish.payload {
            object["payload_base64"] = STANDARD.encode(payload).into();
        }
    }
    format!("{object}\n")
}

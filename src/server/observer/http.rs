//! Metrics and health by HTTP, for Prometheus and for probes; nobody logs in.

use super::exposition::{self, Format};
use super::{Observer, Stage};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// The connections that are served at a time; more wait in the kernel.
const CONNECTIONS_MAX: usize = 64;

/// The time for a request's head, and for the next request.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// The time for a connection in all: a scraper comes back by a new one.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// The pause after an accept that failed, most likely for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `/metrics`, `/health/live` and `/health/ready`.
pub(in crate::server) fn routes(observer: Observer) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .with_state(observer)
}

/// Serves routes until the process ends.
///
/// # Errors
/// The runtime does not take the listener.
pub(in crate::server) async fn serve(
    listener: net::TcpListener,
    routes: Router,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_MAX)
                .serve_connection(TokioIo::new(stream), service);
            // A peer that has gone or talks nonsense is no news.
            let _ = timeout(CONNECTION_MAX, connection).await;
            drop(place);
        });
    }
}

async fn metrics(State(observer): State<Observer>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let text = exposition::text(&observer.look().await, format);
    ([(header::CONTENT_TYPE, format.content_type())], text)
}

/// Whether clients are served, and what is acknowledged can be kept.
async fn ready(State(observer): State<Observer>) -> (StatusCode, &'static str) {
    let unready = |why| (StatusCode::SERVICE_UNAVAILABLE, why);
    if *observer.stage.borrow() == Stage::Stopping {
        return unready("stopping\n");
    }
    let view = observer.look().await;
    if view.workers.len() < observer.notices.workers() {
        return unready("a worker does not answer\n");
    }
    match view.sums().1.journal_failing {
        0 => (StatusCode::OK, "ready\n"),
        _ => unready("the journal cannot be written\n"),
    }
}

//! Metrics and health by HTTP, for Prometheus and for probes; nobody logs in.

use super::access::Way;
use super::exposition::{self, Format};
use super::{Observer, Stage};
use crate::server::reload::InForce;
use crate::transport::{Certificate, TlsSettings};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// The connections that are served at a time; more wait in the kernel.
const CONNECTIONS_MAX: usize = 64;

/// The time for a request's head, and for the next request.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// The time for a connection in all: a scraper or a viewer comes back by a new one.
const CONNECTION_MAX: Duration = Duration::from_secs(3600);

/// The bytes that are buffered of a request's head, or of an answer that its peer does not read.
const BUFFER_MAX: usize = 64 * 1024;

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

/// A place at which HTTP is served.
#[derive(Debug)]
pub(in crate::server) enum Listening {
    /// TCP, with TLS where the settings have any.
    Tcp(TcpListener, Option<watch::Receiver<InForce>>),
    /// A Unix socket.
    Unix(UnixListener),
}

/// A connection, below HTTP.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Listening {
    async fn accept(&self) -> std::io::Result<Accepted> {
        match self {
            Self::Tcp(listener, in_force) => {
                let (stream, peer) = listener.accept().await?;
                let tls = in_force.as_ref().and_then(|it| it.borrow().admin.tls.clone());
                Ok(Accepted::Tcp(stream, peer, tls))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

/// A new connection.
enum Accepted {
    Tcp(TcpStream, SocketAddr, Option<Arc<TlsSettings>>),
    Unix(UnixStream),
}

impl Accepted {
    /// The connection once it speaks HTTP; None when the peer does not get so far.
    async fn begin(self) -> Option<(Box<dyn Stream>, Way)> {
        match self {
            Self::Tcp(stream, peer, None) => Some((Box::new(stream), Way::Tcp(peer))),
            Self::Tcp(stream, peer, Some(tls)) => {
                let shaken = TlsAcceptor::from(tls.config()).accept(stream);
                let stream = timeout(HEAD_MAX, shaken).await.ok()?.ok()?;
                let certificates = stream.get_ref().1.peer_certificates();
                let first = certificates.and_then(|all| all.first());
                // Only a certificate that its authority has signed gets here.
                let name = first.and_then(|it| Certificate::parse(it)).map(|it| it.subject.into());
                Some((Box::new(stream), Way::Tls(peer, name)))
            }
            Self::Unix(stream) => Some((Box::new(stream), Way::Socket)),
        }
    }
}

/// Serves routes until the process ends.
pub(in crate::server) async fn serve(listening: Listening, routes: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok(accepted) = listening.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let routes = routes.clone();
        tokio::spawn(async move {
            let Some((stream, way)) = accepted.begin().await else { return };
            let service = TowerToHyperService::new(routes.layer(Extension(way)));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_MAX)
                .max_buf_size(BUFFER_MAX)
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
async fn ready(State(observer): State<Observer>) -> (StatusCode, String) {
    match observer.unready().await {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(cause) => (StatusCode::SERVICE_UNAVAILABLE, format!("{cause}\n")),
    }
}

impl Observer {
    /// The cause for which clients are not served, or what is acknowledged cannot be kept; None
    /// while all is well.
    pub(super) async fn unready(&self) -> Option<&'static str> {
        match *self.stage.borrow() {
            Stage::Serving => {}
            Stage::Draining => return Some("draining"),
            Stage::Stopping => return Some("stopping"),
        }
        let view = self.glance().await;
        if view.workers.len() < self.notices.workers() {
            return Some("a worker does not answer");
        }
        (view.sums().1.journal_failing != 0).then_some("the journal cannot be written")
    }
}

//! The way in for operators: who asks, and what they may do.
//!
//! A web page that its visitor does not trust must not get in by the visitor's browser: tokens are
//! sent in a header that no page can make another origin's request carry, `Host` has to name this
//! machine where no token is needed, and `Origin` has to be the page's own.

use super::Observer;
use super::problem::Wrong;
use crate::access::{Tokens, Trust};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The time for a request's body and for its answer's head.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// The way by which a request came.
#[derive(Debug, Clone)]
pub(in crate::server) enum Way {
    /// The Unix socket, which the broker's own user and root alone can open.
    Socket,
    /// TCP, within this machine or from another one.
    Tcp(SocketAddr),
    /// TLS, perhaps with a certificate of an operator, which has this name.
    Tls(SocketAddr, Option<Arc<str>>),
}

/// The one who asks.
#[derive(Debug, Clone)]
pub(in crate::server) struct Caller {
    /// The caller in words, for logs.
    pub(in crate::server) name: Arc<str>,
    trust: Option<Trust>,
    /// The caller may be told the token.
    pub(super) is_owner: bool,
}

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl Caller {
    /// The caller that comes by `way` with these headers; None for a token that is wrong.
    fn find(way: &Way, headers: &HeaderMap, tokens: &Tokens) -> Option<Self> {
        let (place, by_way, is_owner) = match way {
            Way::Socket => ("the Unix socket".to_owned(), Some(Trust::Full), true),
            Way::Tcp(peer) if peer.ip().is_loopback() => {
                (peer.to_string(), Some(Trust::Reading), false)
            }
            Way::Tcp(peer) | Way::Tls(peer, None) => (peer.to_string(), None, false),
            Way::Tls(peer, Some(name)) => {
                (format!("{peer} with the certificate {name}"), Some(Trust::Full), false)
            }
        };
        let Some(given) = headers.get(header::AUTHORIZATION) else {
            return Some(Self { name: place.into(), trust: by_way, is_owner });
        };
        let given = given.to_str().ok()?;
        let (scheme, token) = given.split_once(' ')?;
        let trust = tokens.find(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
        let name = match trust {
            Trust::Full => format!("{place} with a token"),
            Trust::Reading => format!("{place} with a read-only token"),
        };
        Some(Self { name: name.into(), trust: Some(trust), is_owner })
    }
}

fn refuse(status: StatusCode, detail: &'static str) -> Response {
    Wrong::new(status, detail).into_response()
}

/// Lets in who may do what the request asks for.
pub(super) async fn admit(
    State(observer): State<Observer>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(way) = request.extensions().get::<Way>().cloned() else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the way of the request is not known");
    };
    if !is_from_here(&way, request.headers()) {
        return refuse(StatusCode::FORBIDDEN, "Host and Origin must name this machine");
    }
    let tokens = Arc::clone(&observer.in_force.borrow().admin.tokens);
    let unknown = |detail| {
        let mut answer = refuse(StatusCode::UNAUTHORIZED, detail);
        let bearer = header::HeaderValue::from_static("Bearer");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        answer
    };
    let Some(caller) = Caller::find(&way, request.headers(), &tokens) else {
        return unknown("the token is not known; `ringmq token` shows the right one");
    };
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path();
    // The page itself tells nothing; its requests do.
    let is_public = !changes && !path.starts_with("/api/") && path != "/metrics";
    match caller.trust {
        Some(Trust::Full) => {}
        Some(Trust::Reading) if !changes => {}
        Some(Trust::Reading) if request.headers().contains_key(header::AUTHORIZATION) => {
            return refuse(StatusCode::FORBIDDEN, "a read-only token changes nothing");
        }
        Some(Trust::Reading) => return unknown("a token is needed: `ringmq token` shows it"),
        None if is_public => {}
        None => return unknown("a token or a certificate is needed: `ringmq token` shows it"),
    }
    request.extensions_mut().insert(caller);
    let answer = timeout(REQUEST_MAX, next.run(request)).await;
    answer.unwrap_or_else(|_| refuse(StatusCode::REQUEST_TIMEOUT, "the request takes too long"))
}

/// Whether a request was not caused by a web page that has nothing to do with this broker: one of
/// another origin, or one whose name was made to point to this machine.
fn is_from_here(way: &Way, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(header::ORIGIN);
    match way {
        Way::Socket => origin.is_none(),
        Way::Tcp(_) => {
            let origin = origin.map(|origin| origin.trim_start_matches("http://"));
            text(header::HOST).is_some_and(is_here) && origin.is_none_or(is_here)
        }
        // Nothing is shown to a page that has no token, and it cannot send one without the page
        // itself.
        Way::Tls(..) => {
            let origin = origin.map(|origin| origin.trim_start_matches("https://"));
            origin.is_none_or(|origin| text(header::HOST) == Some(origin))
        }
    }
}

fn is_here(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority }
    });
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
}

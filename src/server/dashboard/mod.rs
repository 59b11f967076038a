//! The dashboard: a page for browsers, with all its files in the program. It knows no more than
//! the API tells, asks no other host, and runs no script but its own.

use super::observer::Observer;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Names a file of this folder by its path.
macro_rules! file {
    ($media:expr, $path:literal) => {
        File { path: $path, media: $media, bytes: include_bytes!($path) }
    };
}

/// All files but the page itself, which are served below `/dashboard/`.
const FILES: [File; 18] = [
    file!(STYLE, "files/style.css"),
    file!(STYLE, "files/parts.css"),
    file!("image/svg+xml", "files/icon.svg"),
    file!(SCRIPT, "files/theme.js"),
    file!(SCRIPT, "files/main.js"),
    file!(SCRIPT, "files/api.js"),
    file!(SCRIPT, "files/live.js"),
    file!(SCRIPT, "files/dom.js"),
    file!(SCRIPT, "files/format.js"),
    file!(SCRIPT, "files/charts.js"),
    file!(SCRIPT, "files/overview.js"),
    file!(SCRIPT, "files/clients.js"),
    file!(SCRIPT, "files/client.js"),
    file!(SCRIPT, "files/topics.js"),
    file!(SCRIPT, "files/console.js"),
    file!(SCRIPT, "files/log.js"),
    file!(SCRIPT, "vendor/uPlot.iife.min.js"),
    file!(STYLE, "vendor/uPlot.min.css"),
];

/// The library that only the console loads, by far the largest file.
const MQTT_JS: File = file!(SCRIPT, "vendor/mqtt.esm.js");

const PAGE: File = file!(HTML, "files/index.html");

/// A file in the program.
#[derive(Debug, Clone, Copy)]
struct File {
    path: &'static str,
    media: &'static str,
    bytes: &'static [u8],
}

/// Serves the page at `/` and its files below `/dashboard/`.
pub(super) fn routes(observer: Observer) -> Router {
    let files = FILES.into_iter().chain([MQTT_JS]).map(|file| {
        let (_, name) = file.path.split_once('/').unwrap_or_default();
        (format!("/dashboard/{name}"), file)
    });
    let all = files.chain([("/".to_owned(), PAGE)]);
    let routes = all.fold(Router::new(), |routes, (path, file)| {
        let tag = tag(file.bytes);
        let serve = move |State(observer): State<Observer>, headers: HeaderMap| async move {
            serve(&observer, file, &tag, &headers)
        };
        routes.route(&path, get(serve))
    });
    routes.with_state(observer)
}

/// Answers with a file, or that the browser has it already.
fn serve(observer: &Observer, file: File, tag: &str, request: &HeaderMap) -> Response {
    let text = |name| request.get(name).and_then(|value| value.to_str().ok());
    let policy = policy(observer, text(header::HOST).unwrap_or_default());
    let head = [
        (header::CONTENT_TYPE, file.media),
        (header::CONTENT_SECURITY_POLICY, &policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        // Another version of the broker may answer here tomorrow.
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, tag),
    ];
    let head: HeaderMap = head
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::from_str(value).ok()?)))
        .collect();
    match text(header::IF_NONE_MATCH) == Some(tag) {
        true => (StatusCode::NOT_MODIFIED, head).into_response(),
        false => (head, file.bytes).into_response(),
    }
}

/// The policy for a page that was asked for at `host`: nothing but this origin, and the WebSocket
/// listeners of this broker.
fn policy(observer: &Observer, host: &str) -> String {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    });
    let sockets = observer.websockets().map(|socket| {
        let name = socket.host.as_deref().unwrap_or(name);
        format!(" {}://{name}:{}", socket.scheme, socket.port)
    });
    let sockets: String = sockets.collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'{sockets}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
}

/// A tag that changes with the bytes: FNV-1a.
fn tag(bytes: &[u8]) -> String {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("\"{:016x}\"", bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix))
}

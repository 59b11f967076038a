//! The HTTP request that opens a WebSocket, and its answer (RFC 6455, section 4.2).

use super::TransportError;
use super::websocket::WebSocketSettings;
use crate::limits::{UPGRADE_BYTES_MAX, UPGRADE_FIELDS_MAX};
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;
use tungstenite::handshake::derive_accept_key;

/// The sub-protocols for MQTT, the best first: the specification's, then the older ones of
/// mosquitto and of the clients of its time.
const SUBPROTOCOLS: &[&str] = &["mqtt", "mqttv3.1", "mqttv3.1.1"];

/// Collects the request of one connection.
#[derive(Debug)]
pub(super) struct Upgrade {
    settings: Arc<WebSocketSettings>,
    head: Vec<u8>,
}

/// The server's answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP response, whole.
    pub(super) bytes: Vec<u8>,
    /// The cause, when no WebSocket opens.
    pub(super) refusal: Option<Cow<'static, str>>,
}

/// A refused request: status line, further header fields, and the cause.
struct Refusal {
    status: &'static str,
    fields: &'static str,
    cause: &'static str,
    /// The path that was asked for, where it is the cause.
    path: Option<String>,
}

/// The characters of a wrong path that the log shows.
const PATH_CHARS_MAX: usize = 100;

const fn refuse(status: &'static str, cause: &'static str) -> Refusal {
    Refusal { status, fields: "", cause, path: None }
}

impl Upgrade {
    pub(super) const fn new(settings: Arc<WebSocketSettings>) -> Self {
        Self { settings, head: Vec::new() }
    }

    /// Takes the request from the front of `bytes`; none until the request is complete.
    pub(super) fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Answer>, TransportError> {
        let held = self.head.len();
        let taken = bytes.len().min(UPGRADE_BYTES_MAX - held);
        self.head.extend_from_slice(&bytes[..taken]);
        check_first(&self.head)?;
        // What was searched before is not searched again, so that single bytes cost no more.
        let from = held.saturating_sub(3);
        let end = self.head[from..].windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end.map(|at| from + at + 4) else {
            *bytes = &[];
            let is_full = self.head.len() == UPGRADE_BYTES_MAX;
            return Ok(is_full.then(|| Answer::from(too_large())));
        };
        *bytes = &bytes[end - held..];
        let head = std::mem::take(&mut self.head);
        Ok(Some(answer(&head[..end], &self.settings)))
    }
}

/// Refuses bytes that cannot be HTTP at once, instead of waiting for the end of a request.
fn check_first(head: &[u8]) -> Result<(), TransportError> {
    match head.first() {
        Some(b'P') if head.starts_with(b"PROXY ") => {
            Err(TransportError::new("a PROXY header from an address that is not trusted"))
        }
        None | Some(b'A'..=b'Z') => Ok(()),
        Some(0x10) => Err(TransportError::new("MQTT without WebSocket on a WebSocket port")),
        Some(0x16) => Err(TransportError::new("TLS on a WebSocket port without TLS")),
        Some(_) => Err(TransportError::new("no HTTP request on a WebSocket port")),
    }
}

fn answer(head: &[u8], settings: &WebSocketSettings) -> Answer {
    let mut fields = [httparse::EMPTY_HEADER; UPGRADE_FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return too_large().into(),
        _ => return refuse("400 Bad Request", "The request is malformed.").into(),
    }
    match check(&request, settings) {
        Ok((key, subprotocol)) => accept(key, subprotocol),
        Err(refusal) => refusal.into(),
    }
}

/// The key and the sub-protocol of an acceptable request.
fn check<'a>(
    request: &httparse::Request<'_, 'a>,
    settings: &WebSocketSettings,
) -> Result<(&'a [u8], &'static str), Refusal> {
    check_target(request, settings)?;
    check_body(request.headers)?;
    check_upgrade(request.headers)?;
    check_origin(request.headers, &settings.origins)?;
    let key = single(request.headers, "Sec-WebSocket-Key")
        .filter(|key| is_key(key))
        .ok_or(refuse("400 Bad Request", "Sec-WebSocket-Key is missing or malformed."))?;
    Ok((key, subprotocol(request.headers)?))
}

fn check_target(
    request: &httparse::Request<'_, '_>,
    settings: &WebSocketSettings,
) -> Result<(), Refusal> {
    if request.method != Some("GET") {
        let cause = "A WebSocket is opened with GET.";
        let refusal = refuse("405 Method Not Allowed", cause);
        return Err(Refusal { fields: "Allow: GET\r\n", ..refusal });
    }
    if request.version != Some(1) {
        return Err(refuse("505 HTTP Version Not Supported", "HTTP/1.1 is required."));
    }
    if single(request.headers, "Host").is_none() {
        return Err(refuse("400 Bad Request", "Exactly one Host is required."));
    }
    let target = request.path.unwrap_or_default();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    if settings.has_every_path() || path == "/" || path == &*settings.path {
        return Ok(());
    }
    let path = Some(path.chars().take(PATH_CHARS_MAX).collect());
    Err(Refusal { path, ..refuse("404 Not Found", "MQTT is not at this path.") })
}

/// Refuses a request with a body: the bytes behind the head are frames, and a proxy that took them
/// for a body would see another request than we do.
fn check_body(fields: &[httparse::Header<'_>]) -> Result<(), Refusal> {
    let is_empty = values(fields, "Content-Length").all(|length| length.trim_ascii() == b"0");
    match is_empty && values(fields, "Transfer-Encoding").next().is_none() {
        true => Ok(()),
        false => Err(refuse("400 Bad Request", "A request for a WebSocket has no body.")),
    }
}

fn check_upgrade(fields: &[httparse::Header<'_>]) -> Result<(), Refusal> {
    let upgrade = |cause| Refusal {
        fields: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        ..refuse("426 Upgrade Required", cause)
    };
    if !tokens(fields, "Upgrade").any(|token| token.eq_ignore_ascii_case("websocket")) {
        return Err(upgrade("This port speaks MQTT over WebSocket."));
    }
    if !tokens(fields, "Connection").any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return Err(refuse("400 Bad Request", "Connection has to name Upgrade."));
    }
    match single(fields, "Sec-WebSocket-Version") {
        Some(b"13") => Ok(()),
        _ => Err(upgrade("Sec-WebSocket-Version has to be 13.")),
    }
}

/// Checks the Origin. Only browsers send an Origin, and web pages cannot forge one; so the check
/// keeps other sites' pages from using a visitor's network and certificate.
fn check_origin(fields: &[httparse::Header<'_>], allowed: &[Box<str>]) -> Result<(), Refusal> {
    let is_allowed = |origin: &[u8]| {
        allowed.is_empty() || allowed.iter().any(|a| origin.eq_ignore_ascii_case(a.as_bytes()))
    };
    match values(fields, "Origin").all(is_allowed) {
        true => Ok(()),
        false => Err(refuse("403 Forbidden", "This Origin is not allowed.")),
    }
}

/// The best sub-protocol that the client offers. [MQTT-6.0.0-3], [MQTT-6.0.0-4]
fn subprotocol(fields: &[httparse::Header<'_>]) -> Result<&'static str, Refusal> {
    let is_offered =
        |known: &&&str| tokens(fields, "Sec-WebSocket-Protocol").any(|token| token == **known);
    SUBPROTOCOLS
        .iter()
        .find(is_offered)
        .copied()
        .ok_or(refuse("400 Bad Request", "Sec-WebSocket-Protocol has to offer mqtt."))
}

fn values<'f, 'a: 'f>(
    fields: &'f [httparse::Header<'a>],
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> + 'f {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|f| f.value)
}

/// The value of a field that stands there exactly once.
fn single<'a>(fields: &[httparse::Header<'a>], name: &'static str) -> Option<&'a [u8]> {
    let mut values = values(fields, name);
    values.next().filter(|_| values.next().is_none())
}

/// The words of a list field, over all its lines.
fn tokens<'f, 'a: 'f>(
    fields: &'f [httparse::Header<'a>],
    name: &'static str,
) -> impl Iterator<Item = &'a str> + 'f {
    values(fields, name)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(','))
        .map(|token| token.trim_matches([' ', '\t']))
}

/// True for sixteen bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_digit)
}

fn accept(key: &[u8], subprotocol: &str) -> Answer {
    let mut text = String::from("HTTP/1.1 101 Switching Protocols\r\n");
    text.push_str("Upgrade: websocket\r\nConnection: Upgrade\r\n");
    let accept = derive_accept_key(key);
    let fields = write!(
        text,
        "Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    );
    fields.expect("a string takes whatever is written to it");
    Answer { bytes: text.into_bytes(), refusal: None }
}

const fn too_large() -> Refusal {
    refuse("431 Request Header Fields Too Large", "The request's head is too large.")
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, fields, cause, path } = refusal;
        let length = cause.len() + 1;
        let text = format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{cause}\n"
        );
        let refusal = path.map_or(cause.into(), |path| format!("{cause} It was {path:?}.").into());
        Self { bytes: text.into_bytes(), refusal: Some(refusal) }
    }
}

//! What may stand between a socket and MQTT: byte filters, bytes in and bytes out. A filter touches
//! no socket; whoever owns the connection moves the bytes.
//!
//! ```text
//! socket → PROXY header → TLS → WebSocket → MQTT     receive
//! socket ←                TLS ← WebSocket ← MQTT     send
//! ```
//!
//! Each layer is optional; a connection with none of them has no [`Transport`] at all.

#![forbid(unsafe_code)]

mod authorities;
mod certificate;
mod chain;
mod client_verifier;
mod frames;
mod handshake_cause;
mod hello;
mod own_certificate;
mod pem;
mod proxy;
mod public_key;
mod subject;
mod tls;
mod tls_error;
mod tls_files;
mod tls_settings;
mod upgrade;
mod websocket;

pub use crate::options::{ClientCertificates, TlsVersion};
pub(crate) use authorities::certificate_files;
pub use certificate::Certificate;
pub use tls_error::TlsError;
pub use tls_files::TlsFiles;
pub use tls_settings::TlsSettings;
pub use websocket::WebSocketSettings;

use crate::limits::HANDSHAKE_STEP_BYTES;
use proxy::ProxyReader;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::iter::once;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use tls::Tls;
use websocket::WebSocket;

/// What a listener's connections speak below MQTT. Cheap to clone; replaced on a reload.
#[derive(Debug, Clone, Default)]
pub struct Protocol {
    /// The connection's peer is trusted to send a PROXY header, and must.
    pub proxy: bool,
    /// TLS, and with what certificates.
    pub tls: Option<Arc<TlsSettings>>,
    /// MQTT in WebSocket frames, and who may open one.
    pub websocket: Option<Arc<WebSocketSettings>>,
}

impl Protocol {
    /// True when MQTT's bytes are the socket's.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        !self.proxy && self.tls.is_none() && self.websocket.is_none()
    }

    /// The filter of a new connection; none when there is nothing to filter.
    #[must_use]
    pub fn open(&self) -> Option<Transport> {
        if self.is_plain() {
            return None;
        }
        Some(Transport {
            proxy: self.proxy.then(ProxyReader::default),
            tls: self.tls.clone().map(Tls::new).map(Box::new),
            websocket: self.websocket.clone().map(WebSocket::new),
            is_proxied: self.proxy,
            peer: None,
            over: false,
        })
    }
}

/// How a connection goes on after [`Transport::receive`] or [`Transport::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// As before.
    Open,
    /// A layer has ended: whatever output there is is to be sent, then the connection closed.
    Ended,
}

/// Why a connection cannot go on, in one line for the log. The output may hold an alert, a close
/// frame or an HTTP answer, to be sent before the connection is closed.
#[derive(Debug)]
pub struct TransportError(Cow<'static, str>);

impl TransportError {
    fn new(cause: impl Into<Cow<'static, str>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TransportError {}

/// The layers of one connection.
#[derive(Debug)]
pub struct Transport {
    /// Until the header is complete.
    proxy: Option<ProxyReader>,
    tls: Option<Box<Tls>>,
    websocket: Option<WebSocket>,
    /// The socket's peer is a proxy.
    is_proxied: bool,
    peer: Option<SocketAddr>,
    /// Nothing the peer sends counts any more.
    over: bool,
}

impl Transport {
    /// Takes bytes as they came from the socket, cut anywhere, and appends what they hold of MQTT
    /// to `plain`. After [`Flow::Ended`] or an error it takes no more; what the peer is still owed
    /// may be sent until [`Transport::close`].
    ///
    /// # Errors
    /// What the peer did wrong.
    pub fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<Flow, TransportError> {
        if self.over {
            return Ok(Flow::Ended);
        }
        let flow = self.receive_proxy(bytes, plain);
        self.over = !matches!(flow, Ok(Flow::Open));
        flow
    }

    fn receive_proxy(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Flow, TransportError> {
        if let Some(reader) = &mut self.proxy {
            let Some(header) = reader.read(bytes)? else { return Ok(Flow::Open) };
            self.peer = header.peer;
            bytes = &bytes[header.bytes_used..];
            self.proxy = None;
        }
        self.receive_tls(bytes, plain)
    }

    fn receive_tls(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<Flow, TransportError> {
        match (&mut self.tls, &mut self.websocket) {
            (None, None) => {
                plain.extend_from_slice(bytes);
                Ok(Flow::Open)
            }
            (Some(tls), None) => tls.receive(bytes, plain),
            (None, Some(websocket)) => websocket.receive(bytes, plain),
            (Some(tls), Some(websocket)) => {
                let mut frames = Vec::new();
                let flow = tls.receive(bytes, &mut frames)?;
                match websocket.receive(&frames, plain)? {
                    Flow::Open => Ok(flow),
                    Flow::Ended => Ok(Flow::Ended),
                }
            }
        }
    }

    /// Appends to `out` what is to be sent: first what the layers themselves have to say, then
    /// `segments`, MQTT bytes in order, and after [`Transport::close`] the goodbye. Segments are
    /// dropped when a layer is not up yet, or is closed already.
    ///
    /// [`Flow::Ended`] says that nothing can be sent any more: the keys of a TLS 1.2 connection
    /// are used up.
    pub fn send<'a>(
        &mut self,
        segments: impl Iterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) -> Flow {
        let Some(websocket) = &mut self.websocket else {
            return Self::send_tls(self.tls.as_deref_mut(), segments, out);
        };
        let segments: SmallVec<[&[u8]; 16]> = segments.collect();
        let frame = websocket.send(segments.iter().map(|segment| segment.len()).sum());
        let body = if frame.has_payload { &segments[..] } else { &[] };
        let parts =
            once(&frame.before[..]).chain(body.iter().copied()).chain(once(&frame.after[..]));
        Self::send_tls(self.tls.as_deref_mut(), parts, out)
    }

    fn send_tls<'a>(
        tls: Option<&mut Tls>,
        parts: impl Iterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) -> Flow {
        match tls {
            Some(tls) => tls.send(parts, out),
            None => {
                parts.for_each(|part| out.extend_from_slice(part));
                Flow::Open
            }
        }
    }

    /// True when [`Transport::send`] would make of some segments now what every other transport
    /// that says so makes of them.
    #[must_use]
    pub(crate) fn frames_alike(&self) -> bool {
        let websocket = self.websocket.as_ref();
        self.tls.is_none()
            && websocket.is_some_and(|w| w.is_open() && !w.is_closed() && !w.has_output())
    }

    /// True when [`Transport::send`] would append something without any segments.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.tls.as_deref().is_some_and(Tls::has_output)
            || self.websocket.as_ref().is_some_and(WebSocket::has_output)
    }

    /// An orderly goodbye: a WebSocket close frame and TLS's close_notify become output, behind
    /// the segments of the next [`Transport::send`].
    pub fn close(&mut self) {
        self.websocket.iter_mut().for_each(WebSocket::close);
        self.tls.as_deref_mut().into_iter().for_each(Tls::close);
    }

    /// A TLS handshake is under way: the next [`Transport::receive`] may cost a signature.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_deref().is_some_and(Tls::is_handshaking)
    }

    /// Every layer is up: MQTT may flow, and [`Transport::peer`] and [`Transport::certificate`]
    /// are final.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.proxy.is_none()
            && self.tls.as_deref().is_none_or(Tls::is_open)
            && self.websocket.as_ref().is_none_or(WebSocket::is_open)
    }

    /// The client's address as the PROXY header gave it; none when it gave none.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// What to tell of a peer that leaves now; None when nothing is strange about it.
    #[must_use]
    pub(crate) fn departure(&self) -> Option<&'static str> {
        self.tls.as_deref().filter(|tls| tls.has_greeted() && !self.over).map(|_| {
            "TLS: the client left within the handshake; perhaps it does not trust the issuer of \
             our certificate, or the name in it is not the one that it connects to"
        })
    }

    /// True when the socket's peer is a proxy, also for connections of the proxy's own.
    #[must_use]
    pub(crate) const fn is_proxied(&self) -> bool {
        self.is_proxied
    }

    /// What the next [`Transport::receive`] of `bytes` costs while a TLS handshake is under way,
    /// in steps: certificates that have come are verified as soon as they are complete.
    #[must_use]
    pub fn handshake_steps(&self, bytes: &[u8]) -> usize {
        let held = self.tls.as_deref().map_or(0, Tls::incoming_bytes);
        1 + (held + bytes.len()) / HANDSHAKE_STEP_BYTES
    }

    /// The names in the client's certificate, which the handshake has verified.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.tls.as_deref().and_then(Tls::certificate)
    }

    /// Whether `settings`, newly loaded, would still let this client in at `now`: its certificate
    /// may have been revoked, or its authority be gone. True when there is none and none is
    /// required.
    #[must_use]
    pub fn still_accepted(&self, settings: &TlsSettings, now: SystemTime) -> bool {
        self.tls.as_deref().is_none_or(|tls| tls.is_accepted_by(settings, now))
    }
}

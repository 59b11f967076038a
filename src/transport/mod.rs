//! Byte filters between a socket and MQTT: bytes in and bytes out. A filter touches no socket; the
//! owner of the connection moves the bytes.
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
mod tls_client;
mod tls_error;
mod tls_files;
mod tls_settings;
mod upgrade;
mod websocket;

pub use crate::options::{ClientCertificates, TlsVersion};
pub(crate) use authorities::certificate_files;
pub use certificate::Certificate;
pub(crate) use tls_client::ClientFiles;
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

/// The layers below MQTT on a listener's connections. A protocol is cheap to clone, and replaced on
/// a reload.
#[derive(Debug, Clone, Default)]
pub struct Protocol {
    /// Whether the connection's peer is trusted to send a PROXY header, and must.
    pub proxy: bool,
    /// TLS, and its certificates.
    pub tls: Option<Arc<TlsSettings>>,
    /// WebSocket, and the clients that may open one.
    pub websocket: Option<Arc<WebSocketSettings>>,
}

impl Protocol {
    /// True when MQTT's bytes are the socket's bytes.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        !self.proxy && self.tls.is_none() && self.websocket.is_none()
    }

    /// The filter of a new connection; none when nothing needs a filter.
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

/// The state of a connection after [`Transport::receive`] or [`Transport::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// The connection goes on.
    Open,
    /// A layer has ended: the connection is to be closed, after any output is sent.
    Ended,
}

/// The reason for which a connection cannot go on, in one line for the log. The output may hold an
/// alert, a close frame or an HTTP answer, to be sent before the connection is closed.
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
    /// The reader of the header, until the header is complete.
    proxy: Option<ProxyReader>,
    tls: Option<Box<Tls>>,
    websocket: Option<WebSocket>,
    /// Whether the socket's peer is a proxy.
    is_proxied: bool,
    peer: Option<SocketAddr>,
    /// Whether the peer's further bytes are ignored.
    over: bool,
}

impl Transport {
    /// Takes bytes from the socket, cut anywhere, and appends their MQTT bytes to `plain`. After
    /// [`Flow::Ended`] or an error no further bytes are taken; output that the peer is still owed
    /// may be sent until [`Transport::close`].
    ///
    /// # Errors
    /// The peer's mistake.
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

    /// Appends output to `out`: first the layers' own bytes, then `segments`, MQTT bytes in order,
    /// and after [`Transport::close`] the goodbye. Segments are dropped when a layer is not up yet,
    /// or is closed already.
    ///
    /// [`Flow::Ended`] says that nothing can be sent any more: the keys of a TLS 1.2 connection are
    /// used up.
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

    /// True when [`Transport::send`] now frames segments without TLS and without other output. All
    /// such transports give the same bytes for the same segments.
    #[must_use]
    pub(crate) fn frames_alike(&self) -> bool {
        let websocket = self.websocket.as_ref();
        self.tls.is_none()
            && websocket.is_some_and(|w| w.is_open() && !w.is_closed() && !w.has_output())
    }

    /// True when [`Transport::send`] would append output even without segments.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.tls.as_deref().is_some_and(Tls::has_output)
            || self.websocket.as_ref().is_some_and(WebSocket::has_output)
    }

    /// Begins an orderly goodbye: a WebSocket close frame and TLS's close_notify become output,
    /// behind the segments of the next [`Transport::send`].
    /// the segments of the next [`Transport::send`].
    pub fn close(&mut self) {
        self.websocket.iter_mut().for_each(WebSocket::close);
        self.tls.as_deref_mut().into_iter().for_each(Tls::close);
    }

    /// Whether a TLS handshake is under way: the next [`Transport::receive`] may cost a signature.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_deref().is_some_and(Tls::is_handshaking)
    }

    /// Whether every layer is up: MQTT may flow, and [`Transport::peer`] and
    /// [`Transport::certificate`] are final.
    /// are final.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.proxy.is_none()
            && self.tls.as_deref().is_none_or(Tls::is_open)
            && self.websocket.as_ref().is_none_or(WebSocket::is_open)
    }

    /// The client's address from the PROXY header; none when the header names none.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// A line for the log about a peer that leaves now; None when its leave is normal.
    #[must_use]
    pub(crate) fn departure(&self) -> Option<&'static str> {
        self.tls.as_deref().filter(|tls| tls.has_greeted() && !self.over).map(|_| {
            "TLS: the client left within the handshake; perhaps the issuer of our certificate is \
             not trusted, or the name in it is not the one that the client connects to"
        })
    }

    /// True when the socket's peer is a proxy, also on a connection that the proxy opened for
    /// itself.
    #[must_use]
    pub(crate) const fn is_proxied(&self) -> bool {
        self.is_proxied
    }

    /// The cost of the next [`Transport::receive`] of `bytes` while a TLS handshake is under way,
    /// in steps: certificates are verified as soon as they are complete.
    #[must_use]
    pub fn handshake_steps(&self, bytes: &[u8]) -> usize {
        let held = self.tls.as_deref().map_or(0, Tls::incoming_bytes);
        1 + (held + bytes.len()) / HANDSHAKE_STEP_BYTES
    }

    /// The names in the client's certificate, as verified by the handshake.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.tls.as_deref().and_then(Tls::certificate)
    }

    /// Whether `settings`, newly loaded, would still let this client in at `now`: its certificate
    /// may have been revoked, or its authority be gone. True for a client without a certificate
    /// where none is required.
    #[must_use]
    pub fn still_accepted(&self, settings: &TlsSettings, now: SystemTime) -> bool {
        self.tls.as_deref().is_none_or(|tls| tls.is_accepted_by(settings, now))
    }
}

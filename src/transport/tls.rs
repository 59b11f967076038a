//! TLS of one connection: records in and out of rustls, which holds no buffers of its own.

use super::certificate::Certificate;
use super::hello::{self, Hello, Progress};
use super::tls_settings::TlsSettings;
use super::{Flow, TransportError, handshake_cause};
use crate::limits::{TLS_INPUT_BYTES_MAX, TLS_RECORD_BYTES_MAX, UNAUTHENTICATED_BYTES_MAX};
use rustls::HandshakeKind;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes by which a record is longer than its plaintext, at most, with every cipher of both
/// versions.
const RECORD_OVERHEAD_BYTES: usize = 32;
/// The steps in which the buffer for input grows.
const INPUT_STEP_BYTES: usize = 4096;
/// Bytes enough for a close_notify with every cipher.
const ALERT_BYTES_MAX: usize = 64;

/// The server's side of TLS on one connection.
pub(super) struct Tls {
    connection: UnbufferedServerConnection,
    settings: Arc<TlsSettings>,
    /// Received bytes that are not yet a whole record, or not yet a whole handshake message.
    incoming: Vec<u8>,
    /// Bytes of the handshake still to be sent, or an alert.
    outgoing: Vec<u8>,
    phase: Phase,
    goodbye: Goodbye,
    /// The client's offer, as far as it decides or explains anything.
    hello: Option<Hello>,
    /// Bytes of plaintext in a record.
    record_bytes_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte was received yet.
    Fresh,
    /// The beginning of the client's hello was received.
    Hello,
    Handshake,
    Open,
    /// The connection has failed; an alert may have to be sent.
    Failed,
}

/// The state of our close_notify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    No,
    Due,
    Said,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("phase", &self.phase)
            .field("goodbye", &self.goodbye)
            .field("incoming_bytes", &self.incoming.len())
            .field("outgoing_bytes", &self.outgoing.len())
            .finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(settings: Arc<TlsSettings>) -> Self {
        let connection = UnbufferedServerConnection::new(settings.config());
        Self {
            connection: connection.expect("the settings were checked when they were loaded"),
            settings,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            phase: Phase::Fresh,
            goodbye: Goodbye::No,
            hello: None,
            record_bytes_max: TLS_RECORD_BYTES_MAX,
        }
    }

    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Flow, TransportError> {
        if self.phase == Phase::Fresh && !bytes.is_empty() {
            check_first(bytes[0])?;
            self.phase = Phase::Hello;
        }
        let start = plain.len();
        self.take_in(bytes);
        if self.phase == Phase::Hello {
            self.read_hello();
        }
        let flow = self.process(plain).and_then(|flow| self.check_progress().map(|()| flow));
        if flow.is_err() {
            self.phase = Phase::Failed;
            self.incoming = Vec::new();
            // What came beside a forgery or from a client that is refused is not to be believed.
            plain.truncate(start);
        }
        flow
    }

    /// Keeps the bytes until they make a record. The buffer grows in small steps instead of
    /// doubling, so a peer can make us hold little more than it has sent.
    fn take_in(&mut self, bytes: &[u8]) {
        let held = self.incoming.len();
        let needed = (held + bytes.len()).next_multiple_of(INPUT_STEP_BYTES);
        self.incoming.reserve_exact(needed - held);
        self.incoming.extend_from_slice(bytes);
    }

    /// Waits for the whole hello, since the hello decides how the handshake goes on.
    fn read_hello(&mut self) {
        match hello::read(&self.incoming, self.settings.protocols()) {
            Progress::Incomplete => return,
            Progress::Foreign => {}
            Progress::Complete(hello) => {
                let (config, record_bytes_max) = self.settings.config_for(&hello);
                if record_bytes_max != self.record_bytes_max || !hello.shares_protocol {
                    let connection = UnbufferedServerConnection::new(config);
                    self.connection = connection.expect("only what rustls takes is in FRAGMENTS");
                }
                self.record_bytes_max = record_bytes_max;
                self.hello = Some(hello);
            }
        }
        self.phase = Phase::Handshake;
    }

    /// Processes whole records until none is left.
    fn process(&mut self, plain: &mut Vec<u8>) -> Result<Flow, TransportError> {
        if self.phase == Phase::Hello {
            return Ok(Flow::Open);
        }
        let (hello, least) = (self.hello, self.settings.least_version());
        let failed =
            |error| TransportError::new(handshake_cause::describe(&error, hello.as_ref(), least));
        let mut done = 0;
        let flow = loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.incoming[done..]);
            done += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        plain.extend_from_slice(record.map_err(failed)?.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, &mut self.outgoing)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => {
                    break Flow::Open;
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => break Flow::Ended,
                Ok(_) => return Err(TransportError::new("TLS: early data without being asked")),
                Err(error) => {
                    self.encode_alert();
                    return Err(failed(error));
                }
            }
        };
        self.incoming.drain(..done);
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        Ok(flow)
    }

    /// Encodes rustls's alert after an error, if any. Rustls is asked for the alert without input,
    /// which would only fail again.
    fn encode_alert(&mut self) {
        while self.connection.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                self.connection.process_tls_records(&mut []).state
        {
            encode(&mut data, &mut self.outgoing);
        }
    }

    fn check_progress(&mut self) -> Result<(), TransportError> {
        let is_open = self.is_open();
        let bytes_max = if is_open { TLS_INPUT_BYTES_MAX } else { UNAUTHENTICATED_BYTES_MAX };
        if self.incoming.len() > bytes_max {
            return Err(TransportError::new("TLS: a handshake message is too long"));
        }
        if self.phase == Phase::Handshake && !self.connection.is_handshaking() {
            self.phase = Phase::Open;
            return self.check_client();
        }
        Ok(())
    }

    /// Checks two things that rustls does not: that the client's names can be read, and that the
    /// certificate of a resumed session, verified when the ticket was given, would be accepted
    /// today.
    fn check_client(&self) -> Result<(), TransportError> {
        let certificate = self.connection.peer_certificates().and_then(<[_]>::first);
        if certificate.is_some_and(|der| Certificate::parse(der).is_none()) {
            return Err(TransportError::new("TLS: the client's certificate cannot be read"));
        }
        let is_resumed = self.connection.handshake_kind() == Some(HandshakeKind::Resumed);
        match is_resumed && !self.settings.accepts(self.certificates(), self.settings.now()) {
            true => Err(TransportError::new("TLS: the resumed client's certificate is refused")),
            false => Ok(()),
        }
    }

    /// Appends the handshake's bytes, then `parts` in as few records as possible, then the
    /// close_notify if it is due.
    pub(super) fn send<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) -> Flow {
        out.append(&mut std::mem::take(&mut self.outgoing));
        if !self.is_open() || self.goodbye == Goodbye::Said {
            return Flow::Open;
        }
        let flow = self.send_records(parts, out);
        if self.goodbye == Goodbye::Due {
            self.goodbye = Goodbye::Said;
            self.encrypt_goodbye(out);
        }
        flow
    }

    /// Fills records from several parts; a part is copied only where it does not fill a record by
    /// itself.
    fn send_records<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) -> Flow {
        let mut staged = Vec::new();
        let mut parts = parts.filter(|part| !part.is_empty()).peekable();
        while let Some(mut part) = parts.next() {
            if !staged.is_empty() {
                let count = part.len().min(self.record_bytes_max - staged.len());
                staged.extend_from_slice(&part[..count]);
                part = &part[count..];
                if staged.len() == self.record_bytes_max || parts.peek().is_none() {
                    if self.encrypt(&staged, out) == Flow::Ended {
                        return Flow::Ended;
                    }
                    staged.clear();
                }
            }
            let rest = if parts.peek().is_none() { 0 } else { part.len() % self.record_bytes_max };
            let (whole, rest) = part.split_at(part.len() - rest);
            if self.encrypt(whole, out) == Flow::Ended {
                return Flow::Ended;
            }
            staged.extend_from_slice(rest);
        }
        Flow::Open
    }

    fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Flow {
        if plain.is_empty() {
            return Flow::Open;
        }
        let start = out.len();
        let records = plain.len().div_ceil(self.record_bytes_max);
        out.resize(start + plain.len() + records * RECORD_OVERHEAD_BYTES, 0);
        loop {
            let state = self.connection.process_tls_records(&mut self.incoming).state;
            let Ok(ConnectionState::WriteTraffic(mut traffic)) = state else {
                break;
            };
            match traffic.encrypt(plain, &mut out[start..]) {
                Ok(count) => {
                    out.truncate(start + count);
                    return Flow::Open;
                }
                // A key update goes first and needs room as well.
                Err(EncryptError::InsufficientSize(size)) => {
                    out.resize(start + size.required_size, 0);
                }
                Err(EncryptError::EncryptExhausted) => break,
            }
        }
        out.truncate(start);
        self.phase = Phase::Failed;
        self.encode_alert();
        out.append(&mut std::mem::take(&mut self.outgoing));
        Flow::Ended
    }

    fn encrypt_goodbye(&mut self, out: &mut Vec<u8>) {
        let state = self.connection.process_tls_records(&mut self.incoming).state;
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            let mut alert = [0; ALERT_BYTES_MAX];
            let count = traffic.queue_close_notify(&mut alert).unwrap_or(0);
            out.extend_from_slice(&alert[..count]);
        }
    }

    pub(super) fn has_output(&self) -> bool {
        !self.outgoing.is_empty() || self.is_open() && self.goodbye == Goodbye::Due
    }

    pub(super) fn close(&mut self) {
        if self.goodbye == Goodbye::No {
            self.goodbye = Goodbye::Due;
        }
    }

    /// The number of received bytes that are not processed yet.
    pub(super) const fn incoming_bytes(&self) -> usize {
        self.incoming.len()
    }

    /// True from the client's hello until the handshake is over.
    pub(super) fn has_greeted(&self) -> bool {
        self.phase == Phase::Handshake && self.hello.is_some()
    }

    pub(super) const fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Fresh | Phase::Hello | Phase::Handshake)
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// The client's certificate and the chain that the client sent along.
    fn certificates(&self) -> &[rustls::pki_types::CertificateDer<'static>] {
        self.connection.peer_certificates().unwrap_or_default()
    }

    pub(super) fn certificate(&self) -> Option<Certificate> {
        match self.phase {
            Phase::Open => self.certificates().first().and_then(|der| Certificate::parse(der)),
            _ => None,
        }
    }

    pub(super) fn is_accepted_by(&self, settings: &TlsSettings, now: SystemTime) -> bool {
        // Judged by the same authorities and lists, a certificate is as good as it was.
        self.settings.trusts_as(settings)
            || settings.accepts(self.certificates(), TlsSettings::unix_time(now))
    }
}

/// Refuses a first byte that cannot be TLS, with a clearer error than TLS would give.
fn check_first(byte: u8) -> Result<(), TransportError> {
    match byte {
        0x10 => Err(TransportError::new("plain text on a TLS port: MQTT without TLS")),
        b'A'..=b'Z' => Err(TransportError::new("plain text on a TLS port: HTTP without TLS")),
        // The first byte of a record's length, with the bit that only SSL 2.0 sets.
        0x80.. => Err(TransportError::new(
            "TLS: the client offers SSL 2.0 first; it is older than TLS 1.2, which is needed here",
        )),
        _ => Ok(()),
    }
}

fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    let start = out.len();
    let mut room = 0;
    loop {
        out.resize(start + room, 0);
        match data.encode(&mut out[start..]) {
            Ok(count) => return out.truncate(start + count),
            Err(EncodeError::InsufficientSize(size)) => room = size.required_size,
            Err(EncodeError::AlreadyEncoded) => return out.truncate(start),
        }
    }
}

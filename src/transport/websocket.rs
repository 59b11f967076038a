//! MQTT over WebSocket: the upgrade first, then frames.

use super::frames::{Demand, FrameError, FrameReader};
use super::upgrade::{Answer, Upgrade};
use super::{Flow, TransportError};
use smallvec::SmallVec;
use std::sync::Arc;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The path and the origins from which a WebSocket may be opened.
#[derive(Debug, Clone)]
pub struct WebSocketSettings {
    /// The path of the URL; `/` is accepted as well, and `/*` is every path.
    pub path: Box<str>,
    /// The origins of pages that a browser may connect from, such as `https://example.org`; an
    /// empty list allows every page.
    pub origins: Vec<Box<str>>,
}

impl WebSocketSettings {
    pub(super) fn has_every_path(&self) -> bool {
        &*self.path == "/*"
    }
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        Self { path: "/mqtt".into(), origins: Vec::new() }
    }
}

/// The server's side of a WebSocket.
#[derive(Debug)]
pub(super) struct WebSocket {
    phase: Phase,
    /// The answer to the request; empty once it is sent.
    answer: Vec<u8>,
    /// The payload of the pong that is due. Only the newest ping is answered, so a peer that pings
    /// and does not read makes nothing grow (RFC 6455, 5.5.3).
    pong: Option<Vec<u8>>,
    close: Close,
    /// The code in our close frame, if any: the code of the peer's close frame, or the code of the
    /// peer's mistake.
    close_code: Option<u16>,
}

#[derive(Debug)]
enum Phase {
    Upgrade(Upgrade),
    Open(FrameReader),
    /// The request was refused: there are no frames.
    Refused,
}

/// The state of our close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    No,
    Due,
    Sent,
}

/// The bytes before and behind the payload of a send.
#[derive(Debug, Default)]
pub(super) struct Framing {
    pub(super) before: SmallVec<[u8; 32]>,
    /// Whether the payload may be sent.
    pub(super) has_payload: bool,
    pub(super) after: SmallVec<[u8; 4]>,
}

impl WebSocket {
    pub(super) fn new(settings: Arc<WebSocketSettings>) -> Self {
        Self {
            phase: Phase::Upgrade(Upgrade::new(settings)),
            answer: Vec::new(),
            pong: None,
            close: Close::No,
            close_code: Some(CloseCode::Normal.into()),
        }
    }

    pub(super) fn receive(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Flow, TransportError> {
        if let Phase::Upgrade(upgrade) = &mut self.phase {
            let Some(answer) = upgrade.read(&mut bytes)? else { return Ok(Flow::Open) };
            self.take_answer(answer)?;
        }
        self.receive_frames(bytes, plain)
    }

    fn take_answer(&mut self, answer: Answer) -> Result<(), TransportError> {
        self.answer = answer.bytes;
        match answer.refusal {
            None => {
                self.phase = Phase::Open(FrameReader::default());
                Ok(())
            }
            Some(cause) => {
                self.phase = Phase::Refused;
                Err(TransportError::new(format!("WebSocket request refused: {cause}")))
            }
        }
    }

    fn receive_frames(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Flow, TransportError> {
        let Phase::Open(frames) = &mut self.phase else { return Ok(Flow::Ended) };
        loop {
            match frames.read(&mut bytes, plain) {
                Ok(Demand::More) => return Ok(Flow::Open),
                Ok(Demand::Pong(payload)) => self.pong = Some(payload),
                Ok(Demand::Close(code)) => {
                    self.close_code = code;
                    return Ok(Flow::Ended);
                }
                Err(FrameError { code, cause }) => {
                    self.close_code = Some(code.into());
                    return Err(TransportError::new(format!("WebSocket: {cause}")));
                }
            }
        }
    }

    /// The framing of a payload of `payload_bytes`, with any other output that is due.
    pub(super) fn send(&mut self, payload_bytes: usize) -> Framing {
        let mut framing = Framing::default();
        framing.before.extend_from_slice(&std::mem::take(&mut self.answer));
        if !self.is_open() || self.close == Close::Sent {
            return framing;
        }
        if let Some(payload) = self.pong.take() {
            write_header(OpCode::Control(Control::Pong), payload.len(), &mut framing.before);
            framing.before.extend_from_slice(&payload);
        }
        if payload_bytes > 0 {
            write_header(OpCode::Data(Data::Binary), payload_bytes, &mut framing.before);
            framing.has_payload = true;
        }
        if self.close == Close::Due {
            let payload = self.close_code.map(u16::to_be_bytes);
            let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
            write_header(OpCode::Control(Control::Close), payload.len(), &mut framing.after);
            framing.after.extend_from_slice(payload);
            self.close = Close::Sent;
        }
        framing
    }

    pub(super) const fn has_output(&self) -> bool {
        !self.answer.is_empty()
            || self.is_open()
                && !matches!(self.close, Close::Sent)
                && (self.pong.is_some() || matches!(self.close, Close::Due))
    }

    /// Begins the close: our close frame goes behind all output that the peer is still owed.
    pub(super) fn close(&mut self) {
        if self.close == Close::No {
            self.close = Close::Due;
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// True once our close frame is sent.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.close, Close::Sent)
    }
}

fn write_header<const N: usize>(opcode: OpCode, payload_bytes: usize, to: &mut SmallVec<[u8; N]>)
where
    [u8; N]: smallvec::Array<Item = u8>,
{
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    header.format(payload_bytes as u64, to).expect("a vector takes whatever is written to it");
}

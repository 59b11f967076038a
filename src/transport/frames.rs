//! WebSocket frames from a client, cut anywhere, to the payload in them (RFC 6455, section 5).

use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The longest frame header.
const HEADER_BYTES_MAX: usize = 14;
/// The longest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;

/// A connection's position in the stream of frames.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    /// The beginning of a header.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// Whether a message has begun whose last frame has not come.
    in_message: bool,
    /// The received part of a control frame's payload.
    control: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: Kind,
    /// The mask, rotated so that its first byte is for the next byte of payload.
    mask: [u8; 4],
    bytes_left: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Ping,
    Pong,
    Close,
}

/// The reply that frames ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// No reply: all bytes are used up.
    More,
    /// A pong with this payload.
    Pong(Vec<u8>),
    /// The peer has closed, with this code if any.
    Close(Option<u16>),
}

/// A peer's mistake: the code to close with, and the cause.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FrameError {
    pub(super) code: CloseCode,
    pub(super) cause: &'static str,
}

impl FrameReader {
    /// Takes frames from the front of `bytes`, appends data to `plain`, and stops at a frame that
    /// needs a reply.
    pub(super) fn read(
        &mut self,
        bytes: &mut &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Demand, FrameError> {
        loop {
            let Some(frame) = &mut self.frame else {
                if !self.read_header(bytes)? {
                    return Ok(Demand::More);
                }
                continue;
            };
            match frame.kind {
                Kind::Data => frame.unmask(bytes, plain),
                _ => frame.unmask(bytes, &mut self.control),
            }
            if frame.bytes_left > 0 {
                return Ok(Demand::More);
            }
            let kind = frame.kind;
            self.frame = None;
            match kind {
                Kind::Data => {}
                Kind::Pong => self.control = Vec::new(),
                Kind::Ping => return Ok(Demand::Pong(std::mem::take(&mut self.control))),
                Kind::Close => return close_code(&self.control).map(Demand::Close),
            }
        }
    }

    /// Reads a header; false when bytes of the header are missing.
    fn read_header(&mut self, bytes: &mut &[u8]) -> Result<bool, FrameError> {
        let held = self.header_bytes;
        let count = bytes.len().min(HEADER_BYTES_MAX - held);
        self.header[held..held + count].copy_from_slice(&bytes[..count]);
        let mut cursor = Cursor::new(&self.header[..held + count]);
        match FrameHeader::parse(&mut cursor) {
            Ok(Some((header, length))) => {
                *bytes = &bytes[cursor.position() as usize - held..];
                self.header_bytes = 0;
                self.frame = Some(self.begin(&header, length)?);
                Ok(true)
            }
            Ok(None) => {
                *bytes = &[];
                self.header_bytes += count;
                Ok(false)
            }
            Err(_) => Err(protocol_error("a reserved opcode")),
        }
    }

    fn begin(&mut self, header: &FrameHeader, length: u64) -> Result<Frame, FrameError> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(protocol_error("reserved bits of an extension that was not agreed on"));
        }
        let Some(mask) = header.mask else {
            return Err(protocol_error("a frame without a mask"));
        };
        if length > i64::MAX as u64 {
            return Err(protocol_error("a frame longer than any may be"));
        }
        let kind = match header.opcode {
            OpCode::Data(data) => self.data(data, header.is_final)?,
            OpCode::Control(control) => control_kind(control, header.is_final, length)?,
        };
        Ok(Frame { kind, mask, bytes_left: length })
    }

    fn data(&mut self, data: Data, is_final: bool) -> Result<Kind, FrameError> {
        match (data, self.in_message) {
            (Data::Binary, false) | (Data::Continue, true) => {
                self.in_message = !is_final;
                Ok(Kind::Data)
            }
            // [MQTT-6.0.0-1]
            (Data::Text, false) => {
                Err(FrameError { code: CloseCode::Unsupported, cause: "a text frame" })
            }
            (Data::Continue, false) => Err(protocol_error("a continuation of no message")),
            _ => Err(protocol_error("a new message within a message")),
        }
    }
}

impl Frame {
    /// Moves payload from the front of `bytes` to the end of `to`.
    fn unmask(&mut self, bytes: &mut &[u8], to: &mut Vec<u8>) {
        let count = usize::try_from(self.bytes_left).unwrap_or(usize::MAX).min(bytes.len());
        let (payload, rest) = bytes.split_at(count);
        let start = to.len();
        to.extend_from_slice(payload);
        apply_mask(&mut to[start..], self.mask);
        self.mask.rotate_left(count % 4);
        self.bytes_left -= count as u64;
        *bytes = rest;
    }
}

/// Unmasks eight bytes at a time, since every byte from a client passes through here.
fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

fn control_kind(control: Control, is_final: bool, length: u64) -> Result<Kind, FrameError> {
    if !is_final {
        return Err(protocol_error("a control frame in pieces"));
    }
    if length > CONTROL_BYTES_MAX as u64 {
        return Err(protocol_error("a control frame of more than 125 bytes"));
    }
    match control {
        Control::Close => Ok(Kind::Close),
        Control::Ping => Ok(Kind::Ping),
        Control::Pong => Ok(Kind::Pong),
        Control::Reserved(_) => Err(protocol_error("a reserved opcode")),
    }
}

/// The code in a close frame, if any.
fn close_code(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(None),
            _ => Err(protocol_error("half a close code")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !CloseCode::from(code).is_allowed() {
        return Err(protocol_error("a close code that may not be sent"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => {
            Err(FrameError { code: CloseCode::Invalid, cause: "a close reason not in UTF-8" })
        }
    }
}

const fn protocol_error(cause: &'static str) -> FrameError {
    FrameError { code: CloseCode::Protocol, cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mask_undoes_itself_from_any_byte_on(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            mask in any::<[u8; 4]>(),
            cut in 0usize..60,
        ) {
            let masked: Vec<u8> =
                bytes.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            let mut frame = Frame { kind: Kind::Data, mask, bytes_left: bytes.len() as u64 };
            let (mut first, mut second) = masked.split_at(cut.min(masked.len()));
            let mut plain = Vec::new();
            frame.unmask(&mut first, &mut plain);
            frame.unmask(&mut second, &mut plain);
            prop_assert_eq!((plain, frame.bytes_left), (bytes, 0));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            piece in 1usize..40,
        ) {
            let mut whole = (FrameReader::default(), Vec::new());
            let mut parts = (FrameReader::default(), Vec::new());
            let all = whole.0.read(&mut &bytes[..], &mut whole.1);
            let mut last = Ok(Demand::More);
            for mut part in bytes.chunks(piece) {
                last = parts.0.read(&mut part, &mut parts.1);
                prop_assert!(parts.0.control.len() <= CONTROL_BYTES_MAX);
                if last != Ok(Demand::More) {
                    break;
                }
            }
            prop_assert_eq!((all, whole.1), (last, parts.1));
        }
    }
}

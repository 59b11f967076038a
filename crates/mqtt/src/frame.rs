//! Finds whole packets in a stream of bytes.
//!
//! ```text
//! first byte │ remaining length, 1–4 bytes │ body
//! type flags │ 7 bits each, low first      │ remaining length bytes
//! ```

use super::Version;
use super::error::ProtocolError;
use super::packet_type::PacketType;
use super::reason::ReasonCode;
use super::writer::varint_length;

/// One whole packet, its fixed header checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The first byte of the fixed header: type and flags.
    pub first: u8,
    /// The bytes behind the fixed header.
    pub body: &'a [u8],
    /// Bytes of the whole packet, fixed header included.
    pub length: usize,
}

impl Frame<'_> {
    /// Checks the header of a CONNECT, now that its version is known.
    pub(crate) fn check_connect(&self, version: Version) -> Result<(), ProtocolError> {
        check_first(self.first, version == Version::V31)?;
        match version.is_v5() {
            true => check_width(self.body.len(), self.length - self.body.len() - 1),
            false => Ok(()),
        }
    }

    /// The packet's type; none for the reserved type 0, which [`next_frame`] never returns.
    #[must_use]
    pub fn kind(&self) -> Option<PacketType> {
        PacketType::from_first(self.first)
    }
}

/// The start of a stream of bytes: a packet, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed<'a> {
    /// A whole packet; the next one starts `length` bytes further on.
    Whole(Frame<'a>),
    /// The beginning of a packet, or nothing at all.
    Partial {
        /// Bytes of the whole packet once its header is known.
        needed: Option<usize>,
    },
}

/// Finds the packet that `bytes` starts with.
///
/// A wrong first byte, a wrong length and a packet of more than `packet_bytes_max` bytes are
/// errors as soon as the bytes that show it are there. The rules are those that hold in every
/// version that has them: see [`next_frame_of`].
///
/// # Errors
///
/// Malformed packet for a wrong header, packet too large for one beyond the limit.
pub fn next_frame(bytes: &[u8], packet_bytes_max: usize) -> Result<Framed<'_>, ProtocolError> {
    next_frame_of(bytes, packet_bytes_max, Some(Version::V311))
}

/// Finds the packet that `bytes` starts with, from a peer that speaks `version`, as
/// [`next_frame`] does.
///
/// Without a version, before CONNECT is read, whatever only some versions forbid in its header is
/// left to [`Connect::decode`](super::Connect::decode).
///
/// MQTT 3.1 gives the reserved flags no value, and a client sets DUP on what it repeats. The length
/// may be longer than it needs to be, but in MQTT 5.
///
/// # Errors
///
/// As [`next_frame`].
// In the hot loop of whoever reads a stream, in another crate.
#[inline]
pub fn next_frame_of(
    bytes: &[u8],
    packet_bytes_max: usize,
    version: Option<Version>,
) -> Result<Framed<'_>, ProtocolError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(Framed::Partial { needed: None });
    };
    let is_connect = PacketType::from_first(first) == Some(PacketType::Connect);
    let is_lax = version == Some(Version::V31) || version.is_none() && is_connect;
    check_first(first, is_lax)?;
    let Some((body_length, width)) = remaining_length(rest)? else {
        return Ok(Framed::Partial { needed: None });
    };
    if version == Some(Version::V5) {
        check_width(body_length, width)?;
    }
    let length = 1 + width + body_length;
    if length > packet_bytes_max {
        return Err(ProtocolError::new(ReasonCode::PacketTooLarge, "packet above the limit"));
    }
    match bytes.get(1 + width..length) {
        Some(body) => Ok(Framed::Whole(Frame { first, body, length })),
        None => Ok(Framed::Partial { needed: Some(length) }),
    }
}

/// Refuses a remaining length of more bytes than it needs.
// [MQTT-1.5.5-1]
fn check_width(body_length: usize, width: usize) -> Result<(), ProtocolError> {
    match width > varint_length(body_length) {
        true => Err(ProtocolError::malformed("overlong remaining length")),
        false => Ok(()),
    }
}

/// `is_lax`: reserved flags may have any value.
fn check_first(first: u8, is_lax: bool) -> Result<(), ProtocolError> {
    let Some(kind) = PacketType::from_first(first) else {
        return Err(ProtocolError::malformed("packet type 0"));
    };
    let flags = first & 0x0F;
    match kind.fixed_flags() {
        // [MQTT-2.1.3-1]
        Some(fixed) if fixed != flags && !is_lax => Err(ProtocolError::malformed("reserved flags")),
        // [MQTT-3.3.1-4]
        None if flags & 0b0110 == 0b0110 => Err(ProtocolError::malformed("both QoS bits set")),
        _ => Ok(()),
    }
}

/// The remaining length and the bytes it takes; none when it is not all there.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 {
        return Ok(None);
    }
    Err(ProtocolError::malformed("remaining length of more than four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8], max: usize) -> ReasonCode {
        next_frame(bytes, max).expect_err("must be refused").code
    }

    #[test]
    fn finds_one_packet_after_the_other() {
        let bytes = [0xC0, 0, 0x40, 2, 0, 7];
        let Ok(Framed::Whole(ping)) = next_frame(&bytes, 100) else { panic!("no packet") };
        assert_eq!((ping.kind(), ping.length), (Some(PacketType::PingReq), 2));
        let Ok(Framed::Whole(ack)) = next_frame(&bytes[2..], 100) else { panic!("no packet") };
        assert_eq!((ack.body, ack.length), (&[0, 7][..], 4));
    }

    #[test]
    fn says_how_much_is_needed() {
        let partial = |needed| Ok(Framed::Partial { needed });
        assert_eq!(next_frame(&[], 100), partial(None));
        assert_eq!(next_frame(&[0x30], 100), partial(None));
        assert_eq!(next_frame(&[0x30, 0x80], 1000), partial(None));
        assert_eq!(next_frame(&[0x30, 0x80, 1], 1000), partial(Some(131)));
        assert_eq!(next_frame(&[0x30, 9, 1], 11), partial(Some(11)));
    }

    #[test]
    fn too_large_is_known_from_the_header() {
        assert_eq!(code(&[0x30, 9], 10), ReasonCode::PacketTooLarge);
        assert_eq!(code(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 1 << 20), ReasonCode::PacketTooLarge);
    }

    #[test]
    fn five_byte_length_is_malformed() {
        assert_eq!(code(&[0x30, 0x80, 0x80, 0x80, 0x80], 100), ReasonCode::MalformedPacket);
        assert_eq!(code(&[0x30, 0x80, 0x80, 0x80, 0x80, 1], 100), ReasonCode::MalformedPacket);
    }

    #[test]
    fn mqtt_1_5_5_1_the_shortest_length_in_mqtt_5() {
        for bytes in [&[0xC0, 0x80, 0][..], &[0x30, 0x83, 0x80, 0x80, 0, 0, 1, b'a']] {
            for version in [Some(Version::V31), Some(Version::V311), None] {
                assert!(next_frame_of(bytes, 100, version).is_ok(), "{version:?} {bytes:02x?}");
            }
            let error = next_frame_of(bytes, 100, Some(Version::V5)).expect_err("is overlong");
            assert_eq!(error.code, ReasonCode::MalformedPacket);
        }
        assert!(next_frame_of(&[0xC0, 0], 100, Some(Version::V5)).is_ok());
        assert!(next_frame_of(&[0x30, 0x80, 1], 1000, Some(Version::V5)).is_ok());
    }

    #[test]
    fn mqtt_3_1_gives_reserved_flags_no_value() {
        for first in 0x10..=255_u8 {
            let is_publish = first >> 4 == 3;
            let is_fine = !is_publish || first & 6 != 6;
            let frame = next_frame_of(std::slice::from_ref(&first), 100, Some(Version::V31));
            assert_eq!(frame.is_ok(), is_fine, "{first:#04x}");
            // What it speaks is not known before its CONNECT is read.
            let frame = next_frame_of(std::slice::from_ref(&first), 100, None);
            let is_fine = first >> 4 == 1 || next_frame(&[first], 100).is_ok();
            assert_eq!(frame.is_ok(), is_fine, "{first:#04x}");
        }
    }

    #[test]
    fn mqtt_2_1_3_1_reserved_flags() {
        for first in 0..=255 {
            let is_fine = match first >> 4 {
                0 => false,
                3 => first & 6 != 6,
                6 | 8 | 10 => first & 15 == 2,
                _ => first & 15 == 0,
            };
            assert_eq!(next_frame(&[first], 100).is_ok(), is_fine, "{first:#04x}");
        }
    }
}

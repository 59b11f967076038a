//! PUBACK, PUBREC, PUBREL and PUBCOMP: the four answers on the way of a message, all alike.

use super::error::ProtocolError;
use super::packet_type::PacketType;
use super::properties::{Remarks, UserProperties, put_remarks};
use super::reader::Reader;
use super::writer::{put_sized, put_two_bytes};
use super::{Frame, ReasonCode, Version};

/// The type of one of the four answers on the way of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AckType {
    /// Answers PUBLISH at QoS 1.
    PubAck,
    /// Answers PUBLISH at QoS 2.
    PubRec,
    /// Answers PUBREC.
    PubRel,
    /// Answers PUBREL.
    PubComp,
}

impl AckType {
    /// The packet's type.
    #[must_use]
    pub const fn packet_type(self) -> PacketType {
        match self {
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
        }
    }

    /// The answer that a packet type is, if it is one.
    #[must_use]
    pub const fn from_packet_type(kind: PacketType) -> Option<Self> {
        match kind {
            PacketType::PubAck => Some(Self::PubAck),
            PacketType::PubRec => Some(Self::PubRec),
            PacketType::PubRel => Some(Self::PubRel),
            PacketType::PubComp => Some(Self::PubComp),
            _ => None,
        }
    }
}

/// One of the four answers. In MQTT 3 the code is always success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The type of the answer.
    pub kind: AckType,
    /// The packet identifier of the PUBLISH: at least 1.
    pub packet_id: u16,
    /// Success, or the reason for which the message was refused.
    pub code: ReasonCode,
    /// The reason in words, for a log.
    pub reason: Option<&'a str>,
    /// Names and values that the sender chose.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    /// An answer without properties.
    #[must_use]
    pub fn new(kind: AckType, packet_id: u16, code: ReasonCode) -> Self {
        let user_properties = UserProperties::default();
        Self { kind, packet_id, code, reason: None, user_properties }
    }

    /// Decodes a frame whose kind is one of the four.
    ///
    /// # Errors
    ///
    /// Malformed packet or protocol error, as the specification says.
    // As `next_frame_of`: a broker reads one of these for each delivery.
    #[inline]
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, ProtocolError> {
        let kind = frame.kind().and_then(AckType::from_packet_type);
        let kind = kind.ok_or(ProtocolError::protocol("packet that is no acknowledgement"))?;
        let packets = kind.packet_type().set();
        let mut reader = Reader::new(frame.body);
        let packet_id = reader.packet_id()?;
        let mut code = ReasonCode::Success;
        let mut remarks = Remarks::default();
        if version.is_v5() && !reader.is_empty() {
            code = ReasonCode::decode(&mut reader, packets)?;
        }
        if version.is_v5() && !reader.is_empty() {
            remarks = Remarks::decode(&mut reader, packets)?;
        }
        reader.finish()?;
        let Remarks { reason, user_properties } = remarks;
        Ok(Self { kind, packet_id, code, reason, user_properties })
    }

    /// Writes the packet at the end of `out`, in its shortest form.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        if !version.is_v5() || (self.reason.is_none() && self.user_properties.is_empty()) {
            return encode_ack(self.kind, version, self.packet_id, self.code, out);
        }
        out.push(self.kind.packet_type().first_byte());
        put_sized(out, |out| {
            put_two_bytes(self.packet_id, out);
            out.push(self.code as u8);
            put_sized(out, |out| put_remarks(self.reason, &self.user_properties, out));
        });
    }
}

/// Writes an answer without properties at the end of `out`: four bytes, or five with a code.
pub fn encode_ack(
    kind: AckType,
    version: Version,
    packet_id: u16,
    code: ReasonCode,
    out: &mut Vec<u8>,
) {
    let first = kind.packet_type().first_byte();
    let [high, low] = packet_id.to_be_bytes();
    if version.is_v5() && code != ReasonCode::Success {
        out.extend_from_slice(&[first, 3, high, low, code as u8]);
    } else {
        out.extend_from_slice(&[first, 2, high, low]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(first: u8, body: &[u8], version: Version) -> Result<Ack<'_>, ProtocolError> {
        Ack::decode(&Frame { first, body, length: body.len() + 2 }, version)
    }

    #[test]
    fn every_form_of_v5_is_taken() {
        for body in [&[0, 7][..], &[0, 7, 0], &[0, 7, 0, 0]] {
            let ack = decode(0x40, body, Version::V5).expect("is a PUBACK");
            assert_eq!((ack.packet_id, ack.code), (7, ReasonCode::Success));
        }
        let ack = decode(0x50, b"\0\x07\x97\x04\x1F\0\x01r", Version::V5).expect("is a PUBREC");
        assert_eq!((ack.code, ack.reason), (ReasonCode::QuotaExceeded, Some("r")));
    }

    #[test]
    fn v3_has_no_code() {
        assert!(decode(0x40, &[0, 7], Version::V311).is_ok());
        assert!(decode(0x40, &[0, 7, 0], Version::V311).is_err());
    }

    #[test]
    fn mqtt_3_6_2_1_codes_of_the_packet() {
        assert!(decode(0x62, &[0, 7, 0x92], Version::V5).is_ok());
        let error = decode(0x62, &[0, 7, 0x10], Version::V5).expect_err("no code of PUBREL");
        assert_eq!(error.code, ReasonCode::ProtocolError);
    }

    #[test]
    fn shortest_form_is_written() {
        let mut out = Vec::new();
        encode_ack(AckType::PubRel, Version::V5, 258, ReasonCode::Success, &mut out);
        encode_ack(AckType::PubRec, Version::V5, 1, ReasonCode::QuotaExceeded, &mut out);
        encode_ack(AckType::PubRec, Version::V311, 1, ReasonCode::QuotaExceeded, &mut out);
        assert_eq!(out, [0x62, 2, 1, 2, 0x50, 3, 0, 1, 0x97, 0x50, 2, 0, 1]);
    }
}

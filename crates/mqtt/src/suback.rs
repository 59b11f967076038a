//! SUBACK and UNSUBACK: the server's answers, one code for each filter.

use super::error::ProtocolError;
use super::packet_type::PacketType;
use super::properties::{Remarks, UserProperties, put_remarks};
use super::reader::Reader;
use super::writer::{put_sized, put_two_bytes};
use super::{Frame, ReasonCode, Version};

/// The only code of MQTT 3 that says no.
const FAILURE: u8 = 0x80;

/// The server's answer to SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubAck<'a> {
    /// The packet identifier of the SUBSCRIBE: at least 1.
    pub packet_id: u16,
    /// One reason code for each filter, in order: [MQTT-3.9.3-1].
    pub codes: &'a [u8],
    /// The reason in words, for a log.
    pub reason: Option<&'a str>,
    /// Names and values that the server chose.
    pub user_properties: UserProperties<'a>,
}

impl<'a> SubAck<'a> {
    /// Decodes a frame whose kind is SUBACK.
    ///
    /// # Errors
    ///
    /// Malformed packet or protocol error, as the specification says.
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(frame.body);
        let packet_id = reader.packet_id()?;
        let remarks = decode_remarks(&mut reader, PacketType::SubAck, version)?;
        let codes = decode_codes(&mut reader, PacketType::SubAck)?;
        if !version.is_v5() && codes.iter().any(|code| *code > FAILURE) {
            return Err(ProtocolError::protocol("reserved return code"));
        }
        let Remarks { reason, user_properties } = remarks;
        Ok(Self { packet_id, codes, reason, user_properties })
    }

    /// Writes the packet at the end of `out`. In MQTT 3 every error becomes 0x80.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        out.push(PacketType::SubAck.first_byte());
        put_sized(out, |out| {
            put_two_bytes(self.packet_id, out);
            if version.is_v5() {
                put_sized(out, |out| put_remarks(self.reason, &self.user_properties, out));
                out.extend_from_slice(self.codes);
            } else {
                out.extend(self.codes.iter().map(|code| (*code).min(FAILURE)));
            }
        });
    }
}

/// The server's answer to UNSUBSCRIBE. In MQTT 3 there is only the packet identifier.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnsubAck<'a> {
    /// The packet identifier of the UNSUBSCRIBE: at least 1.
    pub packet_id: u16,
    /// One reason code for each filter, in order: [MQTT-3.11.3-1].
    pub codes: &'a [u8],
    /// The reason in words, for a log.
    pub reason: Option<&'a str>,
    /// Names and values that the server chose.
    pub user_properties: UserProperties<'a>,
}

impl<'a> UnsubAck<'a> {
    /// Decodes a frame whose kind is UNSUBACK.
    ///
    /// # Errors
    ///
    /// Malformed packet or protocol error, as the specification says.
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(frame.body);
        let packet_id = reader.packet_id()?;
        let remarks = decode_remarks(&mut reader, PacketType::UnsubAck, version)?;
        let mut codes = &[][..];
        if version.is_v5() {
            codes = decode_codes(&mut reader, PacketType::UnsubAck)?;
        }
        reader.finish()?;
        let Remarks { reason, user_properties } = remarks;
        Ok(Self { packet_id, codes, reason, user_properties })
    }

    /// Writes the packet at the end of `out`.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        out.push(PacketType::UnsubAck.first_byte());
        put_sized(out, |out| {
            put_two_bytes(self.packet_id, out);
            if version.is_v5() {
                put_sized(out, |out| put_remarks(self.reason, &self.user_properties, out));
                out.extend_from_slice(self.codes);
            }
        });
    }
}

fn decode_remarks<'a>(
    reader: &mut Reader<'a>,
    kind: PacketType,
    version: Version,
) -> Result<Remarks<'a>, ProtocolError> {
    if version.is_v5() { Remarks::decode(reader, kind.set()) } else { Ok(Remarks::default()) }
}

/// Reads the codes, which are all that is left: at least one.
fn decode_codes<'a>(reader: &mut Reader<'a>, kind: PacketType) -> Result<&'a [u8], ProtocolError> {
    let codes = reader.rest();
    let mut unchecked = Reader::new(codes);
    while !unchecked.is_empty() {
        // [MQTT-3.9.3-2] [MQTT-3.11.3-2]
        ReasonCode::decode(&mut unchecked, kind.set())?;
    }
    if codes.is_empty() {
        return Err(ProtocolError::malformed("answer without a code"));
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suback(body: &[u8], version: Version) -> Result<SubAck<'_>, ProtocolError> {
        SubAck::decode(&Frame { first: 0x90, body, length: body.len() + 2 }, version)
    }

    #[test]
    fn v3_knows_one_failure() {
        let mut out = Vec::new();
        let answer = SubAck { packet_id: 1, codes: &[1, 0x8F, 2], ..SubAck::default() };
        answer.encode(Version::V311, &mut out);
        assert_eq!(out, [0x90, 5, 0, 1, 1, 0x80, 2]);
        assert!(suback(&[0, 1, 0x80], Version::V311).is_ok());
        assert!(suback(&[0, 1, 0x8F], Version::V311).is_err());
    }

    #[test]
    fn mqtt_3_9_3_2_codes_of_the_packet() {
        assert!(suback(&[0, 1, 0, 0x8F, 2], Version::V5).is_ok());
        assert!(suback(&[0, 1, 0, 0x11], Version::V5).is_err());
        assert!(suback(&[0, 1, 0], Version::V5).is_err());
    }

    #[test]
    fn v3_unsuback_has_no_codes() {
        let mut out = Vec::new();
        let answer = UnsubAck { packet_id: 1, codes: &[0x11], ..UnsubAck::default() };
        answer.encode(Version::V311, &mut out);
        assert_eq!(out, [0xB0, 2, 0, 1]);
        let frame = Frame { first: 0xB0, body: &[0, 1, 0], length: 5 };
        assert!(UnsubAck::decode(&frame, Version::V311).is_err());
    }
}

//! UNSUBSCRIBE: a client asks for no more messages.

use smallvec::SmallVec;

use super::error::ProtocolError;
use super::packet_type::sets::UNSUBSCRIBE;
use super::properties::{Remarks, UserProperties};
use super::reader::Reader;
use super::writer::{put_sized, put_text, put_two_bytes};
use super::{Frame, PacketType, Version};

/// A client asks for no more messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unsubscribe<'a> {
    /// The number that the UNSUBACK must name: at least 1.
    pub packet_id: u16,
    /// The filters as the client wrote them, in order; at least one.
    pub filters: SmallVec<[&'a str; 2]>,
    /// Names and values that the client chose.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Unsubscribe<'a> {
    /// Decodes a frame whose kind is UNSUBSCRIBE.
    ///
    /// # Errors
    ///
    /// Malformed packet or protocol error, as the specification says.
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(frame.body);
        let mut unsubscribe = Self { packet_id: reader.packet_id()?, ..Self::default() };
        if version.is_v5() {
            let remarks = Remarks::decode(&mut reader, UNSUBSCRIBE)?;
            unsubscribe.user_properties = remarks.user_properties;
        }
        while !reader.is_empty() {
            unsubscribe.filters.push(reader.text()?);
        }
        // [MQTT-3.10.3-2]
        if unsubscribe.filters.is_empty() {
            return Err(ProtocolError::protocol("UNSUBSCRIBE without a filter"));
        }
        Ok(unsubscribe)
    }

    /// Writes the packet at the end of `out`.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        out.push(PacketType::Unsubscribe.first_byte());
        put_sized(out, |out| {
            put_two_bytes(self.packet_id, out);
            if version.is_v5() {
                put_sized(out, |out| self.user_properties.append_to(out));
            }
            for filter in &self.filters {
                put_text(filter, out);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReasonCode;

    fn decode(body: &[u8], version: Version) -> Result<Unsubscribe<'_>, ProtocolError> {
        Unsubscribe::decode(&Frame { first: 0xA2, body, length: body.len() + 2 }, version)
    }

    #[test]
    fn mqtt_3_10_3_2_at_least_one_filter() {
        for (body, version) in [(&[0, 1][..], Version::V311), (&[0, 1, 0], Version::V5)] {
            let error = decode(body, version).expect_err("must be refused");
            assert_eq!(error.code, ReasonCode::ProtocolError);
        }
    }

    #[test]
    fn filters_keep_their_order() {
        let unsubscribe = decode(b"\0\x09\0\x01b\0\x01a", Version::V311).expect("is fine");
        assert_eq!((unsubscribe.packet_id, unsubscribe.filters.as_slice()), (9, &["b", "a"][..]));
    }
}

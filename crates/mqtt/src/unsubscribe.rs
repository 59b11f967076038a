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

/// The filters of an UNSUBSCRIBE one after the other, for a receiver that takes a part at a time.
/// After an error nothing follows that counts.
#[derive(Debug, Clone)]
pub struct UnsubscribeFilters<'a>(Reader<'a>);

impl<'a> Unsubscribe<'a> {
    /// Decodes a frame whose kind is UNSUBSCRIBE.
    ///
    /// # Errors
    ///
    /// Malformed packet or protocol error, as the specification says.
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, ProtocolError> {
        let (mut unsubscribe, filters) = Self::decode_head(frame, version)?;
        for filter in filters {
            unsubscribe.filters.push(filter?);
        }
        Ok(unsubscribe)
    }

    /// Decodes what stands before the filters, and gives these apart: there is at least one.
    ///
    /// # Errors
    ///
    /// As [`Self::decode`], but for what is wrong with a filter.
    pub fn decode_head(
        frame: &Frame<'a>,
        version: Version,
    ) -> Result<(Self, UnsubscribeFilters<'a>), ProtocolError> {
        let mut reader = Reader::new(frame.body);
        let mut unsubscribe = Self { packet_id: reader.packet_id()?, ..Self::default() };
        if version.is_v5() {
            let remarks = Remarks::decode(&mut reader, UNSUBSCRIBE)?;
            unsubscribe.user_properties = remarks.user_properties;
        }
        // [MQTT-3.10.3-2]
        if reader.is_empty() {
            return Err(ProtocolError::protocol("UNSUBSCRIBE without a filter"));
        }
        Ok((unsubscribe, UnsubscribeFilters(reader)))
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

impl UnsubscribeFilters<'_> {
    /// The bytes of the packet's body before the next filter.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.0.position()
    }

    /// Goes on at a [`Self::position`] of the same packet.
    pub const fn go_to(&mut self, position: usize) {
        self.0.go_to(position);
    }
}

impl<'a> Iterator for UnsubscribeFilters<'a> {
    type Item = Result<&'a str, ProtocolError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() { None } else { Some(self.0.text()) }
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

//! SUBSCRIBE: a client asks for messages.

use smallvec::SmallVec;

use super::error::ProtocolError;
use super::packet_type::sets::SUBSCRIBE;
use super::properties::UserProperties;
use super::property::{Property, PropertyReader, SubscriptionId};
use super::reader::Reader;
use super::writer::{put_sized, put_text, put_two_bytes};
use super::{Frame, PacketType, QoS, Version};

const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RESERVED: u8 = 0b1100_0000;

/// A client asks for messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscribe<'a> {
    /// The number that the SUBACK must name: at least 1.
    pub packet_id: u16,
    /// The number that messages of these subscriptions come with: 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// The filters and how their messages are to be delivered, in order; at least one.
    pub filters: SmallVec<[SubscribeFilter<'a>; 2]>,
    /// Names and values that the client chose.
    pub user_properties: UserProperties<'a>,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// The filter as the client wrote it; see [`super::TopicFilter::parse`].
    pub filter: &'a str,
    /// The way in which its messages are to be delivered.
    pub options: SubscriptionOptions,
}

/// The filters of a SUBSCRIBE one after the other, for a receiver that takes a part at a time.
/// After an error nothing follows that counts.
#[derive(Debug, Clone)]
pub struct SubscribeFilters<'a> {
    reader: Reader<'a>,
    version: Version,
}

/// The way in which a subscription's messages are to be delivered. MQTT 3 has only the first field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SubscriptionOptions {
    /// The highest quality of service of a delivery.
    pub qos: QoS,
    /// Whether the client's own messages are left out; never on a shared subscription.
    pub no_local: bool,
    /// Whether deliveries keep the RETAIN flag that they were published with.
    pub retain_as_published: bool,
    /// The retained messages that are sent upon the SUBSCRIBE.
    pub retain_handling: RetainHandling,
}

/// The condition on which retained messages are sent upon a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Upon every SUBSCRIBE.
    #[default]
    Send = 0,
    /// Only when the subscription did not exist.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl<'a> Subscribe<'a> {
    /// Decodes a frame whose kind is SUBSCRIBE.
    ///
    /// # Errors
    ///
    /// Malformed packet or protocol error, as the specification says.
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, ProtocolError> {
        let (mut subscribe, filters) = Self::decode_head(frame, version)?;
        for filter in filters {
            subscribe.filters.push(filter?);
        }
        Ok(subscribe)
    }

    /// Decodes what stands before the filters, and gives these apart: there is at least one.
    ///
    /// # Errors
    ///
    /// As [`Self::decode`], but for what is wrong with a filter.
    pub fn decode_head(
        frame: &Frame<'a>,
        version: Version,
    ) -> Result<(Self, SubscribeFilters<'a>), ProtocolError> {
        let mut reader = Reader::new(frame.body);
        let mut subscribe = Self { packet_id: reader.packet_id()?, ..Self::default() };
        if version.is_v5() {
            subscribe.decode_properties(&mut reader)?;
        }
        // [MQTT-3.8.3-2]
        if reader.is_empty() {
            return Err(ProtocolError::protocol("SUBSCRIBE without a filter"));
        }
        Ok((subscribe, SubscribeFilters { reader, version }))
    }

    fn decode_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        let mut properties = PropertyReader::open(reader, SUBSCRIBE)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::SubscriptionIdentifier(id) => self.subscription_id = Some(id.0),
                _ => self.user_properties.accept(&mut properties),
            }
        }
        Ok(())
    }

    /// Writes the packet at the end of `out`.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        out.push(PacketType::Subscribe.first_byte());
        put_sized(out, |out| {
            put_two_bytes(self.packet_id, out);
            if version.is_v5() {
                put_sized(out, |out| {
                    let id = self.subscription_id.map(SubscriptionId);
                    Property::put(id, Property::SubscriptionIdentifier, out);
                    self.user_properties.append_to(out);
                });
            }
            for filter in &self.filters {
                put_text(filter.filter, out);
                out.push(filter.options.to_byte(version));
            }
        });
    }
}

impl<'a> SubscribeFilter<'a> {
    fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, ProtocolError> {
        let filter = reader.text()?;
        let options = SubscriptionOptions::decode(reader.byte()?, version)?;
        // [MQTT-3.8.3-4]
        if options.no_local && filter.starts_with("$share/") {
            return Err(ProtocolError::protocol("no local on a shared subscription"));
        }
        Ok(Self { filter, options })
    }
}

impl SubscribeFilters<'_> {
    /// The bytes of the packet's body before the next filter.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.reader.position()
    }

    /// Goes on at a [`Self::position`] of the same packet.
    pub const fn go_to(&mut self, position: usize) {
        self.reader.go_to(position);
    }
}

impl<'a> Iterator for SubscribeFilters<'a> {
    type Item = Result<SubscribeFilter<'a>, ProtocolError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            None
        } else {
            Some(SubscribeFilter::decode(&mut self.reader, self.version))
        }
    }
}

impl SubscriptionOptions {
    /// The options that the byte behind a filter in SUBSCRIBE stands for.
    ///
    /// # Errors
    ///
    /// When a bit of it is reserved or a number out of range.
    pub fn decode(byte: u8, version: Version) -> Result<Self, ProtocolError> {
        // [MQTT-3.8.3-5], and [MQTT-3.8.3-4] of MQTT 3.1.1; MQTT 3.1 gives the bits no value.
        let reserved = match version {
            Version::V31 => 0,
            Version::V311 => !0b11,
            Version::V5 => RESERVED,
        };
        if byte & reserved != 0 {
            return Err(ProtocolError::malformed("reserved bits of subscription options"));
        }
        let qos = QoS::from_bits(byte & 0b11);
        let qos = qos.ok_or(ProtocolError::protocol("requested QoS 3"))?;
        if !version.is_v5() {
            return Ok(Self { qos, ..Self::default() });
        }
        let retain_handling = RetainHandling::from_bits((byte >> 4) & 0b11)
            .ok_or(ProtocolError::protocol("retain handling 3"))?;
        let no_local = byte & NO_LOCAL != 0;
        let retain_as_published = byte & RETAIN_AS_PUBLISHED != 0;
        Ok(Self { qos, no_local, retain_as_published, retain_handling })
    }

    /// The options byte.
    #[must_use]
    pub fn to_byte(self, version: Version) -> u8 {
        let qos = self.qos as u8;
        if !version.is_v5() {
            return qos;
        }
        let no_local = if self.no_local { NO_LOCAL } else { 0 };
        let as_published = if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
        qos | no_local | as_published | (self.retain_handling as u8) << 4
    }
}

impl RetainHandling {
    /// The handling that two bits stand for; none for 3 and more.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Send),
            1 => Some(Self::SendIfNew),
            2 => Some(Self::DoNotSend),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReasonCode;

    fn decode(body: &[u8], version: Version) -> Result<Subscribe<'_>, ProtocolError> {
        Subscribe::decode(&Frame { first: 0x82, body, length: body.len() + 2 }, version)
    }

    fn code(body: &[u8], version: Version) -> ReasonCode {
        decode(body, version).expect_err("must be refused").code
    }

    #[test]
    fn mqtt_3_8_3_2_at_least_one_filter() {
        assert_eq!(code(&[0, 1], Version::V311), ReasonCode::ProtocolError);
        assert_eq!(code(&[0, 1, 0], Version::V5), ReasonCode::ProtocolError);
    }

    #[test]
    fn mqtt_3_8_3_5_reserved_bits() {
        assert_eq!(code(b"\0\x01\0\0\x01a\x40", Version::V5), ReasonCode::MalformedPacket);
        assert_eq!(code(b"\0\x01\0\x01a\x04", Version::V311), ReasonCode::MalformedPacket);
        assert!(decode(b"\0\x01\0\x01a\x04", Version::V31).is_ok());
    }

    #[test]
    fn values_of_options() {
        assert_eq!(code(b"\0\x01\0\0\x01a\x03", Version::V5), ReasonCode::ProtocolError);
        assert_eq!(code(b"\0\x01\0\0\x01a\x30", Version::V5), ReasonCode::ProtocolError);
        let subscribe = decode(b"\0\x01\x02\x0B\x05\0\x01a\x2D", Version::V5).expect("is fine");
        assert_eq!(subscribe.subscription_id, Some(5));
        let options = subscribe.filters[0].options;
        assert_eq!(options.qos, QoS::AtLeastOnce);
        assert!(options.no_local && options.retain_as_published);
        assert_eq!(options.retain_handling, RetainHandling::DoNotSend);
    }

    #[test]
    fn mqtt_3_8_3_4_no_local_and_shared() {
        let body = b"\0\x01\0\0\x0A$share/g/a\x04";
        assert_eq!(code(body, Version::V5), ReasonCode::ProtocolError);
    }

    #[test]
    fn packet_id_is_not_0() {
        assert_eq!(code(b"\0\0\0\x01a\0", Version::V311), ReasonCode::MalformedPacket);
    }
}

//! PUBLISH: an application message, in either direction.

use smallvec::SmallVec;

use super::error::ProtocolError;
use super::packet_type::sets::PUBLISH;
use super::properties::Properties;
use super::property::{Property, PropertyReader, SubscriptionId};
use super::reader::{Reader, VARINT_MAX};
use super::topic::check_topic_name;
use super::writer::{put_text, put_two_bytes, put_varint, varint_length};
use super::{Frame, PacketType, QoS, ReasonCode, Sender, Version};

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// An application message. In MQTT 3 everything but the fixed header's flags, topic, packet
/// identifier and payload is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publish<'a> {
    /// Whether the message may have been sent before; never at QoS 0.
    pub dup: bool,
    /// The quality of service of this step.
    pub qos: QoS,
    /// Whether the message is to be, or was, retained.
    pub retain: bool,
    /// A valid topic name; empty only when `topic_alias` stands for it.
    pub topic: &'a str,
    /// The number that the answer must name; 0 at QoS 0 and at no other.
    pub packet_id: u16,
    /// A number for the topic: at least 1.
    pub topic_alias: Option<u16>,
    /// Seconds that the message is still worth sending; for ever when absent.
    pub message_expiry_s: Option<u32>,
    /// The identifiers of the subscriptions that match; only from a server.
    pub subscription_ids: SmallVec<[u32; 1]>,
    /// The properties that go on to subscribers.
    pub properties: Properties<'a>,
    /// The message itself.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Decodes a frame whose kind is PUBLISH. Allocates nothing unless it has two subscription
    /// identifiers, or properties that go on in more than two runs.
    ///
    /// # Errors
    ///
    /// Malformed packet, protocol error, topic name invalid or topic alias invalid.
    // As `next_frame_of`.
    #[inline]
    pub fn decode(
        frame: &Frame<'a>,
        version: Version,
        from: Sender,
    ) -> Result<Self, ProtocolError> {
        let mut publish = Self::decode_flags(frame.first)?;
        let mut reader = Reader::new(frame.body);
        publish.topic = reader.text()?;
        // [MQTT-2.2.1-2]
        if publish.qos != QoS::AtMostOnce {
            publish.packet_id = reader.packet_id()?;
        }
        if version.is_v5() {
            publish.decode_properties(&mut reader, from)?;
        }
        publish.check_topic(version)?;
        publish.payload = reader.rest();
        Ok(publish)
    }

    fn decode_flags(first: u8) -> Result<Self, ProtocolError> {
        // [MQTT-3.3.1-4]
        let qos = QoS::from_bits((first >> 1) & 0b11);
        let qos = qos.ok_or(ProtocolError::malformed("both QoS bits set"))?;
        let dup = first & DUP != 0;
        // [MQTT-3.3.1-2]
        if dup && qos == QoS::AtMostOnce {
            return Err(ProtocolError::malformed("DUP at QoS 0"));
        }
        Ok(Self { dup, qos, retain: first & RETAIN != 0, ..Self::default() })
    }

    fn decode_properties(
        &mut self,
        reader: &mut Reader<'a>,
        from: Sender,
    ) -> Result<(), ProtocolError> {
        let mut properties = PropertyReader::open(reader, PUBLISH)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::MessageExpiryInterval(seconds) => self.message_expiry_s = Some(seconds),
                // [MQTT-3.3.2-8]
                Property::TopicAlias(0) => {
                    return Err(ProtocolError::new(ReasonCode::TopicAliasInvalid, "topic alias 0"));
                }
                Property::TopicAlias(alias) => self.topic_alias = Some(alias),
                // [MQTT-3.3.4-6]
                Property::SubscriptionIdentifier(_) if from == Sender::Client => {
                    return Err(ProtocolError::protocol("subscription identifier from a client"));
                }
                Property::SubscriptionIdentifier(id) => self.subscription_ids.push(id.0),
                _ => self.properties.accept(property, &mut properties)?,
            }
        }
        Ok(())
    }

    fn check_topic(&self, version: Version) -> Result<(), ProtocolError> {
        if !self.topic.is_empty() {
            return check_topic_name(self.topic);
        }
        match (version.is_v5(), self.topic_alias) {
            (true, Some(_)) => Ok(()),
            (true, None) => Err(ProtocolError::protocol("neither topic nor alias")),
            // [MQTT-4.7.3-1]
            (false, _) => Err(ProtocolError::malformed("empty topic name")),
        }
    }

    /// Writes the packet at the end of `out`.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        out.reserve(self.encoded_length(version));
        self.encode_head(version, self.payload.len(), out);
        out.extend_from_slice(self.payload);
    }

    /// Writes everything but the payload, which is to have `payload_length` bytes.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    pub fn encode_head(&self, version: Version, payload_length: usize, out: &mut Vec<u8>) {
        out.push(self.first_byte());
        put_varint(self.variable_length(version) + payload_length, out);
        put_text(self.topic, out);
        if self.qos != QoS::AtMostOnce {
            put_two_bytes(self.packet_id, out);
        }
        if version.is_v5() {
            put_varint(self.property_length(), out);
            self.put_properties(out);
        }
    }

    /// Bytes of the whole packet.
    #[must_use]
    pub fn encoded_length(&self, version: Version) -> usize {
        let remaining = self.variable_length(version) + self.payload.len();
        1 + varint_length(remaining) + remaining
    }

    /// False when the packet is longer than the wire format can say: what is added for a subscriber
    /// may make it so.
    #[must_use]
    pub fn is_encodable(&self, version: Version) -> bool {
        self.variable_length(version) + self.payload.len() <= VARINT_MAX
    }

    fn first_byte(&self) -> u8 {
        let dup = if self.dup { DUP } else { 0 };
        let retain = if self.retain { RETAIN } else { 0 };
        PacketType::Publish.first_byte() | dup | (self.qos as u8) << 1 | retain
    }

    /// Bytes of the variable header: topic, packet identifier, properties.
    fn variable_length(&self, version: Version) -> usize {
        let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = if version.is_v5() {
            let length = self.property_length();
            varint_length(length) + length
        } else {
            0
        };
        2 + self.topic.len() + packet_id + properties
    }

    fn property_length(&self) -> usize {
        let expiry = if self.message_expiry_s.is_some() { 5 } else { 0 };
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let ids = self.subscription_ids.iter().map(|id| 1 + varint_length(*id as usize));
        expiry + alias + ids.sum::<usize>() + self.properties.len()
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        Property::put(self.message_expiry_s, Property::MessageExpiryInterval, out);
        Property::put(self.topic_alias, Property::TopicAlias, out);
        for id in &self.subscription_ids {
            Property::SubscriptionIdentifier(SubscriptionId(*id)).encode(out);
        }
        self.properties.append_to(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(first: u8, body: &[u8], version: Version) -> Result<Publish<'_>, ProtocolError> {
        let frame = Frame { first, body, length: body.len() + 2 };
        Publish::decode(&frame, version, Sender::Client)
    }

    fn code(first: u8, body: &[u8], version: Version) -> ReasonCode {
        decode(first, body, version).expect_err("must be refused").code
    }

    #[test]
    fn mqtt_3_3_1_2_no_dup_at_qos_0() {
        assert_eq!(code(0x38, b"\0\x01a", Version::V311), ReasonCode::MalformedPacket);
        assert!(decode(0x3A, b"\0\x01a\0\x01", Version::V311).is_ok());
    }

    #[test]
    fn mqtt_2_2_1_3_packet_id_is_not_0() {
        assert_eq!(code(0x32, b"\0\x01a\0\0", Version::V311), ReasonCode::MalformedPacket);
    }

    #[test]
    fn mqtt_3_3_2_2_no_wildcards() {
        assert_eq!(code(0x30, b"\0\x01#", Version::V311), ReasonCode::TopicNameInvalid);
        assert_eq!(code(0x30, b"\0\x02a+\0", Version::V5), ReasonCode::TopicNameInvalid);
    }

    #[test]
    fn empty_topic_needs_an_alias() {
        assert_eq!(code(0x30, b"\0\0", Version::V311), ReasonCode::MalformedPacket);
        assert_eq!(code(0x30, b"\0\0\0", Version::V5), ReasonCode::ProtocolError);
        let publish = decode(0x30, b"\0\0\x03\x23\0\x01x", Version::V5).expect("has an alias");
        assert_eq!((publish.topic_alias, publish.payload), (Some(1), &b"x"[..]));
    }

    #[test]
    fn mqtt_3_3_2_8_alias_is_not_0() {
        let body = b"\0\x01a\x03\x23\0\0";
        assert_eq!(code(0x30, body, Version::V5), ReasonCode::TopicAliasInvalid);
    }

    #[test]
    fn mqtt_3_3_4_6_no_subscription_id_from_a_client() {
        let body = b"\0\x01a\x04\x0B\x01\x0B\x02";
        assert_eq!(code(0x30, body, Version::V5), ReasonCode::ProtocolError);
        let frame = Frame { first: 0x30, body, length: 10 };
        let publish = Publish::decode(&frame, Version::V5, Sender::Server).expect("from a server");
        assert_eq!(publish.subscription_ids.as_slice(), [1, 2]);
    }

    #[test]
    fn mqtt_3_3_2_14_response_topic_has_no_wildcards() {
        let body = b"\0\x01a\x04\x08\0\x01#";
        assert_eq!(code(0x30, body, Version::V5), ReasonCode::ProtocolError);
    }

    #[test]
    fn properties_beyond_the_packet_are_malformed() {
        assert_eq!(code(0x30, b"\0\x01a\x7F\x01\x01", Version::V5), ReasonCode::MalformedPacket);
    }
}

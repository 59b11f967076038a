//! The one table of properties: identifier, name, wire type, and the packets that may hold each.

use std::num::{NonZeroU16, NonZeroU32};
use std::ops::Range;

use super::error::ProtocolError;
use super::packet_type::PacketSet;
use super::packet_type::sets::*;
use super::properties::Runs;
use super::reader::Reader;
use super::writer::{put_binary, put_four_bytes, put_text, put_two_bytes, put_varint};

/// A name and a value that the sender chose.
pub type Pair<'a> = (&'a str, &'a str);

/// The number that a client gave a subscription: 1 to 268,435,455.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionId(pub u32);

/// One row per property. The Rust type of the value is its wire type.
macro_rules! property_table {
    ($($name:ident($wire:ty) = $id:literal, $words:literal, $packets:expr;)*) => {
        /// A property of an MQTT 5 packet; named as in section 2.2.2.2.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Property<'a> {
            $(
                #[doc = concat!("The property \"", $words, "\".")]
                $name($wire),
            )*
        }

        impl<'a> Property<'a> {
            /// The byte that stands before the value.
            #[must_use]
            pub const fn id(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $id,)*
                }
            }

            /// The property's name in words.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $words,)*
                }
            }

            const fn packets(&self) -> PacketSet {
                match self {
                    $(Self::$name(_) => $packets,)*
                }
            }

            /// Reads identifier and value.
            pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
                match reader.byte()? {
                    $($id => <$wire>::decode(reader).map(Self::$name),)*
                    _ => Err(ProtocolError::malformed("unknown property")),
                }
            }

            /// Writes identifier and value at the end of `out`.
            ///
            /// # Panics
            ///
            /// When a string or binary value is longer than 65,535 bytes.
            pub fn encode(&self, out: &mut Vec<u8>) {
                out.push(self.id());
                match self {
                    $(Self::$name(value) => value.encode(out),)*
                }
            }
        }
    };
}

/// Every packet that carries the reason string.
const ANSWERS: PacketSet =
    CONNACK | PUBACK | PUBREC | PUBREL | PUBCOMP | SUBACK | UNSUBACK | DISCONNECT | AUTH;

/// Every packet that carries user properties.
const ANY: PacketSet = ANSWERS | CONNECT | WILL | PUBLISH | SUBSCRIBE | UNSUBSCRIBE;

property_table! {
    PayloadFormatIndicator(bool) = 0x01, "payload format indicator", PUBLISH | WILL;
    MessageExpiryInterval(u32) = 0x02, "message expiry interval", PUBLISH | WILL;
    ContentType(&'a str) = 0x03, "content type", PUBLISH | WILL;
    ResponseTopic(&'a str) = 0x08, "response topic", PUBLISH | WILL;
    CorrelationData(&'a [u8]) = 0x09, "correlation data", PUBLISH | WILL;
    SubscriptionIdentifier(SubscriptionId) = 0x0B, "subscription identifier", PUBLISH | SUBSCRIBE;
    SessionExpiryInterval(u32) = 0x11, "session expiry interval", CONNECT | CONNACK | DISCONNECT;
    AssignedClientIdentifier(&'a str) = 0x12, "assigned client identifier", CONNACK;
    ServerKeepAlive(u16) = 0x13, "server keep alive", CONNACK;
    AuthenticationMethod(&'a str) = 0x15, "authentication method", CONNECT | CONNACK | AUTH;
    AuthenticationData(&'a [u8]) = 0x16, "authentication data", CONNECT | CONNACK | AUTH;
    RequestProblemInformation(bool) = 0x17, "request problem information", CONNECT;
    WillDelayInterval(u32) = 0x18, "will delay interval", WILL;
    RequestResponseInformation(bool) = 0x19, "request response information", CONNECT;
    ResponseInformation(&'a str) = 0x1A, "response information", CONNACK;
    ServerReference(&'a str) = 0x1C, "server reference", CONNACK | DISCONNECT;
    ReasonString(&'a str) = 0x1F, "reason string", ANSWERS;
    ReceiveMaximum(NonZeroU16) = 0x21, "receive maximum", CONNECT | CONNACK;
    TopicAliasMaximum(u16) = 0x22, "topic alias maximum", CONNECT | CONNACK;
    TopicAlias(u16) = 0x23, "topic alias", PUBLISH;
    MaximumQoS(bool) = 0x24, "maximum QoS", CONNACK;
    RetainAvailable(bool) = 0x25, "retain available", CONNACK;
    UserProperty(Pair<'a>) = 0x26, "user property", ANY;
    MaximumPacketSize(NonZeroU32) = 0x27, "maximum packet size", CONNECT | CONNACK;
    WildcardSubscriptionAvailable(bool) = 0x28, "wildcard subscription available", CONNACK;
    SubscriptionIdentifiersAvailable(bool) = 0x29, "subscription identifiers available", CONNACK;
    SharedSubscriptionAvailable(bool) = 0x2A, "shared subscription available", CONNACK;
}

impl<'a> Property<'a> {
    /// Whether the property belongs to the message and goes on to subscribers unaltered.
    // [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-20]
    pub(crate) const fn goes_on(&self) -> bool {
        matches!(
            self,
            Self::PayloadFormatIndicator(_)
                | Self::ContentType(_)
                | Self::ResponseTopic(_)
                | Self::CorrelationData(_)
                | Self::UserProperty(_)
        )
    }

    /// Writes `property(value)` when there is a value.
    pub(crate) fn put<T>(value: Option<T>, property: fn(T) -> Self, out: &mut Vec<u8>) {
        if let Some(value) = value {
            property(value).encode(out);
        }
    }
}

/// Reads the properties of one packet, each at most once unless it may repeat.
#[derive(Debug)]
pub(crate) struct PropertyReader<'a> {
    block: &'a [u8],
    reader: Reader<'a>,
    packet: PacketSet,
    /// The identifiers read so far, as bits.
    seen: u64,
    /// Where the property read last stands in `block`.
    last: Range<usize>,
    /// Where the run kept last stands in `block`.
    kept: Range<usize>,
}

impl<'a> PropertyReader<'a> {
    /// Starts on the property length that `reader` is at; `reader` goes on behind the properties.
    pub(crate) fn open(reader: &mut Reader<'a>, packet: PacketSet) -> Result<Self, ProtocolError> {
        let length = reader.varint()?;
        let block = reader.take(length as usize)?;
        let reader = Reader::new(block);
        Ok(Self { block, reader, packet, seen: 0, last: 0..0, kept: 0..0 })
    }

    /// The next property, or none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Property<'a>>, ProtocolError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let start = self.reader.position();
        let property = Property::decode(&mut self.reader)?;
        self.last = start..self.reader.position();
        if property.packets() & self.packet == 0 {
            return Err(ProtocolError::malformed("property that the packet does not have"));
        }
        self.check_once(&property)?;
        Ok(Some(property))
    }

    fn check_once(&mut self, property: &Property<'a>) -> Result<(), ProtocolError> {
        let may_repeat = match property {
            Property::UserProperty(_) => true,
            // A server sends all that match: [MQTT-3.3.4-4].
            Property::SubscriptionIdentifier(_) => self.packet == PUBLISH,
            _ => false,
        };
        let bit = 1 << property.id();
        if self.seen & bit != 0 && !may_repeat {
            return Err(ProtocolError::protocol("property twice"));
        }
        self.seen |= bit;
        Ok(())
    }

    /// Adds the property read last to `runs`, joined to the run before when the two touch.
    ///
    /// All calls on one reader must pass the same `runs`, which starts empty.
    pub(crate) fn keep(&mut self, runs: &mut Runs<'a>) {
        let touches = self.last.start == self.kept.end;
        let start = if touches { self.kept.start } else { self.last.start };
        self.kept = start..self.last.end;
        let run = &self.block[self.kept.clone()];
        if touches { runs.replace_last(run) } else { runs.push(run) }
    }
}

/// A value that a property can have.
trait Wire<'a>: Sized {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError>;
    fn encode(&self, out: &mut Vec<u8>);
}

/// A byte: every property of one byte is 0 or 1.
impl<'a> Wire<'a> for bool {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        match reader.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ProtocolError::protocol("property other than 0 and 1")),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl<'a> Wire<'a> for u16 {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        reader.two_bytes()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_two_bytes(*self, out);
    }
}

impl<'a> Wire<'a> for NonZeroU16 {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        Self::new(reader.two_bytes()?).ok_or(ProtocolError::protocol("property of value 0"))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_two_bytes(self.get(), out);
    }
}

impl<'a> Wire<'a> for u32 {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        reader.four_bytes()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_four_bytes(*self, out);
    }
}

impl<'a> Wire<'a> for NonZeroU32 {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        Self::new(reader.four_bytes()?).ok_or(ProtocolError::protocol("property of value 0"))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_four_bytes(self.get(), out);
    }
}

/// A variable byte integer, as only the subscription identifier has.
impl<'a> Wire<'a> for SubscriptionId {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        match reader.varint()? {
            0 => Err(ProtocolError::protocol("subscription identifier 0")),
            id => Ok(Self(id)),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.0 as usize, out);
    }
}

impl<'a> Wire<'a> for &'a str {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        reader.text()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }
}

impl<'a> Wire<'a> for &'a [u8] {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        reader.binary()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_binary(self, out);
    }
}

impl<'a> Wire<'a> for Pair<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        Ok((reader.text()?, reader.text()?))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_text(self.0, out);
        put_text(self.1, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::ReasonCode;

    fn read(block: &[u8], packet: PacketSet) -> Result<usize, ProtocolError> {
        let mut bytes = vec![block.len() as u8];
        bytes.extend_from_slice(block);
        let mut properties = PropertyReader::open(&mut Reader::new(&bytes), packet)?;
        let mut count = 0;
        while properties.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    fn code(block: &[u8], packet: PacketSet) -> ReasonCode {
        read(block, packet).expect_err("must be refused").code
    }

    #[test]
    fn twice_is_a_protocol_error() {
        assert_eq!(code(&[0x23, 0, 1, 0x23, 0, 1], PUBLISH), ReasonCode::ProtocolError);
        assert_eq!(code(&[0x0B, 1, 0x0B, 1], SUBSCRIBE), ReasonCode::ProtocolError);
        assert_eq!(read(&[0x0B, 1, 0x0B, 1], PUBLISH), Ok(2));
        assert_eq!(read(&[0x26, 0, 0, 0, 0, 0x26, 0, 0, 0, 0], CONNECT), Ok(2));
    }

    #[test]
    fn foreign_and_unknown_are_malformed() {
        assert_eq!(code(&[0x23, 0, 1], CONNECT), ReasonCode::MalformedPacket);
        assert_eq!(code(&[0x7F, 0], CONNECT), ReasonCode::MalformedPacket);
        assert_eq!(code(&[0x00, 0], CONNECT), ReasonCode::MalformedPacket);
        assert_eq!(code(&[0x91, 0, 0, 0, 0, 0], CONNECT), ReasonCode::MalformedPacket);
    }

    #[test]
    fn values_out_of_range_are_protocol_errors() {
        assert_eq!(code(&[0x01, 2], PUBLISH), ReasonCode::ProtocolError);
        assert_eq!(code(&[0x21, 0, 0], CONNECT), ReasonCode::ProtocolError);
        assert_eq!(code(&[0x27, 0, 0, 0, 0], CONNECT), ReasonCode::ProtocolError);
        assert_eq!(code(&[0x0B, 0], SUBSCRIBE), ReasonCode::ProtocolError);
    }

    #[test]
    fn runs_join_when_they_touch() {
        // Payload format, message expiry, content type, user property.
        let block = [15, 1, 1, 2, 0, 0, 0, 9, 3, 0, 0, 0x26, 0, 0, 0, 0];
        let mut reader = PropertyReader::open(&mut Reader::new(&block), PUBLISH).expect("opens");
        let mut runs = Runs::default();
        while let Some(property) = reader.next().expect("reads") {
            if property.goes_on() {
                reader.keep(&mut runs);
            }
        }
        assert!(runs.slices().eq([&block[1..3], &block[8..]]), "{runs:?}");
    }
}

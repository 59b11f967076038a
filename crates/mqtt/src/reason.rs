//! The reason codes of MQTT 5, and the packets that each may stand in.

use std::fmt;

use super::error::ProtocolError;
use super::packet_type::PacketSet;
use super::packet_type::sets::*;
use super::reader::Reader;

/// One row per code: its name in code, its byte, its name in words, its packets.
macro_rules! reason_codes {
    ($($(#[$default:meta])? $name:ident = $byte:literal, $words:literal, $packets:expr;)*) => {
        /// The reason why a packet was answered as it was; named as in section 2.4 of MQTT 5.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(
                #[doc = concat!("The code for \"", $words, "\".")]
                $(#[$default])?
                $name = $byte,
            )*
        }

        impl ReasonCode {
            /// Every code, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code that `byte` stands for, if any.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The code in words.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                }
            }

            const fn packets(self) -> PacketSet {
                match self {
                    $(Self::$name => $packets,)*
                }
            }
        }
    };
}

/// The answers to PUBLISH, which share nearly all codes.
const PUBLISHED: PacketSet = PUBACK | PUBREC;

/// The answers to SUBSCRIBE and UNSUBSCRIBE.
const SUBSCRIBED: PacketSet = SUBACK | UNSUBACK;

/// Every packet that can say "success", "normal disconnection" or "granted QoS 0".
const SUCCEEDED: PacketSet =
    CONNACK | PUBLISHED | PUBREL | PUBCOMP | SUBSCRIBED | DISCONNECT | AUTH;

reason_codes! {
    #[default]
    Success = 0x00, "success", SUCCEEDED;
    GrantedQoS1 = 0x01, "granted QoS 1", SUBACK;
    GrantedQoS2 = 0x02, "granted QoS 2", SUBACK;
    DisconnectWithWill = 0x04, "disconnect with will message", DISCONNECT;
    NoMatchingSubscribers = 0x10, "no matching subscribers", PUBLISHED;
    NoSubscriptionExisted = 0x11, "no subscription existed", UNSUBACK;
    ContinueAuthentication = 0x18, "continue authentication", AUTH;
    ReAuthenticate = 0x19, "re-authenticate", AUTH;
    UnspecifiedError = 0x80, "unspecified error", CONNACK | PUBLISHED | SUBSCRIBED | DISCONNECT;
    MalformedPacket = 0x81, "malformed packet", CONNACK | DISCONNECT;
    ProtocolError = 0x82, "protocol error", CONNACK | DISCONNECT;
    ImplementationSpecificError = 0x83, "implementation specific error",
        CONNACK | PUBLISHED | SUBSCRIBED | DISCONNECT;
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version", CONNACK;
    ClientIdentifierNotValid = 0x85, "client identifier not valid", CONNACK;
    BadUserNameOrPassword = 0x86, "bad user name or password", CONNACK;
    NotAuthorized = 0x87, "not authorized", CONNACK | PUBLISHED | SUBSCRIBED | DISCONNECT;
    ServerUnavailable = 0x88, "server unavailable", CONNACK;
    ServerBusy = 0x89, "server busy", CONNACK | DISCONNECT;
    Banned = 0x8A, "banned", CONNACK;
    ServerShuttingDown = 0x8B, "server shutting down", DISCONNECT;
    BadAuthenticationMethod = 0x8C, "bad authentication method", CONNACK | DISCONNECT;
    KeepAliveTimeout = 0x8D, "keep alive timeout", DISCONNECT;
    SessionTakenOver = 0x8E, "session taken over", DISCONNECT;
    TopicFilterInvalid = 0x8F, "topic filter invalid", SUBSCRIBED | DISCONNECT;
    TopicNameInvalid = 0x90, "topic name invalid", CONNACK | PUBLISHED | DISCONNECT;
    PacketIdentifierInUse = 0x91, "packet identifier in use", PUBLISHED | SUBSCRIBED;
    PacketIdentifierNotFound = 0x92, "packet identifier not found", PUBREL | PUBCOMP;
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded", DISCONNECT;
    TopicAliasInvalid = 0x94, "topic alias invalid", DISCONNECT;
    PacketTooLarge = 0x95, "packet too large", CONNACK | DISCONNECT;
    MessageRateTooHigh = 0x96, "message rate too high", DISCONNECT;
    QuotaExceeded = 0x97, "quota exceeded", CONNACK | PUBLISHED | SUBACK | DISCONNECT;
    AdministrativeAction = 0x98, "administrative action", DISCONNECT;
    PayloadFormatInvalid = 0x99, "payload format invalid", CONNACK | PUBLISHED | DISCONNECT;
    RetainNotSupported = 0x9A, "retain not supported", CONNACK | DISCONNECT;
    QoSNotSupported = 0x9B, "QoS not supported", CONNACK | DISCONNECT;
    UseAnotherServer = 0x9C, "use another server", CONNACK | DISCONNECT;
    ServerMoved = 0x9D, "server moved", CONNACK | DISCONNECT;
    SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported",
        SUBACK | DISCONNECT;
    ConnectionRateExceeded = 0x9F, "connection rate exceeded", CONNACK | DISCONNECT;
    MaximumConnectTime = 0xA0, "maximum connect time", DISCONNECT;
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported",
        SUBACK | DISCONNECT;
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported",
        SUBACK | DISCONNECT;
}

impl ReasonCode {
    /// Whether the code says that something failed.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Reads a code that may stand in one of `packets`.
    // [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.14.2-1]
    pub(crate) fn decode(
        reader: &mut Reader<'_>,
        packets: PacketSet,
    ) -> Result<Self, ProtocolError> {
        Self::from_byte(reader.byte()?)
            .filter(|code| code.packets() & packets != 0)
            .ok_or(ProtocolError::protocol("reason code that the packet does not have"))
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.name(), *self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_codes_agree() {
        let known = (0..=255).filter_map(ReasonCode::from_byte);
        assert!(known.eq(ReasonCode::ALL.iter().copied()));
        assert_eq!(ReasonCode::ALL.len(), 43);
        assert!(ReasonCode::UnspecifiedError.is_error());
        assert!(!ReasonCode::ReAuthenticate.is_error());
    }

    #[test]
    fn mqtt_3_4_2_1_only_codes_of_the_packet() {
        let read = |byte, packets| ReasonCode::decode(&mut Reader::new(&[byte]), packets);
        assert_eq!(read(0x10, PUBACK), Ok(ReasonCode::NoMatchingSubscribers));
        assert!(read(0x10, PUBREL).is_err());
        assert!(read(0x55, PUBACK).is_err());
    }
}

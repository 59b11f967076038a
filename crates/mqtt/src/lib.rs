//! The wire format of MQTT 3.1, 3.1.1 and 5.0: bytes to packets and back, with no state.
//!
//! [`next_frame`] finds a packet at the start of a stream of bytes. The packet's own `decode`, or
//! [`Packet::decode`] for one of any type, borrows from those bytes, and allocates nothing for an
//! ordinary PUBLISH; `encode` writes at the end of a vector. Both serve all three versions and both
//! sides of a connection. Packets are structs whose fields are public; fields that only MQTT 5 has
//! are absent in MQTT 3.
//!
//! A PUBLISH, decoded:
//!
//! ```
//! use ringmq_mqtt::{Framed, Publish, QoS, Sender, Version, next_frame};
//!
//! let received = b"\x32\x0A\x00\x03a/b\x00\x07\x00hi\xC0\x00";
//! // A packet of more than 1 MiB is refused as soon as its length is known.
//! let Framed::Whole(frame) = next_frame(received, 1 << 20)? else {
//!     panic!("the rest of the packet is still to come");
//! };
//! let publish = Publish::decode(&frame, Version::V5, Sender::Client)?;
//! assert_eq!((publish.topic, publish.payload), ("a/b", &b"hi"[..]));
//! assert_eq!((publish.qos, publish.packet_id), (QoS::AtLeastOnce, 7));
//! // The next packet, here a PINGREQ, begins behind this one.
//! assert_eq!(&received[frame.length..], ringmq_mqtt::PINGREQ);
//! # Ok::<(), ringmq_mqtt::ProtocolError>(())
//! ```
//!
//! A SUBACK, encoded: the same answer for two versions.
//!
//! ```
//! use ringmq_mqtt::{QoS, ReasonCode, SubAck, Version};
//!
//! let codes = [QoS::AtLeastOnce as u8, ReasonCode::NotAuthorized as u8];
//! let suback = SubAck { packet_id: 1, codes: &codes, ..SubAck::default() };
//! let mut out = Vec::new();
//! suback.encode(Version::V5, &mut out);
//! assert_eq!(out, [0x90, 5, 0, 1, 0, 0x01, 0x87]);
//! // MQTT 3 has one code for every failure, and no properties.
//! out.clear();
//! suback.encode(Version::V311, &mut out);
//! assert_eq!(out, [0x90, 4, 0, 1, 0x01, 0x80]);
//! ```
//!
//! An error names the reason code that the peer is to be told, and the cause for one's own log:
//!
//! ```
//! use ringmq_mqtt::{ReasonCode, next_frame};
//!
//! let error = next_frame(&[0xC1, 0], 1 << 20).expect_err("PINGREQ has no flags");
//! assert_eq!(error.code, ReasonCode::MalformedPacket);
//! assert_eq!(error.to_string(), "malformed packet (0x81): reserved flags");
//! ```
//!
//! Bytes of a peer's never cause a panic. A field that one's own side made too long for the wire
//! format does: the functions that may panic say so.
#![forbid(unsafe_code)]

mod auth;
mod connack;
mod connect;
mod disconnect;
mod error;
mod frame;
mod packet;
mod packet_type;
mod properties;
mod property;
mod puback;
mod publish;
mod reader;
mod reason;
mod suback;
mod subscribe;
mod topic;
mod unsubscribe;
mod writer;

pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, ConnectError, Will};
pub use disconnect::Disconnect;
pub use error::ProtocolError;
pub use frame::{Frame, Framed, next_frame, next_frame_of};
pub use packet::{PINGREQ, PINGRESP, Packet};
pub use packet_type::PacketType;
pub use properties::{Properties, UserProperties, encode_user_property};
pub use property::{Pair, Property, SubscriptionId};
pub use puback::{Ack, AckType, encode_ack};
pub use publish::Publish;
pub use reason::ReasonCode;
pub use suback::{SubAck, UnsubAck};
pub use subscribe::{
    RetainHandling, Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions,
};
pub use topic::{TopicFilter, check_topic_name, level_count, levels, matches};
pub use unsubscribe::{Unsubscribe, UnsubscribeFilters};

/// The version of the protocol that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// MQTT 3.1, protocol level 3.
    V31,
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol version 5.
    V5,
}

impl Version {
    /// The version as the specifications write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }

    /// Whether packets have properties and reason codes.
    #[must_use]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// The quality of service: how hard sender and receiver try to deliver a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum QoS {
    /// Sent once, never answered.
    #[default]
    AtMostOnce = 0,
    /// Sent until answered; may arrive twice.
    AtLeastOnce = 1,
    /// Sent until answered, and told apart from its repetition.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level that two bits stand for; none for 3 and more.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// The side of a connection that sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The side that sent CONNECT.
    Client,
    /// The side that answered it.
    Server,
}

//! The wire format of MQTT 3.1, 3.1.1 and 5.0: bytes to packets and back, with no state.
//!
//! [`frame::next_frame`] finds a packet, and the packet's own `decode` borrows from its bytes.
//! `encode` writes at the end of a vector. Both do all versions, for brokers and for clients.
#![forbid(unsafe_code)]

pub mod auth;
pub mod connack;
pub mod connect;
pub mod disconnect;
pub mod error;
pub mod frame;
pub mod packet;
mod packet_type;
pub mod properties;
pub mod property;
pub mod puback;
pub mod publish;
mod reader;
pub mod reason;
pub mod suback;
pub mod subscribe;
pub mod topic;
pub mod unsubscribe;
mod writer;

pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, ConnectError, Will};
pub use disconnect::Disconnect;
pub use error::ProtocolError;
pub use frame::{Frame, Framed, PacketType, next_frame, next_frame_of};
pub use packet::{PINGREQ, PINGRESP, Packet};
pub use properties::{Properties, UserProperties, encode_user_property};
pub use property::{Property, SubscriptionId};
pub use puback::{Ack, AckType, encode_ack};
pub use publish::Publish;
pub use reason::ReasonCode;
pub use suback::{SubAck, UnsubAck};
pub use subscribe::{RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions};
pub use topic::{TopicFilter, check_topic_name, level_count, levels, matches};
pub use unsubscribe::Unsubscribe;

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
    /// Whether packets have properties and reason codes.
    #[must_use]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// How hard sender and receiver try to deliver a message.
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

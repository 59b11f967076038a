//! The fifteen packet types, and sets of them for the tables of properties and reason codes.

use super::Sender;

/// The type of a control packet: the upper four bits of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PacketType {
    /// Client asks for a connection.
    Connect = 1,
    /// Server answers CONNECT.
    ConnAck = 2,
    /// An application message.
    Publish = 3,
    /// Answers PUBLISH at QoS 1.
    PubAck = 4,
    /// Answers PUBLISH at QoS 2.
    PubRec = 5,
    /// Answers PUBREC.
    PubRel = 6,
    /// Answers PUBREL.
    PubComp = 7,
    /// Client asks for messages.
    Subscribe = 8,
    /// Server answers SUBSCRIBE.
    SubAck = 9,
    /// Client asks for no more messages.
    Unsubscribe = 10,
    /// Server answers UNSUBSCRIBE.
    UnsubAck = 11,
    /// Client shows that it is alive.
    PingReq = 12,
    /// Server answers PINGREQ.
    PingResp = 13,
    /// Ends the connection in order.
    Disconnect = 14,
    /// A step of an authentication exchange; MQTT 5 only.
    Auth = 15,
}

impl PacketType {
    const ALL: [Self; 15] = [
        Self::Connect,
        Self::ConnAck,
        Self::Publish,
        Self::PubAck,
        Self::PubRec,
        Self::PubRel,
        Self::PubComp,
        Self::Subscribe,
        Self::SubAck,
        Self::Unsubscribe,
        Self::UnsubAck,
        Self::PingReq,
        Self::PingResp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The name as the specification writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The type that a packet's first byte names; none for the reserved type 0.
    #[must_use]
    pub fn from_first(first: u8) -> Option<Self> {
        let index = usize::from(first >> 4).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// Whether `sender` may send packets of this type.
    #[must_use]
    pub const fn is_sent_by(self, sender: Sender) -> bool {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => {
                matches!(sender, Sender::Client)
            }
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => {
                matches!(sender, Sender::Server)
            }
            _ => true,
        }
    }

    /// The flags that the specification fixes for this type; none for PUBLISH, whose flags mean
    /// something.
    #[must_use]
    pub(crate) const fn fixed_flags(self) -> Option<u8> {
        match self {
            Self::Publish => None,
            // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => Some(0b0010),
            _ => Some(0),
        }
    }

    /// The first byte of a packet of this type; for PUBLISH with all flags clear.
    #[must_use]
    pub const fn first_byte(self) -> u8 {
        let flags = match self.fixed_flags() {
            Some(flags) => flags,
            None => 0,
        };
        (self as u8) << 4 | flags
    }

    /// The set of this type alone.
    pub(crate) const fn set(self) -> PacketSet {
        1 << self as u8
    }
}

/// A set of packet types as bits; bit 0 is the will, which has properties of its own.
pub(crate) type PacketSet = u16;

/// The sets of one member, named for the tables.
pub(crate) mod sets {
    use super::{PacketSet, PacketType};

    pub(crate) const WILL: PacketSet = 1;
    pub(crate) const CONNECT: PacketSet = PacketType::Connect.set();
    pub(crate) const CONNACK: PacketSet = PacketType::ConnAck.set();
    pub(crate) const PUBLISH: PacketSet = PacketType::Publish.set();
    pub(crate) const PUBACK: PacketSet = PacketType::PubAck.set();
    pub(crate) const PUBREC: PacketSet = PacketType::PubRec.set();
    pub(crate) const PUBREL: PacketSet = PacketType::PubRel.set();
    pub(crate) const PUBCOMP: PacketSet = PacketType::PubComp.set();
    pub(crate) const SUBSCRIBE: PacketSet = PacketType::Subscribe.set();
    pub(crate) const SUBACK: PacketSet = PacketType::SubAck.set();
    pub(crate) const UNSUBSCRIBE: PacketSet = PacketType::Unsubscribe.set();
    pub(crate) const UNSUBACK: PacketSet = PacketType::UnsubAck.set();
    pub(crate) const DISCONNECT: PacketSet = PacketType::Disconnect.set();
    pub(crate) const AUTH: PacketSet = PacketType::Auth.set();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_byte_names_its_type() {
        assert_eq!(PacketType::from_first(0x0F), None);
        for kind in PacketType::ALL {
            assert_eq!(PacketType::from_first(kind.first_byte()), Some(kind));
        }
    }
}

//! Any packet: for clients and tests, which do not know the type of the next one.

use super::{
    Ack, Auth, ConnAck, Connect, Disconnect, Frame, PacketType, ProtocolError, Publish, ReasonCode,
    Sender, SubAck, Subscribe, UnsubAck, Unsubscribe, UserProperties, Version,
};

/// A whole PINGREQ packet.
pub const PINGREQ: [u8; 2] = [PacketType::PingReq.first_byte(), 0];

/// A whole PINGRESP packet.
pub const PINGRESP: [u8; 2] = [PacketType::PingResp.first_byte(), 0];

/// A packet of any type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNECT.
    Connect(Connect<'a>),
    /// CONNACK.
    ConnAck(ConnAck<'a>),
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// SUBACK.
    SubAck(SubAck<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// UNSUBACK.
    UnsubAck(UnsubAck<'a>),
    /// PINGREQ.
    PingReq,
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// AUTH.
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Decodes the packet in `frame`, of any type; a CONNECT names its own version.
    ///
    /// # Errors
    ///
    /// The errors of the packet's own `decode`, and a protocol error for a packet that `from` may
    /// not send.
    pub fn decode(
        frame: &Frame<'a>,
        version: Version,
        from: Sender,
    ) -> Result<Self, ProtocolError> {
        let kind = frame.kind().ok_or(ProtocolError::malformed("packet type 0"))?;
        if !kind.is_sent_by(from) {
            return Err(ProtocolError::protocol("packet from the wrong side"));
        }
        match kind {
            PacketType::Connect => {
                Connect::decode(frame).map(Self::Connect).map_err(ProtocolError::from)
            }
            PacketType::ConnAck => ConnAck::decode(frame, version).map(Self::ConnAck),
            PacketType::Publish => Publish::decode(frame, version, from).map(Self::Publish),
            PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => {
                Ack::decode(frame, version).map(Self::Ack)
            }
            PacketType::Subscribe => Subscribe::decode(frame, version).map(Self::Subscribe),
            PacketType::SubAck => SubAck::decode(frame, version).map(Self::SubAck),
            PacketType::Unsubscribe => Unsubscribe::decode(frame, version).map(Self::Unsubscribe),
            PacketType::UnsubAck => UnsubAck::decode(frame, version).map(Self::UnsubAck),
            PacketType::PingReq => decode_ping(frame).map(|()| Self::PingReq),
            PacketType::PingResp => decode_ping(frame).map(|()| Self::PingResp),
            PacketType::Disconnect => {
                Disconnect::decode(frame, version, from).map(Self::Disconnect)
            }
            PacketType::Auth => Auth::decode(frame, version).map(Self::Auth),
        }
    }

    /// Writes the packet at the end of `out`; a CONNECT names its own version.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Self::Connect(connect) => connect.encode(out),
            Self::ConnAck(connack) => connack.encode(version, out),
            Self::Publish(publish) => publish.encode(version, out),
            Self::Ack(ack) => ack.encode(version, out),
            Self::Subscribe(subscribe) => subscribe.encode(version, out),
            Self::SubAck(suback) => suback.encode(version, out),
            Self::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
            Self::UnsubAck(unsuback) => unsuback.encode(version, out),
            Self::PingReq => out.extend_from_slice(&PINGREQ),
            Self::PingResp => out.extend_from_slice(&PINGRESP),
            Self::Disconnect(disconnect) => disconnect.encode(version, out),
            Self::Auth(auth) => auth.encode(out),
        }
    }
}

impl Packet<'_> {
    /// Writes the packet at the end of `out` if it takes no more than `bytes_max` bytes there,
    /// perhaps without what it can do without. False when it does not fit: nothing is written.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    // [MQTT-3.1.2-24], [MQTT-3.2.2-19], [MQTT-3.2.2-20], [MQTT-3.14.2-3]
    #[must_use = "a packet that does not fit is not written"]
    pub fn encode_within(&self, version: Version, bytes_max: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.encode(version, out);
        if out.len() - start <= bytes_max {
            return true;
        }
        out.truncate(start);
        let less = self.without_some();
        less.is_some_and(|less| less.encode_within(version, bytes_max, out))
    }

    /// The packet without some of what its receiver can do without, if there is any.
    fn without_some(&self) -> Option<Self> {
        let mut less = self.clone();
        match &mut less {
            Self::ConnAck(connack) => {
                (connack.reason, connack.response_information) = (None, None);
                connack.user_properties = UserProperties::default();
                if less == *self {
                    // A client that is told of no aliases uses none.
                    let Self::ConnAck(connack) = &mut less else { return None };
                    connack.topic_alias_max = None;
                }
            }
            Self::Ack(ack) => {
                (ack.reason, ack.user_properties) = (None, UserProperties::default());
                if ack.code == ReasonCode::NoMatchingSubscribers {
                    ack.code = ReasonCode::Success;
                }
            }
            Self::SubAck(suback) => {
                (suback.reason, suback.user_properties) = (None, UserProperties::default());
            }
            Self::UnsubAck(unsuback) => {
                (unsuback.reason, unsuback.user_properties) = (None, UserProperties::default());
            }
            Self::Disconnect(disconnect) => {
                disconnect.reason = None;
                disconnect.user_properties = UserProperties::default();
            }
            Self::Auth(auth) => {
                (auth.reason, auth.user_properties) = (None, UserProperties::default());
            }
            _ => {}
        }
        (less != *self).then_some(less)
    }
}

/// Checks that a PINGREQ or PINGRESP ends where it should.
fn decode_ping(frame: &Frame<'_>) -> Result<(), ProtocolError> {
    if frame.body.is_empty() { Ok(()) } else { Err(ProtocolError::malformed("ping with a body")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AckType, Framed, next_frame};

    fn decode(bytes: &[u8], version: Version, from: Sender) -> Result<Packet<'_>, ProtocolError> {
        match next_frame(bytes, 1000)? {
            Framed::Whole(frame) => Packet::decode(&frame, version, from),
            Framed::Partial { .. } => panic!("no whole packet"),
        }
    }

    #[test]
    fn pings_are_empty() {
        assert_eq!(decode(&PINGREQ, Version::V311, Sender::Client), Ok(Packet::PingReq));
        assert_eq!(decode(&PINGRESP, Version::V311, Sender::Server), Ok(Packet::PingResp));
        assert!(decode(&[0xC0, 1, 0], Version::V5, Sender::Client).is_err());
    }

    #[test]
    fn mqtt_3_1_2_24_no_packet_is_larger_than_its_receiver_takes() {
        let reason = Some("why it is so");
        let connack = ConnAck {
            reason,
            response_information: Some("response/client"),
            topic_alias_max: Some(10),
            packet_bytes_max: Some(1000),
            assigned_client_id: Some("client"),
            ..ConnAck::default()
        };
        let refusal = ConnAck { code: ReasonCode::NotAuthorized, reason, ..ConnAck::default() };
        let unmatched = Ack::new(AckType::PubAck, 1, ReasonCode::NoMatchingSubscribers);
        let released = Ack::new(AckType::PubRel, 1, ReasonCode::PacketIdentifierNotFound);
        let codes = &[0, 1, 2][..];
        let auth = Auth { authentication_method: Some("method"), reason, ..Auth::default() };
        let code = ReasonCode::ServerBusy;
        let packets: [(Packet<'_>, usize); 9] = [
            (Packet::ConnAck(connack), 19),
            (Packet::ConnAck(refusal), 5),
            (Packet::Ack(Ack { reason, ..unmatched }), 4),
            (Packet::Ack(Ack { reason, ..released }), 5),
            (Packet::SubAck(SubAck { packet_id: 1, codes, reason, ..SubAck::default() }), 8),
            (Packet::UnsubAck(UnsubAck { packet_id: 1, codes, reason, ..UnsubAck::default() }), 8),
            (Packet::PingResp, 2),
            (Packet::Disconnect(Disconnect { code, reason, ..Disconnect::default() }), 3),
            (Packet::Auth(auth), 13),
        ];
        for (packet, least) in &packets {
            for max in 1..=80 {
                let mut out = vec![7];
                let fits = packet.encode_within(Version::V5, max, &mut out);
                assert_eq!(fits, max >= *least, "{packet:?} within {max}: {out:02x?}");
                assert!(out.len() - 1 <= max && (fits || out == [7]), "{packet:?} within {max}");
            }
        }
    }

    #[test]
    fn packets_from_the_wrong_side() {
        for (bytes, from) in [(PINGREQ, Sender::Server), (PINGRESP, Sender::Client)] {
            let error = decode(&bytes, Version::V5, from).expect_err("wrong side");
            assert_eq!(error.code, ReasonCode::ProtocolError);
        }
    }
}

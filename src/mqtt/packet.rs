//! Any packet: for clients, the simulator and tests, which do not know what comes next.

use super::{
    Ack, Auth, ConnAck, Connect, ConnectError, Disconnect, Frame, PacketType, ProtocolError,
    Publish, ReasonCode, Sender, SubAck, Subscribe, UnsubAck, Unsubscribe, Version,
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
    /// Decodes whatever `frame` holds; a CONNECT names its own version.
    ///
    /// # Errors
    ///
    /// Those of the packet's own `decode`, and a protocol error for a packet that `from` may not
    /// send.
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
            PacketType::Connect => Connect::decode(frame).map(Self::Connect).map_err(cause),
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

/// Checks that a PINGREQ or PINGRESP ends where it should.
///
/// # Errors
///
/// Malformed packet when it has a body.
pub fn decode_ping(frame: &Frame<'_>) -> Result<(), ProtocolError> {
    if frame.body.is_empty() { Ok(()) } else { Err(ProtocolError::malformed("ping with a body")) }
}

fn cause(error: ConnectError) -> ProtocolError {
    match error {
        ConnectError::UnsupportedVersion { .. } => ProtocolError::new(
            ReasonCode::UnsupportedProtocolVersion,
            "protocol version that is not supported",
        ),
        ConnectError::Refused { error, .. } | ConnectError::Malformed(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{Framed, next_frame};

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
    fn packets_from_the_wrong_side() {
        for (bytes, from) in [(PINGREQ, Sender::Server), (PINGRESP, Sender::Client)] {
            let error = decode(&bytes, Version::V5, from).expect_err("wrong side");
            assert_eq!(error.code, ReasonCode::ProtocolError);
        }
    }
}

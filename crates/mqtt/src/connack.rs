//! CONNACK: the server's answer to CONNECT.

use std::num::{NonZeroU16, NonZeroU32};

use super::error::ProtocolError;
use super::packet_type::sets::CONNACK;
use super::properties::{UserProperties, put_remarks};
use super::property::{Property, PropertyReader};
use super::reader::Reader;
use super::writer::put_sized;
use super::{Frame, PacketType, ReasonCode, Version};

/// The server's answer to CONNECT. MQTT 3 has only the first two fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnAck<'a> {
    /// Whether the server knows the client's session; never with an error, and not in MQTT 3.1.
    pub session_present: bool,
    /// Success, or why not.
    pub code: ReasonCode,
    /// Seconds that the session outlives the connection, if other than the client asked for.
    pub session_expiry_s: Option<u32>,
    /// Unacknowledged messages above QoS 0 that the server takes at a time: at least 1.
    pub receive_maximum: Option<u16>,
    /// The highest QoS that the server takes: 0 or 1; absent means 2.
    pub maximum_qos: Option<u8>,
    /// Whether the server retains messages; absent means that it does.
    pub retain_available: Option<bool>,
    /// Bytes of the largest packet that the server takes: at least 1.
    pub packet_bytes_max: Option<u32>,
    /// The client identifier that the server chose.
    pub assigned_client_id: Option<&'a str>,
    /// The greatest topic alias that the server takes; absent means none at all.
    pub topic_alias_max: Option<u16>,
    /// The reason in words, for a log.
    pub reason: Option<&'a str>,
    /// Names and values that the server chose.
    pub user_properties: UserProperties<'a>,
    /// Whether filters may have wildcards; absent means that they may.
    pub wildcard_available: Option<bool>,
    /// Whether subscriptions may have identifiers; absent means that they may.
    pub subscription_ids_available: Option<bool>,
    /// Whether subscriptions may be shared; absent means that they may.
    pub shared_available: Option<bool>,
    /// Seconds of silence that the server allows, if other than the client named.
    pub server_keep_alive_s: Option<u16>,
    /// The text that response topics are to be made from.
    pub response_information: Option<&'a str>,
    /// Another server that the client should use.
    pub server_reference: Option<&'a str>,
    /// The authentication method of the CONNECT.
    pub authentication_method: Option<&'a str>,
    /// The last step of the authentication.
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> ConnAck<'a> {
    /// Decodes a frame whose kind is CONNACK.
    ///
    /// # Errors
    ///
    /// Malformed packet or protocol error, as the specification says.
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(frame.body);
        let flags = reader.byte()?;
        // [MQTT-3.2.2-1]; in MQTT 3.1 all eight bits are reserved.
        if flags > 1 && version != Version::V31 {
            return Err(ProtocolError::malformed("reserved acknowledge flags"));
        }
        let session_present = flags == 1 && version != Version::V31;
        let mut connack = Self { session_present, ..Self::default() };
        if version.is_v5() {
            connack.code = ReasonCode::decode(&mut reader, CONNACK)?;
            connack.decode_properties(&mut reader)?;
        } else {
            connack.code = code_from_v3(reader.byte()?)?;
        }
        reader.finish()?;
        // [MQTT-3.2.2-6]
        if session_present && connack.code != ReasonCode::Success {
            return Err(ProtocolError::protocol("session present in a refusal"));
        }
        Ok(connack)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        let mut properties = PropertyReader::open(reader, CONNACK)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::UserProperty(_) => self.user_properties.accept(&mut properties),
                _ => self.accept(property),
            }
        }
        Ok(())
    }

    fn accept(&mut self, property: Property<'a>) {
        match property {
            Property::SessionExpiryInterval(seconds) => self.session_expiry_s = Some(seconds),
            Property::ReceiveMaximum(maximum) => self.receive_maximum = Some(maximum.get()),
            Property::MaximumQoS(qos) => self.maximum_qos = Some(u8::from(qos)),
            Property::RetainAvailable(is) => self.retain_available = Some(is),
            Property::MaximumPacketSize(bytes) => self.packet_bytes_max = Some(bytes.get()),
            Property::AssignedClientIdentifier(id) => self.assigned_client_id = Some(id),
            Property::TopicAliasMaximum(maximum) => self.topic_alias_max = Some(maximum),
            Property::ReasonString(reason) => self.reason = Some(reason),
            Property::WildcardSubscriptionAvailable(is) => self.wildcard_available = Some(is),
            Property::SubscriptionIdentifiersAvailable(is) => {
                self.subscription_ids_available = Some(is);
            }
            Property::SharedSubscriptionAvailable(is) => self.shared_available = Some(is),
            Property::ServerKeepAlive(seconds) => self.server_keep_alive_s = Some(seconds),
            Property::ResponseInformation(text) => self.response_information = Some(text),
            Property::ServerReference(server) => self.server_reference = Some(server),
            Property::AuthenticationMethod(method) => self.authentication_method = Some(method),
            Property::AuthenticationData(data) => self.authentication_data = Some(data),
            // The property table lets no other through.
            _ => {}
        }
    }

    /// Writes the packet at the end of `out`. In MQTT 3 the code becomes the nearest return code.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        // [MQTT-3.2.2-6]
        let session_present = self.session_present && self.code == ReasonCode::Success;
        out.push(PacketType::ConnAck.first_byte());
        put_sized(out, |out| {
            out.push(u8::from(session_present && version != Version::V31));
            if version.is_v5() {
                out.push(self.code as u8);
                put_sized(out, |out| self.put_properties(out));
            } else {
                out.push(code_to_v3(self.code));
            }
        });
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        let receive = self.receive_maximum.and_then(NonZeroU16::new);
        let packet_bytes = self.packet_bytes_max.and_then(NonZeroU32::new);
        let maximum_qos = self.maximum_qos.filter(|qos| *qos < 2).map(|qos| qos == 1);
        Property::put(self.session_expiry_s, Property::SessionExpiryInterval, out);
        Property::put(receive, Property::ReceiveMaximum, out);
        Property::put(maximum_qos, Property::MaximumQoS, out);
        Property::put(self.retain_available, Property::RetainAvailable, out);
        Property::put(packet_bytes, Property::MaximumPacketSize, out);
        Property::put(self.assigned_client_id, Property::AssignedClientIdentifier, out);
        Property::put(self.topic_alias_max, Property::TopicAliasMaximum, out);
        put_remarks(self.reason, &self.user_properties, out);
        Property::put(self.wildcard_available, Property::WildcardSubscriptionAvailable, out);
        let ids = self.subscription_ids_available;
        Property::put(ids, Property::SubscriptionIdentifiersAvailable, out);
        Property::put(self.shared_available, Property::SharedSubscriptionAvailable, out);
        Property::put(self.server_keep_alive_s, Property::ServerKeepAlive, out);
        Property::put(self.response_information, Property::ResponseInformation, out);
        Property::put(self.server_reference, Property::ServerReference, out);
        Property::put(self.authentication_method, Property::AuthenticationMethod, out);
        Property::put(self.authentication_data, Property::AuthenticationData, out);
    }
}

/// The return code of MQTT 3 that says most nearly the same.
const fn code_to_v3(code: ReasonCode) -> u8 {
    match code {
        ReasonCode::Success => 0,
        ReasonCode::UnsupportedProtocolVersion => 1,
        ReasonCode::ClientIdentifierNotValid => 2,
        ReasonCode::BadUserNameOrPassword => 4,
        // What may be otherwise the next time.
        ReasonCode::UnspecifiedError
        | ReasonCode::ImplementationSpecificError
        | ReasonCode::ServerUnavailable
        | ReasonCode::ServerBusy
        | ReasonCode::ServerShuttingDown
        | ReasonCode::QuotaExceeded
        | ReasonCode::UseAnotherServer
        | ReasonCode::ServerMoved
        | ReasonCode::ConnectionRateExceeded => 3,
        _ => 5,
    }
}

fn code_from_v3(code: u8) -> Result<ReasonCode, ProtocolError> {
    match code {
        0 => Ok(ReasonCode::Success),
        1 => Ok(ReasonCode::UnsupportedProtocolVersion),
        2 => Ok(ReasonCode::ClientIdentifierNotValid),
        3 => Ok(ReasonCode::ServerUnavailable),
        4 => Ok(ReasonCode::BadUserNameOrPassword),
        5 => Ok(ReasonCode::NotAuthorized),
        _ => Err(ProtocolError::protocol("reserved return code")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(code: ReasonCode, session_present: bool, version: Version) -> Vec<u8> {
        let mut out = Vec::new();
        ConnAck { code, session_present, ..ConnAck::default() }.encode(version, &mut out);
        out
    }

    #[test]
    fn codes_become_return_codes() {
        let code = |code| encode(code, false, Version::V311)[3];
        assert_eq!(code(ReasonCode::UnsupportedProtocolVersion), 1);
        assert_eq!(code(ReasonCode::ClientIdentifierNotValid), 2);
        assert_eq!(code(ReasonCode::ServerBusy), 3);
        assert_eq!(code(ReasonCode::BadUserNameOrPassword), 4);
        assert_eq!(code(ReasonCode::NotAuthorized), 5);
        for v3 in 0..6 {
            assert_eq!(code_from_v3(v3).map(code_to_v3), Ok(v3));
        }
    }

    #[test]
    fn mqtt_3_2_2_6_no_session_in_a_refusal() {
        assert_eq!(encode(ReasonCode::Success, true, Version::V311), [0x20, 2, 1, 0]);
        assert_eq!(encode(ReasonCode::Success, true, Version::V31), [0x20, 2, 0, 0]);
        assert_eq!(encode(ReasonCode::NotAuthorized, true, Version::V311), [0x20, 2, 0, 5]);
        assert_eq!(encode(ReasonCode::NotAuthorized, true, Version::V5), [0x20, 3, 0, 0x87, 0]);
        let frame = Frame { first: 0x20, body: &[1, 5], length: 4 };
        assert!(ConnAck::decode(&frame, Version::V311).is_err());
    }

    #[test]
    fn mqtt_3_2_2_1_reserved_flags() {
        let frame = Frame { first: 0x20, body: &[2, 0], length: 4 };
        assert!(ConnAck::decode(&frame, Version::V311).is_err());
        assert!(ConnAck::decode(&frame, Version::V31).is_ok());
    }
}

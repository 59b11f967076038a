//! CONNECT: the first packet of a client, which names the version of all that follow.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use super::error::ProtocolError;
use super::packet_type::sets::{CONNECT, WILL};
use super::properties::{Properties, UserProperties};
use super::property::{Property, PropertyReader};
use super::reader::Reader;
use super::topic::check_topic_name;
use super::writer::{put_binary, put_sized, put_text, put_two_bytes};
use super::{Frame, PacketType, QoS, ReasonCode, Version};

const CLEAN_START: u8 = 0b0000_0010;
const WILL_FLAG: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// The receive maximum of a peer that names none.
const RECEIVE_MAXIMUM: u16 = u16::MAX;

/// A client asks for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that the client speaks.
    pub version: Version,
    /// Whether the client is a bridge of MQTT 3, as Mosquitto's say with bit 7 of the protocol
    /// level: what it publishes is not to come back to it, and RETAIN stays as it was published.
    pub is_bridge: bool,
    /// Whether to forget a session that exists; "clean session" in MQTT 3.
    pub clean_start: bool,
    /// Longest silence of the client in seconds; 0 means that it may be silent for ever.
    pub keep_alive_s: u16,
    /// The session's name; empty when the server is to choose one.
    pub client_id: &'a str,
    /// The message to publish when the client goes without a word.
    pub will: Option<Will<'a>>,
    /// The user that the client says it is.
    pub user_name: Option<&'a str>,
    /// Any secret; not necessarily text.
    pub password: Option<&'a [u8]>,
    /// Seconds that the session outlives the connection; `u32::MAX` means for ever.
    ///
    /// In MQTT 3 it follows from `clean_start`: 0 when set, `u32::MAX` otherwise.
    pub session_expiry_s: u32,
    /// Unacknowledged messages above QoS 0 that the client takes at a time: 1 to 65,535.
    pub receive_maximum: u16,
    /// Bytes of the largest packet that the client takes, if it says so: at least 1.
    pub packet_bytes_max: Option<u32>,
    /// The greatest topic alias that the client takes; 0 means none at all.
    pub topic_alias_max: u16,
    /// Whether the client would like response information.
    pub request_response_information: bool,
    /// Whether answers may carry reason strings and user properties; true when absent.
    pub request_problem_information: bool,
    /// The extended authentication that the client wants.
    pub authentication_method: Option<&'a str>,
    /// The first step of that authentication.
    pub authentication_data: Option<&'a [u8]>,
    /// Names and values that the client chose.
    pub user_properties: UserProperties<'a>,
}

/// The message that the server publishes for a client that went without a word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Will<'a> {
    /// The message's quality of service.
    pub qos: QoS,
    /// Whether the message is retained.
    pub retain: bool,
    /// A valid topic name.
    pub topic: &'a str,
    /// The message itself.
    pub payload: &'a [u8],
    /// Seconds between the end of the connection and the publication.
    pub delay_s: u32,
    /// Seconds that the message lives once published; for ever when absent.
    pub message_expiry_s: Option<u32>,
    /// The properties that go on to subscribers.
    pub properties: Properties<'a>,
}

/// A CONNECT that was not decoded, by the answer that is possible.
///
/// Converted to a [`ProtocolError`] for a caller that only logs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// MQTT of a version unknown here: answer 0x01, which old clients understand.
    UnsupportedVersion {
        /// The protocol level that the client named.
        level: u8,
    },
    /// A CONNACK of this version can carry the code.
    Refused {
        /// The version that the client speaks.
        version: Version,
        /// Bytes of the largest packet that the client takes, as far as that was read.
        packet_bytes_max: Option<u32>,
        /// The client's mistake.
        error: ProtocolError,
    },
    /// Nothing can be answered: close the connection.
    Malformed(ProtocolError),
}

impl From<ConnectError> for ProtocolError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::UnsupportedVersion { .. } => Self::new(
                ReasonCode::UnsupportedProtocolVersion,
                "protocol version that is not supported",
            ),
            ConnectError::Refused { error, .. } | ConnectError::Malformed(error) => error,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ProtocolError::from(*self).fmt(f)
    }
}

impl std::error::Error for ConnectError {}

impl<'a> Connect<'a> {
    /// A CONNECT with every optional field absent and a clean start.
    #[must_use]
    pub fn new(version: Version, client_id: &'a str) -> Self {
        Self {
            version,
            is_bridge: false,
            clean_start: true,
            keep_alive_s: 0,
            client_id,
            will: None,
            user_name: None,
            password: None,
            session_expiry_s: 0,
            receive_maximum: RECEIVE_MAXIMUM,
            packet_bytes_max: None,
            topic_alias_max: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::default(),
        }
    }

    /// Decodes a frame whose kind is CONNECT.
    ///
    /// # Errors
    ///
    /// Sorted by the answer that is possible. In MQTT 3 a CONNECT that does not conform gets no
    /// answer, except that its client identifier can be refused.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, ConnectError> {
        let mut reader = Reader::new(frame.body);
        let (version, is_bridge) = decode_version(&mut reader)?;
        frame.check_connect(version).map_err(ConnectError::Malformed)?;
        let mut connect = Self { is_bridge, ..Self::new(version, "") };
        match connect.decode_rest(&mut reader) {
            Ok(()) => Ok(connect),
            // [MQTT-3.1.4-1]
            Err(error) if version.is_v5() || error.code == ReasonCode::ClientIdentifierNotValid => {
                let packet_bytes_max = connect.packet_bytes_max;
                Err(ConnectError::Refused { version, packet_bytes_max, error })
            }
            Err(error) => Err(ConnectError::Malformed(error)),
        }
    }

    fn decode_rest(&mut self, reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        let version = self.version;
        let flags = reader.byte()?;
        check_flags(flags, version)?;
        self.clean_start = flags & CLEAN_START != 0;
        self.keep_alive_s = reader.two_bytes()?;
        if version.is_v5() {
            self.decode_properties(reader)?;
        } else if !self.clean_start {
            self.session_expiry_s = u32::MAX;
        }
        self.client_id = reader.text()?;
        if flags & WILL_FLAG != 0 {
            self.will = Some(Will::decode(reader, flags, version)?);
        }
        if is_present(flags, USER_NAME, version, reader) {
            self.user_name = Some(reader.text()?);
        }
        if is_present(flags, PASSWORD, version, reader) {
            self.password = Some(reader.binary()?);
        }
        reader.finish()?;
        self.check_client_id()
    }

    fn decode_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        let mut properties = PropertyReader::open(reader, CONNECT)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::SessionExpiryInterval(seconds) => self.session_expiry_s = seconds,
                Property::ReceiveMaximum(maximum) => self.receive_maximum = maximum.get(),
                Property::MaximumPacketSize(bytes) => self.packet_bytes_max = Some(bytes.get()),
                Property::TopicAliasMaximum(maximum) => self.topic_alias_max = maximum,
                Property::RequestResponseInformation(wanted) => {
                    self.request_response_information = wanted;
                }
                Property::RequestProblemInformation(wanted) => {
                    self.request_problem_information = wanted;
                }
                Property::AuthenticationMethod(method) => self.authentication_method = Some(method),
                Property::AuthenticationData(data) => self.authentication_data = Some(data),
                _ => self.user_properties.accept(&mut properties),
            }
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(ProtocolError::protocol("authentication data without a method"));
        }
        Ok(())
    }

    /// Refuses an empty client identifier where the version has no use for it.
    fn check_client_id(&self) -> Result<(), ProtocolError> {
        let may_be_empty = match self.version {
            Version::V31 => false,
            // [MQTT-3.1.3-7] of MQTT 3.1.1.
            Version::V311 => self.clean_start,
            Version::V5 => true,
        };
        if self.client_id.is_empty() && !may_be_empty {
            return Err(ProtocolError::new(
                ReasonCode::ClientIdentifierNotValid,
                "empty client identifier",
            ));
        }
        Ok(())
    }

    /// Writes the packet at the end of `out`. In MQTT 3 everything that only MQTT 5 has is left
    /// out, and so is a password without a user name.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(PacketType::Connect.first_byte());
        put_sized(out, |out| {
            let (name, level) = match self.version {
                Version::V31 => ("MQIsdp", 3),
                Version::V311 => ("MQTT", 4),
                Version::V5 => ("MQTT", 5),
            };
            put_text(name, out);
            out.push(if self.is_bridge { level | BRIDGE } else { level });
            out.push(self.flags());
            put_two_bytes(self.keep_alive_s, out);
            if self.version.is_v5() {
                put_sized(out, |out| self.put_properties(out));
            }
            self.put_payload(out);
        });
    }

    fn flags(&self) -> u8 {
        let when = |condition, flag| if condition { flag } else { 0 };
        when(self.clean_start, CLEAN_START)
            | when(self.user_name.is_some(), USER_NAME)
            | when(self.sent_password().is_some(), PASSWORD)
            | self.will.as_ref().map_or(0, Will::flags)
    }

    fn sent_password(&self) -> Option<&'a [u8]> {
        self.password.filter(|_| self.version.is_v5() || self.user_name.is_some())
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        let expiry = Some(self.session_expiry_s).filter(|seconds| *seconds != 0);
        let receive = Some(self.receive_maximum).filter(|maximum| *maximum != RECEIVE_MAXIMUM);
        let alias = Some(self.topic_alias_max).filter(|maximum| *maximum != 0);
        let response = self.request_response_information.then_some(true);
        let problem = (!self.request_problem_information).then_some(false);
        let packet_bytes = self.packet_bytes_max.and_then(NonZeroU32::new);
        Property::put(expiry, Property::SessionExpiryInterval, out);
        Property::put(receive.and_then(NonZeroU16::new), Property::ReceiveMaximum, out);
        Property::put(packet_bytes, Property::MaximumPacketSize, out);
        Property::put(alias, Property::TopicAliasMaximum, out);
        Property::put(response, Property::RequestResponseInformation, out);
        Property::put(problem, Property::RequestProblemInformation, out);
        Property::put(self.authentication_method, Property::AuthenticationMethod, out);
        Property::put(self.authentication_data, Property::AuthenticationData, out);
        self.user_properties.append_to(out);
    }

    // [MQTT-3.1.3-1]
    fn put_payload(&self, out: &mut Vec<u8>) {
        put_text(self.client_id, out);
        if let Some(will) = &self.will {
            will.encode(self.version, out);
        }
        if let Some(user_name) = self.user_name {
            put_text(user_name, out);
        }
        if let Some(password) = self.sent_password() {
            put_binary(password, out);
        }
    }
}

impl<'a> Will<'a> {
    fn decode(reader: &mut Reader<'a>, flags: u8, version: Version) -> Result<Self, ProtocolError> {
        // [MQTT-3.1.2-12]
        let qos = QoS::from_bits((flags & WILL_QOS) >> 3);
        let qos = qos.ok_or(ProtocolError::malformed("will QoS 3"))?;
        let mut will = Self { qos, retain: flags & WILL_RETAIN != 0, ..Self::default() };
        if version.is_v5() {
            will.decode_properties(reader)?;
        }
        will.topic = reader.text()?;
        check_topic_name(will.topic)?;
        will.payload = reader.binary()?;
        Ok(will)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        let mut properties = PropertyReader::open(reader, WILL)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::WillDelayInterval(seconds) => self.delay_s = seconds,
                Property::MessageExpiryInterval(seconds) => self.message_expiry_s = Some(seconds),
                _ => self.properties.accept(property, &mut properties)?,
            }
        }
        Ok(())
    }

    fn flags(&self) -> u8 {
        let retain = if self.retain { WILL_RETAIN } else { 0 };
        WILL_FLAG | (self.qos as u8) << 3 | retain
    }

    fn encode(&self, version: Version, out: &mut Vec<u8>) {
        if version.is_v5() {
            put_sized(out, |out| {
                let delay = Some(self.delay_s).filter(|seconds| *seconds != 0);
                Property::put(delay, Property::WillDelayInterval, out);
                Property::put(self.message_expiry_s, Property::MessageExpiryInterval, out);
                self.properties.append_to(out);
            });
        }
        put_text(self.topic, out);
        put_binary(self.payload, out);
    }
}

/// The bit of the protocol level by which a bridge of MQTT 3 says that it is one.
const BRIDGE: u8 = 0x80;

/// The version, and whether the client says that it is a bridge.
fn decode_version(reader: &mut Reader<'_>) -> Result<(Version, bool), ConnectError> {
    let name = reader.text().map_err(ConnectError::Malformed)?;
    // [MQTT-3.1.2-1]
    if !matches!(name, "MQTT" | "MQIsdp") {
        return Err(ConnectError::Malformed(ProtocolError::malformed("protocol name")));
    }
    let level = reader.byte().map_err(ConnectError::Malformed)?;
    let is_bridge = level & BRIDGE > 0;
    match (name, level & !BRIDGE) {
        ("MQIsdp", 3) => Ok((Version::V31, is_bridge)),
        ("MQTT", 4) => Ok((Version::V311, is_bridge)),
        ("MQTT", 5) if !is_bridge => Ok((Version::V5, false)),
        // [MQTT-3.1.2-2]
        _ => Err(ConnectError::UnsupportedVersion { level }),
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), ProtocolError> {
    // [MQTT-3.1.2-3]
    if flags & 1 != 0 {
        return Err(ProtocolError::malformed("reserved connect flag"));
    }
    // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
    if flags & WILL_FLAG == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(ProtocolError::malformed("will QoS or retain without a will"));
    }
    // [MQTT-3.1.2-22] of MQTT 3.1.1; MQTT 5 allows it.
    if !version.is_v5() && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(ProtocolError::malformed("password without a user name"));
    }
    Ok(())
}

/// Whether a field that `flags` may announce is to be read.
///
/// MQTT 3.1 lets a packet end before a user name or password that its flags announce.
fn is_present(flags: u8, flag: u8, version: Version, reader: &Reader<'_>) -> bool {
    flags & flag != 0 && !(version == Version::V31 && reader.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &[u8]) -> Result<Connect<'_>, ConnectError> {
        Connect::decode(&Frame { first: 0x10, body, length: body.len() + 2 })
    }

    /// A version 3.1.1 body with these flags and this payload.
    fn v311(flags: u8, payload: &[u8]) -> Vec<u8> {
        [b"\0\x04MQTT\x04", &[flags, 0, 60][..], payload].concat()
    }

    /// A version 5 body with these flags, properties and this payload.
    fn v5(flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
        let length = properties.len() as u8;
        [b"\0\x04MQTT\x05", &[flags, 0, 60, length][..], properties, payload].concat()
    }

    fn refused(body: &[u8]) -> ReasonCode {
        match decode(body) {
            Err(ConnectError::Refused { error, .. }) => error.code,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn is_malformed(body: &[u8]) -> bool {
        matches!(decode(body), Err(ConnectError::Malformed(_)))
    }

    #[test]
    fn mqtt_3_1_2_1_names_and_levels() {
        let old = b"\0\x06MQIsdp\x03\x02\0\x3C\0\x01a";
        assert_eq!(decode(old).map(|connect| connect.version), Ok(Version::V31));
        for (level, is_bridge) in [(4, false), (0x84, true)] {
            let body = [b"\0\x04MQTT", &[level][..], b"\x02\0\x3C\0\x01a"].concat();
            let connect = decode(&body).unwrap();
            assert_eq!((connect.version, connect.is_bridge), (Version::V311, is_bridge));
            let mut bytes = Vec::new();
            connect.encode(&mut bytes);
            assert_eq!(bytes[2..], body);
        }
        assert!(is_malformed(b"\0\x04mqtt\x04\x02\0\x3C\0\x01a"));
        for (name, level) in [("MQTT", 3), ("MQTT", 6), ("MQTT", 0x85), ("MQIsdp", 0x84)] {
            let body = [&[0, name.len() as u8], name.as_bytes(), &[level]].concat();
            assert_eq!(decode(&body), Err(ConnectError::UnsupportedVersion { level }));
        }
    }

    #[test]
    fn mqtt_3_1_4_1_v3_gets_no_answer_and_v5_does() {
        for flags in [0x03, 0x08, 0x10, 0x20, 0x1E] {
            assert!(is_malformed(&v311(flags, b"\0\x01a\0\x01b\0\0")), "{flags:#04x}");
            let code = refused(&v5(flags, b"", b"\0\x01a\0\0\x01b\0\0"));
            assert_eq!(code, ReasonCode::MalformedPacket, "{flags:#04x}");
        }
        assert!(is_malformed(&v311(2, b"\0\x01ab")), "bytes left over");
    }

    #[test]
    fn mqtt_3_1_2_22_password_without_user_name() {
        assert!(is_malformed(&v311(0x42, b"\0\x01a\0\x01p")));
        let body = v5(0x42, b"", b"\0\x01a\0\x01p");
        assert_eq!(decode(&body).map(|connect| connect.password), Ok(Some(&b"p"[..])));
    }

    #[test]
    fn v31_may_end_before_user_name_and_password() {
        let body = b"\0\x06MQIsdp\x03\xC2\0\x3C\0\x01a";
        let connect = decode(body).expect("is tolerated");
        assert_eq!((connect.user_name, connect.password), (None, None));
        assert!(is_malformed(&v311(0xC2, b"\0\x01a")));
    }

    #[test]
    fn mqtt_3_1_3_8_empty_client_id() {
        assert!(decode(&v311(2, b"\0\0")).is_ok());
        assert_eq!(refused(&v311(0, b"\0\0")), ReasonCode::ClientIdentifierNotValid);
        let old = refused(b"\0\x06MQIsdp\x03\x02\0\x3C\0\0");
        assert_eq!(old, ReasonCode::ClientIdentifierNotValid);
        assert!(decode(&v5(0, b"", b"\0\0")).is_ok());
    }

    #[test]
    fn v3_session_expiry_follows_clean_session() {
        let expiry = |flags| decode(&v311(flags, b"\0\x01a")).map(|c| c.session_expiry_s);
        assert_eq!(expiry(0), Ok(u32::MAX));
        assert_eq!(expiry(2), Ok(0));
    }

    #[test]
    fn will_topic_is_a_topic_name() {
        assert!(is_malformed(&v311(6, b"\0\x01a\0\x01#\0\0")));
        let code = refused(&v5(6, b"", b"\0\x01a\0\0\x01#\0\0"));
        assert_eq!(code, ReasonCode::TopicNameInvalid);
    }

    #[test]
    fn authentication_data_needs_a_method() {
        let code = refused(&v5(2, b"\x16\0\x01x", b"\0\x01a"));
        assert_eq!(code, ReasonCode::ProtocolError);
    }
}

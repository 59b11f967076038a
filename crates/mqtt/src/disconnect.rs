//! DISCONNECT: the end of a connection, in order or with a reason.

use super::error::ProtocolError;
use super::packet_type::sets::DISCONNECT;
use super::properties::{UserProperties, put_remarks};
use super::property::{Property, PropertyReader};
use super::reader::Reader;
use super::writer::put_sized;
use super::{Frame, PacketType, ReasonCode, Sender, Version};

/// The last packet of a connection. In MQTT 3 only a client sends it, and it says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disconnect<'a> {
    /// Success for the normal disconnection, or why.
    pub code: ReasonCode,
    /// Seconds that the session outlives the connection, if changed; only from a client.
    pub session_expiry_s: Option<u32>,
    /// The reason in words, for a log.
    pub reason: Option<&'a str>,
    /// Another server that the client should use.
    pub server_reference: Option<&'a str>,
    /// Names and values that the sender chose.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Disconnect<'a> {
    /// Decodes a frame whose kind is DISCONNECT.
    ///
    /// # Errors
    ///
    /// Malformed packet or protocol error, as the specification says.
    pub fn decode(
        frame: &Frame<'a>,
        version: Version,
        from: Sender,
    ) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(frame.body);
        let mut disconnect = Self::default();
        if version.is_v5() && !reader.is_empty() {
            disconnect.code = ReasonCode::decode(&mut reader, DISCONNECT)?;
        }
        if version.is_v5() && !reader.is_empty() {
            disconnect.decode_properties(&mut reader, from)?;
        }
        reader.finish()?;
        Ok(disconnect)
    }

    fn decode_properties(
        &mut self,
        reader: &mut Reader<'a>,
        from: Sender,
    ) -> Result<(), ProtocolError> {
        let mut properties = PropertyReader::open(reader, DISCONNECT)?;
        while let Some(property) = properties.next()? {
            match property {
                // [MQTT-3.14.2-2]
                Property::SessionExpiryInterval(_) if from == Sender::Server => {
                    return Err(ProtocolError::protocol("session expiry from a server"));
                }
                Property::SessionExpiryInterval(seconds) => self.session_expiry_s = Some(seconds),
                Property::ServerReference(server) => self.server_reference = Some(server),
                Property::ReasonString(reason) => self.reason = Some(reason),
                _ => self.user_properties.accept(&mut properties),
            }
        }
        Ok(())
    }

    /// Writes the packet at the end of `out`, in its shortest form.
    ///
    /// # Panics
    ///
    /// When a field is too long for the wire format.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        out.push(PacketType::Disconnect.first_byte());
        let is_bare = self.has_no_properties();
        if !version.is_v5() || (is_bare && self.code == ReasonCode::Success) {
            return out.push(0);
        }
        put_sized(out, |out| {
            out.push(self.code as u8);
            if !is_bare {
                put_sized(out, |out| self.put_properties(out));
            }
        });
    }

    fn has_no_properties(&self) -> bool {
        self.session_expiry_s.is_none()
            && self.reason.is_none()
            && self.server_reference.is_none()
            && self.user_properties.is_empty()
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        Property::put(self.session_expiry_s, Property::SessionExpiryInterval, out);
        Property::put(self.server_reference, Property::ServerReference, out);
        put_remarks(self.reason, &self.user_properties, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &[u8], from: Sender) -> Result<Disconnect<'_>, ProtocolError> {
        let frame = Frame { first: 0xE0, body, length: body.len() + 2 };
        Disconnect::decode(&frame, Version::V5, from)
    }

    #[test]
    fn every_form_is_taken() {
        for body in [&[][..], &[0], &[0, 0]] {
            assert_eq!(decode(body, Sender::Client), Ok(Disconnect::default()));
        }
        let expiry = decode(&[4, 5, 0x11, 0, 0, 0, 9], Sender::Client).expect("is fine");
        assert_eq!(expiry.code, ReasonCode::DisconnectWithWill);
        assert_eq!(expiry.session_expiry_s, Some(9));
    }

    #[test]
    fn mqtt_3_14_2_2_no_session_expiry_from_a_server() {
        let error = decode(&[0, 5, 0x11, 0, 0, 0, 9], Sender::Server).expect_err("from a server");
        assert_eq!(error.code, ReasonCode::ProtocolError);
    }

    #[test]
    fn mqtt_3_14_2_1_codes_of_the_packet() {
        assert!(decode(&[0x55], Sender::Client).is_err());
        assert!(decode(&[0x84], Sender::Client).is_err());
    }

    #[test]
    fn v3_says_nothing() {
        let mut out = Vec::new();
        let code = ReasonCode::ServerBusy;
        Disconnect { code, ..Disconnect::default() }.encode(Version::V311, &mut out);
        Disconnect { code, ..Disconnect::default() }.encode(Version::V5, &mut out);
        assert_eq!(out, [0xE0, 0, 0xE0, 1, 0x89]);
        let frame = Frame { first: 0xE0, body: &[0], length: 3 };
        assert!(Disconnect::decode(&frame, Version::V311, Sender::Client).is_err());
    }
}

//! AUTH: a step of an authentication exchange; MQTT 5 only.

use super::error::ProtocolError;
use super::packet_type::sets::AUTH;
use super::properties::{UserProperties, put_remarks};
use super::property::{Property, PropertyReader};
use super::reader::Reader;
use super::writer::put_sized;
use super::{Frame, PacketType, ReasonCode, Version};

/// A step of an authentication exchange.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth<'a> {
    /// Success, continue authentication or re-authenticate.
    pub code: ReasonCode,
    /// The method of the CONNECT; absent only in the shortest form.
    pub authentication_method: Option<&'a str>,
    /// The bytes of this step, which only the method understands.
    pub authentication_data: Option<&'a [u8]>,
    /// The reason in words, for a log.
    pub reason: Option<&'a str>,
    /// Names and values that the sender chose.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    /// Decodes a frame whose kind is AUTH.
    ///
    /// # Errors
    ///
    /// Malformed packet in MQTT 3, where the packet type is reserved; otherwise malformed packet
    /// or protocol error, as the specification says.
    pub fn decode(frame: &Frame<'a>, version: Version) -> Result<Self, ProtocolError> {
        if !version.is_v5() {
            return Err(ProtocolError::malformed("packet type 15"));
        }
        let mut reader = Reader::new(frame.body);
        let mut auth = Self::default();
        if !reader.is_empty() {
            // [MQTT-3.15.2-1]
            auth.code = ReasonCode::decode(&mut reader, AUTH)?;
            auth.decode_properties(&mut reader)?;
        }
        reader.finish()?;
        Ok(auth)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        let mut properties = PropertyReader::open(reader, AUTH)?;
        while let Some(property) = properties.next()? {
            match property {
                Property::AuthenticationMethod(method) => self.authentication_method = Some(method),
                Property::AuthenticationData(data) => self.authentication_data = Some(data),
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
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(PacketType::Auth.first_byte());
        if *self == Self::default() {
            return out.push(0);
        }
        put_sized(out, |out| {
            out.push(self.code as u8);
            put_sized(out, |out| self.put_properties(out));
        });
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        Property::put(self.authentication_method, Property::AuthenticationMethod, out);
        Property::put(self.authentication_data, Property::AuthenticationData, out);
        put_remarks(self.reason, &self.user_properties, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &[u8], version: Version) -> Result<Auth<'_>, ProtocolError> {
        Auth::decode(&Frame { first: 0xF0, body, length: body.len() + 2 }, version)
    }

    #[test]
    fn shortest_form_is_success() {
        assert_eq!(decode(&[], Version::V5), Ok(Auth::default()));
        assert!(decode(&[0x18], Version::V5).is_err(), "no property length");
    }

    #[test]
    fn mqtt_3_15_2_1_codes_of_the_packet() {
        assert!(decode(&[0x18, 0], Version::V5).is_ok());
        assert!(decode(&[0x87, 0], Version::V5).is_err());
    }

    #[test]
    fn v3_has_no_auth() {
        assert!(decode(&[], Version::V311).is_err());
    }
}

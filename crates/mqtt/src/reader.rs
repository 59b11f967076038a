//! The one way into a packet's bytes: every read is checked against the end.

use super::error::ProtocolError;

/// The greatest number that a variable byte integer can hold.
pub(crate) const VARINT_MAX: usize = 268_435_455;

/// Reads the wire types of MQTT from the front of a slice.
///
/// Functions that the packets of the hot path need are inlined, since those are inlined elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub(crate) const fn position(&self) -> usize {
        self.position
    }

    /// Goes on at a position that was returned before, in the same bytes.
    pub(crate) const fn go_to(&mut self, position: usize) {
        assert!(position <= self.bytes.len(), "a position in the same bytes");
        self.position = position;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.position == self.bytes.len()
    }

    /// Refuses bytes that are left over when the packet should have ended.
    pub(crate) const fn finish(&self) -> Result<(), ProtocolError> {
        if self.is_empty() { Ok(()) } else { Err(ProtocolError::malformed("bytes left over")) }
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], ProtocolError> {
        let taken = self.bytes[self.position..].get(..length);
        let taken = taken.ok_or(ProtocolError::malformed("packet ends too early"))?;
        self.position += length;
        Ok(taken)
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.position..];
        self.position = self.bytes.len();
        rest
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let taken = self.bytes[self.position..].first_chunk::<N>();
        let taken = taken.ok_or(ProtocolError::malformed("packet ends too early"))?;
        self.position += N;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, ProtocolError> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn two_bytes(&mut self) -> Result<u16, ProtocolError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn four_bytes(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A packet identifier, which is never 0: [MQTT-2.2.1-3] [MQTT-2.2.1-4].
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<u16, ProtocolError> {
        match self.two_bytes()? {
            0 => Err(ProtocolError::malformed("packet identifier 0")),
            packet_id => Ok(packet_id),
        }
    }

    /// A variable byte integer, in its shortest form.
    pub(crate) fn varint(&mut self) -> Result<u32, ProtocolError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 != 0 {
                continue;
            }
            // [MQTT-1.5.5-1]
            if byte == 0 && shift > 0 {
                return Err(ProtocolError::malformed("overlong variable byte integer"));
            }
            return Ok(value);
        }
        Err(ProtocolError::malformed("variable byte integer of more than four bytes"))
    }

    pub(crate) fn binary(&mut self) -> Result<&'a [u8], ProtocolError> {
        let length = self.two_bytes()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 string; U+FEFF stays where it is: [MQTT-1.5.4-3].
    pub(crate) fn text(&mut self) -> Result<&'a str, ProtocolError> {
        let bytes = self.binary()?;
        // [MQTT-1.5.4-2]
        if bytes.contains(&0) {
            return Err(ProtocolError::malformed("U+0000 in a string"));
        }
        // [MQTT-1.5.4-1]
        std::str::from_utf8(bytes).map_err(|_| ProtocolError::malformed("ill-formed UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_to_the_end_and_no_further() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(reader.byte(), Ok(1));
        assert_eq!(reader.two_bytes(), Ok(0x0203));
        assert_eq!(reader.four_bytes(), Ok(0x0405_0607));
        assert!(reader.finish().is_err());
        assert!(reader.two_bytes().is_err());
        assert_eq!(reader.take(1), Ok(&[8][..]));
        assert!(reader.finish().is_ok());
        assert!(reader.byte().is_err());
    }

    #[test]
    fn mqtt_1_5_5_1_shortest_integer() {
        let read = |bytes: &[u8]| Reader::new(bytes).varint();
        assert_eq!(read(&[0]), Ok(0));
        assert_eq!(read(&[0x80, 1]), Ok(128));
        assert_eq!(read(&[0xFF, 0xFF, 0xFF, 0x7F]), Ok(268_435_455));
        assert!(read(&[0x80, 0]).is_err());
        assert!(read(&[0xFF, 0xFF, 0xFF, 0]).is_err());
        assert!(read(&[0xFF, 0xFF, 0xFF, 0xFF, 1]).is_err());
        assert!(read(&[0x80]).is_err());
    }

    #[test]
    fn mqtt_1_5_4_strings() {
        let read = |bytes: &[u8]| Reader::new(bytes).text().map(str::to_owned);
        assert_eq!(read(&[0, 3, 0xEF, 0xBB, 0xBF]), Ok("\u{FEFF}".to_owned()));
        assert_eq!(read(&[0, 0]), Ok(String::new()));
        assert!(read(&[0, 1, 0]).is_err(), "U+0000");
        assert!(read(&[0, 2, 0xC0, 0x80]).is_err(), "overlong");
        assert!(read(&[0, 3, 0xED, 0xA0, 0x80]).is_err(), "surrogate");
        assert!(read(&[0, 2, b'a']).is_err(), "cut");
    }
}

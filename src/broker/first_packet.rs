//! What the first bytes of a connection have to be.

use crate::mqtt::ProtocolError;

/// Tells at once what is no CONNECT, instead of waiting for the whole of a packet that is none.
// [MQTT-3.1.0-1]
pub(super) const fn check_first(bytes: &[u8]) -> Result<(), ProtocolError> {
    match bytes {
        // No CONNECT is as short.
        [0x16] | [0x16, 3, ..] => Err(ProtocolError::malformed("TLS on a port without TLS")),
        [0x10..0x20, ..] => Ok(()),
        [b'A'..=b'Z', ..] => {
            Err(ProtocolError::malformed("HTTP or a PROXY header on an MQTT port"))
        }
        _ => Err(ProtocolError::protocol("the first packet is not CONNECT")),
    }
}

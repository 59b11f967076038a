//! A peer's mistake, as a reason code and a cause for the log.

use std::fmt;

use super::reason::ReasonCode;

/// A peer's mistake: a reason code and a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolError {
    /// The code that a v5 peer is told before the connection closes.
    pub code: ReasonCode,
    /// The mistake in words, for the log; never contains bytes of the peer's.
    pub cause: &'static str,
}

impl ProtocolError {
    /// An error with a code of its own.
    #[must_use]
    pub const fn new(code: ReasonCode, cause: &'static str) -> Self {
        Self { code, cause }
    }

    /// Bytes that cannot be parsed according to the specification (0x81).
    #[must_use]
    pub const fn malformed(cause: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, cause)
    }

    /// Bytes that can be parsed but say something that the specification does not allow (0x82).
    #[must_use]
    pub const fn protocol(cause: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, cause)
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.cause)
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_code_and_cause() {
        let error = ProtocolError::malformed("bytes left over");
        assert_eq!(error.to_string(), "malformed packet (0x81): bytes left over");
    }
}

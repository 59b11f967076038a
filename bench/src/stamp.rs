//! Stamps at the start of payloads, by which a receiver knows its messages.
//!
//! ```text
//! 0        4          8                 16
//! │ stream │ sequence │ send time in ns │ filler
//! ```

/// Bytes of a stamp: the smallest payload.
pub(crate) const STAMP_BYTES: usize = 16;

/// A publisher's messages to one topic are one stream, numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) stream: u32,
    pub(crate) sequence: u32,
    /// When the message was sent, or was to be sent, by the monotonic clock.
    pub(crate) time_ns: u64,
}

impl Stamp {
    /// Reads the stamp that `payload` starts with; none when it is too short.
    #[inline]
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; STAMP_BYTES] = payload.first_chunk()?;
        let all = u128::from_be_bytes(*bytes);
        Some(Self { stream: (all >> 96) as u32, sequence: (all >> 64) as u32, time_ns: all as u64 })
    }

    /// The stamp's bytes.
    #[inline]
    pub(crate) fn bytes(self) -> [u8; STAMP_BYTES] {
        let head = u128::from(self.stream) << 96 | u128::from(self.sequence) << 64;
        (head | u128::from(self.time_ns)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Stamp { stream: 7, sequence: u32::MAX, time_ns: u64::MAX - 1 };
        let mut payload = stamp.bytes().to_vec();
        payload.extend_from_slice(b"filler");
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(payload[..4], [0, 0, 0, 7]);
    }

    #[test]
    fn a_short_payload_has_no_stamp() {
        assert_eq!(Stamp::read(&[0; STAMP_BYTES - 1]), None);
    }
}

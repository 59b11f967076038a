//! Stamps in payloads: publisher, number and topic of a message; the rest of the payload follows.

const MAGIC: [u8; 4] = *b"RQCT";

/// Bytes before the filler: the magic, publisher, sequence, topic and length.
const HEAD_BYTES: usize = 22;

/// The shortest payload.
pub(crate) const LENGTH_MIN: u32 = 24;

/// The name of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) publisher: u32,
    /// Counts the publisher's messages from 0.
    pub(crate) sequence: u64,
    /// The topic's place in the checker's table.
    pub(crate) topic: u16,
    /// Bytes of the payload: at least [`LENGTH_MIN`].
    pub(crate) length: u32,
}

impl Stamp {
    /// The payload, every bit of which follows from the stamp.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.publisher.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.topic.to_be_bytes());
        bytes.extend_from_slice(&self.length.to_be_bytes());
        let mut filler = fastrand::Rng::with_seed(hash(&bytes));
        bytes.resize(self.length as usize, 0);
        filler.fill(&mut bytes[HEAD_BYTES..]);
        bytes
    }

    /// The stamp of a payload; none when a single bit is not as it was sent.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let head = payload.get(..HEAD_BYTES)?;
        let stamp = Self {
            publisher: u32::from_be_bytes(head[4..8].try_into().ok()?),
            sequence: u64::from_be_bytes(head[8..16].try_into().ok()?),
            topic: u16::from_be_bytes(head[16..18].try_into().ok()?),
            length: u32::from_be_bytes(head[18..22].try_into().ok()?),
        };
        let is_whole = stamp.length as usize == payload.len() && stamp.length >= LENGTH_MIN;
        (is_whole && stamp.payload() == payload).then_some(stamp)
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_checked() {
        let stamp = Stamp { publisher: 3, sequence: 1 << 33, topic: 7, length: 61 };
        let payload = stamp.payload();
        assert_eq!(Stamp::read(&payload), Some(stamp));
        for bit in 0..payload.len() * 8 {
            let mut changed = payload.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Stamp::read(&changed), None, "bit {bit}");
        }
        assert_eq!(Stamp::read(&payload[..60]), None);
    }
}

//! The packets of the hot path: publishes from a template, deliveries with as little parsing as
//! will do.

use crate::stamp::{STAMP_BYTES, Stamp};
use ringmq_mqtt::{AckType, Publish, QoS, Version};

/// A PUBLISH that is copied and then patched.
#[derive(Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    stamp_at: usize,
}

impl Template {
    /// A message to `topic` with `size` bytes of payload.
    pub(crate) fn new(version: Version, qos: QoS, topic: &str, size: usize) -> Self {
        assert!(size >= STAMP_BYTES, "a payload has room for its stamp");
        let payload: Vec<u8> = (0..size).map(|index| b'a' + (index % 26) as u8).collect();
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { 1 };
        let mut bytes = Vec::new();
        Publish { qos, topic, packet_id, payload: &payload, ..Publish::default() }
            .encode(version, &mut bytes);
        let after_topic = bytes.len() - size - usize::from(version.is_v5());
        let packet_id_at = (qos != QoS::AtMostOnce).then(|| after_topic - 2);
        Self { stamp_at: bytes.len() - size, packet_id_at, bytes }
    }

    /// Writes one message at the end of `out`.
    #[inline]
    pub(crate) fn append(&self, packet_id: u16, stamp: Stamp, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let packet = &mut out[start..];
        packet[self.stamp_at..self.stamp_at + STAMP_BYTES].copy_from_slice(&stamp.bytes());
        if let Some(at) = self.packet_id_at {
            packet[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
    }

    /// Bytes of the packet.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A packet's first byte, body and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawFrame<'a> {
    pub(crate) first: u8,
    pub(crate) body: &'a [u8],
    pub(crate) length: usize,
}

/// The packet that `bytes` starts with; none when it is not whole.
#[inline]
pub(crate) fn raw_frame(bytes: &[u8]) -> Option<RawFrame<'_>> {
    let first = *bytes.first()?;
    let (remaining, width) = varint(&bytes[1..])?;
    let length = 1 + width + remaining;
    Some(RawFrame { first, body: bytes.get(1 + width..length)?, length })
}

#[inline]
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((usize::from(first), 1));
    }
    let mut value = usize::from(first & 0x7F);
    for index in 1..4 {
        let byte = *bytes.get(index)?;
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}

/// The content of a delivered PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery<'a> {
    /// The answer that the PUBLISH asks for, if any.
    pub(crate) answer: Option<(AckType, u16)>,
    pub(crate) payload: &'a [u8],
}

/// Reads a PUBLISH; none when it is malformed.
#[inline]
pub(crate) fn delivery<'a>(frame: &RawFrame<'a>, is_v5: bool) -> Option<Delivery<'a>> {
    let topic_bytes = u16::from_be_bytes(*frame.body.first_chunk()?);
    let mut rest = frame.body.get(2 + usize::from(topic_bytes)..)?;
    let mut answer = None;
    let qos = frame.first >> 1 & 3;
    if qos > 0 {
        let kind = if qos == 1 { AckType::PubAck } else { AckType::PubRec };
        answer = Some((kind, packet_id(rest)?));
        rest = &rest[2..];
    }
    if is_v5 {
        let (length, width) = varint(rest)?;
        rest = rest.get(width + length..)?;
    }
    Some(Delivery { answer, payload: rest })
}

/// The packet identifier that `body` starts with.
#[inline]
pub(crate) fn packet_id(body: &[u8]) -> Option<u16> {
    body.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// The code of an acknowledgement: 0 when it is left out.
#[inline]
pub(crate) fn ack_code(body: &[u8]) -> u8 {
    body.get(2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_mqtt::{Framed, Sender, next_frame};

    const STAMP: Stamp = Stamp { stream: 3, sequence: 9, time_ns: 1 << 40 };

    fn packet(version: Version, qos: QoS, size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Template::new(version, qos, "a/topic", size).append(0x1234, STAMP, &mut out);
        out
    }

    #[test]
    fn templates_are_what_the_codec_understands() {
        for version in [Version::V311, Version::V5] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let bytes = packet(version, qos, 100);
                let Ok(Framed::Whole(frame)) = next_frame(&bytes, 1000) else { panic!("no frame") };
                let publish = Publish::decode(&frame, version, Sender::Client).unwrap();
                assert_eq!((publish.topic, publish.qos), ("a/topic", qos));
                assert_eq!(publish.payload.len(), 100);
                assert_eq!(Stamp::read(publish.payload), Some(STAMP));
                let packet_id = if qos == QoS::AtMostOnce { 0 } else { 0x1234 };
                assert_eq!(publish.packet_id, packet_id);
            }
        }
    }

    #[test]
    fn deliveries_are_read_back() {
        for version in [Version::V311, Version::V5] {
            for (qos, kind) in [
                (QoS::AtMostOnce, None),
                (QoS::AtLeastOnce, Some(AckType::PubAck)),
                (QoS::ExactlyOnce, Some(AckType::PubRec)),
            ] {
                let bytes = packet(version, qos, 300);
                let frame = raw_frame(&bytes).unwrap();
                assert_eq!(frame.length, bytes.len());
                let delivery = delivery(&frame, version.is_v5()).unwrap();
                assert_eq!(delivery.answer, kind.map(|kind| (kind, 0x1234)));
                assert_eq!(delivery.payload.len(), 300);
            }
        }
    }

    #[test]
    fn half_a_packet_is_no_packet() {
        let bytes = packet(Version::V5, QoS::AtLeastOnce, 20_000);
        for length in (0..bytes.len()).step_by(7) {
            assert_eq!(raw_frame(&bytes[..length]), None);
        }
    }
}

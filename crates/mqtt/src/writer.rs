//! Writes the wire types of MQTT at the end of a vector.
//!
//! A field too long for its length is a mistake of ours, never the peer's, and panics.

use super::reader::VARINT_MAX;

pub(crate) fn put_two_bytes(value: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_four_bytes(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_binary(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(bytes.len()).expect("a string is at most 65,535 bytes long");
    put_two_bytes(length, out);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_text(text: &str, out: &mut Vec<u8>) {
    put_binary(text.as_bytes(), out);
}

/// Bytes that `value` takes as a variable byte integer.
pub(crate) const fn varint_length(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

pub(crate) fn put_varint(value: usize, out: &mut Vec<u8>) {
    let (bytes, length) = varint_bytes(value);
    out.extend_from_slice(&bytes[..length]);
}

/// Writes the output of `write`, with its length as a variable byte integer in front.
pub(crate) fn put_sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let (bytes, length) = varint_bytes(out.len() - start);
    out.splice(start..start, bytes[..length].iter().copied());
}

fn varint_bytes(value: usize) -> ([u8; 4], usize) {
    assert!(value <= VARINT_MAX, "a length fits its variable byte integer");
    let length = varint_length(value);
    let mut bytes = [0; 4];
    for (index, byte) in bytes[..length].iter_mut().enumerate() {
        let more = if index + 1 < length { 0x80 } else { 0 };
        *byte = (value >> (7 * index)) as u8 & 0x7F | more;
    }
    (bytes, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Reader;

    #[test]
    fn every_width_of_integer() {
        for value in [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, VARINT_MAX] {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            assert_eq!(out.len(), varint_length(value));
            assert_eq!(Reader::new(&out).varint().map(|read| read as usize), Ok(value));
        }
    }

    #[test]
    fn length_goes_in_front() {
        let mut out = vec![9];
        put_sized(&mut out, |out| out.extend_from_slice(&[1; 200]));
        assert_eq!(out[..4], [9, 0xC8, 1, 1]);
        assert_eq!(out.len(), 203);
    }
}

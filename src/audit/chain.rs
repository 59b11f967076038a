//! The chain: each line names the hash of the line before it.

use crate::limits::AUDIT_LINE_BYTES_MAX;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::str::FromStr;

/// A SHA-256 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    /// The hash that the first line of a chain names.
    pub(crate) const NONE: Self = Self([0; 32]);

    /// The hash of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// The hash of all that a hasher was given.
    pub(super) fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// The error of a text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashError;

impl fmt::Display for HashError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a hash has 64 hexadecimal digits")
    }
}

impl std::error::Error for HashError {}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let is_hash = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let mut hash = [0; 32];
        for (index, byte) in hash.iter_mut().enumerate().filter(|_| is_hash) {
            let digits = &text[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| HashError)?;
        }
        is_hash.then_some(Self(hash)).ok_or(HashError)
    }
}

/// The end of a chain: its last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The number of the last line; 0 for a chain without lines.
    pub sequence: u64,
    /// The hash of the last line, its newline included.
    pub hash: Hash,
}

/// An entry with the time of its event: all of a line but its place in the chain.
#[derive(Debug)]
pub(crate) struct Sealed<'a> {
    /// The time in RFC 3339.
    pub time: &'a str,
    /// The fields of the entry.
    pub fields: &'a str,
}

impl Chain {
    /// The chain without lines.
    pub(crate) const EMPTY: Self = Self { sequence: 0, hash: Hash::NONE };

    /// Appends the next line to `out`.
    pub(crate) fn append(&mut self, sealed: &Sealed<'_>, out: &mut String) {
        let start = out.len();
        let Sealed { time, fields } = sealed;
        let (sequence, hash) = (self.sequence + 1, self.hash);
        // Writing to a string does not fail.
        let _ = writeln!(out, r#"{{"seq":{sequence},"prev":"{hash}","time":"{time}",{fields}}}"#);
        debug_assert!(out.len() - start <= AUDIT_LINE_BYTES_MAX, "{}", &out[start..]);
        *self = Self { sequence, hash: Hash::of(&out.as_bytes()[start..]) };
    }
}

/// A line, as far as the chain needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// The line as the end of the chain up to it.
    pub end: Chain,
    /// The hash that the line names for the line before it.
    pub before: Hash,
    /// The length and the hash of a torn piece that the line tells of.
    pub torn: Option<(u64, Hash)>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    seq: u64,
    #[serde(borrow)]
    prev: Cow<'a, str>,
    #[serde(borrow, rename = "time")]
    _time: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    torn_bytes: Option<u64>,
    #[serde(borrow)]
    torn_sha256: Option<Cow<'a, str>>,
}

impl Line {
    /// Reads a line with its newline; None where it is no line of an audit log.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let json = bytes.strip_suffix(b"\n").filter(|_| bytes.len() <= AUDIT_LINE_BYTES_MAX)?;
        let fields: Fields<'_> = serde_json::from_slice(json).ok()?;
        let torn = fields.torn_bytes.zip(fields.torn_sha256.and_then(|hash| hash.parse().ok()));
        Some(Self {
            end: Chain { sequence: fields.seq, hash: Hash::of(bytes) },
            before: fields.prev.parse().ok()?,
            torn: torn.filter(|_| fields.event == "torn"),
        })
    }

    /// True when the line stands right behind the end of `chain`.
    pub(crate) fn follows(&self, chain: &Chain) -> bool {
        chain.sequence.checked_add(1) == Some(self.end.sequence) && chain.hash == self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_hash_of_the_one_before() {
        let (mut chain, mut text) = (Chain::EMPTY, String::new());
        for fields in [r#""event":"start""#, r#""event":"stop""#] {
            chain.append(&Sealed { time: "2026-01-01T00:00:00Z", fields }, &mut text);
        }
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let [first, second] = lines[..] else { panic!("{text}") };
        let prev = "0".repeat(64);
        let expected = format!(
            "{{\"seq\":1,\"prev\":\"{prev}\",\"time\":\"2026-01-01T00:00:00Z\",\
             \"event\":\"start\"}}\n"
        );
        assert_eq!(first, expected);
        let (first, second) = (Line::read(first.as_bytes()), Line::read(second.as_bytes()));
        assert!(first.unwrap().follows(&Chain::EMPTY));
        assert!(second.unwrap().follows(&first.unwrap().end));
        assert_eq!(second.unwrap().end, chain);
    }

    #[test]
    fn a_hash_is_what_others_make_of_the_same_bytes() {
        // The abc of FIPS 180-2.
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hash::of(b"abc").to_string(), hash);
        assert_eq!(hash.parse(), Ok(Hash::of(b"abc")));
        for wrong in ["", "ba78", &hash.replace('b', "g"), &"é".repeat(32), &format!("{hash}0")] {
            assert_eq!(wrong.parse::<Hash>(), Err(HashError), "{wrong}");
        }
    }

    #[test]
    fn other_texts_are_no_lines() {
        let hash = Hash::NONE;
        let line = format!(r#"{{"seq":1,"prev":"{hash}","time":"","event":"start"}}"#);
        assert!(Line::read(format!("{line}\n").as_bytes()).is_some());
        let twice = line.replace("\"time\"", "\"seq\":2,\"time\"");
        for wrong in [&*line, "\n", "{}\n", "null\n", &format!("{line}{line}\n"), &(twice + "\n")] {
            assert_eq!(Line::read(wrong.as_bytes()), None, "{wrong}");
        }
        let long = format!("{}{}\n", line, " ".repeat(AUDIT_LINE_BYTES_MAX));
        assert_eq!(Line::read(long.as_bytes()), None);
    }
}

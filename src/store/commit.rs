//! Segments and commits, byte by byte: see `docs/STORAGE.md`. All numbers are little-endian.
//!
//! ```text
//! segment │ header │ the same header │ commit │ commit │ …
//! header  │ "RINGMQJ\n" │ format u32 │ 0 u32 │ number u64 │ end before u64 │ salt u64 │ CRC u32
//! commit  │ "CMIT" │ length of records u32 │ number u64 │ CRC u32 │ record │ record │ …
//! record  │ length u32 │ CRC u32 │ payload
//! ```
//!
//! Checksums are CRC-32C. Those of commits and records begin with the journal's salt, so that no
//! client can put something into a payload that would be taken for a commit. A commit is one write,
//! and the next one begins when it is synced; so a damaged part with a commit behind it
//! was not torn by a crash.

use super::record::Record;

/// The format that this version writes and reads.
pub const FORMAT: u32 = 2;
/// Bytes before a segment's first commit.
pub const SEGMENT_HEADER: usize = 2 * HEADER_COPY;
/// Bytes of a commit's header.
pub const COMMIT_HEADER: usize = 20;
/// Bytes before a record's payload.
pub const RECORD_HEADER: usize = 8;

/// Bytes of one of the two copies of a segment's header.
const HEADER_COPY: usize = 64;
const SEGMENT_MAGIC: &[u8; 8] = b"RINGMQJ\n";
const COMMIT_MAGIC: &[u8; 4] = b"CMIT";

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The format of all that follows.
    pub format: u32,
    /// Segments count from 1.
    pub number: u64,
    /// The number of bytes that count in the segment before this one; 0 for the first.
    pub end_before: u64,
    /// The salt with which all checksums of the journal begin; no client knows it.
    pub salt: u64,
}

/// Names a commit: its checksums begin with this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The journal's.
    pub salt: u64,
    /// Commits count up by one.
    pub number: u64,
}

impl Stamp {
    fn sum(self) -> u32 {
        crc32c::crc32c_append(salt_sum(self.salt), &self.number.to_le_bytes())
    }
}

fn salt_sum(salt: u64) -> u32 {
    crc32c::crc32c(&salt.to_le_bytes())
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER);
        bytes.extend_from_slice(SEGMENT_MAGIC);
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.end_before.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.resize(HEADER_COPY, 0);
        bytes.extend_from_within(..);
        bytes
    }

    /// The header in the first bytes of a segment; None when both copies are damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let copies = bytes.get(..SEGMENT_HEADER)?.chunks(HEADER_COPY);
        copies.filter_map(Self::decode_copy).next()
    }

    /// True when there is nothing wrong with either copy.
    #[must_use]
    pub(crate) fn is_whole(bytes: &[u8]) -> bool {
        let copies = bytes.get(..SEGMENT_HEADER).map(|bytes| bytes.chunks(HEADER_COPY));
        copies.is_some_and(|mut copies| copies.all(|copy| Self::decode_copy(copy).is_some()))
    }

    fn decode_copy(bytes: &[u8]) -> Option<Self> {
        // A later format may have more to say than there is room for in this one.
        let is_whole = bytes.starts_with(SEGMENT_MAGIC)
            && crc32c::crc32c(&bytes[..40]) == u32_at(bytes, 40)
            && (u32_at(bytes, 8) > FORMAT || bytes[44..].iter().all(|&byte| byte == 0));
        is_whole.then(|| Self {
            format: u32_at(bytes, 8),
            number: u64_at(bytes, 16),
            end_before: u64_at(bytes, 24),
            salt: u64_at(bytes, 32),
        })
    }
}

/// Collects the records of one commit.
#[derive(Debug)]
pub struct CommitWriter {
    stamp: Stamp,
    bytes: Vec<u8>,
    /// The most bytes that the header can name; fewer in tests.
    bytes_max: usize,
}

impl CommitWriter {
    /// The commit of this stamp, in the empty `bytes`.
    #[must_use]
    pub const fn new(stamp: Stamp, bytes: Vec<u8>) -> Self {
        Self { stamp, bytes, bytes_max: u32::MAX as usize }
    }

    /// The writer with another limit.
    #[must_use]
    pub(crate) fn with_limit(self, bytes_max: usize) -> Self {
        Self { bytes_max, ..self }
    }

    /// Adds a record. One that no commit can hold is logged and left out, the others are not.
    pub fn write(&mut self, record: &Record<'_>) {
        let before = self.bytes.len();
        if self.bytes.is_empty() {
            self.bytes.resize(COMMIT_HEADER, 0);
        }
        let start = self.bytes.len();
        self.bytes.resize(start + RECORD_HEADER, 0);
        record.encode(&mut self.bytes);
        let payload = &self.bytes[start + RECORD_HEADER..];
        let length = payload.len() as u32;
        if self.bytes.len() > self.bytes_max {
            self.bytes.truncate(before);
            tracing::error!(length, "A change is not in the journal: no commit can hold it");
            return;
        }
        let sum = record_sum(self.stamp, payload);
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.bytes[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    }

    /// The number of bytes so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True when there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The commit's bytes; none when it has no record.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if let Some(length) = self.bytes.len().checked_sub(COMMIT_HEADER) {
            let header = CommitHeader { length: length as u32, number: self.stamp.number };
            self.bytes[..COMMIT_HEADER].copy_from_slice(&header.encode(self.stamp.salt));
        }
        self.bytes
    }
}

/// The header of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitHeader {
    /// Bytes of records that follow.
    pub(super) length: u32,
    /// Commits count up by one.
    pub(super) number: u64,
}

impl CommitHeader {
    fn encode(self, salt: u64) -> [u8; COMMIT_HEADER] {
        let mut bytes = [0; COMMIT_HEADER];
        bytes[..4].copy_from_slice(COMMIT_MAGIC);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        let sum = crc32c::crc32c_append(salt_sum(salt), &bytes[..16]);
        bytes[16..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The header that `bytes` begin with, if it is whole.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let bytes = bytes.get(..COMMIT_HEADER)?;
        let is_whole = bytes.starts_with(COMMIT_MAGIC)
            && crc32c::crc32c_append(salt_sum(salt), &bytes[..16]) == u32_at(bytes, 16);
        is_whole.then(|| Self { length: u32_at(bytes, 4), number: u64_at(bytes, 8) })
    }

    /// The offset of the next whole header, from `from` on.
    pub(super) fn find(bytes: &[u8], from: usize, salt: u64) -> Option<usize> {
        let is_here = |at: &usize| Self::decode(&bytes[*at..], salt).is_some();
        let candidates = bytes.get(from..)?.windows(COMMIT_MAGIC.len()).enumerate();
        let candidates = candidates.filter(|(_, window)| *window == COMMIT_MAGIC);
        candidates.map(|(at, _)| from + at).find(is_here)
    }
}

/// The payload of the record that `bytes` begin with, whole, and how long the record is; None when
/// it is damaged or cut off.
pub(super) fn record_payload(bytes: &[u8], stamp: Stamp) -> Option<&[u8]> {
    let length = u32_at(bytes.get(..RECORD_HEADER)?, 0) as usize;
    let payload = bytes.get(RECORD_HEADER..RECORD_HEADER.checked_add(length)?)?;
    (record_sum(stamp, payload) == u32_at(bytes, 4)).then_some(payload)
}

fn record_sum(stamp: Stamp, payload: &[u8]) -> u32 {
    let sum = crc32c::crc32c_append(stamp.sum(), &(payload.len() as u32).to_le_bytes());
    crc32c::crc32c_append(sum, payload)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

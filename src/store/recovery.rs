//! Reads a journal: its state, and its faults.

use super::batch::Epoch;
use super::commit::{
    COMMIT_HEADER, CommitHeader, FORMAT, RECORD_HEADER, SEGMENT_HEADER, SegmentHeader, Stamp,
    record_payload,
};
use super::decode::DecodeError;
use super::log::{LogEnd, Sealed};
use super::record::Record;
use super::state::State;
use crate::base::causes;
use std::collections::VecDeque;
use std::fmt;

/// A fault in a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A commit that was being written when the process or the machine stopped; nobody was told
    /// that it was done.
    TornTail {
        /// The segment.
        segment: u64,
        /// The offset of the first byte.
        offset: u64,
        /// The number of bytes.
        length: u64,
    },
    /// Bytes are damaged that were whole once.
    Damage {
        /// The segment.
        segment: u64,
        /// The offset of the first byte.
        offset: u64,
        /// The number of bytes.
        length: u64,
    },
    /// The header of a segment is damaged; its commits are used all the same.
    DamagedHeader {
        /// The segment.
        segment: u64,
    },
    /// A record is as it was written, but cannot be read.
    Unreadable {
        /// The segment.
        segment: u64,
        /// The offset of the first byte.
        offset: u64,
        /// The reason for which the record cannot be read.
        cause: DecodeError,
    },
    /// Segments between others are not there.
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TornTail { segment, offset, length } => write!(
                formatter,
                "segment {segment}, byte {offset}: {length} bytes that were still being written, \
                 and so acknowledged to nobody, are cut off"
            ),
            Self::Damage { segment, offset, length } => write!(
                formatter,
                "segment {segment}, byte {offset}: {length} bytes are damaged; what they held is \
                 lost, the rest is kept"
            ),
            Self::DamagedHeader { segment } => {
                write!(formatter, "segment {segment}: its header is damaged; the rest is kept")
            }
            Self::Unreadable { segment, offset, cause } => {
                let cause = causes::line(cause);
                write!(formatter, "segment {segment}, byte {offset}: a record is left out: {cause}")
            }
            Self::Missing { first, last } => {
                write!(formatter, "segments {first} to {last} are missing; the rest is kept")
            }
        }
    }
}

impl Fault {
    /// True for what every crash may leave behind.
    #[must_use]
    pub const fn is_torn_tail(&self) -> bool {
        matches!(self, Self::TornTail { .. })
    }
}

/// A segment has a format that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownFormat {
    /// The segment.
    pub segment: u64,
    /// The segment's format.
    pub format: u32,
}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, format } = self;
        write!(
            formatter,
            "segment {segment} has format {format}, this version knows format {FORMAT}: use the \
             version of ringmq that wrote it"
        )
    }
}

impl std::error::Error for UnknownFormat {}

/// A segment as it was found.
#[derive(Debug)]
pub struct Found {
    /// The number in the file's name.
    pub number: u64,
    /// All bytes of the segment.
    pub bytes: Vec<u8>,
}

/// Looks on while a journal is read.
pub trait Watch {
    /// A record is used, which the commit of this number has at this byte of the segment.
    fn record(&mut self, segment: u64, offset: u64, commit: u64, record: &Record<'_>);
    /// Something is wrong.
    fn fault(&mut self, fault: &Fault);
}

impl Watch for () {
    fn record(&mut self, _: u64, _: u64, _: u64, _: &Record<'_>) {}
    fn fault(&mut self, _: &Fault) {}
}

/// Reads segments one by one.
#[derive(Debug)]
pub struct Reader<W = ()> {
    watch: W,
    state: State,
    faults: Vec<Fault>,
    end: LogEnd,
    /// The last segment read, because what follows tells whether its end was torn, and attempts at
    /// further ones.
    held: VecDeque<Found>,
    commits: u64,
    records: u64,
}

/// The outcome of reading a journal.
#[derive(Debug)]
pub struct Recovered {
    /// The state that the records come to.
    pub state: State,
    /// Damage that was found, in order.
    pub faults: Vec<Fault>,
    /// The end from which the next process writes on.
    pub end: LogEnd,
    /// The number of commits in the journal.
    pub commits: u64,
    /// The number of records that were used.
    pub records: u64,
}

/// A record that a commit holds, or does not hold any more.
#[derive(Debug)]
pub enum Piece<'a> {
    /// A whole record.
    Record {
        /// The number of the commit.
        commit: u64,
        /// The offset of the first byte.
        offset: u64,
        /// The record's encoding.
        payload: &'a [u8],
    },
    /// Bytes that are none: from, how many, whether they are the segment's end.
    Gap {
        /// The offset of the first byte.
        offset: u64,
        /// The number of bytes.
        length: u64,
    },
}

impl Reader {
    /// A reader for a process whose clock began at `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self::watched(epoch, ())
    }
}

impl<W: Watch> Reader<W> {
    /// A reader that shows everything to `watch`.
    #[must_use]
    pub(crate) fn watched(epoch: Epoch, watch: W) -> Self {
        Self {
            watch,
            state: State::new(epoch),
            faults: Vec::new(),
            end: LogEnd::default(),
            held: VecDeque::new(),
            commits: 0,
            records: 0,
        }
    }

    /// The next segment, in the order of their numbers.
    ///
    /// # Errors
    /// Another version wrote the segment: then nothing of the journal may be used.
    pub fn read(&mut self, found: Found) -> Result<(), UnknownFormat> {
        let header = SegmentHeader::decode(&found.bytes);
        if let Some(SegmentHeader { format, .. }) = header.filter(|h| h.format != FORMAT) {
            return Err(UnknownFormat { segment: found.number, format });
        }
        self.end.salt = self.end.salt.or(header.map(|header| header.salt));
        let ends_others = !found.is_attempt();
        self.held.push_back(found);
        while ends_others && self.held.len() > 1 {
            self.use_first();
        }
        Ok(())
    }

    /// All segments were read.
    #[must_use]
    pub fn finish(self) -> Recovered {
        self.finish_watched().0
    }

    /// The outcome, and the watcher.
    #[must_use]
    pub(crate) fn finish_watched(mut self) -> (Recovered, W) {
        let held = std::mem::take(&mut self.held);
        let (attempts, last): (Vec<_>, Vec<_>) = held.into_iter().partition(Found::is_attempt);
        if let Some(last) = last.first() {
            self.use_segment(last, None, true);
        }
        for Found { number, bytes } in attempts {
            if !bytes.is_empty() {
                let length = bytes.len() as u64;
                self.note(Fault::TornTail { segment: number, offset: 0, length });
            }
            self.end.segments.push(Sealed { number, end: 0 });
        }
        self.state.finish();
        let Self { watch, state, faults, mut end, commits, records, .. } = self;
        let bodies: usize = state.messages.values().map(|message| message.bytes().len() + 32).sum();
        end.live_bytes = (bodies + state.sessions.len() * 128) as u64;
        (Recovered { state, faults, end, commits, records }, watch)
    }

    /// Takes the first of several segments; the second one's header knows where it ends.
    fn use_first(&mut self) {
        let Some(first) = self.held.pop_front() else { return };
        let Some(second) = self.held.front() else { return };
        let (last, follows) = (second.number - 1, first.number + 1 == second.number);
        let header = SegmentHeader::decode(&second.bytes).filter(|_| follows);
        let end = match header {
            Some(header) => Some(header.end_before as usize),
            None => (first.is_attempt() && second.is_attempt()).then_some(0),
        };
        self.use_segment(&first, end, false);
        if !follows {
            self.note(Fault::Missing { first: first.number + 1, last });
        }
    }

    /// Takes the records of a segment, of which the first `end` bytes count, where that is known.
    fn use_segment(&mut self, found: &Found, end: Option<usize>, is_last: bool) {
        let segment = found.number;
        if end == Some(0) {
            // It was only being made when the process before ended.
            self.end.segments.push(Sealed { number: segment, end: 0 });
            return;
        }
        if !SegmentHeader::is_whole(&found.bytes) {
            self.note(Fault::DamagedHeader { segment });
        }
        let end = end.unwrap_or(found.bytes.len());
        let bytes = &found.bytes[..end.min(found.bytes.len())];
        let salt = self.end.salt.unwrap_or_default();
        let may_be_torn = is_last && self.end.salt.is_some();
        let whole = if may_be_torn { whole_length(bytes, salt) } else { bytes.len() };
        for piece in pieces(&bytes[..whole], salt, self.end.next_commit) {
            match piece {
                Piece::Record { commit, offset, payload } => {
                    self.commits += u64::from(commit >= self.end.next_commit);
                    self.end.next_commit = self.end.next_commit.max(commit + 1);
                    self.use_record(segment, offset, commit, payload);
                }
                Piece::Gap { offset, length } => {
                    self.note(Fault::Damage { segment, offset, length });
                }
            }
        }
        if end > found.bytes.len() {
            let (offset, length) = (found.bytes.len() as u64, (end - found.bytes.len()) as u64);
            self.note(Fault::Damage { segment, offset, length });
        }
        if whole < bytes.len() {
            let (offset, length) = (whole as u64, (bytes.len() - whole) as u64);
            self.note(Fault::TornTail { segment, offset, length });
        }
        self.end.segments.push(Sealed { number: segment, end: whole as u64 });
    }

    fn note(&mut self, fault: Fault) {
        self.watch.fault(&fault);
        self.faults.push(fault);
    }

    fn use_record(&mut self, segment: u64, offset: u64, commit: u64, payload: &[u8]) {
        match Record::decode(payload) {
            Ok(record) => {
                self.records += 1;
                self.watch.record(segment, offset, commit, &record);
                self.state.apply(record);
            }
            Err(cause) => self.note(Fault::Unreadable { segment, offset, cause }),
        }
    }
}

impl Found {
    /// True when it was only being made when the process before ended: its header is written at
    /// once, and everything else when that is synced.
    fn is_attempt(&self) -> bool {
        self.bytes.len() <= SEGMENT_HEADER && !SegmentHeader::is_whole(&self.bytes)
    }
}

/// The length of the part of the last segment that a crash has not torn: all but a last commit that
/// is not whole. Earlier commits were synced before that one was begun.
fn whole_length(bytes: &[u8], salt: u64) -> usize {
    let mut whole = SEGMENT_HEADER.min(bytes.len());
    let mut next = CommitHeader::find(bytes, whole, salt);
    while let Some(at) = next {
        let commit = commit_at(bytes, at, salt);
        whole = match commit {
            Some((stamp, end)) if are_records_whole(&bytes[at + COMMIT_HEADER..end], stamp) => end,
            _ => at,
        };
        let behind = commit.map_or(at + COMMIT_HEADER, |(_, end)| end);
        next = CommitHeader::find(bytes, behind, salt);
    }
    whole
}

/// The stamp of the commit that begins at `at`, and where it ends, if that is within the bytes.
fn commit_at(bytes: &[u8], at: usize, salt: u64) -> Option<(Stamp, usize)> {
    let header = CommitHeader::decode(&bytes[at..], salt)?;
    let end = at + COMMIT_HEADER + header.length as usize;
    (end <= bytes.len()).then_some((Stamp { salt, number: header.number }, end))
}

fn are_records_whole(mut records: &[u8], stamp: Stamp) -> bool {
    while !records.is_empty() {
        let Some(payload) = record_payload(records, stamp) else { return false };
        records = &records[RECORD_HEADER + payload.len()..];
    }
    true
}

/// The records of a segment of a journal with this salt, and the damaged bytes between them, in
/// order. `next_commit` is the number of its first commit, for the case that its header is damaged.
#[must_use]
pub fn pieces(bytes: &[u8], salt: u64, mut next_commit: u64) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut at = SEGMENT_HEADER.min(bytes.len());
    while at < bytes.len() {
        let Extent { stamp, damaged, end } = match commit_at(bytes, at, salt) {
            Some((stamp, end)) => Extent { stamp: Some(stamp), damaged: 0, end },
            None => damaged_commit_at(bytes, at, salt, next_commit),
        };
        if damaged > 0 {
            push_gap(&mut pieces, at, at + damaged);
        }
        if let Some(stamp) = stamp {
            add_records(&mut pieces, &bytes[..end], at + COMMIT_HEADER, stamp);
            next_commit = stamp.number + 1;
        }
        at = end;
    }
    pieces
}

/// The end of a commit, the number of its first bytes that are damaged, and its stamp unless all of
/// the commit is damaged.
struct Extent {
    stamp: Option<Stamp>,
    damaged: usize,
    end: usize,
}

/// The rest of a commit at `at` that is cut off, or whose header is damaged: its number follows
/// from its neighbours then, and its records tell whether that is right.
fn damaged_commit_at(bytes: &[u8], at: usize, salt: u64, next_commit: u64) -> Extent {
    let next = CommitHeader::find(bytes, at + 1, salt);
    let end = next.unwrap_or(bytes.len());
    if let Some(CommitHeader { number, .. }) = CommitHeader::decode(&bytes[at..], salt) {
        return Extent { stamp: Some(Stamp { salt, number }), damaged: 0, end };
    }
    let next = next.and_then(|next| CommitHeader::decode(&bytes[next..], salt));
    let before_next = next.map(|next| next.number.wrapping_sub(1));
    let records = bytes[..end].get(at + COMMIT_HEADER..).unwrap_or_default();
    let numbers = [Some(next_commit), before_next].into_iter().flatten();
    let mut stamps = numbers.map(|number| Stamp { salt, number });
    let stamp = stamps.find(|&stamp| record_payload(records, stamp).is_some());
    let damaged = if stamp.is_some() { COMMIT_HEADER } else { end - at };
    Extent { stamp, damaged, end }
}

/// The records of a commit: from `at` to the end of `bytes`.
fn add_records<'a>(pieces: &mut Vec<Piece<'a>>, bytes: &'a [u8], mut at: usize, stamp: Stamp) {
    while at < bytes.len() {
        if let Some(payload) = record_payload(&bytes[at..], stamp) {
            pieces.push(Piece::Record { commit: stamp.number, offset: at as u64, payload });
            at += RECORD_HEADER + payload.len();
            continue;
        }
        // The length of a damaged record may be wrong itself; the next whole one tells where it
        // ends.
        let is_whole = |from: &usize| record_payload(&bytes[*from..], stamp).is_some();
        let next = (at + 1..bytes.len()).find(is_whole).unwrap_or(bytes.len());
        push_gap(pieces, at, next);
        at = next;
    }
}

fn push_gap(pieces: &mut Vec<Piece<'_>>, from: usize, to: usize) {
    pieces.push(Piece::Gap { offset: from as u64, length: (to - from) as u64 });
}

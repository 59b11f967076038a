//! Our own candidate: one file that only grows.
//!
//! ```text
//! ┌────────┬─────────┬──────────────────────────────────────────────────┐
//! │ length │ CRC-32C │ 0, message number, message and recipients        │  a publish
//! ├────────┼─────────┼──────────────────────────────────────────────────┤
//! │ length │ CRC-32C │ 1, session, first number, then differences       │  acknowledgements
//! └────────┴─────────┴──────────────────────────────────────────────────┘
//!   u32, LE  u32, LE   of the payload; all numbers in it are varints
//! ```
//!
//! A batch is one write and one fdatasync. A reader stops at the first record that is not whole;
//! a file that was closed ends where its records do.
//!
//! What fdatasync costs depends on what else changed but the data: a file that grows has a new
//! length, an allocated block that was never written becomes a written one, and only a block that
//! had been written before leaves the file system's own journal alone.

use crate::encoding::{put_message, put_varint, take_message, take_varint};
use crate::store::{Acknowledgement, Batch, Contents, Publish, Result, Store};
use crc_fast::{CrcAlgorithm, checksum};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const HEADER_BYTES: usize = 8;
const RECORD_BYTES_MAX: usize = 16 << 20;
const READ_BYTES: usize = 1 << 20;
const AHEAD_BYTES: u64 = 64 << 20;
const PUBLISH: u8 = 0;
const ACKNOWLEDGEMENTS: u8 = 1;

/// How the file gets its space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// Each write makes the file longer.
    Append,
    /// Blocks are allocated ahead.
    Allocated,
    /// Zeros are written ahead, by the commit that needs the space.
    Zeroed,
}

/// A file to append to.
#[derive(Debug)]
pub(crate) struct Segment {
    growth: Growth,
    path: PathBuf,
    file: File,
    /// Where the next record goes.
    end: u64,
    /// The file's length.
    length: u64,
    /// The records of a batch; kept for its capacity.
    records: Vec<u8>,
}

/// Message numbers, what they stand for, and for whom it still is.
type Pending = HashMap<u64, (u32, Vec<u32>), FixedState>;

impl Segment {
    /// Opens the file and makes its name durable.
    pub(crate) fn open(folder: &Path, growth: Growth) -> Result<Self> {
        let path = folder.join("segment");
        let file = File::options().write(true).create(true).truncate(false).open(&path)?;
        File::open(folder)?.sync_all()?;
        let length = file.metadata()?.len();
        Ok(Self { growth, path, file, end: length, length, records: Vec::new() })
    }

    /// Makes room ahead for `bytes`, unless the writes themselves are to.
    fn reserve(&mut self, bytes: u64) -> Result<()> {
        while self.growth != Growth::Append && self.length - self.end < bytes {
            if self.growth == Growth::Zeroed {
                self.file.write_all_at(&vec![0; AHEAD_BYTES as usize], self.length)?;
            } else {
                fallocate(&self.file, FallocateFlags::empty(), self.length, AHEAD_BYTES)?;
            }
            self.length += AHEAD_BYTES;
            self.file.sync_all()?;
        }
        Ok(())
    }

    fn put_publish(&mut self, publish: &Publish) {
        let start = self.begin(PUBLISH);
        put_varint(&mut self.records, publish.number);
        put_message(&mut self.records, publish.message, publish.recipients);
        self.end(start);
    }

    /// Those of one session whose message numbers ascend make one record.
    fn put_acknowledgements(&mut self, run: &[Acknowledgement]) {
        let start = self.begin(ACKNOWLEDGEMENTS);
        put_varint(&mut self.records, u64::from(run[0].session));
        let mut before = 0;
        for acknowledgement in run {
            put_varint(&mut self.records, acknowledgement.number - before);
            before = acknowledgement.number;
        }
        self.end(start);
    }

    fn begin(&mut self, what: u8) -> usize {
        let start = self.records.len();
        self.records.extend_from_slice(&[0; HEADER_BYTES]);
        self.records.push(what);
        start
    }

    fn end(&mut self, start: usize) {
        let (header, payload) = self.records[start..].split_at_mut(HEADER_BYTES);
        let length = u32::try_from(payload.len()).expect("a record is far below 4 GiB");
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4..].copy_from_slice(&crc_of(payload).to_le_bytes());
    }
}

impl Store for Segment {
    fn commit(&mut self, batch: &Batch) -> Result<()> {
        self.records.clear();
        for publish in &batch.publishes {
            self.put_publish(publish);
        }
        let same_run = |before: &Acknowledgement, after: &Acknowledgement| {
            before.session == after.session && before.number < after.number
        };
        for run in batch.acknowledgements.chunk_by(same_run) {
            self.put_acknowledgements(run);
        }
        let bytes = self.records.len() as u64;
        self.reserve(bytes)?;
        self.file.write_all_at(&self.records, self.end)?;
        self.file.sync_data()?;
        self.end += bytes;
        self.length = self.length.max(self.end);
        Ok(())
    }

    fn load(&self) -> Result<Contents> {
        let mut reader = BufReader::with_capacity(READ_BYTES, File::open(&self.path)?);
        let mut pending = Pending::default();
        let mut payload = Vec::new();
        while read_record(&mut reader, &mut payload)? {
            replay(&payload, &mut pending).ok_or("a record with a valid sum makes no sense")?;
        }
        let mut contents = Contents::default();
        for (number, (message_bytes, recipients)) in pending {
            contents.add_message_of(u64::from(message_bytes));
            for recipient in recipients {
                contents.add_recipient(number, recipient);
            }
        }
        Ok(contents)
    }

    /// Not in this candidate.
    fn compact(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // Should this fail, the file ends as after a crash, with a record that is not whole.
        let _ = self.file.set_len(self.end).and_then(|()| self.file.sync_all());
    }
}

/// Puts the next record's payload into `payload`; false at the end of what is whole.
fn read_record(reader: &mut impl Read, payload: &mut Vec<u8>) -> Result<bool> {
    let mut header = [0; HEADER_BYTES];
    if reader.read_exact(&mut header).is_err() {
        return Ok(false);
    }
    let length = u32::from_le_bytes(header[..4].try_into()?) as usize;
    if length == 0 || length > RECORD_BYTES_MAX {
        return Ok(false);
    }
    payload.resize(length, 0);
    let is_whole = reader.read_exact(payload).is_ok();
    Ok(is_whole && u32::from_le_bytes(header[4..].try_into()?) == crc_of(payload))
}

fn replay(payload: &[u8], pending: &mut Pending) -> Option<()> {
    let (&what, mut rest) = payload.split_first()?;
    match what {
        PUBLISH => {
            let number = take_varint(&mut rest)?;
            let mut recipients = Vec::new();
            let message = take_message(&mut rest, &mut recipients)?;
            pending.insert(number, (u32::try_from(message.len()).ok()?, recipients));
        }
        ACKNOWLEDGEMENTS => {
            let session = u32::try_from(take_varint(&mut rest)?).ok()?;
            let mut number = 0;
            while !rest.is_empty() {
                number += take_varint(&mut rest)?;
                acknowledge(pending, session, number);
            }
        }
        _ => return None,
    }
    Some(())
}

fn acknowledge(pending: &mut Pending, session: u32, number: u64) {
    let Some((_, recipients)) = pending.get_mut(&number) else { return };
    recipients.retain(|recipient| *recipient != session);
    if recipients.is_empty() {
        pending.remove(&number);
    }
}

fn crc_of(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

//! What every store has to do, and which stores there are.

use crate::fjall_store::FjallStore;
use crate::redb_store::RedbStore;
use crate::rocksdb_store::RocksdbStore;
use crate::segment::{Growth, Segment};
use clap::ValueEnum;
use std::path::Path;

/// Any failure ends the run.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A message to store for its recipients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publish<'a> {
    /// Messages are numbered in the order in which they came.
    pub(crate) number: u64,
    /// Topic and payload.
    pub(crate) message: &'a [u8],
    /// The numbers of the sessions that it is for, ascending.
    pub(crate) recipients: &'a [u32],
}

/// A session has a message; the store need not keep it for that session any longer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledgement {
    pub(crate) session: u32,
    pub(crate) number: u64,
    /// No recipient is left. A broker knows, because it counts them in memory.
    pub(crate) is_last: bool,
}

/// What becomes durable together. An acknowledgement is of a message of an earlier batch.
#[derive(Debug, Default, Clone)]
pub(crate) struct Batch<'a> {
    pub(crate) publishes: Vec<Publish<'a>>,
    pub(crate) acknowledgements: Vec<Acknowledgement>,
}

/// What a store holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) messages: u64,
    pub(crate) recipients: u64,
    /// Topics and payloads.
    message_bytes: u64,
    /// Differs, most likely, if a recipient of a message differs; their order does not matter.
    digest: u64,
}

impl Contents {
    pub(crate) fn add_message(&mut self, message: &[u8]) {
        self.add_message_of(message.len() as u64);
    }

    pub(crate) fn add_message_of(&mut self, bytes: u64) {
        self.messages += 1;
        self.message_bytes += bytes;
    }

    pub(crate) fn add_recipient(&mut self, number: u64, session: u32) {
        self.recipients += 1;
        let mixed = (number << 20 ^ u64::from(session)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.digest = self.digest.wrapping_add(mixed ^ mixed >> 29);
    }

    /// Adds all that a batch publishes.
    pub(crate) fn add_publishes(&mut self, batch: &Batch) {
        for publish in &batch.publishes {
            self.add_message(publish.message);
            for &recipient in publish.recipients {
                self.add_recipient(publish.number, recipient);
            }
        }
    }
}

/// A store under test.
pub(crate) trait Store {
    /// Returns when the batch is on the disk.
    fn commit(&mut self, batch: &Batch) -> Result<()>;

    /// Reads everything that is stored.
    fn load(&self) -> Result<Contents>;

    /// Gives back the space of what was removed, by the store's own means.
    fn compact(&mut self) -> Result<()>;
}

/// How a key-value store is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The message number leads to the message and the list of its recipients.
    List,
    /// The message number leads to the message; each recipient has a key of its own.
    Keys,
}

/// The stores, each with its layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Segment,
    SegmentAllocated,
    SegmentZeroed,
    FjallList,
    FjallKeys,
    RedbList,
    RedbKeys,
    RocksdbList,
    RocksdbKeys,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::SegmentAllocated => "segment-allocated",
            Self::SegmentZeroed => "segment-zeroed",
            Self::FjallList => "fjall-list",
            Self::FjallKeys => "fjall-keys",
            Self::RedbList => "redb-list",
            Self::RedbKeys => "redb-keys",
            Self::RocksdbList => "rocksdb-list",
            Self::RocksdbKeys => "rocksdb-keys",
        }
    }

    /// Opens the store in a folder, or makes it there.
    pub(crate) fn open(self, folder: &Path) -> Result<Box<dyn Store>> {
        Ok(match self {
            Self::Segment => Box::new(Segment::open(folder, Growth::Append)?),
            Self::SegmentAllocated => Box::new(Segment::open(folder, Growth::Allocated)?),
            Self::SegmentZeroed => Box::new(Segment::open(folder, Growth::Zeroed)?),
            Self::FjallList => Box::new(FjallStore::open(folder, Layout::List)?),
            Self::FjallKeys => Box::new(FjallStore::open(folder, Layout::Keys)?),
            Self::RedbList => Box::new(RedbStore::open(folder, Layout::List)?),
            Self::RedbKeys => Box::new(RedbStore::open(folder, Layout::Keys)?),
            Self::RocksdbList => Box::new(RocksdbStore::open(folder, Layout::List)?),
            Self::RocksdbKeys => Box::new(RocksdbStore::open(folder, Layout::Keys)?),
        })
    }
}

/// `session|message`, so that one session's messages stand together in their order.
pub(crate) fn recipient_key(session: u32, number: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&session.to_be_bytes());
    key[4..].copy_from_slice(&number.to_be_bytes());
    key
}

/// `message|session`, so that one message's acknowledgements stand together.
pub(crate) fn acknowledgement_key(number: u64, session: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..].copy_from_slice(&session.to_be_bytes());
    key
}

/// The message's number, as keys have it.
pub(crate) fn number_of(bytes: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(bytes.try_into()?))
}

/// The session's number, as keys have it.
pub(crate) fn session_of(bytes: &[u8]) -> Result<u32> {
    Ok(u32::from_be_bytes(bytes.try_into()?))
}

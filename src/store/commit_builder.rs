//! Makes commits of the batches that the workers hand over.
//!
//! A message that goes to sessions of several workers is one record. The worker that it came to
//! hands over the record, the others their part of its recipients; the batch with the record waits
//! until all parts are there. Parts wait for nothing, so no two workers ever wait for each other.

use super::batch::{Batch, Entry, Epoch, Part, PublishEntry};
use super::commit::{CommitWriter, Stamp};
use super::record::{ClockNote, Record};
use crate::base::ids::{ByWorker, PartNumber, RecordName, WorkerId};
use crate::base::maps::HashMap;
use crate::limits::COMMIT_BYTES_MAX;

/// More memory than this is not kept for the next commit.
const SPARE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A hand-over of a worker to the journal.
#[derive(Debug)]
pub enum Submission {
    /// A batch; a worker hands over the next one when it has heard of this one.
    Batch(Batch),
    /// Parts of records, for which other workers' batches wait.
    Parts(Vec<Part>),
}

/// A worker's share in a commit, told to the worker.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The worker's batch is in the commit.
    pub has_batch: bool,
    /// The numbers of the worker's parts in the commit.
    pub parts: Vec<PartNumber>,
}

/// A message of the journal to a worker.
#[derive(Debug)]
pub enum News {
    /// Hand-overs of the worker are as safe as the durability promises.
    Committed(Committed),
    /// A rewrite begins: the worker hands over anew all that lives.
    RewriteBegun {
        /// The rewrite.
        rewrite: u32,
    },
    /// The journal cannot be written, for this reason, or can again.
    State {
        /// The reason.
        failure: Option<Box<str>>,
    },
}

/// Bytes that are written at once, and the workers that hear of it.
#[derive(Debug)]
pub struct Commit {
    /// Bytes to write; empty when there is nothing to remember.
    pub bytes: Vec<u8>,
    /// News of the commit, by worker.
    pub heard: ByWorker<Committed>,
    /// The workers that have written all that lives, and since which rewrite.
    pub rewrites: Vec<(WorkerId, u32)>,
}

/// Collects batches and parts.
#[derive(Debug)]
pub struct CommitBuilder {
    epoch: Epoch,
    /// The batches, by worker.
    batches: ByWorker<Option<Batch>>,
    parts: HashMap<RecordName, Parts>,
    /// A note of the journal's time, for the next commit.
    clock: Option<ClockNote>,
    /// The memory of an earlier commit.
    spare: Vec<u8>,
}

/// The parts of one message that have come, and how many more they speak of.
#[derive(Debug, Default)]
struct Parts {
    come: Vec<(WorkerId, Part)>,
    more: u32,
}

impl CommitBuilder {
    /// For so many workers.
    #[must_use]
    pub fn new(workers: usize, epoch: Epoch) -> Self {
        let batches = ByWorker::new(workers, |_| None);
        Self { epoch, batches, parts: HashMap::default(), clock: None, spare: Vec::new() }
    }

    /// Takes the bytes of a commit back, for their memory.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= SPARE_BYTES_MAX {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// The next commit that has anything to remember begins with this note.
    pub const fn note_clock(&mut self, note: ClockNote) {
        self.clock = Some(note);
    }

    /// A commit under this stamp that has nothing but the note.
    #[must_use]
    pub(crate) fn clock_commit(&mut self, stamp: Stamp, note: ClockNote) -> Commit {
        self.clock = None;
        let mut writer = CommitWriter::new(stamp, std::mem::take(&mut self.spare));
        writer.write(&Record::Clock(note));
        let heard = self.nothing_heard();
        Commit { bytes: writer.finish(), heard, rewrites: Vec::new() }
    }

    /// Takes a batch or parts from a worker.
    ///
    /// # Panics
    /// The worker hands over a second batch before it has heard of the first.
    pub fn take(&mut self, worker: WorkerId, submission: Submission) {
        match submission {
            Submission::Batch(batch) => {
                let before = self.batches[worker].replace(batch);
                assert!(before.is_none(), "a worker hands over one batch at a time");
            }
            Submission::Parts(parts) => {
                for part in parts {
                    let known = self.parts.entry(part.record).or_default();
                    known.more += part.more;
                    known.come.push((worker, part));
                }
            }
        }
    }

    /// The commit of all that is complete, under this stamp. None when nothing is.
    pub fn next(&mut self, stamp: Stamp) -> Option<Commit> {
        let workers = WorkerId::all(self.batches.workers());
        let complete: Vec<_> = workers.filter(|&worker| self.is_complete(worker)).collect();
        if complete.is_empty() {
            return None;
        }
        let heard = self.nothing_heard();
        let mut commit = Commit { bytes: Vec::new(), heard, rewrites: Vec::new() };
        let mut writer = CommitWriter::new(stamp, std::mem::take(&mut self.spare));
        if let Some(note) = self.clock {
            writer.write(&Record::Clock(note));
        }
        let noted = writer.len();
        for worker in complete {
            if writer.len() > COMMIT_BYTES_MAX {
                // It goes into the next one.
                break;
            }
            let batch = self.batches[worker].take().expect("it is complete");
            commit.heard[worker].has_batch = true;
            commit.rewrites.extend(batch.finishes_rewrite.map(|rewrite| (worker, rewrite)));
            self.write(batch, &mut writer, &mut commit.heard);
        }
        // A note alone is not worth a write.
        if writer.len() > noted {
            self.clock = None;
            commit.bytes = writer.finish();
        }
        Some(commit)
    }

    fn nothing_heard(&self) -> ByWorker<Committed> {
        ByWorker::new(self.batches.workers(), |_| Committed::default())
    }

    fn is_complete(&self, worker: WorkerId) -> bool {
        let Some(batch) = &self.batches[worker] else { return false };
        batch.entries.iter().all(|entry| match entry {
            Entry::Record(_) => true,
            Entry::Publish(publish) if publish.parts == 0 => true,
            Entry::Publish(publish) => self
                .parts
                .get(&publish.record)
                .is_some_and(|parts| parts.come.len() as u32 >= publish.parts + parts.more),
        })
    }

    fn write(&mut self, batch: Batch, writer: &mut CommitWriter, heard: &mut ByWorker<Committed>) {
        for entry in batch.entries {
            match entry {
                Entry::Record(record) => writer.write(&record),
                Entry::Publish(mut publish) => {
                    self.join(&mut publish, heard);
                    let has_body = publish.settle_body();
                    if has_body || !publish.is_void() {
                        writer.write(&publish.record(self.epoch, has_body));
                    }
                }
            }
        }
        if !batch.done.is_empty() {
            writer.write(&Record::Done(batch.done));
        }
    }

    /// Adds the parts of other workers.
    fn join(&mut self, publish: &mut PublishEntry, heard: &mut ByWorker<Committed>) {
        if publish.parts == 0 {
            return;
        }
        let Some(parts) = self.parts.remove(&publish.record) else { return };
        for (worker, part) in parts.come {
            publish.recipients.append(part.recipients);
            publish.retained = publish.retained.or(part.retained);
            heard[worker].parts.push(part.number);
        }
    }
}

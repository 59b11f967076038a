//! What goes to and comes from the journal.

use super::worker::Worker;
use crate::broker::{Input, Unwritten};
use crate::io::clock::Clock;
use crate::limits::STOP_JOURNAL;
use crate::mesh::Line;
use crate::store::{Committed, Epoch, News, Submission};
use std::sync::Arc;
use std::time::Duration;

/// A worker's way to the journal.
pub struct JournalLine {
    line: Line<Submission, News>,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// When the clock began.
    pub(super) epoch: Epoch,
}

impl std::fmt::Debug for JournalLine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JournalLine").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl JournalLine {
    /// The worker's end of its line; `wake` wakes the journal.
    #[must_use]
    pub(crate) fn new(
        line: Line<Submission, News>,
        wake: Arc<dyn Fn() + Send + Sync>,
        epoch: Epoch,
    ) -> Self {
        Self { line, wake, epoch }
    }

    pub(super) fn has_work(&self) -> bool {
        self.line.has_work()
    }
}

impl Worker {
    /// Tells the shard what the journal says. True when there was anything.
    pub(super) fn hear_journal(&mut self) -> bool {
        let mut busy = false;
        while let Some(news) = self.journal.as_mut().and_then(|journal| journal.line.receive()) {
            busy = true;
            self.feed(match news {
                News::Committed(Committed { has_batch, parts }) => {
                    Input::Committed { has_batch, parts }
                }
                News::PassBegun { pass } => Input::PassBegun { pass },
                News::State { failure } => Input::JournalState { failure },
            });
        }
        busy
    }

    /// Hands over what is due. True when there was anything.
    pub(super) fn submit_to_journal(&mut self) -> bool {
        if self.journal.is_none() {
            return false;
        }
        let mut busy = false;
        while self.journal.as_ref().is_some_and(|journal| journal.line.has_room()) {
            let Some(submission) = self.shard.next_submission() else { break };
            let Some(journal) = &mut self.journal else { break };
            let is_sent = journal.line.send(submission).is_ok();
            assert!(is_sent, "there is room");
            busy = true;
        }
        if busy && let Some(journal) = &self.journal {
            (journal.wake)();
        }
        // What needed no commit may have released something.
        self.carry_out_all();
        busy
    }

    /// Waits until the journal has all that happened to any worker, since the record of one may
    /// need a part of another; for a while: the disk may be full. What is left then.
    pub(super) fn finish_journal(&mut self, clock: &Clock) -> Unwritten {
        let deadline = self.stop_began.after(STOP_JOURNAL);
        while self.journal.is_some() && clock.now() < deadline {
            self.now = clock.now();
            let mut busy = self.exchange();
            busy |= self.hear_journal();
            self.shard.hurry_journal();
            busy |= self.submit_to_journal();
            self.mesh.ring_doorbells();
            if self.mesh.finish(!busy && !self.shard.owes_journal()) {
                break;
            }
            if !busy {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        if let Some(journal) = self.journal.take() {
            let wake = Arc::clone(&journal.wake);
            drop(journal);
            wake();
        }
        self.shard.unwritten()
    }
}

//! The line between a worker and the journal's thread.

use crate::broker::{Input, Shard};
use crate::mesh::Line;
use crate::store::{Committed, Epoch, News, Submission};
use std::sync::Arc;

/// A worker's end of the line to the journal's thread.
pub struct JournalLine {
    line: Line<Submission, News>,
    wake: Arc<dyn Fn() + Send + Sync>,
    epoch: Epoch,
}

impl std::fmt::Debug for JournalLine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JournalLine").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl JournalLine {
    /// The worker's end of `line`; `wake` wakes the journal, whose time was `epoch` when the
    /// process's clock began.
    #[must_use]
    pub(crate) fn new(
        line: Line<Submission, News>,
        wake: Arc<dyn Fn() + Send + Sync>,
        epoch: Epoch,
    ) -> Self {
        Self { line, wake, epoch }
    }

    /// The journal's time when the process's clock began.
    pub(super) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// True when the journal has sent something.
    pub(super) fn has_news(&self) -> bool {
        self.line.has_work()
    }

    /// The journal's next news, for the shard.
    pub(super) fn hear(&mut self) -> Option<Input<'static>> {
        Some(match self.line.receive()? {
            News::Committed(Committed { has_batch, parts }) => {
                Input::Committed { has_batch, parts }
            }
            News::RewriteBegun { rewrite } => Input::RewriteBegun { rewrite },
            News::State { failure } => Input::JournalState { failure },
        })
    }

    /// Hands over the submissions of the shard that are due. Whether there were any, and a batch
    /// among them.
    pub(super) fn submit(&mut self, shard: &mut Shard) -> (bool, bool) {
        let (mut busy, mut has_batch) = (false, false);
        while self.line.has_room() {
            let Some(submission) = shard.next_submission() else { break };
            has_batch |= matches!(submission, Submission::Batch(_));
            let is_sent = self.line.send(submission).is_ok();
            assert!(is_sent, "there is room");
            busy = true;
        }
        if busy {
            (self.wake)();
        }
        (busy, has_batch)
    }

    /// Tells the journal that nothing more comes from this worker.
    pub(super) fn close(self) {
        let Self { line, wake, .. } = self;
        drop(line);
        wake();
    }
}

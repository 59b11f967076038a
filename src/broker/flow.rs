//! The packets, verdicts, sessions and wills that wait while rings to other workers are full.
//!
//! Whatever may send to another worker waits, before it has done anything: packets of clients on
//! their links, verdicts about logins, sessions whose time has come, wills of which the disk knows
//! that they are gone. So what waits for a ring in its sender is what one burst caused, what a link
//! that closes or a message of another worker causes, and answers to what other workers have asked.

use super::will::{Author, WillMessage};
use crate::access::Verdict;
use crate::base::ids::{LinkId, SessionId, WorkerId};
use crate::limits::MESH_BURST_MAX;
use crate::topics::WorkerSet;
use std::collections::VecDeque;

/// Everything that waits for rings.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Workers whose ring from here is full.
    full: WorkerSet,
    /// Messages to other workers since the outputs were last drained.
    burst: usize,
    pub(super) links: VecDeque<LinkId>,
    pub(super) verdicts: VecDeque<(LinkId, Verdict)>,
    pub(super) sessions: VecDeque<SessionId>,
    pub(super) wills: VecDeque<(Author, Box<WillMessage>)>,
}

impl Flow {
    pub(super) fn note_full(&mut self, to: WorkerId) {
        self.full.insert(to);
    }

    pub(super) fn note_open(&mut self, to: WorkerId) {
        self.full.remove(to);
    }

    /// The driver has carried out everything, and has told which rings are full.
    pub(super) const fn note_drained(&mut self) {
        self.burst = 0;
    }

    /// One thing more is on its way to another worker.
    pub(super) const fn note_sent(&mut self) {
        self.burst += 1;
    }

    /// True while something waits for a full ring.
    pub(super) const fn is_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// True when what may send to another worker has to wait.
    pub(super) const fn is_busy(&self) -> bool {
        self.is_full() || self.burst >= MESH_BURST_MAX
    }

    /// True when something has waited and need not any longer.
    pub(super) fn can_go_on(&self) -> bool {
        let is_empty = self.links.is_empty()
            && self.verdicts.is_empty()
            && self.sessions.is_empty()
            && self.wills.is_empty();
        !is_empty && !self.is_full()
    }
}

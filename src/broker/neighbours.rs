//! The other workers, as this one deals with them: full rings to them and the things that wait for
//! those, their questions, and their answers that are awaited.
//!
//! A thing that may send to another worker waits before it has done anything: packets of clients on
//! their links, verdicts about logins, sessions whose time has come, wills of which the disk knows
//! that they are gone. So the sender's end of a ring holds only the messages that one burst, a link
//! that closes, or a message of another worker causes, and answers to questions of other workers.

use super::mesh_message::{RetainedQuery, Ticket};
use super::will::{Author, WillMessage};
use crate::access::Verdict;
use crate::base::ids::{LinkId, SessionId, WorkerId};
use crate::base::visits::visit;
use crate::limits::MESH_BURST_MAX;
use crate::topics::WorkerSet;
use std::collections::VecDeque;

/// A question for retained messages, and the worker that asks.
type Question = (WorkerId, Box<RetainedQuery>);

/// The state of a worker's dealings with all others.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Workers whose ring from here is full.
    full: WorkerSet,
    /// Messages to other workers since the outputs were last drained.
    burst: usize,
    links: VecDeque<LinkId>,
    verdicts: VecDeque<(LinkId, Verdict)>,
    sessions: VecDeque<SessionId>,
    wills: VecDeque<(Author, Box<WillMessage>)>,
    /// Answers to news of interest, which wait until no ring is full.
    answers: Vec<(WorkerId, Ticket)>,
    /// The number of answers to news of interest that are still to come from other workers.
    answers_awaited: usize,
    /// Questions that came since the last sweep over the rings began, and those before them.
    questions: VecDeque<Question>,
    questions_due: VecDeque<Question>,
}

/// A thing that has waited for rings.
#[derive(Debug)]
pub(super) enum Waiting {
    Will(Author, Box<WillMessage>),
    Verdict(LinkId, Verdict),
    /// A session whose time has come.
    Session(SessionId),
    /// A link whose next packet may send to other workers.
    Link(LinkId),
}

impl Neighbours {
    pub(super) fn note_full(&mut self, to: WorkerId) {
        self.full.insert(to);
    }

    /// The ring to a worker has room again. The answers that have waited, once no ring is full.
    pub(super) fn note_open(&mut self, to: WorkerId) -> Vec<(WorkerId, Ticket)> {
        self.full.remove(to);
        if self.is_full() { Vec::new() } else { std::mem::take(&mut self.answers) }
    }

    /// The driver has carried out everything, and has told which rings are full.
    pub(super) const fn note_drained(&mut self) {
        self.burst = 0;
    }

    /// One thing more is on its way to another worker.
    pub(super) const fn note_sent(&mut self) {
        self.burst += 1;
    }

    const fn is_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// True when things that may send to another worker have to wait.
    pub(super) const fn is_busy(&self) -> bool {
        self.is_full() || self.burst >= MESH_BURST_MAX
    }

    /// True when the next packet of a link has to wait, if it may send to another worker: wills
    /// come before all that their clients do on later connections.
    pub(super) fn holds_up_packets(&self) -> bool {
        self.is_busy() || !self.wills.is_empty()
    }

    /// True when something has waited and need not any longer.
    pub(super) fn can_go_on(&self) -> bool {
        let is_empty = self.links.is_empty()
            && self.verdicts.is_empty()
            && self.sessions.is_empty()
            && self.wills.is_empty();
        !is_empty && !self.is_full()
    }

    /// Keeps a thing waiting until the rings have room.
    pub(super) fn keep_waiting(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Will(author, will) => self.wills.push_back((author, will)),
            Waiting::Verdict(id, verdict) => self.verdicts.push_back((id, verdict)),
            Waiting::Session(id) => self.sessions.push_back(id),
            Waiting::Link(id) => self.links.push_back(id),
        }
    }

    /// The next thing that has waited, while the rings have room: wills first.
    pub(super) fn next_waiting(&mut self) -> Option<Waiting> {
        if self.is_busy() {
            return None;
        }
        if let Some((author, will)) = self.wills.pop_front() {
            return Some(Waiting::Will(author, will));
        }
        if let Some((id, verdict)) = self.verdicts.pop_front() {
            return Some(Waiting::Verdict(id, verdict));
        }
        let session = self.sessions.pop_front().map(Waiting::Session);
        session.or_else(|| self.links.pop_front().map(Waiting::Link))
    }

    /// True when the verdict about a link's login waits here.
    pub(super) fn has_verdict(&self, id: LinkId) -> bool {
        self.verdicts.iter().inspect(|_| visit(1)).any(|(link, _)| *link == id)
    }

    /// Keeps the answer to a worker's news of interest while a ring is full; gives it back when it
    /// can go at once.
    pub(super) fn keep_answer(&mut self, to: WorkerId, ticket: Ticket) -> Option<Ticket> {
        if !self.is_full() {
            return Some(ticket);
        }
        self.answers.push((to, ticket));
        None
    }

    /// Counts answers to news of interest that other workers owe from now on.
    pub(super) const fn await_answers(&mut self, count: usize) {
        self.answers_awaited += count;
    }

    /// One answer to news of interest has come.
    pub(super) const fn note_answer(&mut self) {
        self.answers_awaited -= 1;
    }

    /// True when other workers may not have applied all news of interest yet.
    pub(super) const fn awaits_answers(&self) -> bool {
        self.answers_awaited > 0
    }

    /// Takes a question for retained messages, which waits for the end of the next sweep.
    pub(super) fn ask(&mut self, from: WorkerId, query: Box<RetainedQuery>) {
        self.questions.push_back((from, query));
    }

    /// The next question that came before the sweep that has just ended began.
    pub(super) fn next_due_question(&mut self) -> Option<Question> {
        self.questions_due.pop_front()
    }

    /// The next sweep begins: it carries all that was stored before the questions so far.
    pub(super) fn begin_sweep(&mut self) {
        self.questions_due.append(&mut self.questions);
    }

    /// True while questions wait for a sweep.
    pub(super) fn has_questions(&self) -> bool {
        !self.questions.is_empty() || !self.questions_due.is_empty()
    }
}

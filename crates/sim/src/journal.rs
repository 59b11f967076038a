//! The journal of a simulated broker: commits take their time, a crash loses what is in memory, and
//! what the journal holds must be what lives.

use super::wire::Phase;
use super::world::{Event, World};
use ringmq::base::ids::{MessageId, WorkerId};
use ringmq::base::time::Time;
use ringmq::broker::{Homes, Input, Past, Promise, Quotas, Shard};
use ringmq::metrics::Counters;
use ringmq::store::record::Record;
use ringmq::store::{
    Commit, CommitBuilder, Epoch, Reading, SEGMENT_HEADER, Stamp, State, StoredCopy, pieces,
};
use ringmq::testing::open_at;
use std::collections::BTreeSet;
use std::sync::Arc;

const EPOCH: Epoch = Epoch(0);

/// The batches of the workers, and the commits that are on disk.
#[derive(Debug)]
pub(super) struct Journal {
    gatherer: CommitBuilder,
    stamp: Stamp,
    /// The commit that is being written.
    commit: Option<Commit>,
    /// Every record on disk, as bytes, one list a commit.
    disk: Vec<Vec<u8>>,
    /// The rewrite over all that lives, while one goes on.
    rewrite: Option<Rewrite>,
    rewrites_begun: u32,
}

/// A rewrite that is not over.
#[derive(Debug)]
struct Rewrite {
    number: u32,
    /// Commits before this one are not needed when it is over.
    first: usize,
    /// Workers that have written all that lives.
    done: BTreeSet<usize>,
}

impl Journal {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            gatherer: CommitBuilder::new(workers, EPOCH),
            stamp: Stamp { salt: 7, number: 1 },
            commit: None,
            disk: Vec::new(),
            rewrite: None,
            rewrites_begun: 1,
        }
    }

    pub(super) const fn commits(&self) -> usize {
        self.disk.len()
    }

    /// The state that the commits from the one in place `from` on make.
    fn state(&self, from: usize) -> State {
        let mut state = State::new(EPOCH);
        for commit in &self.disk[from..] {
            let segment = [&[0; SEGMENT_HEADER], commit.as_slice()].concat();
            for piece in pieces(&segment, self.stamp.salt, self.stamp.number) {
                let ringmq::store::Piece::Record { payload, .. } = piece else {
                    panic!("what was written cannot be read");
                };
                state.apply(Record::decode(payload).expect("what was written can be read"));
            }
        }
        state.finish();
        state
    }
}

/// A reading of the clocks, of which only the one since the boot can be relied on.
fn clocks(now: u64, noise: u64) -> Reading {
    let wall_ms = noise.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    Reading { wall_ms, boot: [7; 16], boot_ms: now }
}

/// Makes a shard keep a journal.
pub(super) fn keep(shard: &mut Shard, promise: Promise) {
    shard.keep_journal(EPOCH, promise);
}

impl World {
    /// Collects the batches and parts that a worker hands over.
    pub(super) fn collect(&mut self, worker: usize) {
        if self.journal.is_none() {
            return;
        }
        while let Some(submission) = self.workers[worker].shard.next_submission() {
            if let Some(journal) = &mut self.journal {
                journal.gatherer.take(WorkerId::at(worker), submission);
            }
        }
        self.begin_commit();
    }

    fn begin_commit(&mut self) {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.commit.is_none()) else {
            return;
        };
        let now = self.now.nanoseconds() / 1_000_000;
        journal.gatherer.note_clock(clocks(now, journal.stamp.number).note(now));
        journal.commit = journal.gatherer.next(journal.stamp);
        if journal.commit.is_some() {
            let most_us = super::scenario::pick(&mut self.prng, &[100, 1_000, 3_000, 3_000]);
            self.schedule_us(Event::Commit, most_us);
        }
    }

    /// The commit is on disk, and the workers hear of it.
    pub(super) fn commit(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let Some(Commit { bytes, heard, rewrites }) = journal.commit.take() else { return };
        if !bytes.is_empty() {
            journal.stamp.number += 1;
            journal.disk.push(bytes);
        }
        if let Some(rewrite) = &mut journal.rewrite {
            let of_it = rewrites.into_iter().filter(|(_, number)| *number == rewrite.number);
            rewrite.done.extend(of_it.map(|(worker, _)| worker.index()));
        }
        self.trace(|| format!("a commit for {heard:?}"));
        for (worker, committed) in heard.into_pairs() {
            if committed.has_batch || !committed.parts.is_empty() {
                let (has_batch, parts) = (committed.has_batch, committed.parts);
                self.feed(worker.index(), Input::Committed { has_batch, parts });
            }
        }
        self.end_rewrite();
        if !self.is_ending && self.prng.chance(self.scenario.rewrites) {
            self.begin_rewrite();
        }
        self.begin_commit();
    }

    /// Everything that lives is to be written anew, while everything goes on.
    fn begin_rewrite(&mut self) {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.rewrite.is_none())
        else {
            return;
        };
        journal.rewrites_begun += 1;
        let (number, first) = (journal.rewrites_begun, journal.disk.len());
        journal.rewrite = Some(Rewrite { number, first, done: BTreeSet::new() });
        self.trace(|| format!("rewrite {number} begins"));
        for worker in 0..self.workers.len() {
            self.feed(worker, Input::RewriteBegun { rewrite: number });
        }
    }

    /// Ends a rewrite that is over: drops the commits before it.
    fn end_rewrite(&mut self) {
        let workers = self.workers.len();
        let Some(journal) = &mut self.journal else { return };
        let is_over = |rewrite: &Rewrite| rewrite.done.len() == workers;
        if !self.is_ending && journal.rewrite.as_ref().is_some_and(is_over) {
            let first = journal.rewrite.take().map_or(0, |rewrite| rewrite.first);
            journal.disk.drain(..first);
        }
    }

    /// Checks that the journal's state is the one that a rewrite over all that lives writes.
    // I13, I14
    pub(super) fn check_journal(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.rewrite = None;
        }
        self.begin_rewrite();
        self.settle();
        let Some(journal) = &mut self.journal else { return };
        let Some(Rewrite { first: from, done, .. }) = journal.rewrite.take() else { return };
        if done.len() < self.workers.len() {
            return self.model.fail("I14", format!("only {done:?} have passed"));
        }
        let Some(journal) = &self.journal else { return };
        let all = journal.state(0);
        let described = |state| described(state, self.now);
        let (held, lives) = (described(&all), described(&journal.state(from)));
        let superfluous: Vec<_> = held.difference(&lives).collect();
        let missing: Vec<_> = lives.difference(&held).collect();
        if !superfluous.is_empty() || !missing.is_empty() {
            let text = format!("the journal should not have {superfluous:#?} but {missing:#?}");
            self.model.fail("I14", text);
        }
    }

    /// Brings everything to rest, crashes the broker, and lets all clients go on.
    pub(super) fn crash_midway(&mut self) {
        if self.journal.is_none() {
            return;
        }
        self.is_ending = true;
        self.settle();
        self.check_journal();
        self.restart();
        self.is_ending = false;
        for client in std::mem::take(&mut self.resting) {
            self.schedule_us(Event::Act(client), 20_000);
        }
    }

    /// The broker stops in good order or crashes, and starts again.
    pub(super) fn restart(&mut self) {
        if self.journal.is_some() && self.prng.chance(50) {
            self.stop();
        } else {
            (0..self.model.sessions.len()).for_each(|session| self.model.doubt(session));
        }
        self.crash();
    }

    /// Tells every client that the broker stops, and notes the output.
    fn stop(&mut self) {
        self.trace(|| "the broker stops".into());
        self.is_stopping = true;
        // Whoever was to be put out is.
        self.clients.iter_mut().for_each(|client| client.grudge = None);
        for worker in 0..self.workers.len() {
            self.feed(worker, Input::Shutdown);
        }
        self.settle();
        self.is_stopping = false;
    }

    /// The broker loses all that is not on disk, and starts again from that.
    fn crash(&mut self) {
        let Some(journal) = self.journal.take() else { return };
        self.trace(|| "the broker starts again".into());
        let mut state = journal.state(0);
        let now = self.now.nanoseconds() / 1_000_000;
        let journal_ms = clocks(now, !journal.stamp.number).journal_ms(state.clock.as_ref(), None);
        if state.clock.is_some() && journal_ms != now {
            self.model.fail("V38", format!("the journal's time is {journal_ms} at {now}"));
        }
        state.set_epoch(EPOCH);
        let count = self.workers.len();
        self.past_counters = self.counters();
        let homes = Homes::new(count, self.secret);
        let quotas = Arc::new(Quotas::new(self.secret));
        for (index, past) in Past::divide(state, &homes).into_pairs() {
            let options = self.scenario.options.clone().into();
            let policies = self.policies.clone();
            let mut shard = Shard::new(options, policies, index, count, self.secret);
            self.scenario.limit_turns(&mut shard);
            shard.share_quotas(quotas.clone());
            keep(&mut shard, self.scenario.promise);
            open_at(&mut shard, self.now);
            shard.restore(past, EPOCH);
            self.workers[index.index()].restart(shard);
        }
        let Journal { disk, stamp, .. } = journal;
        self.journal = Some(Journal { disk, stamp, ..Journal::new(count) });
        for wire in 0..self.wires.len() {
            self.wires[wire].link = None;
            if matches!(self.wires[wire].phase, Phase::Open | Phase::Closing) {
                self.bury(wire);
            }
        }
        for worker in 0..count {
            self.feed(worker, Input::Tick);
        }
        // Whoever was to be put out is.
        self.clients.iter_mut().for_each(|client| client.grudge = None);
        self.connect_observer();
    }
}

/// A state in lines, without what differs from time to time: the order in which things are said,
/// and the clock.
fn described(state: &State, now: Time) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    // What has expired is of no use, but may still be in the journal.
    let is_expired = |id: &MessageId| state.messages.get(id).is_some_and(|m| m.is_expired(now));
    for session in state.sessions.values() {
        let number = session.attributes.session;
        let (id, expiry_s) = (&session.attributes.client_id, session.attributes.expiry_s);
        let will = session.attributes.will.is_some();
        lines.insert(format!("session {number} {id} {expiry_s} will {will}"));
        for subscription in session.subscriptions.values() {
            let mut subscription = subscription.clone();
            if let Some(owed) = &mut subscription.owed {
                owed.overtaken.retain(|id| !is_expired(id));
            }
            lines.insert(format!("session {number} {subscription:?}"));
        }
        let is_wanted = |(id, way): &&StoredCopy| way.is_released || !is_expired(id);
        let deliveries = session.deliveries().into_iter().filter(is_wanted);
        for (place, (message, delivery)) in deliveries.enumerate() {
            lines.insert(format!("session {number} {place}: message {message} {delivery:?}"));
        }
        lines.insert(format!("session {number} received {:?}", session.received));
    }
    for message in state.retained().filter(|message| !message.is_expired(now)) {
        lines.insert(format!(
            "retained {} {:?} {}",
            message.topic(),
            message.version(),
            message.id
        ));
    }
    let messages = state.messages.values().filter(|message| !message.is_expired(now));
    lines.extend(messages.map(|message| format!("message {} {}", message.id, message.topic())));
    lines
}

/// Adds the counts from before a crash.
pub(super) fn with_past(past: &Counters, mut now: Counters) -> Counters {
    now.add(past);
    now
}

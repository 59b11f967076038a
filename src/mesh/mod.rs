//! The rings between workers: one per ordered pair, and how a sleeping worker is woken.
#![forbid(unsafe_code)]

mod line;
mod sleep;

pub use line::{Line, line};
pub use sleep::Doorbell;

use crate::base::ids::{ByWorker, WorkerId};
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// One worker's end of the mesh: it sends to and receives from every other worker.
///
/// Messages from one worker to another arrive in the order in which they were sent. What does not
/// fit into a ring waits in an overflow of the sender, in order. The sender bounds it: once it is
/// told [`Sent::Full`] it begins nothing that sends to others, until `Mesh::drain_overflow` has
/// called `open`.
#[derive(Debug)]
pub struct Mesh<T> {
    me: WorkerId,
    peers: ByWorker<Option<Peer<T>>>,
    doorbells: Arc<[Doorbell]>,
}

/// Both directions between this worker and another one.
#[derive(Debug)]
struct Peer<T> {
    outgoing: Producer<T>,
    overflow: VecDeque<T>,
    incoming: Consumer<T>,
    /// How many of the incoming messages belong to the current sweep.
    due: usize,
    /// Something was pushed since the peer was last looked at for sleeping.
    pushed: bool,
    /// Something was popped since then.
    popped: bool,
}

/// What happened to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way, or waits behind others that do.
    Queued,
    /// It waits, as the first one: the ring to that worker is full.
    Full,
}

/// The ends of a mesh between `doorbells.len()` workers, by worker; rings hold `capacity` messages.
#[must_use]
pub fn mesh<T>(doorbells: Arc<[Doorbell]>, capacity: usize) -> Vec<Mesh<T>> {
    let workers = doorbells.len();
    let (mut producers, mut consumers): (Vec<_>, Vec<_>) = (0..workers * workers)
        .map(|_| RingBuffer::new(capacity))
        .map(|(p, c)| (Some(p), Some(c)))
        .unzip();
    WorkerId::all(workers)
        .map(|me| {
            let mut peer = |other: WorkerId| {
                let outgoing =
                    producers[me.index() * workers + other.index()].take().expect("taken once");
                let incoming =
                    consumers[other.index() * workers + me.index()].take().expect("taken once");
                (other != me).then(|| Peer::new(outgoing, incoming))
            };
            let peers = ByWorker::new(workers, &mut peer);
            Mesh { me, peers, doorbells: Arc::clone(&doorbells) }
        })
        .collect()
}

impl<T> Mesh<T> {
    /// How many workers there are, this one included.
    #[must_use]
    pub(crate) const fn workers(&self) -> usize {
        self.peers.workers()
    }

    /// Sends to another worker. Call [`Mesh::ring_doorbells`] once the turn's messages are sent.
    ///
    /// # Panics
    /// When `to` is this worker itself or does not exist.
    pub(crate) fn send(&mut self, to: WorkerId, message: T) -> Sent {
        let peer = self.peers[to].as_mut().expect("a worker does not send to itself");
        if !peer.overflow.is_empty() {
            peer.overflow.push_back(message);
            return Sent::Queued;
        }
        match peer.outgoing.push(message) {
            Ok(()) => {
                peer.pushed = true;
                Sent::Queued
            }
            Err(PushError::Full(message)) => {
                peer.overflow.push_back(message);
                self.doorbells[self.me.index()].set_waiting_for(to, true);
                Sent::Full
            }
        }
    }

    /// Begins a sweep: what the rings hold now is what [`Mesh::receive`] gives.
    pub(crate) fn begin_sweep(&mut self) {
        for peer in self.peers.values_mut().flatten() {
            peer.due = peer.incoming.slots();
        }
    }

    /// True when all that belongs to the sweep was received.
    #[must_use]
    pub(crate) fn is_sweep_over(&self) -> bool {
        self.peers.values().flatten().all(|peer| peer.due == 0)
    }

    /// The next message of this sweep from another worker.
    #[inline]
    pub(crate) fn receive(&mut self, from: WorkerId) -> Option<T> {
        let peer = self.peers[from].as_mut()?;
        peer.due = peer.due.checked_sub(1)?;
        peer.popped = true;
        peer.incoming.pop().ok()
    }

    /// Moves what waits into the rings as far as there is room, and calls `open` with each worker
    /// for which nothing waits any more.
    pub(crate) fn drain_overflow(&mut self, mut open: impl FnMut(WorkerId)) {
        for (to, peer) in self.peers.iter_mut() {
            let Some(peer) = peer else { continue };
            if peer.overflow.is_empty() {
                continue;
            }
            peer.refill();
            if peer.overflow.is_empty() {
                self.doorbells[self.me.index()].set_waiting_for(to, false);
                open(to);
            }
        }
    }

    /// True when messages to another worker wait for room in its ring.
    #[must_use]
    pub(crate) fn is_waiting_for(&self, to: WorkerId) -> bool {
        self.peers[to].as_ref().is_some_and(|peer| !peer.overflow.is_empty())
    }

    /// Wakes those sleepers that have something to do now: messages, or room that they wait for.
    ///
    /// The fence stands between our pushes and pops and our look at their flags; see [`Doorbell`]
    /// for why no sleeper is missed.
    pub(crate) fn ring_doorbells(&mut self) {
        if self.peers.values().flatten().all(|peer| !peer.pushed && !peer.popped) {
            return;
        }
        fence(Ordering::SeqCst);
        for (other, peer) in self.peers.iter_mut() {
            let Some(peer) = peer else { continue };
            let doorbell = &self.doorbells[other.index()];
            if peer.pushed || (peer.popped && doorbell.is_waiting_for(self.me)) {
                doorbell.ring();
            }
            (peer.pushed, peer.popped) = (false, false);
        }
    }

    /// True when [`Mesh::receive`] or [`Mesh::drain_overflow`] has something to do.
    #[must_use]
    pub(crate) fn has_work(&self) -> bool {
        self.peers.values().flatten().any(|peer| {
            !peer.incoming.is_empty() || (!peer.overflow.is_empty() && !peer.outgoing.is_full())
        })
    }

    /// Says whether this worker, which stops, has `finished` but for what the mesh brings. True
    /// when all workers have, and nothing is on its way to this one.
    #[must_use]
    pub(crate) fn finish(&self, finished: bool) -> bool {
        let is_empty = |peer: &Peer<T>| peer.incoming.is_empty() && peer.overflow.is_empty();
        let is_idle = || self.peers.values().flatten().all(is_empty);
        self.doorbell().set_finished(finished && is_idle());
        self.doorbells.iter().all(Doorbell::is_finished) && is_idle()
    }

    /// Announces sleep. True when this worker may sleep now: nothing has come meanwhile, and
    /// whatever comes from now on rings its doorbell. False when it has to go on.
    /// A stop keeps awake a worker that is not `stopping` already.
    #[must_use]
    pub(crate) fn fall_asleep(&self, stopping: bool) -> bool {
        let doorbell = &self.doorbells[self.me.index()];
        doorbell.announce_sleep();
        if self.has_work() || (doorbell.is_stopped() && !stopping) {
            doorbell.stay_awake();
            return false;
        }
        true
    }

    /// This worker's doorbell.
    #[must_use]
    pub(crate) fn doorbell(&self) -> &Doorbell {
        &self.doorbells[self.me.index()]
    }
}

impl<T> Peer<T> {
    const fn new(outgoing: Producer<T>, incoming: Consumer<T>) -> Self {
        Self { outgoing, overflow: VecDeque::new(), incoming, due: 0, pushed: false, popped: false }
    }

    fn refill(&mut self) {
        while !self.outgoing.is_full() {
            let Some(message) = self.overflow.pop_front() else { return };
            let fits = self.outgoing.push(message).is_ok();
            assert!(fits, "only we push to this ring, and it has room");
            self.pushed = true;
        }
    }
}

#[cfg(test)]
mod tests;

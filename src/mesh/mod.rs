//! The rings between workers, one per ordered pair, and the doorbells of workers that sleep.
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

/// One worker's end of the mesh, which sends to and receives from every other worker.
///
/// Messages from one worker to another arrive in the order in which they were sent. Messages that
/// do not fit into a ring wait in an overflow of the sender, in order. The sender bounds the
/// overflow: once a send says [`Sent::Full`], the sender begins nothing that sends to others, until
/// `Mesh::drain_overflow` has called `open`.
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
    /// The number of incoming messages that belong to the current sweep and are still to come.
    due: usize,
    /// True when something was pushed since the peer's doorbell was last looked at.
    pushed: bool,
    /// True when something was popped since then.
    popped: bool,
}

/// The fate of a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The message is on its way, or waits behind others that do.
    Queued,
    /// The message waits, as the first one: the ring to that worker is full.
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
    /// The number of workers, this one included.
    #[must_use]
    pub(crate) const fn workers(&self) -> usize {
        self.peers.workers()
    }

    /// Sends to another worker. Call [`Mesh::ring_doorbells`] once the turn's messages are sent.
    ///
    /// # Panics
    /// The worker `to` is this one or does not exist.
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

    /// Begins a sweep: the messages that the rings hold now are those that [`Mesh::receive`] gives.
    pub(crate) fn begin_sweep(&mut self) {
        for peer in self.peers.values_mut().flatten() {
            peer.due = peer.incoming.slots();
        }
    }

    /// True when all messages of the sweep were received.
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

    /// Moves messages from the overflows into the rings as far as there is room, and calls `open`
    /// with each worker for which no message waits any more.
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

    /// Wakes the sleepers that have messages to take now, or the room that they wait for.
    ///
    /// The fence stands between our pushes and pops and our look at the flags; [`Doorbell`] tells
    /// why no sleeper is missed.
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

    /// Tells the others whether this worker, which stops, has `finished` but for messages that the
    /// mesh brings. True when all workers have finished, and nothing is on its way to this one.
    #[must_use]
    pub(crate) fn finish(&self, finished: bool) -> bool {
        let is_empty = |peer: &Peer<T>| peer.incoming.is_empty() && peer.overflow.is_empty();
        let is_idle = || self.peers.values().flatten().all(is_empty);
        self.doorbell().set_finished(finished && is_idle());
        self.doorbells.iter().all(Doorbell::is_finished) && is_idle()
    }

    /// Announces sleep. True when this worker may sleep now: nothing has come meanwhile, and all
    /// that comes from now on rings the worker's doorbell. False when the worker has to go on: a
    /// stop keeps awake a worker that is not `stopping` already.
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

    /// The doorbell of this worker.
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

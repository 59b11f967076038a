//! One worker's way to the kernel: requests in, events out, by one of two engines.
#![forbid(unsafe_code)]

use super::buffers::Lent;
use super::event::{Backlog, Event, SendFailure};
use super::listeners::Listeners;
use super::poll::Poll;
use super::setup::{RingEngine, RingError, RingSizes};
use super::uring::Uring;
use super::wake::Waker;
use crate::base::ids::LinkId;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

/// A ring for the thread that made it. `B` is the backlog that the ring keeps until a full socket
/// takes it. Both engines answer the same requests with the same events.
///
/// Requests go to the kernel with the next `poll`, `wait` or `send_all`.
#[derive(Debug)]
pub enum Ring<B> {
    /// Requests that the kernel completes.
    Uring(Box<Uring<B>>),
    /// Sockets that the kernel says are ready.
    Poll(Box<Poll<B>>),
}

/// The same call of either engine.
macro_rules! either {
    ($self:ident, $ring:ident => $call:expr) => {
        match $self {
            Self::Uring($ring) => $call,
            Self::Poll($ring) => $call,
        }
    };
}

impl<B: Backlog> Ring<B> {
    /// A ring with its buffers.
    ///
    /// # Errors
    /// The kernel's refusal: [`RingError`] names the causes.
    pub fn new(engine: RingEngine, sizes: RingSizes) -> Result<Self, RingError> {
        Ok(match engine {
            RingEngine::IoUring => Self::Uring(Box::new(Uring::new(sizes)?)),
            RingEngine::Poll => Self::Poll(Box::new(Poll::new(sizes)?)),
        })
    }

    /// Reports once that connections wait, at once when they do already.
    pub fn await_connections(&mut self, listeners: &Listeners) {
        either!(self, ring => ring.await_connections(listeners));
    }

    /// Receives once. With `when_readable`, waits first until the socket has as many bytes as its
    /// low-water mark says.
    pub fn receive_once(&mut self, link: LinkId, socket: BorrowedFd<'_>, when_readable: bool) {
        match self {
            Self::Uring(ring) => ring.receive_once(link, socket, when_readable),
            // It never tries before the socket is readable.
            Self::Poll(ring) => ring.receive_once(link, socket),
        }
    }

    /// Receives until cancelled, or until an event comes without `more`.
    pub fn receive_many(&mut self, link: LinkId, socket: BorrowedFd<'_>) {
        either!(self, ring => ring.receive_many(link, socket));
    }

    /// Ends the receive of a link; its last event says so.
    pub fn cancel_receive(&mut self, link: LinkId) {
        either!(self, ring => ring.cancel_receive(link));
    }

    /// Reports wake-ups of `waker` until an event comes without `more`.
    pub fn watch(&mut self, waker: &Waker) {
        either!(self, ring => ring.watch(waker));
    }

    /// The next event that `poll`, `wait` or `send_all` has collected.
    pub fn next_event(&mut self) -> Option<Event<B>> {
        either!(self, ring => ring.next_event())
    }

    /// The links whose received bytes [`Ring::next_event`] has still to give.
    pub(crate) fn received_links(&self) -> Vec<LinkId> {
        either!(self, ring => ring.received_links().collect())
    }

    /// True when [`Ring::next_event`] has an event.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.event_count() > 0
    }

    /// The number of events that [`Ring::next_event`] has.
    #[must_use]
    pub(crate) fn event_count(&self) -> usize {
        either!(self, ring => ring.event_count())
    }

    /// The bytes of a received buffer.
    #[must_use]
    pub fn bytes(&self, lent: &Lent) -> &[u8] {
        either!(self, ring => ring.bytes(lent))
    }

    /// Gives a received buffer back.
    pub fn recycle(&mut self, lent: Lent) {
        either!(self, ring => ring.recycle(lent));
    }

    /// Submits requests and collects events, without waiting.
    pub fn poll(&mut self) {
        either!(self, ring => ring.poll());
    }

    /// Submits and waits for an event: until `timeout`, for ever when it is `None`.
    pub fn wait(&mut self, timeout: Option<Duration>) {
        either!(self, ring => ring.wait(timeout));
    }

    /// True when the kernel has events for this ring.
    #[must_use]
    pub(crate) fn is_ready(&mut self) -> bool {
        either!(self, ring => ring.is_ready())
    }

    /// Sends as much as fits into each socket, one send per link, and returns when all are done.
    /// Sends that did not fit, or failed, are added to `failures`.
    ///
    /// A link's segments are sent as one. A link may appear once, and not while it has a backlog.
    pub fn send_all<'a, S>(
        &mut self,
        sends: impl Iterator<Item = (LinkId, RawFd, S)>,
        failures: &mut Vec<SendFailure>,
    ) where
        S: Iterator<Item = &'a [u8]>,
    {
        either!(self, ring => ring.send_all(sends, failures));
    }

    /// Sends the front of `backlog` when the socket takes it; then `Event::Drained` gives it back.
    ///
    /// # Panics
    /// The backlog is empty, or one of this link is being sent already: two sends on one socket
    /// would interleave.
    pub fn send_backlog(&mut self, link: LinkId, socket: BorrowedFd<'_>, backlog: B) {
        either!(self, ring => ring.send_backlog(link, socket, backlog));
    }
}

//! The receive of one connection.

use crate::broker::{LinkId, Unsent};
use crate::io::ring::Ring;
use crate::io::socket;
use std::os::fd::BorrowedFd;

/// The receive that the ring does for a connection, and the number of bytes that it waits for.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    state: State,
    /// The socket's low-water mark, while it is not 1; else 0.
    low_water: usize,
    /// Bytes that have to arrive before the next receive; 0 for any number.
    await_bytes: usize,
    /// Bytes that waited in the kernel at the last look.
    waiting_bytes: usize,
}

/// The state of a receive.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The ring does nothing.
    #[default]
    Idle,
    /// The ring receives.
    Armed,
    /// The ring was told to stop, and has not said that it has.
    Cancelling,
}

impl Receiving {
    /// True when the ring does nothing for the connection.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Lets the next receive wait until `count` bytes have arrived.
    pub(super) const fn await_bytes(&mut self, count: usize) {
        self.await_bytes = count;
    }

    /// Receives, unless the ring does already: `many` times, or once, so that nothing is in flight
    /// afterwards.
    pub(super) fn arm(
        &mut self,
        link: LinkId,
        socket: BorrowedFd<'_>,
        many: bool,
        ring: &mut Ring<Unsent>,
    ) {
        if !self.is_idle() {
            return;
        }
        self.state = State::Armed;
        if many {
            return ring.receive_many(link, socket);
        }
        let count = std::mem::take(&mut self.await_bytes);
        if count > 0 {
            self.low_water = count;
            socket::set_low_water(socket, count);
            self.has_more(socket);
        }
        ring.receive_once(link, socket, count > 0);
    }

    /// Ends the receive; its last event comes later.
    pub(super) fn disarm(&mut self, link: LinkId, ring: &mut Ring<Unsent>) {
        if self.state == State::Armed {
            self.state = State::Cancelling;
            ring.cancel_receive(link);
        }
    }

    /// Notes that the last event of the receive has come.
    pub(super) fn end(&mut self, socket: BorrowedFd<'_>) {
        self.state = State::Idle;
        if std::mem::take(&mut self.low_water) > 0 {
            socket::set_low_water(socket, 1);
        }
    }

    /// True when a receive would bring bytes now.
    pub(super) fn has_input(&self, socket: BorrowedFd<'_>) -> bool {
        let needed = self.low_water.max(self.await_bytes).max(1);
        socket::waiting_bytes(socket) >= needed
    }

    /// True when more bytes wait in the kernel than at the last look.
    pub(super) fn has_more(&mut self, socket: BorrowedFd<'_>) -> bool {
        let now = socket::waiting_bytes(socket);
        now > std::mem::replace(&mut self.waiting_bytes, now)
    }
}

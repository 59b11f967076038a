//! The gate of a worker: its listeners, and the limits of connections.

use crate::base::ids::{ListenerId, WorkerId};
use crate::base::time::Time;
use crate::broker::{Excess, Unsent};
use crate::io::ring::Ring;
use crate::io::socket::Listener;
use crate::limits::ACCEPT_RETRY_MS;
use crate::options::Options;
use crate::worker::places::{Places, TakenPlace};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// The listeners of a worker, and the places that its connections take up.
#[derive(Debug)]
pub(in crate::worker) struct Gate {
    worker: WorkerId,
    doors: Vec<Door>,
    places: Arc<Places>,
    /// True once the worker stops: nothing is let in any more.
    is_shut: bool,
    /// The time to try again to accept, after descriptors or memory ran out.
    retry_at: Option<Time>,
    /// True when descriptors or memory have run out, and no connection was accepted since.
    is_starved: bool,
    /// True when connections are closed unheard, and none was let in since.
    is_full: bool,
    /// Connections that were closed unheard.
    refused: u64,
}

/// A listener, and whether the ring accepts on it.
#[derive(Debug)]
struct Door {
    /// None once the worker stops and the ring is done with the listener.
    listener: Option<Listener>,
    is_armed: bool,
}

impl Gate {
    pub(in crate::worker) fn new(
        worker: WorkerId,
        listeners: Vec<Listener>,
        places: Arc<Places>,
    ) -> Self {
        let door = |listener| Door { listener: Some(listener), is_armed: false };
        Self {
            worker,
            doors: listeners.into_iter().map(door).collect(),
            places,
            is_shut: false,
            retry_at: None,
            is_starved: false,
            is_full: false,
            refused: 0,
        }
    }

    /// Accepts on every listener on which the ring does not accept already.
    pub(in crate::worker) fn accept(&mut self, ring: &mut Ring<Unsent>) {
        self.retry_at = None;
        for (index, door) in self.doors.iter_mut().enumerate() {
            if let (Some(listener), false) = (&door.listener, door.is_armed) {
                ring.accept(ListenerId::at(index), listener.as_fd());
                door.is_armed = true;
            }
        }
    }

    /// Accepts no more, and closes the listeners as soon as the ring is done with them.
    pub(in crate::worker) fn shut(&mut self, ring: &mut Ring<Unsent>) {
        self.is_shut = true;
        self.retry_at = None;
        for (index, door) in self.doors.iter_mut().enumerate() {
            if door.is_armed {
                ring.cancel_accept(ListenerId::at(index));
            } else {
                door.listener = None;
            }
        }
    }

    /// The new connection, if accepting has brought one; goes on accepting, at once or later.
    pub(super) fn take_accepted(
        &mut self,
        ring: &mut Ring<Unsent>,
        now: Time,
        listener: ListenerId,
        socket: io::Result<OwnedFd>,
        more: bool,
    ) -> Option<OwnedFd> {
        let door = &mut self.doors[listener.index()];
        door.is_armed = more;
        if self.is_shut {
            if !more {
                door.listener = None;
            }
            return None;
        }
        let socket = match socket {
            Ok(socket) => Some(socket),
            Err(error) if concerns_one_connection(&error) => None,
            Err(error) => {
                self.retry_later(now, &error);
                return None;
            }
        };
        self.is_starved &= socket.is_none();
        if !more && self.retry_at.is_none() {
            self.accept(ring);
        }
        socket
    }

    /// Takes a place for a connection from `address`, None for one that its address is not counted
    /// for. The excess, if any, is the limit that the connection breaks; without a place the
    /// connection is closed unheard.
    pub(super) fn admit(
        &mut self,
        now: Time,
        address: Option<IpAddr>,
        options: &Options,
    ) -> Option<(TakenPlace, Option<Excess>)> {
        let Some((mut place, mut excess)) = self.places.take(now, options.max_connect_rate) else {
            self.refused += 1;
            if !std::mem::replace(&mut self.is_full, true) {
                tracing::warn!(worker = self.worker.0, "Connections are closed at once: too many");
            }
            return None;
        };
        self.is_full &= excess.is_some();
        if let Some(address) = address {
            excess = excess.or(self.count_address(&mut place, address, options));
        }
        Some((place, excess))
    }

    /// Counts a connection for its address; the excess, if the address has too many.
    pub(super) fn count_address(
        &self,
        place: &mut TakenPlace,
        address: IpAddr,
        options: &Options,
    ) -> Option<Excess> {
        self.places.count_address(place, address, options.max_connections_per_address)
    }

    /// Gives back the place of a connection that has gone.
    pub(super) fn give_back(&self, place: &TakenPlace) {
        self.places.give_back(place);
    }

    /// The time at which to try again to accept, if accepting has failed.
    pub(super) const fn retry_at(&self) -> Option<Time> {
        self.retry_at
    }

    /// True once the worker stops.
    pub(super) const fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// True when the ring is done with all listeners of a gate that is shut.
    pub(in crate::worker) fn is_closed(&self) -> bool {
        self.doors.iter().all(|door| door.listener.is_none())
    }

    /// The number of connections that were closed unheard.
    pub(in crate::worker) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Leaves connections in the kernel for a while: descriptors or memory ran out.
    fn retry_later(&mut self, now: Time, error: &io::Error) {
        if !std::mem::replace(&mut self.is_starved, true) {
            tracing::warn!(worker = self.worker.0, %error, "Cannot accept connections for now");
        }
        self.retry_at = Some(now.after(Duration::from_millis(ACCEPT_RETRY_MS)));
    }
}

/// True for errors of a connection that ended before it was accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO | libc::ENETDOWN)
    )
}

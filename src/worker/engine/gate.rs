//! The gate of a worker: its listeners, and the limits of connections.

use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::broker::{Excess, Unsent};
use crate::io::listeners::{Accepted, Listeners};
use crate::io::ring::Ring;
use crate::limits::ACCEPT_RETRY_MS;
use crate::options::Options;
use crate::worker::places::{Places, TakenPlace};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The listeners of a worker, and the places that its connections take up.
#[derive(Debug)]
pub(in crate::worker) struct Gate {
    worker: WorkerId,
    /// None once the worker stops: nothing is let in any more.
    listeners: Option<Listeners>,
    places: Arc<Places>,
    /// The time to try again to accept, after descriptors or memory ran out.
    retry_at: Option<Time>,
    /// True when descriptors or memory have run out, and no connection was accepted since.
    is_starved: bool,
    /// True when connections are closed unheard, and none was let in since.
    is_full: bool,
    /// Connections that were closed unheard.
    refused: u64,
}

impl Gate {
    pub(in crate::worker) fn new(
        worker: WorkerId,
        listeners: Listeners,
        places: Arc<Places>,
    ) -> Self {
        Self {
            worker,
            listeners: Some(listeners),
            places,
            retry_at: None,
            is_starved: false,
            is_full: false,
            refused: 0,
        }
    }

    /// The worker whose gate it is.
    pub(super) const fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Lets the ring tell, once, when connections wait.
    pub(in crate::worker) fn watch(&mut self, ring: &mut Ring<Unsent>) {
        self.retry_at = None;
        if let Some(listeners) = &self.listeners {
            ring.await_connections(listeners);
        }
    }

    /// Accepts no more, and closes the listeners.
    pub(in crate::worker) fn shut(&mut self) {
        self.listeners = None;
        self.retry_at = None;
    }

    /// The next connection, if one waits and accepting does not fail.
    pub(super) fn accept(&mut self, now: Time) -> Option<Accepted> {
        let accepted = match self.listeners.as_ref()?.accept() {
            Ok(accepted) => accepted?,
            Err(error) => {
                self.retry_later(now, &error);
                return None;
            }
        };
        self.is_starved = false;
        Some(accepted)
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

    /// True once no more connections are accepted.
    pub(super) const fn is_shut(&self) -> bool {
        self.listeners.is_none()
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

//! New connections.

use super::connection::{Connection, Layers};
use super::worker::{Stage, Worker};
use crate::base::ids::ListenerId;
use crate::broker::{LinkId, Origin};
use crate::io::socket::{self, Listener};
use crate::limits::ACCEPT_RETRY_MS;
use crate::transport::Protocol;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// A listener, and whether the ring accepts on it.
#[derive(Debug)]
pub(super) struct Accepting {
    /// None once the worker stops.
    listener: Option<Listener>,
    armed: bool,
}

impl Accepting {
    pub(super) const fn new(listener: Listener) -> Self {
        Self { listener: Some(listener), armed: false }
    }

    /// True when the ring is done with it.
    pub(super) const fn is_closed(&self) -> bool {
        self.listener.is_none()
    }
}

impl Worker {
    /// Accepts on every listener that does not.
    pub(super) fn accept(&mut self) {
        self.accept_at = None;
        for (index, accepting) in self.listeners.iter_mut().enumerate() {
            if let (Some(listener), false) = (&accepting.listener, accepting.armed) {
                self.ring.accept(ListenerId::at(index), listener.as_fd());
                accepting.armed = true;
            }
        }
    }

    /// Accepts no more, and closes the listeners as soon as the ring is done with them.
    pub(super) fn stop_accepting(&mut self) {
        self.accept_at = None;
        for (index, accepting) in self.listeners.iter_mut().enumerate() {
            if accepting.armed {
                self.ring.cancel_accept(ListenerId::at(index));
            } else {
                accepting.listener = None;
            }
        }
    }

    pub(super) fn on_accepted(
        &mut self,
        listener: ListenerId,
        socket: io::Result<OwnedFd>,
        more: bool,
    ) {
        let accepting = &mut self.listeners[listener.index()];
        accepting.armed = more;
        if self.stage != Stage::Running {
            if !more {
                accepting.listener = None;
            }
            return;
        }
        match socket {
            Ok(socket) => {
                self.is_starved = false;
                self.welcome(listener, socket);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => return self.accept_later(&error),
        }
        if !more && self.accept_at.is_none() {
            self.accept();
        }
    }

    /// Opens a link for a connection.
    pub(super) fn open(&mut self, connection: Connection, origin: Origin) -> LinkId {
        let has_output =
            connection.layers.as_ref().is_some_and(|layers| layers.transport.has_output());
        let link = self.connections.insert(connection);
        self.shard.open(self.now, link, origin);
        self.attention.push(link);
        if has_output {
            self.talkative.push(link);
        }
        link
    }

    fn welcome(&mut self, listener: ListenerId, socket: OwnedFd) {
        // The connection may have ended already.
        let Ok(peer) = socket::peer_address(socket.as_fd()) else { return };
        let options = &self.settings.options;
        let Some((mut place, mut excess)) = self.places.take(self.now, options.max_connect_rate)
        else {
            self.connections_refused += 1;
            if !std::mem::replace(&mut self.is_full, true) {
                tracing::warn!(worker = self.worker.0, "Connections are closed at once: too many");
            }
            return;
        };
        self.is_full &= excess.is_some();
        let address = peer.map(|peer| peer.ip());
        let settings = &options.listeners[listener.index()];
        let proxy = address.is_some_and(|address| settings.is_proxy(address));
        if let (Some(address), false) = (address, proxy) {
            let max = options.max_connections_per_address;
            excess = excess.or(self.places.count_address(&mut place, address, max));
        }
        let protocol = self.settings.protocols[listener.index()].clone();
        let layers = Protocol { proxy, ..protocol }.open().map(Layers::new);
        let connection = Connection::new(socket, layers, listener, place);
        self.open(connection, Origin { peer, listener, certificate_user: None, excess });
    }

    /// Descriptors or memory ran out: connections wait in the kernel meanwhile.
    fn accept_later(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_starved, true) {
            tracing::warn!(worker = self.worker.0, %error, "Cannot accept connections for now");
        }
        self.accept_at = Some(self.now.after(Duration::from_millis(ACCEPT_RETRY_MS)));
    }
}

/// True for errors of a connection that ended before it was accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO | libc::ENETDOWN)
    )
}

//! New connections.

use super::Engine;
use crate::base::ids::ListenerId;
use crate::broker::Origin;
use crate::io::listeners::Accepted;
use crate::limits::ACCEPT_BATCH_MAX;
use crate::metrics::Transport;
use crate::options::{ListenerOptions, Scheme};
use crate::transport::Protocol;
use crate::worker::connection::{Connection, Layers};
use std::os::fd::OwnedFd;

impl Engine {
    /// Accepts some of the connections that wait; goes on accepting, at once or later.
    pub(super) fn on_acceptable(&mut self) {
        for _ in 0..ACCEPT_BATCH_MAX {
            let Some(accepted) = self.gate.accept(self.now) else { break };
            self.welcome(accepted);
        }
        if self.gate.retry_at().is_none() {
            self.gate.watch(&mut self.ring);
        }
    }

    fn welcome(&mut self, accepted: Accepted) {
        let Accepted { listener, socket, peer } = accepted;
        let options = &self.settings.options;
        let address = peer.map(|peer| peer.ip());
        let settings = &options.listeners[listener.index()];
        let proxy = address.is_some_and(|address| settings.is_proxy(address));
        // A proxy's connections are counted for their clients, which its header names.
        let counted = address.filter(|_| !proxy);
        let Some((place, excess)) = self.gate.admit(self.now, counted, options) else { return };
        let protocol = self.settings.protocols[listener.index()].clone();
        let layers =
            Protocol { proxy, ..protocol }.open().map(|transport| Layers::new(transport, self.now));
        let way = way(settings);
        let connection = Connection::new(socket, layers, listener, place);
        self.shard.counters_mut().connections_opened[way.place()] += 1;
        self.open(connection, Origin { peer, listener, certificate_user: None, excess });
    }
}

impl Engine {
    /// Opens the connection of a bridge of this process: what the policy behind those of the
    /// listeners allows, it may do.
    pub(in crate::worker) fn welcome_bridge(&mut self, socket: OwnedFd) {
        if self.gate.is_shut() {
            return;
        }
        let options = &self.settings.options;
        let listener = ListenerId(options.listeners.len() as u16);
        let Some((place, excess)) = self.gate.admit(self.now, None, options) else { return };
        self.shard.counters_mut().connections_opened[Transport::Unix.place()] += 1;
        let connection = Connection::new(socket, None, listener, place);
        let origin = Origin { peer: None, listener, certificate_user: None, excess };
        self.open(connection, origin);
    }
}

/// The way by which a listener's connections come.
const fn way(listener: &ListenerOptions) -> Transport {
    match listener.scheme {
        Scheme::Mqtt => Transport::Tcp,
        Scheme::Mqtts => Transport::Tls,
        Scheme::Ws => Transport::WebSocket,
        Scheme::Wss => Transport::SecureWebSocket,
        Scheme::Unix => Transport::Unix,
    }
}

//! New connections.

use super::Engine;
use crate::base::ids::ListenerId;
use crate::broker::Origin;
use crate::io::socket;
use crate::transport::Protocol;
use crate::worker::connection::{Connection, Layers};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

impl Engine {
    pub(super) fn on_accepted(
        &mut self,
        listener: ListenerId,
        socket: io::Result<OwnedFd>,
        more: bool,
    ) {
        let accepted = self.gate.take_accepted(&mut self.ring, self.now, listener, socket, more);
        if let Some(socket) = accepted {
            self.welcome(listener, socket);
        }
    }

    fn welcome(&mut self, listener: ListenerId, socket: OwnedFd) {
        // The connection may have ended already.
        let Ok(peer) = socket::peer_address(socket.as_fd()) else { return };
        let options = &self.settings.options;
        let address = peer.map(|peer| peer.ip());
        let settings = &options.listeners[listener.index()];
        let proxy = address.is_some_and(|address| settings.is_proxy(address));
        // A proxy's connections are counted for their clients, which its header names.
        let counted = address.filter(|_| !proxy);
        let Some((place, excess)) = self.gate.admit(self.now, counted, options) else { return };
        let protocol = self.settings.protocols[listener.index()].clone();
        let layers = Protocol { proxy, ..protocol }.open().map(Layers::new);
        let connection = Connection::new(socket, layers, listener, place);
        self.open(connection, Origin { peer, listener, certificate_user: None, excess });
    }
}

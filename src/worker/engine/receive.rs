//! Bytes from a peer to the shard.

use super::Engine;
use crate::base::maps::HashSet;
use crate::broker::{Input, LinkId};
use crate::io::buffers::Lent;
use crate::worker::connection::{Connection, Phase};
use std::io;
use std::os::fd::AsFd;

impl Engine {
    pub(super) fn on_received(
        &mut self,
        link: LinkId,
        bytes: io::Result<Option<Lent>>,
        more: bool,
    ) {
        if !more {
            self.receive_ended(link);
        }
        match bytes {
            Ok(Some(lent)) => self.take_in(link, lent),
            Ok(None) => {
                self.tell_departure(link);
                self.end_input(link);
            }
            // Out of buffers for a moment, cancelled or interrupted: the bytes wait in the kernel.
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN) => {}
                _ => {
                    self.tell_departure(link);
                    self.lose(link, Some(&error));
                }
            },
        }
    }

    /// Logs a peer that leaves within a handshake.
    fn tell_departure(&self, link: LinkId) {
        let Some(connection) = self.links.get(link) else { return };
        let Some(layers) = &connection.layers else { return };
        // Bytes that wait for their turn may say more.
        let is_open = matches!(connection.phase, Phase::Open) && layers.waiting.is_empty();
        if let Some(cause) = layers.transport.departure().filter(|_| is_open) {
            tracing::info!(peer = %connection.peer(), "Client closed: {cause}");
        }
    }

    /// Looks for input of the peers that seemed to be silent in an earlier turn: all that had come
    /// from them before this turn has been handled since. True when there were any.
    pub(super) fn look_for_input(&mut self) -> bool {
        if self.suspects.is_empty() {
            return false;
        }
        self.ring.poll();
        let received: HashSet<LinkId> = self.ring.received_links().into_iter().collect();
        for link in std::mem::take(&mut self.suspects) {
            let connection = self.links.get_mut(link);
            if connection.is_some_and(Connection::has_more_input) {
                self.note_progress(link);
            }
            let connection = self.links.get(link);
            let waits = connection.is_some_and(Connection::has_input);
            self.feed(Input::Looked { link, has_input: waits || received.contains(&link) });
        }
        true
    }

    /// Notes that the peer has sent its last byte. The peer may have closed only this direction,
    /// and wait for the answers to its packets.
    pub(super) fn end_input(&mut self, link: LinkId) {
        let Some(connection) = self.links.get_mut(link) else { return };
        connection.finished = true;
        match connection.phase {
            Phase::Open => self.feed(Input::Finished { link }),
            Phase::Closing | Phase::Draining { .. } | Phase::Moving(_) => {
                self.links.attend(link);
            }
            Phase::Lingering { .. } | Phase::Ended => self.lose(link, None),
        }
    }

    /// Receives on a connection that wants input and has no receive under way: once, until it is
    /// clear that it stays on this worker, so that nothing is in flight when it moves.
    pub(in crate::worker) fn arm(&mut self, link: LinkId) {
        let Some(connection) = self.links.get_mut(link) else { return };
        if connection.wants_input() {
            let Connection { receiving, socket, settled, .. } = connection;
            receiving.arm(link, socket.as_fd(), *settled, &mut self.ring);
        }
    }

    /// Ends the receive of a connection; its last event comes later.
    pub(in crate::worker) fn disarm(&mut self, link: LinkId) {
        let Some(connection) = self.links.get_mut(link) else { return };
        connection.receiving.disarm(link, &mut self.ring);
    }

    fn receive_ended(&mut self, link: LinkId) {
        let Some(connection) = self.links.get_mut(link) else { return };
        connection.receiving.end(connection.socket.as_fd());
        self.links.attend(link);
    }

    /// Lends received bytes to the shard, or to the layers before it, and gives the buffer back.
    fn take_in(&mut self, link: LinkId, lent: Lent) {
        match self.links.get_mut(link) {
            Some(Connection { phase: Phase::Lingering { is_silent, .. }, .. }) => {
                *is_silent = false;
            }
            Some(Connection { phase: Phase::Open, layers: None, .. }) => {
                let bytes = self.ring.bytes(&lent);
                self.shard.handle(self.now, Input::Received { link, bytes });
            }
            Some(Connection { phase: Phase::Moving(moving), layers: None, .. }) => {
                moving.received.extend_from_slice(self.ring.bytes(&lent));
            }
            Some(Connection { layers: Some(layers), .. }) => {
                layers.waiting.extend_from_slice(self.ring.bytes(&lent));
                self.unwrap_later(link);
            }
            _ => {}
        }
        self.ring.recycle(lent);
        self.carry_out_all();
    }

    /// Receives on a connection, or stops receiving.
    pub(super) fn set_paused(&mut self, link: LinkId, paused: bool) {
        let Some(connection) = self.links.get_open(link) else { return };
        connection.paused = paused;
        match paused {
            true => self.disarm(link),
            false => self.links.attend(link),
        }
    }

    /// Prepares for a large CONNECT. On a plain socket the packet waits in the kernel; bytes that
    /// come through layers have to be taken, so only some connections may do so at a time.
    pub(super) fn await_bytes(&mut self, link: LinkId, count: usize) {
        let Some(connection) = self.links.get_open(link) else { return };
        if connection.layers.is_none() {
            connection.receiving.await_bytes(count);
        } else if !self.links.hold_large_connect(link) {
            let peer = self.links.get(link).map(Connection::peer).unwrap_or_default();
            tracing::info!(%peer, "Client closed: too many large CONNECT packets at once");
            self.links.close(link);
        }
    }
}

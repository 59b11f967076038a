//! Bytes from a peer to the shard.

use super::connection::{Connection, Phase, Receive};
use super::worker::Worker;
use crate::base::maps::HashSet;
use crate::broker::{Input, LinkId};
use crate::io::buffers::Lent;
use crate::io::socket;
use std::io;
use std::os::fd::AsFd;

impl Worker {
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

    /// Tells of a peer that leaves within a handshake.
    fn tell_departure(&self, link: LinkId) {
        let Some(connection) = self.connections.get(link) else { return };
        let Some(layers) = &connection.layers else { return };
        // What waits for its turn may say more.
        let is_open = matches!(connection.phase, Phase::Open) && layers.waiting.is_empty();
        if let Some(cause) = layers.transport.departure().filter(|_| is_open) {
            tracing::info!(peer = %connection.peer(), "Client closed: {cause}");
        }
    }

    /// Looks for input of the peers that seemed to be silent in an earlier turn: what had come from
    /// them until this one began has been handled since. True when there were any.
    pub(super) fn look_for_input(&mut self) -> bool {
        if self.suspects.is_empty() {
            return false;
        }
        self.ring.poll();
        let received: HashSet<LinkId> = self.ring.received_links().collect();
        for link in std::mem::take(&mut self.suspects) {
            let connection = self.connections.get_mut(link);
            if connection.is_some_and(Connection::has_more_input) {
                self.note_progress(link);
            }
            let connection = self.connections.get(link);
            let waits = connection.is_some_and(Connection::has_input);
            self.feed(Input::Looked { link, has_input: waits || received.contains(&link) });
        }
        true
    }

    /// The peer has sent its last byte. It may have closed only this direction, and wait for the
    /// answers to what it has sent.
    pub(super) fn end_input(&mut self, link: LinkId) {
        let Some(connection) = self.connections.get_mut(link) else { return };
        connection.finished = true;
        match connection.phase {
            Phase::Open => self.feed(Input::Finished { link }),
            Phase::Closing | Phase::Draining { .. } | Phase::Moving(_) => {
                self.attention.push(link);
            }
            Phase::Lingering { .. } | Phase::Ended => self.lose(link, None),
        }
    }

    /// Receives on a connection that wants input and has no receive under way: once, until it is
    /// clear that it stays on this worker, so that nothing is in flight when it moves.
    pub(super) fn arm(&mut self, link: LinkId) {
        let Some(connection) = self.connections.get_mut(link) else { return };
        if connection.receive != Receive::Idle || !connection.wants_input() {
            return;
        }
        connection.receive = Receive::Armed;
        if connection.settled {
            return self.ring.receive_many(link, connection.as_fd());
        }
        let count = std::mem::take(&mut connection.await_bytes);
        if count > 0 {
            connection.low_water = count;
            socket::set_low_water(connection.as_fd(), count);
            connection.has_more_input();
        }
        self.ring.receive_once(link, connection.as_fd(), count > 0);
    }

    /// Ends the receive of a connection; its last event comes later.
    pub(super) fn disarm(&mut self, link: LinkId) {
        let Some(connection) = self.connections.get_mut(link) else { return };
        if connection.receive == Receive::Armed {
            connection.receive = Receive::Cancelling;
            self.ring.cancel_receive(link);
        }
    }

    fn receive_ended(&mut self, link: LinkId) {
        let Some(connection) = self.connections.get_mut(link) else { return };
        connection.receive = Receive::Idle;
        if std::mem::take(&mut connection.low_water) > 0 {
            socket::set_low_water(connection.as_fd(), 1);
        }
        self.attention.push(link);
    }

    /// Lends the bytes to whoever wants them, and gives the buffer back.
    fn take_in(&mut self, link: LinkId, lent: Lent) {
        match self.connections.get_mut(link) {
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
}

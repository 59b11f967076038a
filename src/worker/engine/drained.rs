//! Backlogs: the rest of an output that a full socket did not take.

use super::Engine;
use crate::broker::{Input, LinkId, Unsent};
use crate::io::event::Backlog;
use crate::worker::connection::Phase;
use std::io;
use std::os::fd::AsFd;

impl Engine {
    /// Lets the ring send a backlog when the socket takes it.
    pub(in crate::worker) fn send_backlog(&mut self, link: LinkId, backlog: Unsent) {
        let Some(connection) = self.links.get_mut(link) else { return };
        connection.sending = true;
        self.ring.send_backlog(link, connection.as_fd(), backlog);
    }

    pub(super) fn on_drained(&mut self, link: LinkId, result: io::Result<()>, backlog: Unsent) {
        let Some(connection) = self.links.get_mut(link) else { return };
        connection.sending = false;
        if result.is_err() || matches!(connection.phase, Phase::Ended) {
            return self.lose(link, result.as_ref().err());
        }
        let next = match backlog.is_empty() {
            false => Some(backlog),
            true if connection.backlogs.is_empty() => None,
            true => Some(connection.backlogs.remove(0)),
        };
        match next {
            Some(backlog) => self.send_backlog(link, backlog),
            None => self.on_writable(link),
        }
    }

    fn on_writable(&mut self, link: LinkId) {
        let Some(connection) = self.links.get(link) else { return };
        let (is_open, has_layers) =
            (matches!(connection.phase, Phase::Open), connection.layers.is_some());
        if has_layers {
            self.links.let_talk(link);
        }
        match is_open {
            true => self.feed(Input::Writable { link }),
            false => self.links.attend(link),
        }
    }
}

impl Backlog for Unsent {
    fn front(&self) -> Option<&[u8]> {
        Self::front(self)
    }

    fn advance(&mut self, count: usize) {
        Self::advance(self, count);
    }
}

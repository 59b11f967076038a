//! Backlogs: the rest of a send that a full socket did not take.

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
        if !backlog.is_empty() {
            return self.send_backlog(link, backlog);
        }
        if connection.layers.is_none() && !connection.unsent.is_empty() {
            let backlog = std::mem::take(&mut connection.unsent);
            return self.send_backlog(link, backlog);
        }
        self.on_writable(link);
    }

    fn on_writable(&mut self, link: LinkId) {
        let Some(connection) = self.links.get(link) else { return };
        let (is_open, has_unsent) =
            (matches!(connection.phase, Phase::Open), !connection.unsent.is_empty());
        if connection.layers.is_some() {
            self.links.let_talk(link);
        }
        match is_open {
            // The shard hears of it when the socket has taken that as well.
            true if has_unsent => {}
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

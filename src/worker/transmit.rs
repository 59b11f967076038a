//! The outbox to the kernel: one send per link, in slices, and what sockets did not take.

use super::connection::Phase;
use super::worker::Worker;
use crate::broker::{Input, LinkId, Unsent};
use crate::io::event::SendFailure;
use crate::limits::SLICE_SENDS_MAX;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

impl Worker {
    /// Sends everything and sees to the connections that need it, which may cause more to be sent.
    /// True when there was anything.
    pub(super) fn transmit(&mut self) -> bool {
        let mut busy = false;
        loop {
            self.mesh.ring_doorbells();
            busy |= self.flush();
            if self.attention.is_empty() {
                return busy;
            }
            self.attend_all();
            busy = true;
        }
    }

    /// Sends until nothing is dirty. Between slices other events are handled, so that a large
    /// fan-out does not delay them; unless so much is to be sent that it has to go first.
    pub(super) fn flush(&mut self) -> bool {
        let mut busy = false;
        while self.take_slice() {
            let is_full = self.slice.len() == SLICE_SENDS_MAX;
            self.send_slice();
            if is_full {
                self.handle_between_slices();
            }
            busy = true;
        }
        self.shard.outbox().reset();
        busy
    }

    pub(super) fn on_drained(&mut self, link: LinkId, result: io::Result<()>, backlog: Unsent) {
        let Some(connection) = self.connections.get_mut(link) else { return };
        connection.sending = false;
        if result.is_err() || matches!(connection.phase, Phase::Ended) {
            self.attention.push(link);
            return self.lose(link);
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
        match self.connections.get(link).map(|connection| &connection.phase) {
            Some(Phase::Open) => self.feed(Input::Writable { link }),
            _ => self.attention.push(link),
        }
    }

    fn handle_between_slices(&mut self) {
        for _ in 0..self.ring.event_count() {
            if self.outbox_is_full() {
                return;
            }
            let Some(event) = self.ring.next_event() else { return };
            self.handle_event(event);
        }
    }

    /// Takes the next dirty links that may be sent to. False when there are none.
    fn take_slice(&mut self) -> bool {
        self.slice.clear();
        let outbox = self.shard.outbox();
        while self.slice.len() < SLICE_SENDS_MAX {
            let Some(link) = outbox.next_dirty() else { break };
            let Some(connection) = self.connections.get_mut(link) else {
                outbox.sent(link);
                continue;
            };
            if connection.sending {
                let rest = outbox.take_rest(link, 0);
                connection.backlogs.push(rest);
                continue;
            }
            connection.settled = true;
            self.slice.push((link, connection.socket.as_raw_fd()));
        }
        !self.slice.is_empty()
    }

    /// One send per link of the slice. All of them are done when this returns: the outbox keeps
    /// nothing of them, and only then does the shard hear of those that failed.
    fn send_slice(&mut self) {
        let mut failures = std::mem::take(&mut self.failures);
        let outbox = &*self.shard.outbox();
        let sends = self.slice.iter().map(|&(link, socket)| (link, socket, outbox.segments(link)));
        self.ring.send_all(sends, &mut failures);
        for failure in &failures {
            self.keep_rest(failure);
        }
        for &(link, _) in &self.slice {
            if failures.is_empty() || !self.connections.get(link).is_some_and(|c| c.sending) {
                self.shard.outbox().sent(link);
            }
        }
        for failure in failures.drain(..) {
            self.report_failure(&failure);
        }
        self.failures = failures;
    }

    /// Takes over what the kernel did not take of a send.
    fn keep_rest(&mut self, failure: &SendFailure) {
        if let Ok(sent) = failure.sent {
            let rest = self.shard.outbox().take_rest(failure.link, sent);
            if !rest.is_empty() {
                self.send_backlog(failure.link, rest);
            }
        }
    }

    fn report_failure(&mut self, failure: &SendFailure) {
        let link = failure.link;
        if failure.sent.is_err() {
            return self.lose(link);
        }
        let Some(connection) = self.connections.get(link) else { return };
        if connection.sending && matches!(connection.phase, Phase::Open) {
            self.feed(Input::Blocked { link });
        }
    }

    fn send_backlog(&mut self, link: LinkId, backlog: Unsent) {
        let Some(connection) = self.connections.get_mut(link) else { return };
        connection.sending = true;
        self.ring.send_backlog(link, connection.as_fd(), backlog);
    }
}

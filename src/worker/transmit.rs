//! The outbox to the kernel: one send per link, in slices, and what sockets did not take.

use super::connection::{Connection, Phase};
use super::worker::Worker;
use crate::broker::{Input, LinkId, Segments, Unsent};
use crate::io::event::SendFailure;
use crate::limits::{SLICE_SENDS_MAX, WRAPPED_BYTES_MAX};
use crate::transport::Flow;
use std::io;
use std::iter::{Once, once};
use std::mem::take;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, RawFd};

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
            let is_full =
                self.slice.len() == SLICE_SENDS_MAX || self.wrapped.len() >= WRAPPED_BYTES_MAX;
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
        let connection = self.connections.get(link);
        if connection.is_some_and(|connection| connection.layers.is_some()) {
            self.talkative.push(link);
        }
        match connection.map(|connection| &connection.phase) {
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

    /// Takes the next links that have something to send and may. False when there are none.
    fn take_slice(&mut self) -> bool {
        self.slice.clear();
        self.wrapped.clear();
        self.last_frame = None;
        while self.slice.len() < SLICE_SENDS_MAX && self.wrapped.len() < WRAPPED_BYTES_MAX {
            let next = self.shard.outbox().next_dirty();
            let Some(link) = next.or_else(|| self.talkative.pop()) else { break };
            match self.connections.get_mut(link) {
                None => self.shard.outbox().sent(link),
                Some(Connection { layers: Some(_), .. }) => self.wrap(link),
                Some(connection) if connection.sending => {
                    let rest = self.shard.outbox().take_rest(link, 0);
                    connection.backlogs.push(rest);
                }
                Some(connection) => {
                    connection.settled = true;
                    self.slice.push(SliceSend {
                        link,
                        socket: connection.socket.as_raw_fd(),
                        wrapped: None,
                    });
                }
            }
        }
        !self.slice.is_empty()
    }

    /// Passes what a link is to be sent through its layers; what comes out is in the slice, or
    /// behind what the socket has not taken yet.
    fn wrap(&mut self, link: LinkId) {
        let Some(connection) = self.connections.get_mut(link) else { return };
        let Some(layers) = &mut connection.layers else { return };
        let outbox = self.shard.outbox();
        let has_segments = outbox.segments(link).next().is_some();
        if connection.sending && !has_segments {
            // The layers keep what they have to say, which has bounds, until the socket takes it.
            return;
        }
        let start = self.wrapped.len();
        if !connection.settled && has_segments {
            connection.settled = true;
            self.large_connects -= usize::from(take(&mut layers.has_large_connect));
        }
        let key = layers.transport.frames_alike().then(|| key(outbox.segments(link))).flatten();
        let known = self.last_frame.clone().filter(|(known, _)| key == Some(*known));
        let (range, flow) = match known {
            Some((_, range)) => (range, Flow::Open),
            None => {
                let flow = layers.transport.send(outbox.segments(link), &mut self.wrapped);
                (start..self.wrapped.len(), flow)
            }
        };
        self.last_frame = key.map(|key| (key, range.clone()));
        outbox.sent(link);
        if connection.sending {
            let rest = self.wrapped[range].to_vec();
            if !rest.is_empty() {
                connection.backlogs.push(rest.into());
            }
        } else if !range.is_empty() {
            let (socket, wrapped) = (connection.socket.as_raw_fd(), Some(range));
            self.slice.push(SliceSend { link, socket, wrapped });
        }
        if flow == Flow::Ended && matches!(connection.phase, Phase::Open) {
            // The goodbye is in what was just wrapped.
            connection.phase = Phase::Closing;
            self.attention.push(link);
        }
    }

    /// One send per link of the slice. All of them are done when this returns: the outbox keeps
    /// nothing of them, and only then does the shard hear of those that failed.
    fn send_slice(&mut self) {
        let mut failures = take(&mut self.failures);
        let outbox = &*self.shard.outbox();
        let wrapped = &self.wrapped;
        let sends = self.slice.iter().map(|send| {
            let pieces = match send.wrapped.clone() {
                Some(range) => Pieces::Wrapped(once(&wrapped[range])),
                None => Pieces::Shared(outbox.segments(send.link)),
            };
            (send.link, send.socket, pieces)
        });
        self.ring.send_all(sends, &mut failures);
        for failure in &failures {
            self.keep_rest(failure);
        }
        for send in self.slice.iter().filter(|send| send.wrapped.is_none()) {
            let link = send.link;
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
        let (Ok(sent), link) = (&failure.sent, failure.link) else { return };
        let wrapped = self.slice.iter().find(|send| send.link == link);
        let rest = match wrapped.and_then(|send| send.wrapped.clone()) {
            Some(range) => self.wrapped[range][*sent..].to_vec().into(),
            None => self.shard.outbox().take_rest(link, *sent),
        };
        if !rest.is_empty() {
            self.send_backlog(link, rest);
        }
    }

    fn report_failure(&mut self, failure: &SendFailure) {
        let link = failure.link;
        if let Err(error) = &failure.sent {
            return self.lose(link, Some(error));
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

/// What tells the bytes of one segment from those of every other in the outbox: where they lie, and
/// how many they are. None unless it is the only segment. Good while the outbox does not change.
fn key(mut segments: Segments<'_>) -> Option<FrameKey> {
    let only = segments.next().filter(|_| segments.next().is_none())?;
    Some((only.as_ptr().addr(), only.len()))
}

pub(super) type FrameKey = (usize, usize);

/// One send of a slice.
#[derive(Debug)]
pub(super) struct SliceSend {
    link: LinkId,
    socket: RawFd,
    /// Where its bytes are among the wrapped ones; None for those in the outbox.
    wrapped: Option<Range<usize>>,
}

/// The bytes of one send.
enum Pieces<'a> {
    Shared(Segments<'a>),
    Wrapped(Once<&'a [u8]>),
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Self::Shared(segments) => segments.next(),
            Self::Wrapped(once) => once.next(),
        }
    }
}

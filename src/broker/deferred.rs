//! The responses of a link that wait for other workers or for the disk, and those behind them.

use crate::limits::{DEFERRED_BYTES_MAX, DEFERRED_RESPONSES_MAX};
use std::collections::VecDeque;

/// Names a deferred response among those of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ResponseId(u32);

impl ResponseId {
    const fn after(self, count: usize) -> Self {
        Self(self.0.wrapping_add(count as u32))
    }
}

/// A response that waits, or stands behind one that does.
#[derive(Debug)]
pub(super) struct Deferred {
    waits: u32,
    /// The response is CONNACK, before which the link is sent nothing else: see
    /// [`Blocks::connack`](super::link::Blocks::connack).
    pub(super) is_connack: bool,
    pub(super) bytes: Vec<u8>,
}

/// The deferred responses of a link, in the order in which they are sent.
#[derive(Debug, Default)]
pub(super) struct DeferredResponses {
    queue: VecDeque<Deferred>,
    /// Names the first of `queue`.
    first: ResponseId,
    /// The bytes of `queue`: at most a few responses beyond [`DEFERRED_BYTES_MAX`].
    bytes: u32,
}

impl DeferredResponses {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// True when more than one `share`th of the responses that may wait do.
    pub(super) fn are_over(&self, share: usize) -> bool {
        self.queue.len() > DEFERRED_RESPONSES_MAX / share
            || self.bytes as usize > DEFERRED_BYTES_MAX / share
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Writes a response that must wait behind others.
    pub(super) fn write_behind(&mut self, bytes: &[u8]) {
        if self.queue.back().is_none_or(|last| last.waits > 0) {
            self.queue.push_back(Deferred { waits: 0, is_connack: false, bytes: Vec::new() });
        }
        let last = self.queue.back_mut().expect("one was just put there");
        last.bytes.extend_from_slice(bytes);
        self.bytes += bytes.len() as u32;
    }

    /// Defers a response until [`Self::count_done`] was called `waits` times, and names it. While
    /// CONNACK waits, the first response is CONNACK, since nothing is handled before it.
    pub(super) fn defer(&mut self, waits: u32, bytes: Vec<u8>, connack_waits: bool) -> ResponseId {
        let is_connack = connack_waits && self.queue.is_empty();
        let response = self.first.after(self.queue.len());
        self.bytes += bytes.len() as u32;
        self.queue.push_back(Deferred { waits, is_connack, bytes });
        response
    }

    /// Makes a response that is still to be sent wait for `waits` things more.
    pub(super) fn wait_more(&mut self, response: ResponseId, waits: u32) {
        let place = self.place(response);
        if let Some(deferred) = self.queue.get_mut(place) {
            deferred.waits += waits;
        }
    }

    /// Gives its bytes to a response that was deferred without any, or others.
    pub(super) fn fill(&mut self, response: ResponseId, bytes: Vec<u8>) {
        let place = self.place(response);
        if let Some(deferred) = self.queue.get_mut(place) {
            self.bytes += bytes.len() as u32;
            self.bytes -= deferred.bytes.len() as u32;
            deferred.bytes = bytes;
        }
    }

    /// The bytes of a response; none when it is sent.
    pub(super) fn bytes_of(&self, response: ResponseId) -> &[u8] {
        self.queue.get(self.place(response)).map_or(&[], |deferred| &deferred.bytes)
    }

    /// One thing that `response` waited for is done; true when that was the last.
    pub(super) fn count_done(&mut self, response: ResponseId) -> bool {
        let place = self.place(response);
        self.queue.get_mut(place).is_some_and(|deferred| {
            deferred.waits = deferred.waits.saturating_sub(1);
            deferred.waits == 0
        })
    }

    /// Drops the responses.
    pub(super) fn clear(&mut self) {
        self.first = self.first.after(self.queue.len());
        self.queue.clear();
        self.bytes = 0;
    }

    /// True while `response` is still to be sent.
    pub(super) fn contains(&self, response: ResponseId) -> bool {
        self.place(response) < self.queue.len()
    }

    /// The place of `response` in `queue`; beyond its end when the response is sent.
    const fn place(&self, response: ResponseId) -> usize {
        response.0.wrapping_sub(self.first.0) as usize
    }

    /// The next response that need not wait any more.
    pub(super) fn next_ready(&mut self) -> Option<Deferred> {
        self.queue.front().filter(|deferred| deferred.waits == 0)?;
        let deferred = self.queue.pop_front()?;
        self.first = self.first.after(1);
        self.bytes -= deferred.bytes.len() as u32;
        Some(deferred)
    }
}

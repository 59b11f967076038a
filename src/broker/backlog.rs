//! The output of a link that waits until the link is writable.

use super::delivery::Delivery;
use super::delivery_queue::{DeliveryQueue, Enqueued, QueueLimits};
use crate::base::time::Time;

/// The responses and the QoS 0 messages of a link that wait until the link is writable.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    responses: Vec<u8>,
    /// None when no message waits.
    messages: Option<Box<DeliveryQueue>>,
}

impl Backlog {
    /// Keeps responses; how many bytes of responses wait now.
    pub(super) fn add_responses(&mut self, bytes: &[u8]) -> usize {
        self.responses.extend_from_slice(bytes);
        self.responses.len()
    }

    pub(super) fn take_responses(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.responses)
    }

    pub(super) fn bytes(&self) -> usize {
        self.responses.len() + self.messages.as_ref().map_or(0, |messages| messages.bytes())
    }

    /// The number of messages that wait, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        self.messages.as_ref().map_or((0, 0), |messages| messages.size())
    }

    /// The bytes that the backlog takes, without the messages.
    pub(super) fn memory(&self) -> usize {
        let messages = self.messages.as_ref();
        let messages = messages.map_or(0, |m| size_of::<DeliveryQueue>() + m.memory());
        self.responses.capacity() + messages
    }

    pub(super) const fn has_messages(&self) -> bool {
        self.messages.is_some()
    }

    /// Keeps a message behind the others; expired messages make room.
    pub(super) fn add_message(
        &mut self,
        delivery: Delivery,
        now: Time,
        limits: QueueLimits,
    ) -> Enqueued {
        let messages = self.messages.get_or_insert_default();
        let enqueued = messages.push(delivery, now, limits);
        if messages.is_empty() {
            self.messages = None;
        }
        enqueued
    }

    pub(super) fn next_message(&mut self) -> Option<Delivery> {
        let messages = self.messages.as_mut()?;
        let delivery = messages.pop();
        if messages.is_empty() {
            self.messages = None;
        }
        delivery
    }
}

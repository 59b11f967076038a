//! The output of a link that waits until the link is writable.

use super::delivery::Delivery;
use crate::base::queue::Queue;

/// The responses and the QoS 0 messages of a link that wait until the link is writable.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    responses: Vec<u8>,
    messages: Queue<Delivery>,
    /// The bytes of `messages`.
    message_bytes: usize,
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

    pub(super) const fn bytes(&self) -> usize {
        self.responses.len() + self.message_bytes
    }

    pub(super) const fn has_messages(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Keeps a message, unless there would be more than so many messages or bytes.
    pub(super) fn add_message(
        &mut self,
        delivery: Delivery,
        (messages_max, bytes_max): (u32, u64),
    ) -> Result<(), Delivery> {
        let bytes = self.message_bytes + delivery.message.bytes().len();
        if self.messages.len() >= messages_max as usize || bytes as u64 > bytes_max {
            return Err(delivery);
        }
        self.message_bytes = bytes;
        self.messages.push_back(delivery);
        Ok(())
    }

    pub(super) fn next_message(&mut self) -> Option<Delivery> {
        let delivery = self.messages.pop_front()?;
        self.message_bytes -= delivery.message.bytes().len();
        Some(delivery)
    }
}

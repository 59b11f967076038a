//! A pair of rings between two threads, each of which receives the other's messages in order.

use rtrb::{Consumer, Producer, PushError, RingBuffer};

/// One end of a line, which sends `Out` and receives `In`.
#[derive(Debug)]
pub struct Line<Out, In> {
    outgoing: Producer<Out>,
    incoming: Consumer<In>,
}

/// Both ends of a line whose rings hold `capacity` messages each.
#[must_use]
pub fn line<A, B>(capacity: usize) -> (Line<A, B>, Line<B, A>) {
    let (a_out, b_in) = RingBuffer::new(capacity);
    let (b_out, a_in) = RingBuffer::new(capacity);
    (Line { outgoing: a_out, incoming: a_in }, Line { outgoing: b_out, incoming: b_in })
}

impl<Out, In> Line<Out, In> {
    /// Sends a message.
    ///
    /// # Errors
    /// The message, when the ring is full.
    pub(crate) fn send(&mut self, message: Out) -> Result<(), Out> {
        self.outgoing.push(message).map_err(|PushError::Full(message)| message)
    }

    /// True when [`Self::send`] has room.
    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        !self.outgoing.is_full()
    }

    /// The next message from the other end.
    pub(crate) fn receive(&mut self) -> Option<In> {
        self.incoming.pop().ok()
    }

    /// True when [`Self::receive`] has a message.
    #[must_use]
    pub(crate) fn has_work(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// True when the other end has gone; messages that it has sent before are still to be received.
    #[must_use]
    pub(crate) fn is_abandoned(&self) -> bool {
        self.incoming.is_abandoned()
    }
}

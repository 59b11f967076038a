//! A message, as the retained store knows it.

use crate::base::time::Time;
use crate::store::Message;
use crate::topics::RetainedMessage;

impl RetainedMessage for Message {
    fn topic(&self) -> &str {
        self.topic()
    }

    fn topic_bytes(&self) -> &[u8] {
        &self.bytes()[..self.lengths().0]
    }

    // [MQTT-3.3.1-6]
    fn clears(&self) -> bool {
        self.payload().is_empty()
    }

    fn payload_len(&self) -> usize {
        self.payload().len()
    }

    fn memory(&self) -> usize {
        self.memory()
    }

    fn expires(&self) -> Option<Time> {
        self.expires.map(|expires| expires.at)
    }
}

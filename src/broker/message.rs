//! A message that outlives the turn it came in: queued, in flight, retained or on its way to
//! another worker. One allocation holds its bytes, however many refer to it.

use crate::access::Identity;
use crate::base::time::Time;
use crate::mqtt::{Properties, QoS};
use crate::topics::RetainedMessage;
use std::sync::Arc;

/// An application message.
#[derive(Debug)]
pub struct Message {
    /// `topic | properties | payload`.
    bytes: Box<[u8]>,
    topic_length: u32,
    properties_length: u32,
    /// As it was published.
    pub qos: QoS,
    /// RETAIN as it was published.
    pub retain: bool,
    /// When it is not worth delivering any more.
    pub expires: Option<Time>,
    /// The session that published it: for No Local.
    pub publisher: u64,
    /// Who published it, where that matters later: a retained message is withheld when its
    /// publisher may not write there any more.
    pub(super) source: Option<Source>,
    /// Orders the retained messages of one topic: (count, worker).
    pub version: (u64, u32),
}

/// Who published a message, and by which listener.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) identity: Arc<Identity>,
    pub(super) listener: u16,
}

/// What a message is made of besides its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traits {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) expires: Option<Time>,
    pub(super) publisher: u64,
    pub(super) version: (u64, u32),
}

impl Message {
    pub(super) fn new(
        topic: &str,
        properties: &Properties<'_>,
        payload: &[u8],
        traits: Traits,
        source: Option<Source>,
    ) -> Self {
        let properties_length = properties.len();
        let mut bytes = Vec::with_capacity(topic.len() + properties_length + payload.len());
        bytes.extend_from_slice(topic.as_bytes());
        properties.append_to(&mut bytes);
        bytes.extend_from_slice(payload);
        let Traits { qos, retain, expires, publisher, version } = traits;
        Self {
            bytes: bytes.into(),
            topic_length: topic.len() as u32,
            properties_length: properties_length as u32,
            qos,
            retain,
            expires,
            publisher,
            source,
            version,
        }
    }

    /// The topic name.
    #[must_use]
    pub fn topic(&self) -> &str {
        std::str::from_utf8(self.topic_bytes()).expect("it was a string when it came")
    }

    /// The properties that go on to subscribers, encoded.
    #[must_use]
    pub fn properties(&self) -> Properties<'_> {
        let from = self.topic_length as usize;
        Properties::from_bytes(&self.bytes[from..from + self.properties_length as usize])
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload_start()..]
    }

    /// Where the payload begins in [`Self::bytes`].
    pub(super) fn payload_start(&self) -> usize {
        (self.topic_length + self.properties_length) as usize
    }

    /// All of it: what it counts for in a queue.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True when its time is over.
    pub(super) fn is_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl RetainedMessage for Message {
    fn topic(&self) -> &str {
        self.topic()
    }

    fn topic_bytes(&self) -> &[u8] {
        &self.bytes[..self.topic_length as usize]
    }

    fn version(&self) -> (u64, u32) {
        self.version
    }

    // [MQTT-3.3.1-6]
    fn clears(&self) -> bool {
        self.payload().is_empty()
    }

    fn expires(&self) -> Option<Time> {
        self.expires
    }
}

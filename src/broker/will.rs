//! The message that a client leaves with the broker for the case that it is lost.

use super::shard::Shard;
use crate::mqtt::{self, Properties, Publish, QoS};

/// As CONNECT gave it.
#[derive(Debug)]
pub(super) struct Will {
    topic: Box<str>,
    payload: Box<[u8]>,
    properties: Box<[u8]>,
    qos: QoS,
    retain: bool,
    /// How long after the loss it is published, in seconds.
    pub(super) delay_s: u32,
    message_expiry_s: Option<u32>,
}

impl Will {
    pub(super) fn new(will: &mqtt::Will<'_>) -> Self {
        let mut properties = Vec::with_capacity(will.properties.len());
        will.properties.append_to(&mut properties);
        Self {
            topic: will.topic.into(),
            payload: will.payload.into(),
            properties: properties.into(),
            qos: will.qos,
            retain: will.retain,
            delay_s: will.delay_s,
            message_expiry_s: will.message_expiry_s,
        }
    }
}

impl Shard {
    /// Publishes the will of the session numbered `publisher`.
    // [MQTT-3.1.2-8], [MQTT-3.1.2-14], [MQTT-3.1.2-15]
    pub(super) fn publish_will(&mut self, publisher: u64, will: &Will) {
        let publish = Publish {
            dup: false,
            qos: will.qos,
            retain: will.retain,
            topic: &will.topic,
            packet_id: 0,
            topic_alias: None,
            message_expiry_s: will.message_expiry_s,
            subscription_ids: smallvec::SmallVec::new(),
            properties: Properties::from_bytes(&will.properties),
            payload: &will.payload,
        };
        let mut publication = self.publication(&publish, publisher);
        self.route(&mut publication);
        if will.retain {
            self.retain(&mut publication, None);
        }
    }
}

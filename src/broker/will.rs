//! The message that a client leaves with the broker for the case that it is lost.

use super::ledger::Noted;
use super::message::Source;
use super::session::Session;
use super::shard::Shard;
use crate::access::Grants;
use crate::base::ids::SessionNumber;
use crate::mqtt::{self, Properties, Publish, QoS};
use crate::store::qos;
use crate::store::record::StoredWill;
use std::sync::Arc;

/// As CONNECT gave it.
#[derive(Debug)]
pub(super) struct Will {
    pub(super) topic: Box<str>,
    payload: Box<[u8]>,
    properties: Box<[u8]>,
    qos: QoS,
    retain: bool,
    /// How long after the loss it is published, in seconds.
    pub(super) delay_s: u32,
    message_expiry_s: Option<u32>,
}

impl Will {
    /// The will that the journal kept.
    pub(super) fn restored(will: &StoredWill<'_>) -> Self {
        Self {
            topic: (*will.topic).into(),
            payload: (*will.payload).into(),
            properties: (*will.properties).into(),
            qos: qos(will.qos),
            retain: will.retain,
            delay_s: will.delay_s,
            message_expiry_s: will.message_expiry_s,
        }
    }

    /// As the journal keeps it.
    pub(super) fn stored(&self) -> StoredWill<'static> {
        StoredWill {
            topic: self.topic.to_string().into(),
            payload: self.payload.to_vec().into(),
            properties: self.properties.to_vec().into(),
            qos: self.qos as u8,
            retain: self.retain,
            delay_s: self.delay_s,
            message_expiry_s: self.message_expiry_s,
        }
    }

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

/// Whose will it is.
#[derive(Debug)]
pub(super) struct Author {
    number: SessionNumber,
    /// The journal knows of the will, or will.
    is_recorded: bool,
    source: Option<Source>,
    grants: Option<Arc<Grants>>,
}

impl Author {
    pub(super) fn of(session: &Session) -> Self {
        let Session { number, is_recorded, ref grants, .. } = *session;
        Self { number, is_recorded, source: session.source(), grants: grants.clone() }
    }

    fn may_write(&self, topic: &str) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.may_write(topic))
    }
}

impl Shard {
    /// The will of a session is to be published. The journal has been told that it is gone: one
    /// that may come at most once waits until that is on disk, so that no later process has it.
    // [MQTT-4.3.1-1]
    pub(super) fn send_will(&mut self, author: Author, will: Box<Will>) {
        let waits = will.qos == QoS::AtMostOnce && author.is_recorded;
        match self.clients.ledger.as_mut().filter(|ledger| waits && ledger.waits_for_disk()) {
            Some(ledger) => ledger.wait_to_publish(author, will),
            None => self.publish_will(&author, &will),
        }
    }

    /// Publishes the will of a session, if its client may write there.
    // [MQTT-3.1.2-8], [MQTT-3.1.2-14], [MQTT-3.1.2-15]
    pub(super) fn publish_will(&mut self, author: &Author, will: &Will) {
        if !author.may_write(&will.topic) {
            self.clients.counters.publishes_denied += 1;
            return;
        }
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
        let source = author.source.clone().filter(|_| will.retain);
        let mut publication = self.publication(&publish, author.number, source);
        if let Some(home) = self.distribute(Noted::default(), &mut publication).home {
            self.retain_there(home, &mut publication, None);
        }
    }
}

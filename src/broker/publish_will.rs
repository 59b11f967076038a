//! Publishing a will.

use super::ledger::Noted;
use super::shard::Shard;
use super::will::{Author, WillMessage};
use crate::mqtt::{Properties, Publish, QoS};
use crate::store::Source;

impl Shard {
    /// The will of a session is to be published. The journal has been told that it is gone: one
    /// that may come at most once waits until that is on disk, so that no later process has it.
    // [MQTT-4.3.1-1]
    pub(super) fn send_will(&mut self, author: Author, will: Box<WillMessage>) {
        let waits = will.qos == QoS::AtMostOnce && author.is_recorded;
        match self.clients.ledger.as_mut().filter(|ledger| waits && ledger.waits_for_disk()) {
            Some(ledger) => ledger.wait_to_publish(author, will),
            None => self.publish_will(&author, &will),
        }
    }

    /// Publishes the will of a session, if its client may write there.
    // [MQTT-3.1.2-8], [MQTT-3.1.2-14], [MQTT-3.1.2-15]
    pub(super) fn publish_will(&mut self, author: &Author, will: &WillMessage) {
        if !author.may_write(&will.topic) {
            self.clients.counters.publishes_denied += 1;
            self.clients.audit_will("publish_denied", author, &will.topic);
            return;
        }
        let user = author.source.as_ref().and_then(Source::user);
        let mut publish = Publish {
            qos: will.qos,
            retain: will.retain,
            topic: &will.topic,
            message_expiry_s: will.message_expiry_s,
            properties: Properties::from_bytes(&will.properties),
            payload: &will.payload,
            ..Publish::default()
        };
        // Nobody waits for an answer: the will is published all the same, but not retained.
        let refusal = self.topic_home(publish.topic) == self.index && publish.retain;
        let refusal = refusal.then(|| self.refuses_to_retain(&will.topic, &will.payload, user));
        if let Some(error) = refusal.flatten() {
            self.note_not_retained(error, user.map(Into::into));
            publish.retain = false;
        }
        if publish.retain && publish.payload.is_empty() {
            self.clients.audit_will("retained_deleted", author, publish.topic);
        }
        let source = author.source.clone().filter(|_| publish.retain);
        let mut publication = self.publication(&publish, author.number, source);
        if let Some(home) = self.distribute(Noted::default(), &mut publication).home {
            self.retain_there(home, &mut publication, None, true);
        }
    }
}

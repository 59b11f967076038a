//! Rules that must hold of each delivery when it comes.

use super::Checker;
use super::history::{Publisher, Sent};
use super::violation::Kind;
use crate::stamp::Stamp;
use ringmq_mqtt::{Publish, QoS};

impl Checker {
    /// A client got a PUBLISH; at QoS 2 one whose packet identifier it did not hold.
    pub(crate) fn delivered(&mut self, client: usize, publish: &Publish<'_>) -> Option<Stamp> {
        self.tick();
        self.counts.deliveries += 1;
        if publish.payload.is_empty() && self.is_register(publish.topic) {
            return None;
        }
        let stamp = self.check_content(client, publish)?;
        if publish.retain {
            self.replayed(client, &stamp, publish.qos);
            return Some(stamp);
        }
        self.note_register(client, &stamp);
        let (publisher, sequence) = (stamp.publisher, stamp.sequence);
        let Some(sent) = self.message(publisher, sequence).copied() else {
            self.delivered_late(client, &stamp, publish.qos);
            return Some(stamp);
        };
        let topic = &self.topics[usize::from(stamp.topic)];
        let mut intervals = self.sessions[client].intervals.iter();
        if !intervals.any(|interval| interval.may_cause(&sent, topic, publish.qos)) {
            let intervals = &self.sessions[client].intervals;
            self.violations.add(Kind::Stray, || {
                let qos = publish.qos;
                format!("client {client} got {stamp:?} at {qos:?}: {sent:?}; it has {intervals:?}")
            });
            return Some(stamp);
        }
        let session = &self.sessions[client];
        let is_old = session.is_of_earlier((publisher, sequence), &sent);
        if is_old && publish.qos == QoS::ExactlyOnce {
            self.violations.add(Kind::SessionReturned, || {
                format!("client {client} got {stamp:?} of a session that it ended: {sent:?}")
            });
        }
        if self.is_shared(&sent) {
            self.count_copy(client, &stamp, publish.qos, &sent);
        } else {
            self.count(client, &stamp, publish.qos, &sent);
        }
        Some(stamp)
    }

    /// I4: the delivery is, bit for bit, the message that was sent.
    pub(crate) fn check_content(&mut self, client: usize, publish: &Publish<'_>) -> Option<Stamp> {
        let stamp = Stamp::read(publish.payload).filter(|stamp| {
            let publisher = self.publishers.get(stamp.publisher as usize);
            let topic = self.topics.get(usize::from(stamp.topic));
            topic.is_some_and(|topic| topic == publish.topic)
                && publisher.is_some_and(|known| stamp.sequence < known.next_sequence())
        });
        if stamp.is_none() {
            self.violations.add(Kind::Altered, || {
                let (topic, payload) = (publish.topic, publish.payload);
                let head = &payload[..payload.len().min(32)];
                let length = payload.len();
                format!("client {client} got {length} bytes on {topic}, never sent: {head:02x?}")
            });
        }
        stamp
    }

    /// Checks a delivery of a message that was judged before: every session that was to get it has.
    fn delivered_late(&mut self, client: usize, stamp: &Stamp, qos: QoS) {
        match qos {
            QoS::ExactlyOnce => self.violations.add(Kind::Duplicated, || {
                format!("client {client} got {stamp:?} at QoS 2 after everything had arrived")
            }),
            QoS::AtLeastOnce => self.counts.repeated += 1,
            QoS::AtMostOnce => {}
        }
    }

    /// I2 and I3.
    fn count(&mut self, client: usize, stamp: &Stamp, qos: QoS, sent: &Sent) {
        let Publisher { is_will, is_relay, .. } = self.publishers[stamp.publisher as usize];
        let session = &mut self.sessions[client];
        let seen = session.seen.entry((stamp.publisher, stamp.sequence)).or_default();
        *seen += 1;
        if *seen > 1 {
            if qos == QoS::AtLeastOnce {
                self.counts.repeated += 1;
                return;
            }
            let times = *seen;
            return self.violations.add(Kind::Duplicated, || {
                format!("client {client} got {stamp:?} at {qos:?} {times} times: {sent:?}")
            });
        }
        self.counts.wills += u64::from(is_will);
        let last = session.last.entry((stamp.publisher, stamp.topic, sent.qos)).or_default();
        let before = *last;
        *last = before.max(stamp.sequence);
        // Wills have delays. What was first sent before there was the subscription was not routed
        // to it then, but may be when it is sent again.
        let topic = &self.topics[usize::from(stamp.topic)];
        let is_routed = session.intervals.iter().any(|interval| interval.precedes(sent, topic));
        if stamp.sequence < before && is_routed && !is_will && !is_relay {
            self.violations.add(Kind::Reordered, || {
                let intervals = &session.intervals;
                format!(
                    "client {client} got {stamp:?} after number {before}: {sent:?}, {intervals:?}"
                )
            });
        }
    }
}

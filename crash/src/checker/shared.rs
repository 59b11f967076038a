//! Messages due in several copies: each shared group gets one of each message, by any of its
//! members, and a session gets one more for a subscription of its own.
//!
//! A topic that a group subscribes to is judged by the copies that all sessions have got together:
//! a delivery does not say which subscription is its reason.

use super::Checker;
use super::history::{Interval, Sent, Session};
use super::violation::Kind;
use crate::stamp::Stamp;
use ringmq_mqtt::QoS;
use std::collections::{BTreeMap, BTreeSet};

impl Checker {
    /// A group subscribes to these topics.
    pub(super) fn share(&mut self, interval: &Interval) {
        for (is_shared, topic) in self.shared.iter_mut().zip(&self.topics) {
            *is_shared |= interval.fits(topic);
        }
    }

    /// Whether a message is due in copies.
    pub(super) fn is_shared(&self, sent: &Sent) -> bool {
        self.shared[usize::from(sent.topic)]
    }

    /// The groups, and sessions with a subscription of their own, for which a copy is due.
    fn due(&self, is_due: impl Fn(&Session, &Interval) -> bool) -> usize {
        let mut due = BTreeSet::new();
        for (client, session) in self.sessions.iter().enumerate() {
            let intervals = session.intervals.iter().filter(|interval| is_due(session, interval));
            due.extend(intervals.map(|interval| {
                let own = if interval.is_shared() { None } else { Some(client) };
                (own, &*interval.filter)
            }));
        }
        due.len()
    }

    /// The number of copies that all sessions have got.
    fn copies(&self, key: (u32, u64)) -> usize {
        self.sessions.iter().filter_map(|session| session.seen.get(&key)).sum::<u32>() as usize
    }

    /// The number of copies that each client has got.
    fn holders(&self, key: (u32, u64)) -> BTreeMap<usize, u32> {
        let sessions = self.sessions.iter().enumerate();
        sessions.filter_map(|(client, s)| Some((client, *s.seen.get(&key)?))).collect()
    }

    /// One more copy has come: at QoS 2 and 0 there are no more of them than groups.
    pub(super) fn count_copy(&mut self, client: usize, stamp: &Stamp, qos: QoS, sent: &Sent) {
        let key = (stamp.publisher, stamp.sequence);
        *self.sessions[client].seen.entry(key).or_default() += 1;
        let topic = &self.topics[usize::from(sent.topic)];
        let due = self.due(|_, interval| interval.may_cause(sent, topic, qos));
        let copies = self.copies(key);
        if copies <= due {
            return;
        }
        if qos == QoS::AtLeastOnce {
            self.counts.repeated += 1;
            return;
        }
        let holders = self.holders(key);
        self.violations.add(Kind::Duplicated, || {
            format!(
                "client {client} got copy {copies} of {due} of {stamp:?} at {qos:?}: {sent:?}; \
                 clients have it {holders:?} times"
            )
        });
    }

    /// The messages of which copies must still come: (publisher, number, copies got, copies due).
    pub(super) fn lacking_copies(&self) -> Vec<(u32, u64, usize, usize)> {
        let mut lacking = Vec::new();
        let publishers = (0..).zip(&self.publishers);
        for (publisher, known) in publishers.filter(|(_, publisher)| !publisher.is_will) {
            for (sequence, sent) in known.messages().filter(|(_, sent)| self.is_shared(sent)) {
                let topic = &self.topics[usize::from(sent.topic)];
                let due = self.due(|session, interval| {
                    session.is_durable && !session.is_void && interval.demands(sent, topic)
                });
                let copies = self.copies((publisher, sequence));
                if copies < due {
                    lacking.push((publisher, sequence, copies, due));
                }
            }
        }
        lacking
    }

    /// Tells which copies have not come.
    pub(super) fn judge_copies(&mut self) {
        for (publisher, sequence, copies, due) in self.lacking_copies() {
            let sent = self.message(publisher, sequence).copied();
            let topic = sent.map_or("", |sent| &*self.topics[usize::from(sent.topic)]);
            let holders = self.holders((publisher, sequence));
            self.violations.add(Kind::Lost, || {
                format!(
                    "{copies} of {due} copies of number {sequence} of publisher {publisher} on \
                     {topic} came: {sent:?}; clients have it {holders:?} times"
                )
            });
        }
    }
}

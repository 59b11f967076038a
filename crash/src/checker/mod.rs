//! The black-box checker: hears the packets of all clients, and knows their necessary effects.
//!
//! An acknowledged packet must have taken effect; any other may have. The checker judges when all
//! is quiet: see [`Checker::judge`]. Until then it keeps every message, after that none.

mod deliveries;
pub(crate) mod history;
mod owed;
pub(crate) mod retained;
mod shared;
#[cfg(test)]
mod tests;
pub(crate) mod violation;

use history::{Interval, Presence, Publisher, Sent, Session};
use retained::Registers;
use ringmq_mqtt::QoS;
use std::collections::BTreeMap;
use violation::{Kind, Violations};

/// The counts of things other than mistakes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    /// Acknowledged publishes at QoS 1 and 2.
    pub(crate) acknowledged: [u64; 2],
    pub(crate) deliveries: u64,
    /// Deliveries at QoS 1 that came again.
    pub(crate) repeated: u64,
    pub(crate) wills: u64,
}

/// The checker of one run.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// Grows with every event.
    now: u64,
    pub(crate) topics: Vec<String>,
    /// Whether messages on a topic are due in copies: see [`shared`].
    shared: Vec<bool>,
    pub(crate) publishers: Vec<Publisher>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) registers: Registers,
    pub(crate) violations: Violations,
    pub(crate) counts: Counts,
}

impl Checker {
    /// A checker of so many sessions and publishers.
    pub(crate) fn new(topics: Vec<String>, sessions: usize, publishers: usize) -> Self {
        let shared = vec![false; topics.len()];
        let mut checker = Self { topics, shared, ..Self::default() };
        checker.sessions.resize_with(sessions, Session::default);
        checker.publishers.resize_with(publishers, Publisher::default);
        checker
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// A message is sent for the first time; its number.
    pub(crate) fn sent(&mut self, publisher: u32, topic: u16, qos: QoS, is_probe: bool) -> u64 {
        let first = self.tick();
        let (acknowledged, completed) = (None, None);
        let publisher = &mut self.publishers[publisher as usize];
        let sequence = publisher.next_sequence();
        publisher.sent.push_back(Sent {
            topic,
            qos,
            is_probe,
            is_empty: false,
            first,
            acknowledged,
            completed,
        });
        sequence
    }

    /// The message that was just sent is a write of a register.
    pub(crate) fn writing(&mut self, publisher: u32, sequence: u64, is_clearing: bool) {
        let Some(sent) = self.message(publisher, sequence) else { return };
        sent.is_empty = is_clearing;
        let topic = sent.topic;
        self.registers.writing(topic, sequence, is_clearing);
    }

    fn message(&mut self, publisher: u32, sequence: u64) -> Option<&mut Sent> {
        self.publishers[publisher as usize].message(sequence)
    }

    /// PUBACK or PUBREC has come, and says success.
    pub(crate) fn acknowledged(&mut self, publisher: u32, sequence: u64) {
        let now = self.tick();
        let Some(sent) = self.message(publisher, sequence) else { return };
        if sent.acknowledged.is_none() {
            sent.acknowledged = Some(now);
            let place = usize::from(sent.qos == QoS::ExactlyOnce);
            self.counts.acknowledged[place] += 1;
        }
    }

    /// PUBACK or PUBCOMP has come.
    pub(crate) fn completed(&mut self, publisher: u32, sequence: u64) {
        let now = self.tick();
        let Some(sent) = self.message(publisher, sequence) else { return };
        sent.completed = Some(now);
        let topic = sent.topic;
        self.registers.completed(topic, sequence);
    }

    /// The publisher gives the message up: it was refused, or the session is gone.
    pub(crate) fn abandoned(&mut self, publisher: u32, sequence: u64) {
        let now = self.tick();
        let Some(sent) = self.message(publisher, sequence) else { return };
        sent.completed = Some(sent.acknowledged.unwrap_or(now));
    }

    /// CONNECT is sent.
    pub(crate) fn connecting(&mut self, client: usize, clean_start: bool) {
        let session = &mut self.sessions[client];
        session.expected = if clean_start { Presence::Absent } else { session.presence };
        if session.expected == Presence::Absent {
            session.is_void = true;
            session.presence = Presence::Maybe;
        }
    }

    /// CONNACK has come; the session outlives the connection or not.
    pub(crate) fn connected(&mut self, client: usize, is_present: bool, is_durable: bool) {
        match (self.sessions[client].expected, is_present) {
            (Presence::Certain, false) => self.lost_session(client),
            (Presence::Absent, true) => self.violations.add(Kind::SessionReturned, || {
                format!("client {client} got session present = 1 where none can be")
            }),
            _ => {}
        }
        let now = self.tick();
        let session = &mut self.sessions[client];
        if !is_present || session.expected == Presence::Absent {
            session.forget(now);
        } else if session.is_void {
            // A CONNECT that was never answered ended the session or made another: it is not known
            // which one this is.
            session.intervals.iter_mut().for_each(|interval| interval.certain_from = None);
        }
        session.presence = if is_durable { Presence::Certain } else { Presence::Absent };
        session.is_durable = is_durable;
        session.is_void = false;
    }

    /// All that an acknowledged session had to get is lost with it.
    fn lost_session(&mut self, client: usize) {
        let lacking = self.lacking(client);
        let count = lacking.len();
        self.violations.add(Kind::SessionLost, || {
            format!("client {client} got session present = 0; {count} messages waited for it")
        });
        for (publisher, sequence) in lacking {
            self.tell_lost(client, publisher, sequence);
        }
    }

    /// The messages that a session has not got and must.
    fn lacking(&self, client: usize) -> Vec<(u32, u64)> {
        let session = &self.sessions[client];
        let mut lacking = Vec::new();
        let publishers = (0..).zip(&self.publishers);
        for (publisher, sent) in publishers.filter(|(_, publisher)| !publisher.is_will) {
            for (sequence, sent) in sent.messages().filter(|(_, sent)| !self.is_shared(sent)) {
                let topic = &self.topics[usize::from(sent.topic)];
                if session.lacks(publisher, sequence, sent, topic) {
                    lacking.push((publisher, sequence));
                }
            }
        }
        lacking
    }

    fn tell_lost(&mut self, client: usize, publisher: u32, sequence: u64) {
        let sent = self.message(publisher, sequence).copied();
        let topic = sent.map_or("", |sent| &*self.topics[usize::from(sent.topic)]);
        let demands =
            |interval: &&Interval| sent.is_some_and(|sent| interval.demands(&sent, topic));
        let interval = self.sessions[client].intervals.iter().find(demands);
        self.violations.add(Kind::Lost, || {
            format!(
                "client {client} never got number {sequence} of publisher {publisher} on {topic}: \
                 {sent:?}, {interval:?}"
            )
        });
    }

    /// SUBSCRIBE is sent.
    pub(crate) fn subscribing(&mut self, client: usize, filter: &str, qos: QoS) {
        let possible_from = self.tick();
        let session = &mut self.sessions[client];
        if let Some(open) = session.open(filter).filter(|open| open.certain_until.is_none()) {
            open.subscribes += 1;
            return;
        }
        let interval = Interval {
            filter: filter.into(),
            qos,
            possible_from,
            certain_from: None,
            certain_until: None,
            possible_until: None,
            subscribes: 1,
            floors: self.registers.floors(),
            values: BTreeMap::new(),
        };
        session.intervals.push(interval.clone());
        if interval.is_shared() {
            self.share(&interval);
        }
    }

    /// SUBACK has come, and says yes.
    pub(crate) fn subscribed(&mut self, client: usize, filter: &str) {
        let now = self.tick();
        if let Some(interval) = self.sessions[client].open(filter) {
            interval.certain_from.get_or_insert(now);
        }
    }

    /// UNSUBSCRIBE is sent.
    pub(crate) fn unsubscribing(&mut self, client: usize, filter: &str) {
        let now = self.tick();
        if let Some(interval) = self.sessions[client].open(filter) {
            interval.certain_until.get_or_insert(now);
        }
    }

    /// UNSUBACK has come.
    pub(crate) fn unsubscribed(&mut self, client: usize, filter: &str) {
        let now = self.tick();
        while let Some(interval) = self.sessions[client].open(filter) {
            interval.possible_until = Some(now);
        }
    }

    /// A topic of each subscription that must be there, for probes.
    pub(crate) fn certain_topics(&self) -> Vec<u16> {
        let intervals = self.sessions.iter().filter(|s| s.is_durable && !s.is_void);
        let certain = intervals
            .flat_map(|session| &session.intervals)
            .filter(|interval| interval.certain_from.is_some() && interval.certain_until.is_none());
        let topic = |interval: &Interval| {
            let fits = |topic: &String| interval.fits(topic);
            // Nobody but their writers writes wills and registers.
            let is_apart = ["w/", "r/", "q/"].iter().any(|head| interval.filter.starts_with(head));
            self.topics.iter().position(fits).filter(|_| !is_apart).map(|place| place as u16)
        };
        let mut topics: Vec<u16> = certain.filter_map(topic).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// The number of deliveries that must still come.
    pub(crate) fn missing(&self) -> usize {
        let own: usize = (0..self.sessions.len()).map(|client| self.lacking(client).len()).sum();
        own + self.lacking_copies().len() + self.unpaid().len()
    }

    /// Judges everything that is finished, when all is quiet, and forgets it. The subscriptions
    /// that turned out to be lost.
    pub(crate) fn judge(&mut self) -> Vec<(usize, String)> {
        self.tick();
        let mut broken = Vec::new();
        for client in 0..self.sessions.len() {
            broken.extend(self.break_intervals(client).into_iter().map(|filter| (client, filter)));
            for (publisher, sequence) in self.lacking(client) {
                self.tell_lost(client, publisher, sequence);
            }
        }
        self.judge_copies();
        self.judge_owed();
        self.purge();
        broken
    }

    /// Ends the subscriptions whose probe did not come, nor anything after it.
    fn break_intervals(&mut self, client: usize) -> Vec<String> {
        let mut broken = Vec::new();
        for (publisher, sequence) in self.lacking(client) {
            let Some(probe) = self.message(publisher, sequence).copied() else { continue };
            let topic = self.topics[usize::from(probe.topic)].clone();
            let session = &self.sessions[client];
            let demands = |interval: &Interval| interval.demands(&probe, &topic);
            let Some(place) = session.intervals.iter().position(demands) else { continue };
            if !probe.is_probe || self.came_after(client, place, probe.first) {
                continue;
            }
            let interval = &mut self.sessions[client].intervals[place];
            interval.certain_until = Some(probe.first);
            let filter = interval.filter.clone();
            self.violations.add(Kind::SubscriptionLost, || {
                format!("client {client} gets nothing for {filter} since {probe:?}")
            });
            broken.push(filter);
        }
        broken
    }

    /// Whether a message that was sent after `moment` came through a subscription.
    fn came_after(&self, client: usize, place: usize, moment: u64) -> bool {
        let session = &self.sessions[client];
        let interval = &session.intervals[place];
        session.seen.keys().any(|&(publisher, sequence)| {
            let publisher = &self.publishers[publisher as usize];
            let place = sequence.checked_sub(publisher.base).map(|place| place as usize);
            let sent = place.and_then(|place| publisher.sent.get(place));
            sent.is_some_and(|sent| {
                sent.first > moment && interval.fits(&self.topics[usize::from(sent.topic)])
            })
        })
    }

    fn purge(&mut self) {
        for publisher in self.publishers.iter_mut().filter(|publisher| !publisher.is_will) {
            while publisher.sent.front().is_some_and(Sent::is_finished) {
                publisher.sent.pop_front();
                publisher.base += 1;
            }
        }
        for session in &mut self.sessions {
            let publishers = &self.publishers;
            session.seen.retain(|key, _| key.1 >= publishers[key.0 as usize].base);
            session.earlier.retain(|key| key.1 >= publishers[key.0 as usize].base);
            session.intervals.retain(|interval| interval.possible_until.is_none());
        }
    }
}

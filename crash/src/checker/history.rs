//! The clients' knowledge: the messages that were sent and acknowledged, and the times at which
//! subscriptions held. Moments are numbers that grow with every event.

use super::retained::Floors;
use ringmq_mqtt::{QoS, matches};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Events that may pass between the acknowledgement of a message and its arrival at the session, on
/// another worker: around a SUBSCRIBE or UNSUBSCRIBE it may be in time or not. MQTT orders what one
/// connection does, not what two do.
pub(crate) const ROUTING: u64 = 10_000;

/// One message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// The topic's place in the table of topics.
    pub(crate) topic: u16,
    pub(crate) qos: QoS,
    /// The message asks whether a subscription has survived.
    pub(crate) is_probe: bool,
    /// The message has no payload that would name it: it clears a register.
    pub(crate) is_empty: bool,
    /// The moment at which the message was sent for the first time.
    pub(crate) first: u64,
    /// The moment at which PUBACK or PUBREC came.
    pub(crate) acknowledged: Option<u64>,
    /// The moment at which PUBACK or PUBCOMP came, or nothing more could come.
    pub(crate) completed: Option<u64>,
}

impl Sent {
    /// True when nothing more is to come from the publisher.
    pub(crate) fn is_finished(&self) -> bool {
        self.qos == QoS::AtMostOnce || self.completed.is_some()
    }

    /// The moment at which the message was certainly routed, if it must arrive.
    pub(crate) fn must_arrive(&self) -> Option<u64> {
        let may_be_missed = self.qos == QoS::AtMostOnce || self.is_empty;
        self.acknowledged.and(self.completed).filter(|_| !may_be_missed)
    }
}

/// The messages of one publisher that are not judged yet.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    /// The number of the first in `sent`; those before are judged.
    pub(crate) base: u64,
    pub(crate) sent: VecDeque<Sent>,
    /// The messages are wills: the time of a will is not known, so they are never judged.
    pub(crate) is_will: bool,
    /// The messages come from one client after the other, and so in no order.
    pub(crate) is_relay: bool,
}

impl Publisher {
    /// The number of the next message.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.base + self.sent.len() as u64
    }

    /// The message with this number, unless it is judged or was never sent.
    pub(crate) fn message(&mut self, sequence: u64) -> Option<&mut Sent> {
        let place = sequence.checked_sub(self.base)?;
        self.sent.get_mut(usize::try_from(place).ok()?)
    }

    /// The messages with their numbers.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (u64, &Sent)> {
        (self.base..).zip(&self.sent)
    }
}

/// The time during which a session had a subscription.
///
/// ```text
/// SUBSCRIBE ─── SUBACK ════════ UNSUBSCRIBE ─── UNSUBACK
/// possible      certain         possible        gone
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Interval {
    pub(crate) filter: String,
    pub(crate) qos: QoS,
    pub(crate) possible_from: u64,
    pub(crate) certain_from: Option<u64>,
    pub(crate) certain_until: Option<u64>,
    pub(crate) possible_until: Option<u64>,
    /// SUBSCRIBEs that were sent for the filter since the last judgement.
    pub(crate) subscribes: u32,
    /// The registers when the first of those was sent: the subscription is owed their messages.
    pub(crate) floors: Floors,
    /// The newest value of each register that has come since.
    pub(crate) values: BTreeMap<u16, u64>,
}

impl Interval {
    /// True when the filter is a shared group's.
    pub(crate) fn is_shared(&self) -> bool {
        self.filter.starts_with("$share/")
    }

    /// Whether the topic is one that it is for.
    pub(crate) fn fits(&self, topic: &str) -> bool {
        let shared = self.filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
        matches(shared.map_or(&*self.filter, |(_, filter)| filter), topic)
    }

    /// Whether the subscription can be the reason of a delivery of `sent`.
    pub(crate) fn may_cause(&self, sent: &Sent, topic: &str, qos: QoS) -> bool {
        sent.qos.min(self.qos) == qos
            && sent.completed.is_none_or(|completed| completed + ROUTING > self.possible_from)
            && self.possible_until.is_none_or(|until| sent.first < until)
            && self.fits(topic)
    }

    /// Whether the subscription was certain when `sent` was first sent.
    pub(crate) fn precedes(&self, sent: &Sent, topic: &str) -> bool {
        self.certain_from.is_some_and(|from| from < sent.first)
            && self.certain_until.is_none_or(|until| sent.first + ROUTING < until)
            && self.fits(topic)
    }

    /// Whether `sent` must reach the session for this subscription.
    pub(crate) fn demands(&self, sent: &Sent, topic: &str) -> bool {
        let Some(completed) = sent.must_arrive() else { return false };
        self.qos != QoS::AtMostOnce
            && self.certain_from.is_some_and(|from| from < sent.first)
            && self.certain_until.is_none_or(|until| completed + ROUTING < until)
            && self.fits(topic)
    }
}

/// Whether the broker has state of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Presence {
    #[default]
    Absent,
    /// Something that decides it was sent and not answered.
    Maybe,
    Certain,
}

/// A client's knowledge of its session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) presence: Presence,
    /// The presence when the CONNECT was sent that is not answered yet.
    pub(crate) expected: Presence,
    /// A CONNECT is on its way that finds no session: it is owed nothing any more.
    pub(crate) is_void: bool,
    /// The session outlives its connection.
    pub(crate) is_durable: bool,
    pub(crate) intervals: Vec<Interval>,
    /// The number of deliveries of each message that is not judged.
    pub(crate) seen: BTreeMap<(u32, u64), u32>,
    /// The number of times that each message came as retained, since the last judgement.
    pub(crate) replayed: BTreeMap<(u32, u64), u32>,
    /// The moment at which the session began.
    pub(crate) begun: u64,
    /// The messages that were delivered to sessions of this client that have ended.
    pub(crate) earlier: BTreeSet<(u32, u64)>,
    /// The last first delivery of each publisher, topic and QoS.
    pub(crate) last: BTreeMap<(u32, u16, QoS), u64>,
}

impl Session {
    /// Begins the session anew.
    pub(crate) fn forget(&mut self, now: u64) {
        self.begun = now;
        self.intervals.clear();
        self.earlier.extend(std::mem::take(&mut self.seen).into_keys());
        self.last.clear();
    }

    /// Whether `sent` was over before the session began: it had come to an earlier one, so it waits
    /// nowhere but in state that should have gone.
    pub(crate) fn is_of_earlier(&self, key: (u32, u64), sent: &Sent) -> bool {
        sent.completed.is_some_and(|completed| completed < self.begun)
            && self.earlier.contains(&key)
    }

    /// The interval that `sent` must arrive for and has not.
    pub(crate) fn lacks(&self, publisher: u32, sequence: u64, sent: &Sent, topic: &str) -> bool {
        self.is_durable
            && !self.is_void
            && !self.seen.contains_key(&(publisher, sequence))
            && self.intervals.iter().any(|interval| interval.demands(sent, topic))
    }

    /// The interval of a filter that is not over.
    pub(crate) fn open(&mut self, filter: &str) -> Option<&mut Interval> {
        let is_open = |interval: &&mut Interval| {
            interval.filter == filter && interval.possible_until.is_none()
        };
        self.intervals.iter_mut().rev().find(is_open)
    }
}

//! I10: the fate that each will must have.

use super::model::{Message, Model, NEVER};
use super::rights::Action;
use super::wire::Wire;
use ringmq::base::time::Time;
use ringmq_mqtt::ReasonCode;
use std::time::Duration;

/// The fate of a will, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The will may be published at any time: with a journal that may be before its CONNACK has
    /// left the disk, and after a crash.
    Open,
    /// The will's connection lives.
    Armed,
    /// The will is to be published then.
    Due(Time),
    /// The will was to be published at about the time at which that was called off.
    Either(Time),
    /// The will is not to be published.
    Discarded,
}

/// A will of one connection.
#[derive(Debug)]
pub(super) struct Will {
    pub(super) message: usize,
    pub(super) delay_s: u32,
    pub(super) fate: Fate,
    pub(super) published: u32,
}

/// The longest delay with which a will may come out of the observer's shard.
const LATE_MAX: Duration = Duration::from_millis(1_100);

impl Model {
    /// CONNECT is sent with a will.
    pub(super) fn offer_will(&mut self, message: usize, delay_s: u32) {
        if self.is_durable {
            self.will_of_message.insert(message, self.wills.len());
            self.wills.push(Will { message, delay_s, fate: Fate::Open, published: 0 });
            let message = &mut self.messages[message];
            message.first = self.event;
            message.first_time = self.now;
            message.handed = 1;
            message.passage.note(true);
        }
    }

    /// A connection was accepted, perhaps with a will.
    pub(super) fn arm_will(&mut self, session: usize, wire: &Wire) {
        if self.is_durable {
            if let Some((message, _)) = wire.terms.will {
                self.messages[message].session = Some(session);
            }
            return;
        }
        self.sessions[session].will = wire.terms.will.map(|(message, delay_s)| {
            self.messages[message].session = Some(session);
            self.will_of_message.insert(message, self.wills.len());
            self.wills.push(Will { message, delay_s, fate: Fate::Armed, published: 0 });
            self.wills.len() - 1
        });
    }

    /// The session has lost its connection.
    // [MQTT-3.1.2-8], [MQTT-3.14.4-3]
    pub(super) fn release_will(&mut self, session: usize, wire: &Wire) {
        let Some(will) = self.sessions[session].will else { return };
        let is_normal = wire.goodbye.is_some_and(|(code, _)| code == ReasonCode::Success);
        let topic = &self.messages[self.wills[will].message].topic;
        let may = self.may(session, Action::Write, topic);
        let will = &mut self.wills[will];
        if is_normal || will.fate == Fate::Discarded {
            will.fate = Fate::Discarded;
            return;
        }
        let wait_s = will.delay_s.min(self.sessions[session].expiry_s);
        will.fate = Fate::Due(self.now.after_seconds(wait_s));
        let message = &mut self.messages[will.message];
        message.first = self.event;
        message.first_time = self.now;
        message.handed = 1;
        message.passage.note(may);
    }

    /// The client is back: on with its session, or with a new one.
    // [MQTT-3.1.3-9]
    pub(super) fn resume_will(&mut self, session: Option<usize>, present: bool) {
        let Some(session) = session else { return };
        let lost = self.sessions[session].lost;
        let Some(will) = self.sessions[session].will else { return };
        let Fate::Due(due) = self.wills[will].fate else { return };
        let was_at_once = lost == Some(due);
        if was_at_once || self.now > self.latest(due, LATE_MAX) {
            return;
        }
        let will = &mut self.wills[will];
        if !present {
            will.fate = Fate::Due(due.min(self.now));
        } else if self.now < due {
            will.fate = Fate::Discarded;
        } else {
            will.fate = Fate::Either(due);
        }
    }

    /// The observer, who misses nothing, sees a will that came out of its shard at `emitted`.
    pub(super) fn observe_will(&mut self, message: usize, emitted: Time) {
        let Some(&index) = self.will_of_message.get(&message) else { return };
        let will = &mut self.wills[index];
        will.published += 1;
        let fate = will.fate;
        let (is_right, since) = match fate {
            Fate::Due(due) | Fate::Either(due) => {
                (due <= emitted && emitted <= self.latest(due, LATE_MAX), due)
            }
            Fate::Open => (true, Time::ZERO),
            Fate::Armed | Fate::Discarded => (false, Time::ZERO),
        };
        if is_right && !self.could_leave(&self.messages[message], since, emitted).0 {
            let text = format!("a will that was denied: {:?}", self.messages[message]);
            return self.fail("I5", text);
        }
        let will = &self.wills[index];
        if !is_right || will.published > 1 {
            let text =
                format!("will m{}: {will:?} at {emitted:?}", self.messages[message].publisher);
            return self.fail("I10", text);
        }
        let message: &mut Message = &mut self.messages[message];
        message.handled = 1;
        message.passage.is_certain = true;
        message.last = self.event;
        message.last_time = emitted;
        if message.first == NEVER {
            message.first = self.event;
        }
    }

    /// At the end: every will that was due has come.
    pub(super) fn check_wills(&mut self) {
        let is_missing = |will: &&Will| {
            let Fate::Due(due) = will.fate else { return false };
            let latest = self.latest(due, LATE_MAX);
            let message = &self.messages[will.message];
            let lives_on = message.expiry_s.is_none_or(|s| due.after_seconds(s) > latest);
            let is_due = latest < self.now && lives_on && will.published == 0;
            is_due && self.could_leave(message, due, latest).1
        };
        if let Some(will) = self.wills.iter().find(is_missing) {
            let name = self.messages[will.message].publisher;
            self.fail("I10", format!("will m{name} never came: {will:?}"));
        }
    }
}

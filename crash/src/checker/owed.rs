//! Retained messages owed to a subscription: those that were there when it was made.

use super::Checker;
use super::history::Interval;
use super::violation::Kind;
use crate::stamp::Stamp;
use ringmq_mqtt::QoS;

impl Checker {
    /// A retained message came for a SUBSCRIBE: at QoS 2 once for each that was sent since the last
    /// judgement, when nothing was owed any more.
    pub(super) fn replayed(&mut self, client: usize, stamp: &Stamp, qos: QoS) {
        self.note_register(client, stamp);
        let key = (stamp.publisher, stamp.sequence);
        let first = self.message(key.0, key.1).map_or(0, |sent| sent.first);
        let topic = &self.topics[usize::from(stamp.topic)];
        let session = &mut self.sessions[client];
        let times = session.replayed.entry(key).or_default();
        *times += 1;
        let times = *times;
        let may_cause = |interval: &&Interval| {
            interval.possible_until.is_none_or(|until| first < until) && interval.fits(topic)
        };
        let causes = session.intervals.iter().filter(may_cause);
        let asked: u32 = causes.map(|interval| interval.subscribes).sum();
        if times <= asked {
            return;
        }
        if qos != QoS::ExactlyOnce {
            self.counts.repeated += 1;
            return;
        }
        self.violations.add(Kind::Duplicated, || {
            let intervals = &session.intervals;
            format!(
                "client {client} got {stamp:?} as retained {times} times for {asked} SUBSCRIBEs: \
                 {intervals:?}"
            )
        });
    }

    /// A value of a register came, whether as retained or as it was written.
    pub(super) fn note_register(&mut self, client: usize, stamp: &Stamp) {
        let topic = &self.topics[usize::from(stamp.topic)];
        let intervals = self.sessions[client].intervals.iter_mut();
        for interval in intervals.filter(|interval| interval.fits(topic)) {
            let value = interval.values.entry(stamp.topic).or_default();
            *value = stamp.sequence.max(*value);
        }
    }

    /// The registers that a subscription must have been told of and was not: (client, interval,
    /// topic).
    pub(super) fn unpaid(&self) -> Vec<(usize, usize, u16)> {
        let mut unpaid = Vec::new();
        for (client, session) in self.sessions.iter().enumerate() {
            if !session.is_durable || session.is_void {
                continue;
            }
            for (place, interval) in session.intervals.iter().enumerate() {
                if interval.certain_from.is_none() || interval.certain_until.is_some() {
                    continue;
                }
                let wrong = self.registers.wrong(&interval.floors, &interval.values);
                let topics = &self.topics;
                let owed = wrong.filter(|topic| interval.fits(&topics[usize::from(*topic)]));
                unpaid.extend(owed.map(|topic| (client, place, topic)));
            }
        }
        unpaid
    }

    /// Tells the owed messages that have not come; then nothing is owed any more.
    pub(super) fn judge_owed(&mut self) {
        for (client, place, topic) in self.unpaid() {
            let name = &self.topics[usize::from(topic)];
            let interval = &self.sessions[client].intervals[place];
            self.violations.add(Kind::RetainedWrong, || {
                format!("client {client} was owed {name} for {interval:?}")
            });
        }
        for session in &mut self.sessions {
            session.replayed.clear();
            for interval in &mut session.intervals {
                interval.subscribes = 0;
                interval.floors = super::retained::Floors::default();
            }
        }
    }
}

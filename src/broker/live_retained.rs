//! The retained messages that a session was sent live while replays of it were under way: an older
//! message of such a topic must not follow in those replays.
//!
//! One set serves all replays of a session, since a live message overtakes those that had begun by
//! then, whatever their filters: a replay sends no topic that its filter does not match. So a live
//! message costs one entry, however many replays wait.

use crate::base::ids::MessageId;
use crate::base::visits::visit;
use crate::store::Message;
use crate::topics::RetainedMessage as _;
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Live messages of all topics.
#[derive(Debug, Default)]
pub(super) struct LiveRetained {
    topics: BTreeSet<Topic>,
    /// The number of topics from which on those go that no replay needs any more.
    topics_max: usize,
}

/// The least value of [`LiveRetained::topics_max`], beside which the rest of a session is nothing.
const TOPICS_MIN: usize = 64;

/// The live messages of one topic: the latest at the topic's home, and those still on their way
/// there. Each has the greatest number of a replay that it overtakes; the greatest comes first.
#[derive(Debug)]
struct Topic(SmallVec<[(Arc<Message>, u32); 1]>);

impl LiveRetained {
    /// Notes a live message, which overtakes the replays up to the number `last`. Those before
    /// `first` are over.
    pub(super) fn note(&mut self, live: &Arc<Message>, first: u32, last: u32) {
        visit(2);
        if self.topics.len() >= self.topics_max {
            visit(self.topics.len());
            self.topics.retain(|topic| topic.0.iter().any(|(_, last)| *last >= first));
            self.topics_max = (2 * self.topics.len()).max(TOPICS_MIN);
        }
        let known = self.topics.take(live.topic_bytes());
        let mut topic = known.unwrap_or_else(|| Topic(SmallVec::new()));
        topic.add(live.clone(), last);
        self.topics.insert(topic);
    }

    /// The bytes that the notes take, without the messages.
    pub(super) fn memory(&self) -> usize {
        self.topics.len() * size_of::<Topic>() * 3 / 2
    }

    /// True when a live message has overtaken the retained one in the replay with this number.
    pub(super) fn overtakes(&self, retained: &Message, replay: u32) -> bool {
        visit(1);
        let topic = self.topics.get(retained.topic_bytes());
        topic.is_some_and(|topic| {
            let mut all = topic.0.iter().inspect(|_| visit(1));
            all.any(|(live, last)| *last >= replay && !is_newer(retained, live))
        })
    }

    /// The ids of messages that the journal knows, each with the greatest number of a replay that
    /// the message overtakes.
    pub(super) fn ids(&self) -> impl Iterator<Item = (MessageId, u32)> {
        let all = self.topics.iter().flat_map(|topic| &topic.0).inspect(|_| visit(1));
        all.map(|(live, last)| (live.id, *last)).filter(|(id, _)| !id.is_none())
    }
}

impl Topic {
    /// Adds a message. Messages that came to the topic's home earlier, and overtake no more, go.
    fn add(&mut self, live: Arc<Message>, last: u32) {
        let place = self.0.iter().position(|(_, known)| *known <= last).unwrap_or(self.0.len());
        visit(self.0.len() + 1);
        self.0.insert(place, (live, last));
        let mut latest = None;
        self.0.retain(|(live, _)| {
            let version = live.version();
            let is_needed = version.is_none() || version > latest;
            latest = latest.max(version);
            is_needed
        });
    }
}

/// True when a retained message came to its topic's home after a live one. A live message without a
/// version has yet to come there.
pub(super) fn is_newer(retained: &Message, live: &Message) -> bool {
    live.version().is_some() && retained.version() > live.version()
}

impl Borrow<[u8]> for Topic {
    fn borrow(&self) -> &[u8] {
        self.0.first().map_or(&[], |(message, _)| message.topic_bytes())
    }
}

impl Ord for Topic {
    fn cmp(&self, other: &Self) -> Ordering {
        Borrow::<[u8]>::borrow(self).cmp(other.borrow())
    }
}

impl PartialOrd for Topic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Topic {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::SessionNumber;
    use crate::base::prng::Prng;
    use crate::base::time::Time;
    use crate::mqtt::{Properties, QoS};
    use crate::store::Traits;

    fn message(topic: &str, version: u64) -> Arc<Message> {
        let traits = Traits {
            qos: QoS::AtLeastOnce,
            retain: true,
            expires: None,
            publisher: SessionNumber::NONE,
            received: Time::ZERO,
            id: MessageId(1),
        };
        let message = Message::new(topic, &Properties::from_bytes(&[]), b"x", traits, None);
        message.set_version(version);
        Arc::new(message)
    }

    /// Each replay with a list of its own of all live messages since its begin says the same.
    #[test]
    fn it_is_what_a_list_for_each_replay_is() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let mut live = LiveRetained::default();
            let mut lists: Vec<(u32, Vec<Arc<Message>>)> = Vec::new();
            let mut begun = 0;
            for _ in 0..300 {
                match prng.below(10) {
                    0..2 => {
                        begun += 1;
                        lists.push((begun, Vec::new()));
                    }
                    2 if !lists.is_empty() => {
                        lists.remove(prng.below(lists.len() as u64) as usize);
                    }
                    3 => {
                        // One that was on its way comes to its home.
                        let all = lists.iter().flat_map(|(_, list)| list);
                        let late: Vec<_> = all.filter(|m| m.version().is_none()).collect();
                        if let Some(message) = late.first() {
                            message.set_version(1 + prng.below(20));
                        }
                    }
                    _ if !lists.is_empty() => {
                        let topic = format!("t{}", prng.below(3));
                        let version = if prng.chance(30) { 0 } else { 1 + prng.below(20) };
                        let message = message(&topic, version);
                        live.note(&message, lists[0].0, begun.min(lists.last().unwrap().0));
                        lists.iter_mut().for_each(|(_, list)| list.push(message.clone()));
                    }
                    _ => {}
                }
                if lists.is_empty() {
                    live = LiveRetained::default();
                }
                let retained = message(&format!("t{}", prng.below(3)), 1 + prng.below(20));
                for (number, list) in &lists {
                    let mut same = list.iter().filter(|live| live.topic() == retained.topic());
                    let expected = same.any(|live| !is_newer(&retained, live));
                    assert_eq!(live.overtakes(&retained, *number), expected, "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn topics_that_no_replay_needs_any_more_are_forgotten() {
        let mut live = LiveRetained::default();
        for number in 1..10_000 {
            live.note(&message(&format!("t{number}"), 1), number, number);
        }
        assert!(live.topics.len() <= TOPICS_MIN, "{} topics are kept", live.topics.len());
    }
}

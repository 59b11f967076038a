//! Who publishes what to whom.
//!
//! A *stream* is what one publisher sends to one topic. Streams are numbered such that each
//! receiver's are consecutive.

use crate::flags::{Flags, Scenario};
use std::ops::Range;

/// Who publishes what to whom, on which thread.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) topics: Vec<String>,
    pub(crate) publishers: Vec<PublisherPlan>,
    pub(crate) receivers: Vec<ReceiverPlan>,
    pub(crate) streams: Vec<StreamPlan>,
}

/// A connection that publishes to some topics in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublisherPlan {
    pub(crate) thread: usize,
    pub(crate) topics: Range<u32>,
    /// The stream to the first topic.
    pub(crate) first_stream: u32,
    /// How far apart the streams of two topics are.
    pub(crate) stride: u32,
}

/// A connection that subscribes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceiverPlan {
    pub(crate) thread: usize,
    pub(crate) filter: String,
    /// What it receives.
    pub(crate) streams: Range<u32>,
}

/// What one publisher sends to one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamPlan {
    pub(crate) publisher: u32,
    /// Deliveries of each message.
    pub(crate) fan: u32,
}

impl Plan {
    /// The plan for a scenario that publishes.
    pub(crate) fn new(flags: &Flags) -> Self {
        let threads = u32::try_from(flags.threads).unwrap_or(u32::MAX);
        match flags.scenario {
            Scenario::Pairs => Self::pairs(flags.pairs.unwrap_or(200), threads),
            _ => {
                let publishers = flags.publishers.unwrap_or(1);
                Self::crossed(publishers, flags.subscribers, flags.topics, threads)
            }
        }
    }

    /// Every publisher sends to every topic; subscribers are spread over the topics.
    fn crossed(publishers: u32, subscribers: u32, topics: u32, threads: u32) -> Self {
        let publisher = |index| PublisherPlan {
            thread: (index % threads) as usize,
            topics: 0..topics,
            first_stream: index,
            stride: publishers,
        };
        let receiver = |index| {
            let first = index % topics * publishers;
            ReceiverPlan {
                thread: (index % threads) as usize,
                filter: topic_name(index % topics),
                streams: first..first + publishers,
            }
        };
        let stream = |index| StreamPlan {
            publisher: index % publishers,
            fan: subscribers_of(index / publishers, subscribers, topics),
        };
        Self {
            topics: (0..topics).map(topic_name).collect(),
            publishers: (0..publishers).map(publisher).collect(),
            receivers: (0..subscribers).map(receiver).collect(),
            streams: (0..publishers * topics).map(stream).collect(),
        }
    }

    /// Each publisher has a topic and a subscriber of its own, on the same thread.
    fn pairs(pairs: u32, threads: u32) -> Self {
        let publisher = |index| PublisherPlan {
            thread: (index % threads) as usize,
            topics: index..index + 1,
            first_stream: index,
            stride: 1,
        };
        let receiver = |index| ReceiverPlan {
            thread: (index % threads) as usize,
            filter: topic_name(index),
            streams: index..index + 1,
        };
        Self {
            topics: (0..pairs).map(topic_name).collect(),
            publishers: (0..pairs).map(publisher).collect(),
            receivers: (0..pairs).map(receiver).collect(),
            streams: (0..pairs).map(|index| StreamPlan { publisher: index, fan: 1 }).collect(),
        }
    }

    /// On how many threads each stream has receivers, and how many on `thread`.
    pub(crate) fn shares(&self, thread: usize) -> Vec<StreamShare> {
        let threads = self.receivers.iter().map(|receiver| receiver.thread).max().unwrap_or(0) + 1;
        let mut counts = vec![vec![0; self.streams.len()]; threads];
        for receiver in &self.receivers {
            for stream in receiver.streams.clone() {
                counts[receiver.thread][stream as usize] += 1;
            }
        }
        let share = |stream: usize| StreamShare {
            receivers: counts.get(thread).map_or(0, |counts| counts[stream]),
            threads: counts.iter().filter(|counts| counts[stream] > 0).count() as u32,
        };
        (0..self.streams.len()).map(share).collect()
    }
}

/// One thread's share of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamShare {
    /// Receivers on this thread.
    pub(crate) receivers: u32,
    /// Threads that have receivers.
    pub(crate) threads: u32,
}

fn topic_name(index: u32) -> String {
    format!("bench/{index}")
}

/// How many of `subscribers`, dealt out over `topics`, `topic` gets.
fn subscribers_of(topic: u32, subscribers: u32, topics: u32) -> u32 {
    subscribers / topics + u32::from(topic < subscribers % topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(plan: &Plan) -> Vec<u32> {
        let mut counts = vec![0; plan.streams.len()];
        for receiver in &plan.receivers {
            receiver.streams.clone().for_each(|stream| counts[stream as usize] += 1);
        }
        counts
    }

    #[test]
    fn fans_are_what_receivers_get() {
        let plans = [Plan::crossed(3, 10, 4, 2), Plan::crossed(1, 1000, 1, 1), Plan::pairs(7, 3)];
        for plan in plans {
            let fans: Vec<_> = plan.streams.iter().map(|stream| stream.fan).collect();
            assert_eq!(received(&plan), fans);
        }
    }

    #[test]
    fn publishers_send_to_the_streams_that_bear_their_number() {
        let plan = Plan::crossed(3, 10, 4, 2);
        for (index, publisher) in plan.publishers.iter().enumerate() {
            for topic in 0..4 {
                let stream = publisher.first_stream + topic * publisher.stride;
                assert_eq!(plan.streams[stream as usize].publisher as usize, index);
                let filter = &plan.topics[topic as usize];
                let hears = |receiver: &ReceiverPlan| receiver.streams.contains(&stream);
                let same = |receiver: &ReceiverPlan| receiver.filter == *filter;
                assert!(plan.receivers.iter().all(|receiver| hears(receiver) == same(receiver)));
            }
        }
    }

    #[test]
    fn shares_count_receivers_and_threads() {
        let plan = Plan::crossed(1, 5, 1, 2);
        assert_eq!(plan.shares(0), [StreamShare { receivers: 3, threads: 2 }]);
        assert_eq!(plan.shares(1), [StreamShare { receivers: 2, threads: 2 }]);
        let plan = Plan::pairs(3, 2);
        let receivers: Vec<_> = plan.shares(0).iter().map(|share| share.receivers).collect();
        assert_eq!(receivers, [1, 0, 1]);
        assert!(plan.shares(1).iter().all(|share| share.threads == 1));
    }
}

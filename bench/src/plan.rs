//! Plan of a run: its publishers, receivers and streams.
//!
//! A *stream* is the messages of one publisher to one topic. Streams are numbered such that each
//! receiver's are consecutive.

use crate::flags::{Flags, Scenario};
use std::ops::Range;

/// The publishers, receivers and streams of a run, by thread.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) topics: Vec<String>,
    pub(crate) publishers: Vec<PublisherPlan>,
    pub(crate) receivers: Vec<ReceiverPlan>,
    pub(crate) streams: Vec<StreamPlan>,
    /// Whether all receivers are one group, of which each message goes to one member. Then they
    /// are all on one thread.
    pub(crate) is_shared: bool,
}

/// A connection that publishes to some topics in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublisherPlan {
    pub(crate) thread: usize,
    pub(crate) topics: Range<u32>,
    /// The stream to the first topic.
    pub(crate) first_stream: u32,
    /// The distance between the streams of two topics.
    pub(crate) stride: u32,
}

/// A connection that subscribes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceiverPlan {
    pub(crate) thread: usize,
    pub(crate) filter: String,
    /// The streams that the connection receives.
    pub(crate) streams: Range<u32>,
    /// The stream in which the connection sends received messages on, if it does: to the topic of
    /// that number.
    pub(crate) echo: Option<u32>,
}

/// The messages of one publisher to one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamPlan {
    pub(crate) publisher: u32,
    /// Deliveries of each message.
    pub(crate) fan: u32,
    /// Whether its messages are timed and make room in the publisher's window. Those of others go
    /// on in another stream.
    pub(crate) is_last: bool,
}

impl Plan {
    /// The plan for a scenario that publishes, with all topics below `prefix`.
    pub(crate) fn new(flags: &Flags, prefix: &str) -> Self {
        let threads = u32::try_from(flags.threads).unwrap_or(u32::MAX);
        let (publishers, subscribers) = (flags.publishers(), flags.subscribers());
        let mut plan = match flags.scenario {
            Scenario::Pairs => Self::pairs(flags.pairs(), threads),
            Scenario::Pingpong => Self::pingpong(flags.pairs(), threads),
            _ => Self::crossed(publishers, subscribers, flags.topics, threads),
        };
        for topic in &mut plan.topics {
            topic.insert_str(0, prefix);
        }
        for receiver in &mut plan.receivers {
            receiver.filter.insert_str(0, prefix);
        }
        if flags.share.is_some() {
            plan.share();
        }
        plan
    }

    /// Every publisher sends to every topic; subscribers are spread over the topics.
    fn crossed(publishers: u32, subscribers: u32, topics: u32, threads: u32) -> Self {
        let receiver = |index| {
            let first = index % topics * publishers;
            ReceiverPlan::new(index, threads, index % topics, first..first + publishers)
        };
        let stream = |index| StreamPlan {
            publisher: index % publishers,
            fan: subscribers_of(index / publishers, subscribers, topics),
            is_last: true,
        };
        Self {
            topics: (0..topics).map(topic_name).collect(),
            publishers: (0..publishers)
                .map(|index| PublisherPlan::new(index, threads, 0..topics, index, publishers))
                .collect(),
            receivers: (0..subscribers).map(receiver).collect(),
            streams: (0..publishers * topics).map(stream).collect(),
            is_shared: false,
        }
    }

    /// Each publisher has a topic and a subscriber of its own, on the same thread.
    fn pairs(pairs: u32, threads: u32) -> Self {
        let publisher = |index| PublisherPlan::new(index, threads, index..index + 1, index, 1);
        let receiver = |index| ReceiverPlan::new(index, threads, index, index..index + 1);
        Self {
            topics: (0..pairs).map(topic_name).collect(),
            publishers: (0..pairs).map(publisher).collect(),
            receivers: (0..pairs).map(receiver).collect(),
            streams: (0..pairs).map(|index| StreamPlan::one_to_one(index, true)).collect(),
            is_shared: false,
        }
    }

    /// Pair `n` sends on topic `2n`; who hears that sends it back on topic `2n + 1`.
    fn pingpong(pairs: u32, threads: u32) -> Self {
        let publisher =
            |index| PublisherPlan::new(index, threads, 2 * index..2 * index + 1, 2 * index, 1);
        let receiver = |topic| {
            let plan = ReceiverPlan::new(topic / 2, threads, topic, topic..topic + 1);
            ReceiverPlan { echo: (topic % 2 == 0).then_some(topic + 1), ..plan }
        };
        let stream = |topic| StreamPlan::one_to_one(topic / 2, topic % 2 == 1);
        Self {
            topics: (0..2 * pairs).map(topic_name).collect(),
            publishers: (0..pairs).map(publisher).collect(),
            receivers: (0..2 * pairs).map(receiver).collect(),
            streams: (0..2 * pairs).map(stream).collect(),
            is_shared: false,
        }
    }

    /// Makes the receivers one group on one thread.
    fn share(&mut self) {
        self.is_shared = true;
        for receiver in &mut self.receivers {
            receiver.thread = 0;
            receiver.filter.insert_str(0, "$share/group/");
        }
        for stream in &mut self.streams {
            stream.fan = stream.fan.min(1);
        }
    }

    /// On how many threads each stream has receivers, and how many on `thread`.
    pub(crate) fn shares(&self, thread: usize) -> Vec<StreamShare> {
        let threads = self.receivers.iter().map(|receiver| receiver.thread).max().unwrap_or(0) + 1;
        let mut counts = vec![vec![0; self.streams.len()]; threads];
        for receiver in &self.receivers {
            for stream in receiver.streams.clone() {
                let count: &mut u32 = &mut counts[receiver.thread][stream as usize];
                // Whichever member of a group has a message, it is all that will.
                *count = if self.is_shared { 1 } else { *count + 1 };
            }
        }
        let share = |stream: usize| StreamShare {
            receivers: counts.get(thread).map_or(0, |counts| counts[stream]),
            threads: counts.iter().filter(|counts| counts[stream] > 0).count() as u32,
        };
        (0..self.streams.len()).map(share).collect()
    }
}

impl PublisherPlan {
    fn new(index: u32, threads: u32, topics: Range<u32>, first_stream: u32, stride: u32) -> Self {
        Self { thread: (index % threads) as usize, topics, first_stream, stride }
    }
}

impl ReceiverPlan {
    fn new(index: u32, threads: u32, topic: u32, streams: Range<u32>) -> Self {
        let thread = (index % threads) as usize;
        Self { thread, filter: topic_name(topic), streams, echo: None }
    }
}

impl StreamPlan {
    fn one_to_one(publisher: u32, is_last: bool) -> Self {
        Self { publisher, fan: 1, is_last }
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

/// A topic's name below the prefix of the run.
fn topic_name(index: u32) -> String {
    format!("/{index}")
}

/// The number of `subscribers`, dealt out over `topics`, that `topic` gets.
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
        let crossed = [Plan::crossed(3, 10, 4, 2), Plan::crossed(1, 1000, 1, 1)];
        let plans = crossed.into_iter().chain([Plan::pairs(7, 3), Plan::pingpong(3, 2)]);
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
    fn what_is_echoed_comes_back() {
        let plan = Plan::pingpong(3, 2);
        for publisher in &plan.publishers {
            let ping = publisher.first_stream;
            let there = &plan.receivers[ping as usize];
            assert_eq!((there.streams.start, there.thread), (ping, publisher.thread));
            let pong = there.echo.unwrap();
            let back = &plan.receivers[pong as usize];
            assert_eq!((back.streams.start, back.echo), (pong, None));
            assert_eq!(back.filter, plan.topics[pong as usize]);
            assert!(!plan.streams[ping as usize].is_last && plan.streams[pong as usize].is_last);
        }
    }

    #[test]
    fn a_group_is_one_receiver() {
        let mut plan = Plan::crossed(2, 5, 1, 2);
        plan.share();
        assert!(plan.streams.iter().all(|stream| stream.fan == 1));
        let share = StreamShare { receivers: 1, threads: 1 };
        assert_eq!(plan.shares(0), [share, share]);
        assert_eq!(plan.receivers[4].filter, "$share/group//0");
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

//! Publishers: the messages that they have sent, and the room for more.

use crate::plan::{Plan, PublisherPlan};
use crate::stamp::Stamp;
use crate::wire::Template;

/// Packet identifiers in use at once: fewer than there are, so that none is used twice.
const UNANSWERED_MAX: u32 = 60_000;

/// A connection's publishes above QoS 0 that are not answered in full.
#[derive(Debug)]
pub(crate) struct Unanswered {
    last_packet_id: u16,
    count: u32,
    count_max: u32,
}

impl Unanswered {
    /// Nothing so far; the broker takes `receive_maximum` before it has answered.
    pub(crate) fn new(receive_maximum: u16) -> Self {
        Self {
            last_packet_id: 0,
            count: 0,
            count_max: u32::from(receive_maximum).min(UNANSWERED_MAX),
        }
    }

    /// A packet identifier for the next publish.
    #[inline]
    pub(crate) fn open(&mut self) -> u16 {
        self.count += 1;
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.last_packet_id
    }

    /// One publish has its last answer.
    #[inline]
    pub(crate) fn close(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// The number of further publishes that the broker takes.
    #[inline]
    pub(crate) fn room(&self) -> u32 {
        self.count_max - self.count.min(self.count_max)
    }

    /// Whether every publish has its last answer.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The messages that one publisher has sent.
#[derive(Debug)]
pub(crate) struct Publisher {
    plan: PublisherPlan,
    /// Messages sent to each of its topics.
    sequences: Vec<u32>,
    /// The place of the topic whose turn is next.
    turn: usize,
    /// Messages sent to all of its topics.
    pub(crate) sent: u64,
}

impl Publisher {
    pub(crate) fn new(plan: &PublisherPlan) -> Self {
        Self { plan: plan.clone(), sequences: vec![0; plan.topics.len()], turn: 0, sent: 0 }
    }

    /// Writes the next message at the end of `out` and returns its stream.
    #[inline]
    pub(crate) fn publish(
        &mut self,
        templates: &[Template],
        packet_id: u16,
        time_ns: u64,
        out: &mut Vec<u8>,
    ) -> u32 {
        let place = self.turn;
        let stream = self.plan.first_stream + place as u32 * self.plan.stride;
        let sequence = self.sequences[place];
        let topic = self.plan.topics.start as usize + place;
        templates[topic].append(packet_id, Stamp { stream, sequence, time_ns }, out);
        self.sequences[place] =
            sequence.checked_add(1).expect("a run is too short for 2^32 messages to a topic");
        self.turn = if place + 1 == self.sequences.len() { 0 } else { place + 1 };
        self.sent += 1;
        stream
    }

    /// The publisher's streams, and the number of messages of each.
    pub(crate) fn sent_by_stream(&self) -> impl Iterator<Item = (u32, u32)> {
        let stream = |place| self.plan.first_stream + place as u32 * self.plan.stride;
        self.sequences.iter().enumerate().map(move |(place, sent)| (stream(place), *sent))
    }
}

/// The templates of all topics.
pub(crate) fn templates(
    plan: &Plan,
    endpoint: &crate::handshake::Endpoint,
    size: usize,
) -> Vec<Template> {
    let template = |topic: &String| Template::new(endpoint.version, endpoint.qos, topic, size);
    plan.topics.iter().map(template).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::raw_frame;
    use ringmq_mqtt::{QoS, Version};

    #[test]
    fn topics_take_turns() {
        let template = |topic| Template::new(Version::V311, QoS::AtMostOnce, topic, 16);
        let templates = [template("a"), template("b"), template("c")];
        let plan = PublisherPlan { thread: 0, topics: 1..3, first_stream: 5, stride: 10 };
        let mut publisher = Publisher::new(&plan);
        let mut out = Vec::new();
        let streams: Vec<_> =
            (0..5).map(|_| publisher.publish(&templates, 0, 1, &mut out)).collect();
        assert_eq!(streams, [5, 15, 5, 15, 5]);
        assert_eq!(publisher.sent_by_stream().collect::<Vec<_>>(), [(5, 3), (15, 2)]);
        let frame = raw_frame(&out).unwrap();
        assert_eq!(frame.body[2], b'b');
        let last = Stamp::read(&out[out.len() - 16..]);
        assert_eq!(last, Some(Stamp { stream: 5, sequence: 2, time_ns: 1 }));
    }

    #[test]
    fn identifiers_go_round_without_0() {
        let mut unanswered = Unanswered::new(u16::MAX);
        let ids: Vec<_> = (0..65_536).map(|_| unanswered.open()).collect();
        assert_eq!((ids[0], ids[65_534], ids[65_535]), (1, u16::MAX, 1));
        assert_eq!(unanswered.room(), 0);
    }

    #[test]
    fn answers_make_room() {
        let mut unanswered = Unanswered::new(2);
        unanswered.open();
        unanswered.open();
        assert_eq!(unanswered.room(), 0);
        unanswered.close();
        assert_eq!((unanswered.room(), unanswered.is_empty()), (1, false));
    }
}

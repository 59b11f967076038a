//! A shard with one publisher and many subscribers, driven without a socket: what the hot loop
//! costs alone, for micro-benchmarks and for counting instructions.

use ringmq::base::ids::WorkerId;
use ringmq::base::time::Time;
use ringmq::broker::{Input, LinkId, Shard};
use ringmq::options::Options;
use ringmq::testing::open_policy;
use ringmq_mqtt::{
    AckType, Connect, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions,
    Version, encode_ack,
};
use std::sync::Arc;

/// Publishes that come in one turn.
pub(crate) const PUBLISHES: u16 = 64;

/// The shard, and the bytes of one turn.
#[derive(Debug)]
pub(crate) struct HotLoop {
    shard: Shard,
    publisher: LinkId,
    subscribers: u32,
    publishes: Vec<u8>,
    qos: QoS,
    /// The packet identifier of the turn's first publish, less one: counts like the shard does.
    published: u64,
    acks: Vec<u8>,
}

impl HotLoop {
    /// `subscribers` clients of 3.1.1 that subscribe to the one topic, at `qos`.
    pub(crate) fn new(subscribers: u32, qos: QoS) -> Self {
        let options = Options { max_inflight: u16::MAX, ..Options::default() };
        let mut shard = Shard::new(Arc::new(options), Arc::new([open_policy()]), WorkerId(0), 1, 1);
        let publisher = connect(&mut shard, subscribers);
        for slot in 0..subscribers {
            let link = connect(&mut shard, slot);
            let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
            let filters = std::iter::once(SubscribeFilter { filter: "a/b/c", options }).collect();
            let mut bytes = Vec::new();
            let subscribe = Subscribe { packet_id: 1, filters, ..Subscribe::default() };
            subscribe.encode(Version::V311, &mut bytes);
            shard.handle(Time::ZERO, Input::Received { link, bytes: &bytes });
        }
        let mut publishes = Vec::new();
        for packet_id in 1..=PUBLISHES {
            let packet_id = if qos == QoS::AtMostOnce { 0 } else { packet_id };
            let payload = &[b'x'; 64];
            let topic = "a/b/c";
            let publish = Publish { qos, packet_id, topic, payload, ..Publish::default() };
            publish.encode(Version::V311, &mut publishes);
        }
        let mut hot =
            Self { shard, publisher, subscribers, publishes, qos, published: 0, acks: Vec::new() };
        hot.drain();
        hot
    }

    /// How many messages one turn delivers.
    pub(crate) const fn deliveries_per_turn(&self) -> u64 {
        self.subscribers as u64 * PUBLISHES as u64
    }

    /// The publishes come, everything is sent, and with QoS 1 every subscriber acknowledges.
    /// Returns how many bytes were sent.
    pub(crate) fn turn(&mut self) -> usize {
        let link = self.publisher;
        self.shard.handle(Time::ZERO, Input::Received { link, bytes: &self.publishes });
        let sent = self.drain();
        if self.qos == QoS::AtLeastOnce {
            self.acknowledge();
        }
        sent
    }

    fn acknowledge(&mut self) {
        self.acks.clear();
        for serial in self.published + 1..=self.published + u64::from(PUBLISHES) {
            let packet_id = (serial % 65_535) as u16 + 1;
            let success = ReasonCode::Success;
            encode_ack(AckType::PubAck, Version::V311, packet_id, success, &mut self.acks);
        }
        self.published += u64::from(PUBLISHES);
        for slot in 0..self.subscribers {
            let link = id(slot);
            self.shard.handle(Time::ZERO, Input::Received { link, bytes: &self.acks });
        }
    }

    fn drain(&mut self) -> usize {
        assert!(self.shard.next_output().is_none(), "nobody is closed");
        let outbox = self.shard.outbox();
        let mut sent = 0;
        while let Some(link) = outbox.next_dirty() {
            sent += outbox.segments(link).map(<[u8]>::len).sum::<usize>();
            outbox.sent(link);
        }
        outbox.reset();
        sent
    }
}

const fn id(slot: u32) -> LinkId {
    LinkId { slot, generation: 1 }
}

fn connect(shard: &mut Shard, slot: u32) -> LinkId {
    let link = id(slot);
    shard.open(Time::ZERO, link, std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let client_id = format!("client-{slot}");
    let mut bytes = Vec::new();
    Connect::new(Version::V311, &client_id).encode(&mut bytes);
    shard.handle(Time::ZERO, Input::Received { link, bytes: &bytes });
    link
}

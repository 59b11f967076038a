//! The sans-io core, piece by piece: `cargo bench -p ringmq-bench`.

mod hot_loop;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use hot_loop::HotLoop;
use ringmq::base::ids::WorkerId;
use ringmq::base::time::Time;
use ringmq::topics::{Extras, Matches, Retained, RetainedMessage, Subscriber, Subscriptions};
use ringmq_mqtt::{
    Ack, AckType, Connect, Frame, Framed, PINGREQ, Packet, Publish, QoS, ReasonCode, Sender,
    Subscribe, SubscribeFilter, SubscriptionOptions, TopicFilter, UserProperties, Version,
    encode_ack, next_frame,
};
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// One of each packet, encoded for a version.
const PACKETS: [&str; 6] =
    ["CONNECT", "PUBLISH", "PUBLISH QoS 1", "PUBACK", "SUBSCRIBE", "PINGREQ"];

fn encoded(packet: &str, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    let payload = &[b'x'; 64];
    let publish = Publish { topic: "site/hall/7/temperature", payload, ..Publish::default() };
    match packet {
        "CONNECT" => Connect::new(version, "client-0001").encode(&mut bytes),
        "PUBLISH" => publish.encode(version, &mut bytes),
        "PUBLISH QoS 1" => {
            let publish = Publish { qos: QoS::AtLeastOnce, packet_id: 7, ..publish };
            publish.encode(version, &mut bytes);
        }
        "PUBACK" => encode_ack(AckType::PubAck, version, 7, ReasonCode::Success, &mut bytes),
        "SUBSCRIBE" => {
            let filter =
                SubscribeFilter { filter: "site/+/7/#", options: SubscriptionOptions::default() };
            let filters = std::iter::once(filter).collect();
            Subscribe { packet_id: 1, filters, ..Subscribe::default() }.encode(version, &mut bytes);
        }
        _ => bytes.extend_from_slice(&PINGREQ),
    }
    bytes
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    match next_frame(bytes, usize::MAX) {
        Ok(Framed::Whole(frame)) => frame,
        other => panic!("no packet: {other:?}"),
    }
}

#[divan::bench(args = PACKETS)]
fn decode_3_1_1(bencher: Bencher<'_, '_>, packet: &str) {
    let bytes = encoded(packet, Version::V311);
    bencher.bench(|| {
        black_box(Packet::decode(&frame(black_box(&bytes)), Version::V311, Sender::Client).is_ok())
    });
}

#[divan::bench(args = PACKETS)]
fn decode_5_0(bencher: Bencher<'_, '_>, packet: &str) {
    let bytes = encoded(packet, Version::V5);
    bencher.bench(|| {
        black_box(Packet::decode(&frame(black_box(&bytes)), Version::V5, Sender::Client).is_ok())
    });
}

#[divan::bench]
fn encode_publish(bencher: Bencher<'_, '_>) {
    let publish =
        Publish { topic: "site/hall/7/temperature", payload: &[b'x'; 64], ..Publish::default() };
    let mut bytes = Vec::with_capacity(256);
    bencher.bench_local(|| {
        bytes.clear();
        black_box(&publish).encode(Version::V5, &mut bytes);
        bytes.len()
    });
}

#[divan::bench]
fn encode_puback(bencher: Bencher<'_, '_>) {
    let ack = Ack {
        kind: AckType::PubAck,
        packet_id: 7,
        code: ReasonCode::Success,
        reason: None,
        user_properties: UserProperties::default(),
    };
    let mut bytes = Vec::with_capacity(64);
    bencher.bench_local(|| {
        bytes.clear();
        black_box(&ack).encode(Version::V5, &mut bytes);
        bytes.len()
    });
}

/// A tree of `count` filters, a tenth of them with wildcards.
fn tree(count: u32) -> Subscriptions {
    let mut tree = Subscriptions::new(WorkerId(0), 1);
    for i in 0..count {
        let text = match i % 20 {
            0 => format!("site/+/{i}/#"),
            1 => format!("site/{}/{i}/+", i % 100),
            _ => format!("site/{}/{i}/state", i % 100),
        };
        let filter = TopicFilter::parse(&text, 200).expect("a valid filter");
        let options = SubscriptionOptions::default();
        tree.subscribe(filter, Subscriber { session: i, extras: Extras::default(), options });
    }
    tree
}

#[divan::bench(args = [10, 10_000, 1_000_000], sample_count = 20)]
fn match_topic(bencher: Bencher<'_, '_>, filters: u32) {
    let mut tree = tree(filters);
    let mut matches = Matches::default();
    let topics: Vec<String> = (0..filters.min(1000))
        .map(|i| {
            let i = (i * 7919) % filters;
            format!("site/{}/{i}/state", i % 100)
        })
        .collect();
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 1) % topics.len();
        tree.matching(&topics[next], &mut matches);
        black_box(matches.nodes.len())
    });
}

/// The whole way of 64 publishes through a shard, per delivery: framing, matching, the hot loop.
#[divan::bench(args = [1, 100, 1000, 5000], sample_count = 50)]
fn deliver_qos0(bencher: Bencher<'_, '_>, subscribers: u32) {
    let mut hot = HotLoop::new(subscribers, QoS::AtMostOnce);
    let deliveries = hot.deliveries_per_turn();
    bencher.counter(ItemsCount::new(deliveries)).bench_local(|| black_box(hot.turn()));
}

#[divan::bench(args = [1, 100, 1000], sample_count = 50)]
fn deliver_and_acknowledge_qos1(bencher: Bencher<'_, '_>, subscribers: u32) {
    let mut hot = HotLoop::new(subscribers, QoS::AtLeastOnce);
    let deliveries = hot.deliveries_per_turn();
    bencher.counter(ItemsCount::new(deliveries)).bench_local(|| black_box(hot.turn()));
}

#[divan::bench]
fn hop_between_workers(bencher: Bencher<'_, '_>) {
    let (mut producer, mut consumer) = rtrb::RingBuffer::new(4096);
    let message = Arc::new(0_u64);
    bencher.bench_local(|| {
        producer.push(message.clone()).expect("there is room");
        black_box(consumer.pop().expect("it was just pushed"))
    });
}

#[derive(Debug)]
struct Value(String);

impl RetainedMessage for Value {
    fn payload_len(&self) -> usize {
        1
    }
    fn topic(&self) -> &str {
        &self.0
    }

    fn clears(&self) -> bool {
        false
    }

    fn expires(&self) -> Option<Time> {
        None
    }
}

fn retained(count: u32) -> (Retained<Value>, Vec<String>) {
    let topics: Vec<String> = (0..count).map(|i| format!("site/{}/{i}/state", i % 100)).collect();
    let mut store = Retained::default();
    for topic in &topics {
        store.store(Arc::new(Value(topic.clone())));
    }
    (store, topics)
}

#[divan::bench(args = [1000, 100_000])]
fn retained_look_up(bencher: Bencher<'_, '_>, count: u32) {
    let (store, topics) = retained(count);
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 7919) % topics.len();
        black_box(store.page(&topics[next], None, 256, 4096).messages.len())
    });
}

#[divan::bench(args = [1000, 100_000])]
fn retained_store_again(bencher: Bencher<'_, '_>, count: u32) {
    let (mut store, topics) = retained(count);
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 7919) % topics.len();
        store.store(black_box(Arc::new(Value(topics[next].clone()))))
    });
}

#[divan::bench]
fn retained_page_of_256(bencher: Bencher<'_, '_>) {
    let (store, _) = retained(100_000);
    bencher
        .counter(ItemsCount::new(256_u32))
        .bench_local(|| black_box(store.page("#", None, 256, 4096).messages.len()));
}

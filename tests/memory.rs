//! What peers can make a shard hold: rows V5 to V8, V24 and V36 of the vulnerability classes, with
//! every byte counted. `RINGMQ_TEST_SCALE` multiplies how much is sent.
#![allow(clippy::disallowed_methods, reason = "a test reads its scale from the environment")]

mod support;

use ringmq::base::ids::WorkerId;
use ringmq::base::time::Time;
use ringmq::broker::{Input, LinkId, Output, Shard};
use ringmq::metrics::Dropped;
use ringmq::mqtt::{
    AckType, Connect, Properties, Property, Publish, QoS, Subscribe, SubscribeFilter,
    SubscriptionOptions, Version, encode_ack,
};
use ringmq::options::Options;
use ringmq::testing::{census, open_policy};
use std::sync::Arc;
use support::live_bytes::{Counting, live};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn scale() -> usize {
    std::env::var("RINGMQ_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A shard whose links are written to by number, and whose output is counted and thrown away.
struct Rig {
    shard: Shard,
    now: Time,
    sent_bytes: usize,
    publishes: usize,
    closed: Vec<LinkId>,
    blocked: Vec<LinkId>,
}

impl Rig {
    fn new() -> Self {
        let shard =
            Shard::new(Arc::new(Options::default()), Arc::new([open_policy()]), WorkerId(0), 1, 1);
        let now = Time::ZERO;
        Self { shard, now, sent_bytes: 0, publishes: 0, closed: vec![], blocked: vec![] }
    }

    fn open(&mut self, slot: u32, generation: u32) -> LinkId {
        let link = LinkId { slot, generation };
        let peer: std::net::SocketAddr = "192.0.2.1:1024".parse().unwrap();
        self.shard.open(self.now, link, peer);
        link
    }

    fn connect(&mut self, slot: u32, client_id: &str) -> LinkId {
        let link = self.open(slot, slot + 1);
        self.send(link, &connect(client_id));
        link
    }

    fn send(&mut self, link: LinkId, bytes: &[u8]) {
        self.input(Input::Received { link, bytes });
    }

    fn input(&mut self, input: Input<'_>) {
        self.shard.handle(self.now, input);
        while let Some(output) = self.shard.next_output() {
            if let Output::Close { link } = output {
                self.flush();
                self.closed.push(link);
                self.shard.handle(self.now, Input::Closed { link });
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        let mut to_block = Vec::new();
        let outbox = self.shard.outbox();
        while let Some(link) = outbox.next_dirty() {
            self.sent_bytes += outbox.segments(link).map(<[u8]>::len).sum::<usize>();
            let first = outbox.segments(link).flatten().copied().collect::<Vec<u8>>();
            self.publishes += count_publishes(&first);
            outbox.sent(link);
            if self.blocked.contains(&link) {
                to_block.push(link);
            }
        }
        outbox.reset();
        for link in to_block {
            self.shard.handle(self.now, Input::Blocked { link });
        }
    }

    fn tick(&mut self) {
        self.input(Input::Tick);
    }
}

fn count_publishes(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(length) = support::vectors::packet_length(bytes) {
        count += usize::from(bytes[0] >> 4 == 3);
        bytes = &bytes[length..];
    }
    count
}

fn connect(client_id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Connect { clean_start: true, ..Connect::new(Version::V5, client_id) }.encode(&mut bytes);
    bytes
}

fn publish(topic: &str, qos: QoS, packet_id: u16, retain: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let publish = Publish { qos, retain, topic, packet_id, payload, ..Publish::default() };
    publish.encode(Version::V5, &mut bytes);
    bytes
}

fn subscribe(filter: &str, qos: QoS) -> Vec<u8> {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    let filters = std::iter::once(SubscribeFilter { filter, options }).collect();
    let mut bytes = Vec::new();
    let subscribe = Subscribe { packet_id: 1, filters, ..Subscribe::default() };
    subscribe.encode(Version::V5, &mut bytes);
    bytes
}

#[test]
fn v05_bad_connects_leave_nothing_behind() {
    let mut rig = Rig::new();
    let good = connect("client");
    let mut bad: Vec<Vec<u8>> = (1..good.len()).map(|at| good[..at].to_vec()).collect();
    bad.extend((0..good.len()).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 0xa5;
        bytes
    }));
    let round = |rig: &mut Rig, generation: u32| {
        for bytes in &bad {
            let link = rig.open(0, generation);
            rig.send(link, bytes);
            rig.input(Input::Closed { link });
        }
        rig.closed.clear();
    };
    round(&mut rig, 1);
    let baseline = live();
    for generation in 0..22_000 * scale() as u32 {
        round(&mut rig, generation + 2);
    }
    assert!(live() - baseline < 4096, "{} bytes were left behind", live() - baseline);
    assert_eq!(census(&rig.shard).0, 0, "sessions were left behind");
}

#[test]
fn v06_many_user_properties_are_read_once() {
    let mut rig = Rig::new();
    let publisher = rig.connect(0, "publisher");
    let subscriber = rig.connect(1, "subscriber");
    rig.send(subscriber, &subscribe("t", QoS::AtMostOnce));
    let mut properties = Vec::new();
    for _ in 0..64_000 {
        Property::UserProperty(("name", "value")).encode(&mut properties);
    }
    let publish = Publish {
        topic: "t",
        properties: Properties::from_bytes(&properties),
        ..Publish::default()
    };
    let mut bytes = Vec::new();
    publish.encode(Version::V5, &mut bytes);
    let before = rig.sent_bytes;
    // A reader that was not linear would still be at it when the test's time is over.
    for _ in 0..20 {
        rig.send(publisher, &bytes);
    }
    assert_eq!(rig.sent_bytes - before, 20 * bytes.len());
}

#[test]
fn v07_one_identifier_sent_again_and_again_is_one() {
    let mut rig = Rig::new();
    let link = rig.connect(0, "client");
    let bytes = publish("t", QoS::ExactlyOnce, 7, false, b"x");
    rig.send(link, &bytes);
    let baseline = live();
    for _ in 0..1_000_000 * scale() {
        rig.send(link, &bytes);
    }
    assert!(live() - baseline < 4096);
    assert!(rig.closed.is_empty());
}

#[test]
fn v07_receive_maximum_exceeded_closes() {
    let mut rig = Rig::new();
    let link = rig.connect(0, "client");
    let max = Options::default().receive_maximum;
    for packet_id in 1..=max {
        rig.send(link, &publish("t", QoS::ExactlyOnce, packet_id, false, b"x"));
    }
    assert!(rig.closed.is_empty());
    let before = rig.sent_bytes;
    rig.send(link, &publish("t", QoS::ExactlyOnce, max + 1, false, b"x"));
    assert_eq!(rig.closed, [link]);
    assert!(rig.sent_bytes > before, "it was told 0x93");
}

#[test]
fn v08_a_stopped_reader_holds_its_queue_and_no_more() {
    let options =
        Options { max_queued_messages: 1000, max_queued_bytes: 4 << 20, ..Options::default() };
    let mut rig = Rig::new();
    rig.shard = Shard::new(Arc::new(options), Arc::new([open_policy()]), WorkerId(0), 1, 1);
    let publisher = rig.connect(0, "publisher");
    let mut stopped = Vec::new();
    for (slot, qos) in [(1, QoS::AtMostOnce), (2, QoS::AtLeastOnce), (3, QoS::ExactlyOnce)] {
        let link = rig.connect(slot, &format!("stopped-{slot}"));
        rig.send(link, &subscribe("#", qos));
        rig.blocked.push(link);
        stopped.push(link);
    }
    let payload = vec![7; 8192];
    let send = |rig: &mut Rig, i: usize| {
        let packet_id = (i % 1000) as u16 + 1;
        rig.send(publisher, &publish("t", QoS::ExactlyOnce, packet_id, false, &payload));
        let mut release = Vec::new();
        encode_ack(
            AckType::PubRel,
            Version::V5,
            packet_id,
            ringmq::mqtt::ReasonCode::Success,
            &mut release,
        );
        rig.send(publisher, &release);
    };
    let baseline = live();
    let count = (1 << 30) / payload.len() * scale();
    for i in 0..count {
        send(&mut rig, i);
    }
    let held = live() - baseline;
    // Three queues of at most 4 MiB; the messages are shared between them.
    assert!(held < 3 * (5 << 20), "{held} bytes are held");
    let dropped = rig.shard.counters().dropped(Dropped::QueueFull) as usize;
    let kept = 3 * ((4 << 20) / (payload.len() + 1)) + 3;
    assert!(dropped + kept >= 3 * count && dropped < 3 * count, "{dropped} of {count} dropped");
}

#[test]
fn v08_a_client_that_reads_no_responses_is_not_read_either() {
    let mut rig = Rig::new();
    let link = rig.connect(0, "client");
    rig.blocked.push(link);
    let pings: Vec<u8> = [0xc0, 0].repeat(1024);
    let baseline = live();
    let mut paused = false;
    for _ in 0..1000 {
        rig.shard.handle(rig.now, Input::Received { link, bytes: &pings });
        while let Some(output) = rig.shard.next_output() {
            paused |= matches!(output, Output::PauseReceive { .. });
        }
        rig.flush();
        if paused {
            break;
        }
    }
    assert!(paused, "nothing told the driver to stop receiving");
    assert!(live() - baseline < 256 << 10);
}

/// A shard that queues so much, a publisher, and a subscriber that goes on when its link takes no
/// more.
fn stopped(max_queued_bytes: u64, subscribe: &[u8]) -> (Rig, LinkId) {
    let options =
        Options { max_queued_messages: 10_000_000, max_queued_bytes, ..Options::default() };
    let mut rig = Rig::new();
    rig.shard = Shard::new(Arc::new(options), Arc::new([open_policy()]), WorkerId(0), 1, 1);
    let publisher = rig.connect(0, "publisher");
    let link = rig.connect(1, "stopped");
    rig.send(link, subscribe);
    rig.input(Input::Blocked { link });
    (rig, publisher)
}

#[test]
fn v36_a_queue_of_small_messages_takes_no_more_than_its_bytes() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let (mut rig, publisher) = stopped(1 << 20, &subscribe("#", qos));
        let baseline = live();
        for _ in 0..100_000 * scale() {
            rig.send(publisher, &publish("t", QoS::AtLeastOnce, 1, false, b""));
        }
        let held = live() - baseline;
        assert!((1 << 18..(1 << 20) + (1 << 16)).contains(&held), "{held} bytes are held");
    }
}

#[test]
fn v36_overlapping_filters_cost_a_queued_message_a_bounded_number_of_bytes() {
    // All combinations of `+` and `a`.
    let filter = |bits: u32| {
        let levels = (0..11).map(|level| if bits >> level & 1 == 1 { "/a" } else { "/+" });
        levels.collect::<String>()
    };
    let mut all = Vec::new();
    for bits in 0..2048 {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..Default::default() };
        let filter = filter(bits);
        let filters = std::iter::once(SubscribeFilter { filter: &filter, options }).collect();
        let subscription_id = Some(200_000_000 + bits);
        let subscribe = Subscribe { packet_id: 1, subscription_id, filters, ..Default::default() };
        subscribe.encode(Version::V5, &mut all);
    }
    let (mut rig, publisher) = stopped(1 << 40, &all);
    let baseline = live();
    let count = 500 * scale();
    for _ in 0..count {
        rig.send(publisher, &publish(&"/a".repeat(11), QoS::AtLeastOnce, 1, false, b"x"));
    }
    let each = (live() - baseline) / count as isize;
    assert!(each < 1024, "{each} bytes for each message");
}

#[test]
fn v36_a_live_retained_message_costs_the_same_however_many_replays_wait() {
    let mut rig = Rig::new();
    let publisher = rig.connect(0, "publisher");
    for topic in ["x/1", "x/2"] {
        rig.send(publisher, &publish(topic, QoS::AtLeastOnce, 1, true, b"x"));
    }
    let link = rig.open(1, 2);
    let mut connect = Vec::new();
    Connect { receive_maximum: 1, ..Connect::new(Version::V5, "slow") }.encode(&mut connect);
    rig.send(link, &connect);
    // One of two is sent and never acknowledged, so that all replays behind it wait.
    rig.send(link, &subscribe("x/#", QoS::AtLeastOnce));
    for bits in 0..1024 {
        let levels = (0..10).map(|level| if bits >> level & 1 == 1 { "a/" } else { "+/" });
        rig.send(link, &subscribe(&(levels.collect::<String>() + "#"), QoS::AtLeastOnce));
    }
    let baseline = live();
    for number in 0..100 {
        let topic = "a/".repeat(10) + &number.to_string();
        rig.send(publisher, &publish(&topic, QoS::AtLeastOnce, 1, true, b"x"));
    }
    let each = (live() - baseline) / 100;
    assert!(each < 1024, "{each} bytes for each message");
}

#[test]
fn v24_every_retained_message_reaches_a_slow_subscriber() {
    let mut rig = Rig::new();
    let publisher = rig.connect(0, "publisher");
    let count = 1_000_000 * scale();
    for i in 0..count {
        rig.send(
            publisher,
            &publish(&format!("site/{}/{i}", i % 97), QoS::AtMostOnce, 0, true, b"on"),
        );
    }
    assert_eq!(census(&rig.shard).2, count);
    let slow = rig.connect(1, "slow");
    let baseline = live();
    let mut most = 0;
    rig.publishes = 0;
    rig.send(slow, &subscribe("#", QoS::AtMostOnce));
    for _ in 0..count {
        // It stops reading after each turn, and goes on at once.
        rig.input(Input::Blocked { link: slow });
        rig.tick();
        rig.input(Input::Writable { link: slow });
        most = most.max(live() - baseline);
        if rig.publishes == count {
            break;
        }
    }
    assert_eq!(rig.publishes, count, "retained messages were lost");
    assert!(most < 4 << 20, "{most} bytes more were held meanwhile");
}

#[test]
fn an_idle_client_is_small() {
    let mut rig = Rig::new();
    let first = |rig: &mut Rig, from: u32, to: u32| {
        for slot in from..to {
            let link = rig.open(slot, slot + 1);
            let client_id = format!("client-{slot:08}");
            let mut bytes = Vec::new();
            Connect { keep_alive_s: 60, ..Connect::new(Version::V311, &client_id) }
                .encode(&mut bytes);
            rig.send(link, &bytes);
        }
    };
    first(&mut rig, 0, 100);
    let baseline = live();
    let count = 16_284;
    first(&mut rig, 100, 100 + count);
    let each = (live() - baseline) / count as isize;
    println!("{each} bytes for each idle client");
    assert!(each <= 640, "{each} bytes for each idle client");
}

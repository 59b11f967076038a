//! What many deliveries of one publish come to: never more than one turn can send.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod everywhere;
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
mod support;

use everywhere::Everywhere;
use ringmq::base::ids::{ListenerId, SessionNumber, WorkerId};
use ringmq::broker::{Input, LinkId};
use ringmq::limits::{
    COMMIT_BYTES_MAX, LINK_PAYLOADS_MAX, OUTBOX_BYTES_MAX, PAYLOAD_COPIED_MAX, TURN_BYTES_MAX,
};
use ringmq::metrics::Dropped;
use ringmq::options::Options;
use ringmq::store::record::{Attributes, Owner, Record};
use ringmq::store::{Batch, CommitBuilder, CommitWriter, Entry, Epoch, Stamp, Submission};
use ringmq::testing::with_limit;
use std::time::Duration;
use support::bare::Bare;
use support::folder;
use support::peer::{connect, connect_v3, packet, text};

/// SUBSCRIBE to shared filters for the topic "a": one for each of these groups.
fn subscribe_groups(groups: std::ops::Range<usize>, qos: u8) -> Vec<u8> {
    let filters = groups.map(|group| [&text(&format!("$share/{group}/a"))[..], &[qos]].concat());
    packet(0x82, &[vec![0, 1, 0], filters.flatten().collect()].concat())
}

/// SUBSCRIBE to "a" with a subscription identifier, so that every copy is another one.
fn subscribe_alone(number: usize, qos: u8) -> Vec<u8> {
    let id = [0x80 | (number % 128) as u8, (number / 128) as u8];
    packet(0x82, &[&[0, 1, 3, 0x0b, id[0], id[1]][..], &text("a"), &[qos]].concat())
}

fn publish(payload: &[u8], qos: u8) -> Vec<u8> {
    let id = if qos > 0 { &[0, 1][..] } else { &[] };
    packet(0x30 | qos << 1, &[&text("a")[..], id, &[0], payload].concat())
}

/// How many bytes the link is to be sent.
fn output(broker: &mut Bare, link: LinkId) -> usize {
    broker.shard.outbox().segments(link).map(<[u8]>::len).sum()
}

#[test]
fn a_large_payload_for_many_groups_of_one_client_is_sent_in_turns() {
    for qos in [0, 1] {
        let mut broker = Bare::default();
        let link = broker.open();
        broker.send(link, &connect("a", None));
        for first in (0..2300).step_by(1000) {
            broker.send(link, &subscribe_groups(first..2300.min(first + 1000), qos));
        }
        broker.take(link);
        let payload = vec![b'x'; 1_990_000];
        let bytes = publish(&payload, qos);
        broker.shard.handle(broker.now, Input::Received { link, bytes: &bytes });
        assert!(broker.shard.outbox().is_full(), "it has to be sent before anything else");
        let mut received = 0;
        loop {
            let bytes = output(&mut broker, link);
            assert!(bytes < LINK_PAYLOADS_MAX + 2 * payload.len(), "{bytes} bytes in a turn");
            broker.drain();
            received += broker.take(link).len() / payload.len();
            if broker.shard.deadline() != Some(ringmq::base::time::Time::ZERO) {
                break;
            }
            broker.shard.handle(broker.now, Input::Tick);
        }
        let dropped = broker.shard.counters().dropped(Dropped::QueueFull) as usize;
        let options = Options::default();
        let queued = options.max_queued_bytes as usize / payload.len();
        assert!(received >= queued, "{received} of 2300 are received");
        match qos {
            0 => assert!(received > queued && received + dropped == 2300),
            // What waits and what is in flight have one limit; the others were dropped.
            _ => assert!(received + dropped <= 2300 && received <= queued + 1),
        }
    }
}

#[test]
fn a_frame_of_its_own_for_each_of_many_subscribers_is_sent_in_turns() {
    const SUBSCRIBERS: usize = 9000;
    for qos in [0, 1] {
        let mut broker = Bare::default();
        let links: Vec<LinkId> = (0..SUBSCRIBERS)
            .map(|number| {
                let link = broker.open();
                broker.send(link, &connect(&number.to_string(), None));
                broker.send(link, &subscribe_alone(number + 128, qos));
                broker.take(link);
                link
            })
            .collect();
        let publisher = broker.open();
        broker.send(publisher, &connect("publisher", None));
        // Two of them: the order is to be kept.
        for mark in [b'M', b'N'] {
            let mut payload = vec![b'x'; PAYLOAD_COPIED_MAX - 1];
            payload[PAYLOAD_COPIED_MAX - 2] = mark;
            let bytes = publish(&payload, qos);
            let input = Input::Received { link: publisher, bytes: &bytes };
            broker.shard.handle(broker.now, input);
            let bytes = broker.shard.outbox().bytes();
            assert!(bytes < TURN_BYTES_MAX + OUTBOX_BYTES_MAX, "{bytes} bytes in a turn");
        }
        broker.drain();
        let mut turns = 0;
        while broker.shard.deadline() == Some(ringmq::base::time::Time::ZERO) {
            broker.shard.handle(broker.now, Input::Tick);
            let bytes = broker.shard.outbox().bytes();
            assert!(bytes < TURN_BYTES_MAX + OUTBOX_BYTES_MAX, "{bytes} bytes in a turn");
            broker.drain();
            turns += 1;
        }
        assert!((2..20).contains(&turns), "{turns} turns");
        for link in links {
            let received = broker.take(link);
            let marks = received.windows(3).filter(|three| three.starts_with(b"xx"));
            let marks: Vec<u8> = marks.map(|three| three[2]).filter(|&byte| byte != b'x').collect();
            assert_eq!(marks, b"MN", "QoS {qos}, {link:?}");
            assert!(received.len() > 2 * (PAYLOAD_COPIED_MAX - 1), "{link:?}");
        }
        assert_eq!(broker.shard.counters().dropped(Dropped::QueueFull), 0);
    }
}

#[test]
fn a_packet_that_would_grow_beyond_the_largest_is_dropped() {
    const LARGEST: usize = 268_435_455;
    let max = LARGEST as u32;
    let mut broker = Bare::with(Options { max_packet_size: max, ..Options::default() });
    let subscriber = broker.open();
    broker.send(subscriber, &connect("subscriber", None));
    for filter in ["a", "+"] {
        let id = [0x0b, 0xff, 0xff, 0xff, 0x7f];
        let head = [&[0, 1, 5][..], &id].concat();
        broker.send(subscriber, &packet(0x82, &[head, text(filter), vec![0]].concat()));
    }
    broker.take(subscriber);
    let publisher = broker.open();
    broker.send(publisher, &connect_v3("publisher", None));
    // The length of the properties and two identifiers of 5 bytes are added.
    let largest = LARGEST - 5 - 3;
    for (length, is_sent) in [(largest, false), (largest - 5, false), (largest - 6, true)] {
        let payload = vec![b'x'; length];
        broker.send(publisher, &packet(0x30, &[&text("a")[..], &payload].concat()));
        assert!(!broker.is_closed(publisher), "{length}");
        let received = broker.take(subscriber).len();
        assert_eq!(received > 0, is_sent, "{length}: {received}");
    }
}

#[test]
fn a_broker_survives_a_large_payload_for_many_groups_on_every_transport() {
    let world = Everywhere::new();
    for workers in ["1", "2"] {
        let server = world.start(&["--workers", workers]);
        for transport in ["mqtt", "mqtts", "ws", "unix"] {
            let before = server.resident();
            let mut peer = world.peer(&server, transport);
            peer.set_timeout(Duration::from_secs(30));
            assert_eq!(peer.connect(&connect("a", None)), Some(0));
            for first in (0..2300).step_by(1000) {
                peer.send(&subscribe_groups(first..2300.min(first + 1000), 0));
                assert_eq!(peer.packet().map(|(kind, _)| kind), Some(0x90));
            }
            peer.send(&publish(&vec![b'x'; 1_990_000], 0));
            let mut other = world.peer(&server, "mqtt");
            assert_eq!(other.connect(&connect("other", None)), Some(0));
            assert!(other.ping().is_some(), "{transport}: {}", server.log());
            for _ in 0..9 {
                assert_eq!(peer.packet().map(|(kind, _)| kind), Some(0x30), "{transport}");
            }
            let now = server.resident();
            assert!(now < before + 500_000_000, "{transport}: {before}, then {now} bytes");
        }
    }
}

const STAMP: Stamp = Stamp { salt: 1, number: 1 };

fn session(number: u64, bytes: usize) -> Record<'static> {
    let owner = Owner { user: None, client_id: None, is_superuser: false, listener: ListenerId(0) };
    Record::Session(Attributes {
        session: SessionNumber(number),
        client_id: "x".repeat(bytes).into(),
        owner,
        expiry_s: 1,
        is_connected: false,
        ends_ms: None,
        will: None,
        will_due_ms: None,
    })
}

#[test]
fn a_record_that_no_commit_can_hold_is_left_out() {
    let mut writer = with_limit(CommitWriter::new(STAMP, Vec::new()), 1000);
    let mut expected = CommitWriter::new(STAMP, Vec::new());
    for (number, bytes) in [(1, 10), (2, 2000), (3, 20), (4, 990), (5, 5)] {
        writer.write(&session(number, bytes));
        if matches!(number, 1 | 3 | 5) {
            expected.write(&session(number, bytes));
        }
    }
    assert_eq!(writer.finish(), expected.finish());
}

#[test]
fn batches_beyond_a_commit_go_into_the_next() {
    let mut gatherer = CommitBuilder::new(3, Epoch(0));
    for worker in WorkerId::all(3) {
        let record = Entry::Record(Box::new(session(worker.0.into(), COMMIT_BYTES_MAX)));
        let batch = Batch { entries: vec![record], ..Batch::default() };
        gatherer.take(worker, Submission::Batch(batch));
    }
    for worker in WorkerId::all(3) {
        let commit = gatherer.next(STAMP).expect("a batch is left");
        assert!(commit.bytes.len() < 2 * COMMIT_BYTES_MAX);
        let heard = commit.heard.iter().find(|(_, heard)| heard.has_batch);
        assert_eq!(heard.map(|(worker, _)| worker), Some(worker));
    }
    assert!(gatherer.next(STAMP).is_none());
}

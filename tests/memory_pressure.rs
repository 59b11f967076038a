//! Little memory is left: what would stay is refused, publishers that only fill queues wait, and
//! the clients that hold most lose what waits for them; nothing that was acknowledged goes.

mod support;

use ringmq::broker::{Input, LinkId, Pressure};
use ringmq::metrics::Dropped;
use ringmq::options::Options;
use std::time::Duration;
use support::bare::Bare;
use support::peer::{connect, connect_stored, connect_v3, packet, text};

const QUOTA_EXCEEDED: u8 = 0x97;
const NOTHING: [u8; 0] = [];
/// No matching subscribers.
const NONE: u8 = 0x10;

fn broker() -> Bare {
    Bare::with(Options { max_queued_bytes: u64::MAX, ..Options::default() })
}

/// PUBLISH of version 5 at QoS 1 with packet identifier 1.
fn publish(topic: &str, retain: bool, payload: &[u8]) -> Vec<u8> {
    let head = [&text(topic)[..], &[0, 1, 0]].concat();
    packet(0x32 | u8::from(retain), &[&head, payload].concat())
}

fn subscribe(filter: &str) -> Vec<u8> {
    packet(0x82, &[&[0, 2, 0], &text(filter)[..], &[1]].concat())
}

/// The reason code of the PUBACK that a client has got; 0 without one.
fn puback(broker: &mut Bare, link: LinkId) -> u8 {
    let bytes = broker.take(link);
    assert_eq!(bytes[0], 0x40, "{bytes:02x?}");
    if bytes[1] > 2 { bytes[4] } else { 0 }
}

#[test]
fn new_retained_topics_are_refused_and_known_ones_may_change_and_go() {
    let mut broker = broker();
    let link = broker.connected(&connect("a", None));
    broker.send(link, &publish("known", true, b"12345"));
    assert_eq!(puback(&mut broker, link), NONE);
    broker.input(Input::Pressure(Pressure::Tight));
    for (topic, payload, code) in [
        ("new", &b"1"[..], QUOTA_EXCEEDED),
        ("known", b"123456", QUOTA_EXCEEDED),
        ("known", b"12345", NONE),
        ("new", b"", NONE),
        ("known", b"", NONE),
        ("known", b"1", QUOTA_EXCEEDED),
    ] {
        broker.send(link, &publish(topic, true, payload));
        assert_eq!(puback(&mut broker, link), code, "{topic} {payload:?}");
    }
    assert_eq!(broker.shard.counters().refused_memory, 3);
    broker.input(Input::Pressure(Pressure::None));
    broker.send(link, &publish("new", true, b"1"));
    assert_eq!(puback(&mut broker, link), NONE);
}

#[test]
fn a_client_that_cannot_be_told_is_closed_rather_than_told_that_it_is_stored() {
    let mut broker = broker();
    let link = broker.connected(&connect_v3("old", None));
    broker.input(Input::Pressure(Pressure::Tight));
    let body = [&text("new")[..], &[0, 1], b"1"].concat();
    broker.send(link, &packet(0x33, &body));
    assert_eq!(broker.take(link), NOTHING);
    assert!(broker.is_closed(link));
}

#[test]
fn new_subscriptions_and_stored_sessions_are_refused_and_known_ones_go_on() {
    let mut broker = broker();
    let link = broker.connected(&connect_stored("stored", 3600, 0));
    broker.send(link, &subscribe("a"));
    assert_eq!(broker.take(link).last(), Some(&1));
    broker.input(Input::Pressure(Pressure::Tight));
    for (filter, code) in [("a", 1), ("b", QUOTA_EXCEEDED), ("$share/g/a", QUOTA_EXCEEDED)] {
        broker.send(link, &subscribe(filter));
        assert_eq!(broker.take(link).last(), Some(&code), "{filter}");
    }
    broker.drop_link(link);
    broker.connected(&connect_stored("stored", 3600, 0));
    broker.connected(&connect("passing", None));
    let refused = broker.open();
    broker.send(refused, &connect_stored("another", 3600, 0));
    assert_eq!(broker.take(refused)[3], QUOTA_EXCEEDED);
    assert!(broker.is_closed(refused));
    broker.input(Input::Pressure(Pressure::Full));
    let refused = broker.open();
    broker.send(refused, &connect_v3("at last any", None));
    assert_eq!(broker.take(refused), [0x20, 2, 0, 3]);
}

#[test]
fn publishers_that_only_fill_queues_wait_and_go_on() {
    let mut broker = broker();
    let stored = broker.connected(&connect_stored("stored", 3600, 0));
    broker.send(stored, &subscribe("a"));
    broker.take(stored);
    broker.drop_link(stored);
    let filler = broker.connected(&connect("filler", None));
    let other = broker.connected(&connect("other", None));
    broker.input(Input::Pressure(Pressure::Tight));
    broker.send(filler, &publish("a", false, b"1"));
    assert_eq!(puback(&mut broker, filler), 0, "only then is it known");
    broker.send(filler, &publish("a", false, b"2"));
    assert_eq!(broker.take(filler), NOTHING, "it waits");
    broker.send(other, &publish("b", false, b"3"));
    assert_eq!(puback(&mut broker, other), NONE);
    // However long it waits, that is not its fault.
    broker.wait(Duration::from_secs(600));
    assert!(!broker.is_closed(filler));
    broker.input(Input::Pressure(Pressure::None));
    assert_eq!(puback(&mut broker, filler), 0);
}

#[test]
fn those_that_hold_most_lose_what_waits_for_them() {
    let mut broker = broker();
    let mut sessions = Vec::new();
    for (name, count) in [("little", 1), ("most", 40), ("much", 30)] {
        let link = broker.connected(&connect_stored(name, 3600, 0));
        broker.send(link, &subscribe(name));
        broker.take(link);
        broker.drop_link(link);
        sessions.push((name, count));
    }
    let publisher = broker.connected(&connect("publisher", None));
    for (name, count) in &sessions {
        for _ in 0..*count {
            broker.send(publisher, &publish(name, false, &[0; 5000]));
            assert_eq!(puback(&mut broker, publisher), 0);
        }
    }
    broker.input(Input::Pressure(Pressure::Short));
    broker.wait(Duration::from_secs(1));
    assert_eq!(broker.shard.counters().dropped(Dropped::Memory), 70);
    // Nothing is left to take: the worker rests, however long memory is short.
    let next = broker.shard.deadline().expect("it looks again");
    assert!(next > broker.now, "it does not spin");
    broker.input(Input::Pressure(Pressure::None));
    let link = broker.open();
    broker.send(link, &connect_stored("little", 3600, 0));
    let bytes = broker.take(link);
    assert!(bytes.len() > 5000, "what a client holds in any case stays: {}", bytes.len());
}

#[test]
fn a_client_that_is_amid_a_packet_keeps_its_connection_unless_nothing_else_helps() {
    let mut broker = broker();
    let link = broker.connected(&connect("amid", None));
    let bytes = publish("a", false, &[0; 120_000]);
    broker.send(link, &bytes[..100_000]);
    broker.input(Input::Pressure(Pressure::Short));
    broker.wait(Duration::from_secs(1));
    assert!(!broker.is_closed(link));
    assert!(broker.shard.deadline().is_none_or(|due| due > broker.now), "it does not spin");
    broker.input(Input::Pressure(Pressure::Full));
    broker.wait(Duration::from_secs(1));
    assert!(broker.is_closed(link));
    let disconnect = broker.take(link);
    assert_eq!((disconnect[0], disconnect[2]), (0xE0, QUOTA_EXCEEDED));
}

//! The accounts of memory: for each kind of state, and for all of them together, their sum is what
//! the allocator has given, within a fifth.

mod support;

use ringmq::broker::{Input, LinkId, Pressure};
use ringmq::io::memory::{self, Counted};
use ringmq::options::Options;
use ringmq::store::kept_bytes;
use std::alloc::System;
use std::time::Duration;
use support::bare::Bare;
use support::peer::{connect, connect_stored, packet, text};

#[global_allocator]
static ALLOCATOR: Counted<System> = Counted(System);

fn broker() -> Bare {
    Bare::with(Options {
        max_queued_messages: 1_000_000,
        max_subscriptions: 1_000_000,
        max_shared_subscriptions: 100_000,
        max_filter_bytes: 1 << 30,
        ..Options::default()
    })
}

fn send(broker: &mut Bare, link: LinkId, bytes: &[u8]) {
    broker.send(link, bytes);
    broker.wait(Duration::ZERO);
    drop(broker.take(link));
}

fn publish(topic: &str, qos: u8, retain: bool, payload: &[u8]) -> Vec<u8> {
    let id: &[u8] = if qos > 0 { &[0, 1] } else { &[] };
    packet(0x30 | qos << 1 | u8::from(retain), &[&text(topic)[..], id, &[0], payload].concat())
}

/// SUBSCRIBE; retained messages are asked for unless `options` say otherwise.
fn subscribe(filters: impl Iterator<Item = String>, options: u8) -> Vec<u8> {
    let filters: Vec<u8> = filters.flat_map(|f| [&text(&f)[..], &[options]].concat()).collect();
    packet(0x82, &[&[0, 2, 0], &filters[..]].concat())
}

const NO_RETAINED: u8 = 0x21;

fn retained(broker: &mut Bare) {
    let link = broker.connected(&connect("retained", None));
    for number in 0..20_000 {
        let payload = vec![b'x'; number % 300 + 1];
        send(broker, link, &publish(&format!("retained/{number}"), 0, true, &payload));
    }
}

fn sessions(broker: &mut Bare) {
    for number in 0..10_000 {
        let link = broker.connected(&connect_stored(&format!("session {number}"), 3600, 0));
        broker.drop_link(link);
    }
}

fn connections(broker: &mut Bare) {
    for number in 0..5_000 {
        let link = broker.connected(&connect(&format!("connection {number}"), None));
        let half = &publish("half", 0, false, &vec![b'x'; 2_000])[..1_500];
        broker.send(link, &half[..number % 1_500]);
    }
}

fn subscriptions(broker: &mut Bare) {
    let link = broker.connected(&connect("subscriptions", None));
    for some in 0..50 {
        let filters = (0..600).map(|number| format!("{some}/+/floor/{number}/#"));
        send(broker, link, &subscribe(filters, NO_RETAINED));
    }
    let groups = (0..10_000).map(|number| format!("$share/{number}/a/b"));
    send(broker, link, &subscribe(groups, NO_RETAINED));
}

fn queues(broker: &mut Bare) {
    let publisher = broker.connected(&connect("publisher", None));
    for number in 0..20 {
        let link = broker.connected(&connect_stored(&format!("absent {number}"), 3600, 0));
        let filter = if number < 10 { "shared".to_owned() } else { format!("own/{number}") };
        send(broker, link, &subscribe([filter].into_iter(), NO_RETAINED));
        broker.drop_link(link);
    }
    for number in 0..20_000 {
        let topic = if number % 4 == 0 { "shared".into() } else { format!("own/{}", number % 20) };
        send(broker, publisher, &publish(&topic, 1, false, &vec![b'y'; number % 200 + 1]));
    }
}

fn in_flight(broker: &mut Bare) {
    let publisher = broker.connected(&connect("sender", None));
    let mut slow = Vec::new();
    for number in 0..200 {
        let link = broker.connected(&connect_stored(&format!("slow {number}"), 3600, 0));
        let filters = ["flight".to_owned()].into_iter();
        send(broker, link, &subscribe(filters, NO_RETAINED));
        slow.push(link);
    }
    for _ in 0..250 {
        send(broker, publisher, &publish("flight", 1, false, &[b'z'; 2_000]));
        slow.iter().for_each(|link| drop(broker.take(*link)));
    }
}

fn replays(broker: &mut Bare) {
    let link = broker.connected(&connect_stored("replays", 3600, 0));
    broker.input(Input::Blocked { link });
    for some in 0..20 {
        let filters = (0..500).map(|number| format!("nothing/{some}/{number}"));
        broker.send(link, &subscribe(filters, 1));
        broker.wait(Duration::ZERO);
    }
}

/// The name of a kind of state, and what makes much of it.
type Kind = (&'static str, fn(&mut Bare));

/// The kinds of state, each of which stays until its broker goes.
const KINDS: [Kind; 7] = [
    ("retained", retained),
    ("sessions", sessions),
    ("connections", connections),
    ("subscriptions", subscriptions),
    ("queues", queues),
    ("in flight", in_flight),
    ("replays", replays),
];

/// What the allocator has given since `before`, and what the accounts know of.
fn compare(name: &str, broker: &mut Bare, before: u64) {
    let given = memory::in_use() - before;
    broker.input(Input::Pressure(Pressure::Tight));
    broker.wait(Duration::ZERO);
    let accounts = *broker.shard.accounts();
    broker.input(Input::Pressure(Pressure::None));
    let known = accounts.sum() + kept_bytes();
    println!("{name}: given {given}, known {known}: {accounts}, messages {}", kept_bytes());
    assert!(known.abs_diff(given) * 5 <= given, "{name}: {known} of {given} are known");
}

#[test]
fn the_sum_of_the_accounts_is_the_memory_in_use() {
    for (name, fill) in KINDS {
        let before = memory::in_use();
        let mut broker = broker();
        fill(&mut broker);
        compare(name, &mut broker, before);
    }
    let before = memory::in_use();
    let mut broker = broker();
    for (_, fill) in KINDS {
        fill(&mut broker);
    }
    compare("all", &mut broker, before);
}

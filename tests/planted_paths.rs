//! Slow paths that the broker once had are put back, one at a time, and the meter of visits has to
//! find each of them: see `docs/INVARIANTS.md`.
#![cfg(debug_assertions)]

mod support;

use ringmq::broker::{Input, LinkId};
use ringmq::options::Options;
use ringmq::testing::{Planted, Prng, plant};
use std::panic::catch_unwind;
use std::time::Duration;
use support::bare::Bare;
use support::peer::{connect, connect_stored, packet, publish_expiring, text};

/// Work for a broker whose size is `count`; what has come of it, in a few words.
type Workload = fn(count: usize) -> String;

/// Sizes at which a slow path does no harm: none, one, and those around which lists become indexes.
const FEW: [usize; 5] = [0, 1, 31, 32, 33];

/// The workload passes at every size. With the path planted it has the same outcome at small sizes,
/// and at `limit` the meter stops it.
fn finds(planted: Planted, limit: usize, sizes: &[usize], workload: Workload) {
    for count in FEW {
        let outcome = workload(count);
        plant(Some(planted));
        assert_eq!(workload(count), outcome, "{planted:?} of {count}");
        plant(None);
    }
    for &count in [limit].iter().chain(sizes) {
        workload(count);
    }
    plant(Some(planted));
    let stopped = catch_unwind(|| workload(limit));
    plant(None);
    let Err(panic) = stopped else { panic!("{planted:?} of {limit} goes unnoticed") };
    let words = panic.downcast_ref::<String>().expect("the meter's words");
    assert!(words.starts_with("an input that pays for "), "{words}");
}

fn broker(set: impl FnOnce(&mut Options)) -> Bare {
    let mut options = Options { max_packet_size: 100_000_000, ..Options::default() };
    set(&mut options);
    Bare::with(options)
}

fn client(broker: &mut Bare, name: &str) -> LinkId {
    broker.connected(&connect(name, None))
}

/// Sends bytes as they come from a socket, a little at a time, and lets the turns pass that they
/// take.
fn send(broker: &mut Bare, link: LinkId, bytes: &[u8]) {
    for bytes in bytes.chunks(4096) {
        broker.send(link, bytes);
    }
    settle(broker);
}

fn settle(broker: &mut Bare) {
    let now = broker.now;
    while broker.shard.deadline().is_some_and(|due| due <= now) {
        broker.input(Input::Tick);
    }
}

/// SUBSCRIBE of version 5 at `qos`; no bytes without a filter.
fn subscribe(filters: &[String], qos: u8) -> Vec<u8> {
    let each = filters.iter().map(|filter| [&text(filter)[..], &[qos]].concat());
    let packet = packet(0x82, &[vec![0, 1, 0], each.flatten().collect()].concat());
    if filters.is_empty() { Vec::new() } else { packet }
}

fn unsubscribe(filters: &[String]) -> Vec<u8> {
    let each = filters.iter().map(|filter| text(filter));
    let packet = packet(0xA2, &[vec![0, 2, 0], each.flatten().collect()].concat());
    if filters.is_empty() { Vec::new() } else { packet }
}

fn filters(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("f/{number}")).collect()
}

fn shuffle<T>(list: &mut [T]) {
    let mut prng = Prng::new(list.len() as u64);
    for place in (1..list.len()).rev() {
        list.swap(place, prng.below(place as u64 + 1) as usize);
    }
}

fn publish_at_1(topic: &str, packet_id: u16) -> Vec<u8> {
    packet(0x32, &[&text(topic)[..], &packet_id.to_be_bytes(), &[0, b'x']].concat())
}

/// Sessions and nodes that are left, and all bytes that a client got.
fn outcome(broker: &mut Bare, link: LinkId) -> String {
    format!("{:?} {:02x?}", broker.shard.census(), broker.take(link))
}

/// As many shared groups as a session may have by default.
const GROUPS: usize = 10_000;

fn groups_in_one_subscribe(count: usize) -> String {
    let mut broker = broker(|_| {});
    let link = client(&mut broker, "busy");
    let groups: Vec<_> = (0..count).map(|number| format!("$share/g{number}/t")).collect();
    send(&mut broker, link, &subscribe(&groups, 1));
    outcome(&mut broker, link)
}

#[test]
fn groups_looked_for_among_all_are_found() {
    let sizes = [GROUPS - 1, GROUPS + 1];
    finds(Planted::GroupScan, GROUPS, &sizes, groups_in_one_subscribe);
}

const REPLAYS: usize = 10_000;

/// The client does not read, so that no replay begins; then it subscribes again.
fn replays_that_wait_and_are_asked_for_again(count: usize) -> String {
    let mut broker = broker(|_| {});
    let link = client(&mut broker, "busy");
    broker.input(Input::Blocked { link });
    for _ in 0..2 {
        send(&mut broker, link, &subscribe(&filters(count), 1));
    }
    broker.input(Input::Writable { link });
    settle(&mut broker);
    outcome(&mut broker, link)
}

#[test]
fn replays_looked_for_among_all_are_found() {
    finds(Planted::ReplayScan, REPLAYS, &[], replays_that_wait_and_are_asked_for_again);
}

/// As many subscriptions as a session may have in this test.
const SUBSCRIPTIONS: usize = 10_000;

fn filters_that_come_and_go(count: usize) -> String {
    let mut broker = broker(|options| options.max_subscriptions = SUBSCRIPTIONS as u32);
    let link = client(&mut broker, "busy");
    let mut filters = filters(count);
    send(&mut broker, link, &subscribe(&filters, 1));
    shuffle(&mut filters);
    send(&mut broker, link, &unsubscribe(&filters));
    outcome(&mut broker, link)
}

#[test]
fn subscriptions_looked_for_among_all_are_found() {
    let sizes = [SUBSCRIPTIONS - 1, SUBSCRIPTIONS + 1];
    finds(Planted::SubscriptionScan, SUBSCRIPTIONS, &sizes, filters_that_come_and_go);
}

/// As many messages as a queue may have in this test.
const QUEUED: usize = 10_000;

/// A session that is offline has `count` messages, then gets as many as one input holds; then all
/// have expired, and more come.
fn messages_for_a_full_queue(count: usize) -> String {
    let mut broker = broker(|options| options.max_queued_messages = QUEUED as u32);
    let away = broker.connected(&connect_stored("away", 3600, 0));
    send(&mut broker, away, &subscribe(&["t".to_owned()], 1));
    broker.drop_link(away);
    let link = client(&mut broker, "publisher");
    let publish = publish_expiring("t", b"x", false, 60);
    send(&mut broker, link, &publish.repeat(count));
    send(&mut broker, link, &publish.repeat(150));
    broker.wait(Duration::from_secs(61));
    let link = client(&mut broker, "another");
    send(&mut broker, link, &publish.repeat(150));
    let counters = broker.shard.counters();
    format!("{} {:?}", counters.messages_queued, counters.messages_dropped)
}

#[test]
fn full_queues_looked_through_are_found() {
    let sizes = [QUEUED - 1, QUEUED + 1];
    finds(Planted::ExpiredScan, QUEUED, &sizes, messages_for_a_full_queue);
}

/// As many messages as may be in flight in this test.
const IN_FLIGHT: usize = 10_000;

fn acknowledgements_in_any_order(count: usize) -> String {
    let mut broker = broker(|options| {
        options.max_inflight = IN_FLIGHT as u16;
        options.max_queued_messages = IN_FLIGHT as u32;
    });
    let link = client(&mut broker, "subscriber");
    send(&mut broker, link, &subscribe(&["t".to_owned()], 1));
    broker.take(link);
    let publisher = client(&mut broker, "publisher");
    send(&mut broker, publisher, &publish_at_1("t", 1).repeat(count));
    let sent = broker.take(link);
    let length = publish_at_1("t", 1).len();
    let mut ids: Vec<&[u8]> = sent.chunks(length).map(|publish| &publish[5..7]).collect();
    shuffle(&mut ids);
    let acks: Vec<u8> = ids.iter().flat_map(|id| [0x40, 2, id[0], id[1]]).collect();
    send(&mut broker, link, &acks);
    outcome(&mut broker, link)
}

#[test]
fn exchanges_looked_for_among_all_are_found() {
    let sizes = [IN_FLIGHT - 1, IN_FLIGHT + 1];
    finds(Planted::InFlightScan, IN_FLIGHT, &sizes, acknowledgements_in_any_order);
}

fn live_messages_beside_waiting_replays(count: usize) -> String {
    let mut broker = broker(|_| {});
    let link = client(&mut broker, "busy");
    broker.input(Input::Blocked { link });
    send(&mut broker, link, &subscribe(&filters(count), 1));
    let publisher = client(&mut broker, "publisher");
    let publish = packet(0x31, &[&text("f/0")[..], &[0, b'x']].concat());
    send(&mut broker, publisher, &publish.repeat(400));
    broker.input(Input::Writable { link });
    settle(&mut broker);
    outcome(&mut broker, link)
}

#[test]
fn live_messages_noted_in_each_replay_are_found() {
    finds(Planted::LiveInEachReplay, REPLAYS, &[], live_messages_beside_waiting_replays);
}

const RETAINED: usize = 50_000;

/// Filters that match none of the retained topics, by which the search can see so at once.
fn searches_that_find_nothing(count: usize) -> String {
    let mut broker = broker(|_| {});
    let publisher = client(&mut broker, "publisher");
    let publish = |number| packet(0x31, &[&text(&format!("t/{number}"))[..], &[0, b'x']].concat());
    let all: Vec<u8> = (0..count).flat_map(publish).collect();
    send(&mut broker, publisher, &all);
    let filters: Vec<_> = (0..10).map(|number| format!("+/none/{number}")).collect();
    let mut outcomes = String::new();
    let links: Vec<_> = (0..20).map(|name| client(&mut broker, &format!("{name}"))).collect();
    for &link in &links {
        broker.send(link, &subscribe(&filters, 1));
    }
    settle(&mut broker);
    for link in links {
        outcomes += &outcome(&mut broker, link);
    }
    outcomes
}

#[test]
fn searches_among_topics_that_cannot_match_are_found() {
    finds(Planted::RetainedWalk, RETAINED, &[], searches_that_find_nothing);
}

const SUBSCRIBERS: usize = 10_000;

/// The last of many subscribers of one filter subscribes again and again.
fn a_filter_of_many_subscribers(count: usize) -> String {
    let mut broker = broker(|_| {});
    let filter = ["t".to_owned()];
    let mut last = client(&mut broker, "first");
    for number in 0..count {
        last = client(&mut broker, &format!("client-{number}"));
        broker.send(last, &subscribe(&filter, 1));
    }
    send(&mut broker, last, &subscribe(&filter, 1).repeat(400));
    send(&mut broker, last, &unsubscribe(&filter));
    outcome(&mut broker, last)
}

#[test]
fn subscribers_looked_for_among_all_are_found() {
    finds(Planted::SubscriberScan, SUBSCRIBERS, &[], a_filter_of_many_subscribers);
}

/// As many subscriptions as a session may have by default.
const OF_ONE_SESSION: usize = 100_000;

fn a_session_that_ends(count: usize) -> String {
    let mut broker = broker(|_| {});
    let link = client(&mut broker, "busy");
    send(&mut broker, link, &subscribe(&filters(count), 1));
    broker.drop_link(link);
    settle(&mut broker);
    format!("{:?}", broker.shard.census())
}

#[test]
fn a_session_that_ends_at_once_is_found() {
    finds(Planted::EndAtOnce, OF_ONE_SESSION, &[], a_session_that_ends);
}

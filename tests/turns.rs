//! Work that is more than a turn should take: it goes on in later turns, and other clients are
//! answered between.

mod support;

use ringmq::broker::{Input, LinkId};
use ringmq::limits::TURN_STEPS_MAX;
use ringmq::metrics::Dropped;
use ringmq::options::Options;
use support::bare::Bare;
use support::peer::{connect, connect_stored, packet, text};
use support::vectors::packet_length;

/// Filters that take several turns.
const FILTERS: usize = 20_000;

const NOTHING: [u8; 0] = [];
const PINGREQ: &[u8] = &[0xC0, 0];
const PINGRESP: &[u8] = &[0xD0, 0];

/// One worker, a client with much to do and one with little.
struct World {
    broker: Bare,
    busy: LinkId,
    quiet: LinkId,
}

impl World {
    fn new() -> Self {
        let options = Options { max_packet_size: 100_000_000, ..Options::default() };
        let mut broker = Bare::with(options);
        let [busy, quiet] = ["busy", "quiet"].map(|name| {
            let link = broker.open();
            broker.send(link, &connect(name, None));
            broker.take(link);
            link
        });
        Self { broker, busy, quiet }
    }

    /// Lets the worker take turns until nothing is to be done. Between them the quiet client gets
    /// its answers. How many turns there were; none of them took more than it should.
    fn settle(&mut self) -> usize {
        let mut turns = 0;
        while self.broker.shard.deadline().is_some_and(|due| due <= self.broker.now) {
            turns += 1;
            let before = self.broker.shard.steps();
            self.broker.input(Input::Tick);
            let steps = self.broker.shard.steps() - before;
            assert!(steps <= 3 * TURN_STEPS_MAX as u64, "a turn of {steps} steps");
            self.broker.send(self.quiet, PINGREQ);
            assert_eq!(self.broker.take(self.quiet), PINGRESP);
            assert!(turns < 10_000, "the work ends");
        }
        turns
    }

    fn send(&mut self, bytes: &[u8]) {
        // As it comes from a socket: a little at a time.
        bytes.chunks(4096).for_each(|bytes| self.broker.send(self.busy, bytes));
    }

    /// The codes of the SUBACK or UNSUBACK that the busy client got, and what came behind it.
    fn codes(&mut self) -> (Vec<u8>, Vec<u8>) {
        let bytes = self.broker.take(self.busy);
        let length = packet_length(&bytes).expect("a whole packet");
        assert!(matches!(bytes[0], 0x90 | 0xB0), "{:02x?}", &bytes[..10.min(length)]);
        (bytes[length - FILTERS..length].to_vec(), bytes[length..].to_vec())
    }
}

/// The filter of each number; the last of 256 is none that may be.
fn filter(number: usize) -> String {
    if number % 256 == 255 { format!("{number}/#/wrong") } else { format!("of/{number}/+") }
}

fn code(number: usize) -> u8 {
    if number % 256 == 255 { 0x8F } else { 1 }
}

fn subscribe() -> Vec<u8> {
    let filters = (0..FILTERS).map(|number| [&text(&filter(number))[..], &[1]].concat());
    packet(0x82, &[vec![0, 7, 0], filters.flatten().collect()].concat())
}

fn unsubscribe() -> Vec<u8> {
    let filters = (0..FILTERS).map(|number| text(&filter(number)));
    packet(0xA2, &[vec![0, 8, 0], filters.flatten().collect()].concat())
}

fn publish(topic: &str) -> Vec<u8> {
    packet(0x30, &[&text(topic)[..], &[0, b'x']].concat())
}

#[test]
fn a_long_subscribe_is_done_in_pieces_and_answered_whole_and_in_order() {
    let mut world = World::new();
    let mut bytes = subscribe();
    bytes.extend(publish("of/0/own"));
    bytes.extend_from_slice(PINGREQ);
    world.send(&bytes);
    assert_eq!(world.broker.take(world.busy), NOTHING, "nothing goes out before the whole is done");
    assert!(world.settle() > 5, "it takes turns");
    let (codes, rest) = world.codes();
    assert!((0..FILTERS).all(|number| codes[number] == code(number)));
    // What came behind the packet waited for it.
    assert_eq!(rest, [publish("of/0/own"), PINGRESP.to_vec()].concat());
    world.broker.send(world.quiet, &publish("of/19998/x"));
    assert_eq!(world.broker.take(world.busy), publish("of/19998/x"));
}

#[test]
fn a_long_unsubscribe_is_done_in_pieces_and_answered_whole() {
    let mut world = World::new();
    world.send(&subscribe());
    world.settle();
    world.codes();
    let mut bytes = unsubscribe();
    bytes.extend_from_slice(PINGREQ);
    world.send(&bytes);
    assert!(world.settle() > 5, "it takes turns");
    let (codes, rest) = world.codes();
    let expected = |number| if code(number) == 1 { 0 } else { 0x8F };
    assert!((0..FILTERS).all(|number| codes[number] == expected(number)));
    assert_eq!(rest, PINGRESP);
    world.broker.send(world.quiet, &publish("of/19998/x"));
    assert_eq!(world.broker.take(world.busy), NOTHING);
}

#[test]
fn of_a_packet_that_ends_wrong_no_piece_is_done() {
    let mut world = World::new();
    let mut bytes = subscribe();
    let last = bytes.len() - 1;
    bytes[last] = 3;
    world.send(&bytes);
    world.settle();
    assert!(world.broker.is_closed(world.busy));
    assert_eq!(world.broker.shard.census().1, 0, "no filter is subscribed to");
}

#[test]
fn a_client_that_leaves_within_a_long_packet_leaves_nothing() {
    let mut world = World::new();
    world.send(&subscribe());
    assert!(world.broker.shard.census().1 > 0, "some filters are done");
    world.broker.drop_link(world.busy);
    world.settle();
    assert_eq!(world.broker.shard.census(), (1, 0, 0));
}

#[test]
fn a_disconnect_behind_a_long_packet_is_handled_in_its_turn() {
    let mut world = World::new();
    let mut bytes = subscribe();
    bytes.extend_from_slice(&[0xE0, 0]);
    world.send(&bytes);
    assert!(!world.broker.is_closed(world.busy));
    world.settle();
    assert!(world.broker.is_closed(world.busy));
    assert_eq!(world.codes().1, NOTHING);
    assert_eq!(world.broker.shard.census(), (1, 0, 0));
}

#[test]
fn a_session_with_many_subscriptions_ends_in_pieces_and_gets_nothing_meanwhile() {
    let mut world = World::new();
    let stored = world.broker.open();
    world.broker.send(stored, &connect_stored("stored", 3600, 0));
    world.busy = stored;
    world.broker.take(stored);
    world.send(&subscribe());
    world.settle();
    world.codes();
    world.broker.drop_link(stored);
    world.settle();
    // A clean start: the session that stood ends.
    world.busy = world.broker.open();
    world.broker.send(world.busy, &connect("stored", None));
    assert_eq!(world.broker.take(world.busy)[2], 0, "no session is present");
    let (sessions, nodes, _) = world.broker.shard.census();
    assert!(sessions == 4 && nodes > 0, "some are left: {sessions} {nodes}");
    let publish_at_1 = packet(0x32, &[&text("of/3/x")[..], &[0, 1, 0, b'x']].concat());
    world.broker.send(world.quiet, &publish_at_1);
    world.broker.take(world.quiet);
    assert!(world.settle() > 5, "it takes turns");
    assert_eq!(world.broker.take(world.busy), NOTHING);
    assert_eq!(world.broker.shard.census(), (3, 0, 0));
    assert_eq!(world.broker.shard.counters().dropped(Dropped::QueueFull), 0);
}

#[test]
fn a_search_that_finds_nothing_does_not_hold_up_another() {
    let mut world = World::new();
    for number in 0..50_000 {
        let retained = [&text(&format!("t/{number}"))[..], &[0, b'x']].concat();
        world.broker.send(world.quiet, &packet(0x31, &retained));
    }
    // Each of 40 filters looks at all topics, and finds none.
    let filters = (0..40).map(|n| [&text(&format!("+/+/+/{n}"))[..], &[0]].concat());
    world.send(&packet(0x82, &[vec![0, 7, 0], filters.flatten().collect()].concat()));
    world.broker.input(Input::Tick);
    let other = world.broker.open();
    world.broker.send(other, &connect("other", None));
    world.broker.take(other);
    world.broker.send(other, &packet(0x82, &[&[0, 1, 0][..], &text("+/777"), &[0]].concat()));
    let mut got = world.broker.take(other);
    for _ in 0..3 {
        world.broker.input(Input::Tick);
        got.extend(world.broker.take(other));
    }
    assert!(got.ends_with(b"\x31\x09\0\x05t/777\0x"), "{got:02x?}");
    assert!(world.settle() > 100, "the long search goes on");
}

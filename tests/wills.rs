//! What becomes of a will between a connection that is lost and the disk.

mod support;

use ringmq::base::ids::WorkerId;
use ringmq::broker::{Input, LinkId, Promise};
use ringmq::store::record::Record;
use ringmq::store::{Commit, CommitBuilder, Epoch, Piece, SEGMENT_HEADER, Stamp, State, pieces};
use std::time::Duration;
use support::bare::Bare;
use support::peer::{connect_stored, packet, text};

const STAMP: Stamp = Stamp { salt: 7, number: 1 };

/// One worker, and the disk that it writes to.
struct World {
    broker: Bare,
    gatherer: CommitBuilder,
    /// What is being written.
    commit: Option<Commit>,
    state: State,
}

impl World {
    fn new(promise: Promise) -> Self {
        let mut broker = Bare::default();
        broker.shard.keep_journal(Epoch(0), promise);
        let (gatherer, state) = (CommitBuilder::new(1, Epoch(0)), State::new(Epoch(0)));
        Self { broker, gatherer, commit: None, state }
    }

    /// The disk begins to write what the worker has for it; false when there is nothing.
    fn begin(&mut self) -> bool {
        while let Some(submission) = self.broker.shard.next_submission() {
            self.gatherer.take(WorkerId(0), submission);
        }
        self.broker.drain();
        if self.commit.is_none() {
            self.commit = self.gatherer.next(STAMP);
        }
        self.commit.is_some()
    }

    /// It has written that.
    fn end(&mut self) {
        let Some(Commit { bytes, heard, .. }) = self.commit.take() else { return };
        let segment = [&[0; SEGMENT_HEADER], bytes.as_slice()].concat();
        for piece in pieces(&segment, STAMP.salt, STAMP.number) {
            let Piece::Record { payload, .. } = piece else { panic!("it cannot be read") };
            self.state.apply(Record::decode(payload).unwrap());
        }
        let committed = heard.into_values().next().unwrap();
        let (has_batch, parts) = (committed.has_batch, committed.parts);
        self.broker.input(Input::Committed { has_batch, parts });
    }

    /// Nothing is left to be written.
    fn settle(&mut self) {
        self.broker.now = self.broker.now.after(Duration::from_millis(500));
        self.broker.input(Input::Tick);
        while self.begin() {
            self.end();
        }
    }

    /// True when a process that starts now has a will.
    fn has_will(&self) -> bool {
        self.state.sessions.values().any(|session| session.attributes.will.is_some())
    }

    fn connect(&mut self, bytes: &[u8]) -> LinkId {
        let link = self.broker.open();
        self.broker.send(link, bytes);
        self.settle();
        assert_eq!(self.broker.take(link)[0], 0x20);
        link
    }

    /// Somebody who gets each message, once.
    fn heir(&mut self) -> LinkId {
        let heir = self.connect(&connect_stored("heir", 0, 0));
        self.broker.send(heir, &packet(0x82, &[&[0, 1, 0][..], &text("will"), &[2]].concat()));
        self.settle();
        self.broker.take(heir);
        heir
    }
}

/// CONNECT with a will for the topic "will", whose payload is "gone".
fn connect_with_will(qos: u8, retain: bool, expiry_s: u32) -> Vec<u8> {
    let flags = 4 | qos << 3 | u8::from(retain) << 5;
    let head = [&text("MQTT")[..], &[5, flags, 0, 0, 5, 0x11], &expiry_s.to_be_bytes()].concat();
    let will = [&[0][..], &text("will"), &text("gone")].concat();
    packet(0x10, &[&head[..], &text("owner"), &will].concat())
}

fn publish(payload: &str, retain: bool) -> Vec<u8> {
    let body = [&text("will")[..], &[0], payload.as_bytes()].concat();
    packet(0x30 | u8::from(retain), &body)
}

#[test]
fn a_qos_0_will_is_published_when_the_disk_knows_that_it_is_gone() {
    for (retain, expiry_s) in [(false, 0), (false, 3600), (true, 0), (true, 3600)] {
        let mut world = World::new(Promise::Commit);
        let heir = world.heir();
        let owner = world.connect(&connect_with_will(0, retain, expiry_s));
        assert!(world.has_will());
        world.broker.drop_link(owner);
        assert!(world.begin());
        // Who is killed here publishes the will when it starts again.
        assert!(world.has_will());
        assert_eq!(world.broker.take(heir), [0_u8; 0], "retain {retain}, expiry {expiry_s}");
        world.end();
        assert!(!world.has_will());
        assert_eq!(world.broker.take(heir), publish("gone", false));
        world.settle();
        assert_eq!(world.broker.take(heir), [0_u8; 0]);
        assert_eq!(world.state.retained().count(), usize::from(retain));
    }
}

#[test]
fn a_will_that_may_come_twice_does_not_wait_for_the_disk() {
    for (qos, promise) in [
        (1, Promise::Commit),
        (2, Promise::Commit),
        (0, Promise::Interval(Duration::from_secs(60))),
    ] {
        let mut world = World::new(promise);
        world.broker.shard.hurry_journal();
        let heir = world.broker.open();
        world.broker.send(heir, &connect_stored("heir", 0, 0));
        world.broker.send(heir, &packet(0x82, &[&[0, 1, 0][..], &text("will"), &[0]].concat()));
        world.settle();
        world.broker.take(heir);
        let owner = world.broker.open();
        world.broker.send(owner, &connect_with_will(qos, false, 0));
        world.settle();
        world.broker.drop_link(owner);
        assert_eq!(world.broker.take(heir), publish("gone", false), "{qos}, {promise:?}");
    }
}

#[test]
fn a_will_comes_before_what_its_client_publishes_when_it_is_back() {
    for drops in [true, false] {
        let mut world = World::new(Promise::Commit);
        let heir = world.heir();
        let owner = world.connect(&connect_with_will(0, true, 3600));
        if drops {
            world.broker.drop_link(owner);
        }
        let again = world.broker.open();
        let bytes = [connect_stored("owner", 3600, 0), publish("back", true)].concat();
        world.broker.send(again, &bytes);
        assert_eq!(world.broker.take(heir), [0_u8; 0]);
        world.settle();
        let expected = [publish("gone", false), publish("back", false)].concat();
        assert_eq!(world.broker.take(heir), expected, "the first connection drops: {drops}");
        let retained: Vec<_> = world.state.retained().map(|m| m.payload().to_vec()).collect();
        assert_eq!(retained, [b"back"]);
    }
}

#[test]
fn an_orderly_stop_publishes_no_will_and_keeps_none() {
    let mut world = World::new(Promise::Commit);
    let heir = world.heir();
    world.connect(&connect_with_will(0, true, 3600));
    world.broker.input(Input::Shutdown);
    world.settle();
    let sent = world.broker.take(heir);
    assert_eq!(sent[0], 0xe0, "{sent:02x?}");
    assert!(!world.has_will());
    assert_eq!(world.state.retained().count(), 0);
}

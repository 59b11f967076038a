//! What a live broker cannot be made to do at will, at a shard of its own.

use crate::driver::{By, Drive, Driver};
use crate::support::bare::Bare;
use crate::support::peer::{connect, connect_stored, packet, text};
use ringmq::broker::{Input, LinkId, Pressure, Promise};
use ringmq::options::Options;
use ringmq::store::Epoch;
use std::time::Duration;

/// PUBLISH of version 5 at QoS 1 with packet identifier 1.
fn publish(topic: &str, retain: bool, payload: &[u8]) -> Vec<u8> {
    let head = [&text(topic)[..], &[0, 1, 0]].concat();
    packet(0x32 | u8::from(retain), &[&head, payload].concat())
}

fn subscribe(filter: &str) -> Vec<u8> {
    packet(0x82, &[&[0, 2, 0], &text(filter)[..], &[1]].concat())
}

pub(crate) const REFUSED_MEMORY: Driver = Driver {
    drive: Drive::Bare(|| {
        let mut broker = Bare::default();
        let link = broker.connected(&connect_stored("a", 1000, 0));
        broker.input(Input::Pressure(Pressure::Tight));
        broker.send(link, &publish("r", true, b"x"));
        broker.send(link, &subscribe("s"));
        let stored = broker.open();
        broker.send(stored, &connect_stored("b", 1000, 0));
        broker
    }),
    moves: &[("refused_memory", "", By::Exactly(3))],
};

pub(crate) const DROPPED_MEMORY: Driver = Driver {
    drive: Drive::Bare(|| {
        let options = Options { max_queued_bytes: u64::MAX, ..Options::default() };
        let mut broker = Bare::with(options);
        let link = broker.connected(&connect_stored("much", 1000, 0));
        broker.send(link, &subscribe("q"));
        broker.drop_link(link);
        let publisher = broker.connected(&connect("publisher", None));
        (0..40).for_each(|_| broker.send(publisher, &publish("q", false, &[0; 5000])));
        broker.input(Input::Pressure(Pressure::Short));
        broker.wait(Duration::from_secs(1));
        broker
    }),
    moves: &[
        ("messages_queued", "", By::Exactly(40)),
        ("messages_dropped", "memory", By::Exactly(40)),
        ("queued_messages", "", By::To(0)),
    ],
};

/// Commits all that is due for the journal.
fn commit(broker: &mut Bare) {
    while let Some(due) = broker.shard.deadline().filter(|due| *due <= broker.now.after(SOON)) {
        broker.now = broker.now.max(due);
        broker.input(Input::Tick);
        if broker.shard.next_submission().is_some() {
            broker.input(Input::Committed { has_batch: true, parts: Vec::new() });
        }
    }
}

const SOON: Duration = Duration::from_millis(500);

/// A shard with a journal: a retained message, and a client with a session that stays.
fn durable() -> (Bare, LinkId, LinkId) {
    let mut broker = Bare::default();
    broker.shard.keep_journal(Epoch(0), Promise::Commit);
    let publisher = broker.open();
    broker.send(publisher, &connect("publisher", None));
    let reader = broker.open();
    broker.send(reader, &connect_stored("reader", 1000, 0));
    broker.send(publisher, &publish("r", true, b"old"));
    commit(&mut broker);
    (broker, publisher, reader)
}

pub(crate) const REPLACED: Driver = Driver {
    drive: Drive::Bare(|| {
        let (mut broker, publisher, reader) = durable();
        broker.send(reader, &subscribe("r"));
        // The subscription is committed, and the old message waits for its own commit.
        broker.now = broker.now.after(SOON);
        broker.input(Input::Tick);
        assert!(broker.shard.next_submission().is_some());
        broker.input(Input::Committed { has_batch: true, parts: Vec::new() });
        broker.send(publisher, &publish("r", true, b"new"));
        commit(&mut broker);
        broker
    }),
    moves: &[
        ("messages_owed", "", By::Exactly(2)),
        ("messages_withdrawn", "replaced", By::Exactly(1)),
        ("publishes_sent", "1", By::Exactly(1)),
        ("queued_messages", "", By::To(0)),
    ],
};

pub(crate) const REPLAYS: Driver = Driver {
    drive: Drive::Bare(|| {
        let (mut broker, _, reader) = durable();
        // What the journal has not got yet counts, too; the replay waits for the SUBACK.
        broker.send(reader, &subscribe("r"));
        broker
    }),
    moves: &[
        ("memory", "replays", By::AtLeast(16, "a tree of replays counts with its nodes")),
        ("memory", "journal", By::AtLeast(10, "what a record takes is the format's affair")),
        ("journal_waiting", "", By::AtLeast(10, "what a record takes is the format's affair")),
    ],
};

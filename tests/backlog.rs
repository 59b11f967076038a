//! Sessions with long backlogs that come back together: each turn takes a part of what waits, and
//! each session gets its share of it.

mod support;

use ringmq::broker::{Input, LinkId, Promise};
use ringmq::limits::{GATHERING_BYTES_MAX, PUMP_MESSAGES_MAX};
use ringmq::metrics::Dropped;
use ringmq::options::Options;
use ringmq::store::{Epoch, Submission};
use std::time::Duration;
use support::bare::Bare;
use support::peer::{connect_stored, packet, publish_expiring, text};
use support::vectors::packet_length;

const SESSIONS: usize = 8;
/// For each session: as much as no batch takes of all of them.
const MESSAGES: usize = 4000;
/// What a client may have published and not heard of.
const AT_A_TIME: usize = 16;
/// More records than these do not gather: each takes more bytes than that.
const RECORDS_MAX: usize = GATHERING_BYTES_MAX / 200;
const _: () = assert!(RECORDS_MAX + SESSIONS * PUMP_MESSAGES_MAX < SESSIONS * MESSAGES);

/// One worker, and a disk that writes at once.
struct World {
    broker: Bare,
    publisher: LinkId,
}

impl World {
    fn new() -> Self {
        let options = Options {
            max_inflight: u16::MAX,
            max_queued_messages: MESSAGES as u32,
            max_queued_bytes: u64::MAX,
            // No timer is ever due.
            max_anonymous_expiry: u32::MAX,
            ..Options::default()
        };
        let mut broker = Bare::with(options);
        broker.shard.keep_journal(Epoch(0), Promise::Commit);
        let publisher = broker.open();
        broker.send(publisher, &connect_stored("publisher", 0, 0));
        Self { broker, publisher }
    }

    /// Lets the worker take a turn, and writes what it hands over then: how many entries that is.
    /// None when nothing is to be done.
    fn turn(&mut self) -> Option<usize> {
        self.broker.now = self.broker.shard.deadline()?.max(self.broker.now);
        self.broker.input(Input::Tick);
        let Some(submission) = self.broker.shard.next_submission() else { return Some(0) };
        let Submission::Batch(batch) = submission else { panic!("one worker has no parts") };
        self.broker.input(Input::Committed { has_batch: true, parts: Vec::new() });
        Some(batch.entries.len())
    }

    fn settle(&mut self) {
        while self.turn().is_some() {}
    }

    /// Publishes the message of each number under the topic that it has, at QoS 2.
    fn publish(&mut self, retain: bool, topic: impl Fn(usize) -> String) {
        let numbers: Vec<usize> = (0..MESSAGES).collect();
        for numbers in numbers.chunks(AT_A_TIME) {
            for (packet_id, number) in (1..).zip(numbers) {
                let id = [0, packet_id, 0];
                let body = [&text(&topic(*number))[..], &id, &(*number as u32).to_be_bytes()];
                let head = 0x34 | u8::from(retain);
                self.broker.send(self.publisher, &packet(head, &body.concat()));
            }
            self.settle();
            for packet_id in 1..=numbers.len() as u8 {
                self.broker.send(self.publisher, &[0x62, 2, 0, packet_id]);
            }
            self.settle();
        }
    }

    fn connect(&mut self) -> Vec<LinkId> {
        let connect = |number| {
            let link = self.broker.open();
            self.broker.send(link, &connect_stored(&format!("session-{number}"), u32::MAX, 0));
            link
        };
        (0..SESSIONS).map(connect).collect()
    }

    fn subscribe(&mut self, links: &[LinkId], filter: &str) {
        let body = [&[0, 1, 0][..], &text(filter), &[2]].concat();
        links.iter().for_each(|link| self.broker.send(*link, &packet(0x82, &body)));
    }

    /// Lets every client come, subscribe and go.
    fn leave_sessions(&mut self, filter: &str) {
        let links = self.connect();
        self.subscribe(&links, filter);
        self.settle();
        links.iter().for_each(|link| self.broker.drop_link(*link));
    }

    /// The numbers of the messages that a link has been sent.
    fn numbers(&mut self, link: LinkId) -> Vec<usize> {
        let bytes = self.broker.take(link);
        let (mut rest, mut numbers) = (&bytes[..], Vec::new());
        while let Some(length) = packet_length(rest) {
            let (packet, more) = rest.split_at(length);
            if packet[0] & 0xf0 == 0x30 {
                let number = packet.last_chunk().expect("four bytes");
                numbers.push(u32::from_be_bytes(*number) as usize);
            }
            rest = more;
        }
        numbers
    }

    /// Writes what there is, batch by batch, and takes what the links are sent.
    fn check(&mut self, links: &[LinkId]) {
        let mut came = vec![Vec::new(); links.len()];
        let mut batches = 0;
        while let Some(entries) = self.turn() {
            assert!(entries <= RECORDS_MAX, "{entries} records in one batch");
            batches += usize::from(entries > 0);
            for (link, came) in links.iter().zip(&mut came) {
                came.extend(self.numbers(*link));
            }
            if batches == 4 {
                assert!(came.iter().all(|came| !came.is_empty()), "each has its share");
            }
        }
        for mut came in came {
            came.sort_unstable();
            assert!(came.into_iter().eq(0..MESSAGES), "each message once");
        }
        assert!(batches > 4);
    }
}

#[test]
fn long_queues_are_taken_a_part_at_a_time() {
    let mut world = World::new();
    world.leave_sessions("queued");
    world.publish(false, |_| "queued".to_owned());
    let links = world.connect();
    world.check(&links);
}

#[test]
fn many_retained_messages_are_taken_a_part_at_a_time() {
    let mut world = World::new();
    world.publish(true, |number| format!("retained/{number}"));
    let links = world.connect();
    world.settle();
    world.subscribe(&links, "retained/+");
    world.check(&links);
}

#[test]
fn what_has_expired_is_dropped_a_part_at_a_time() {
    let mut world = World::new();
    world.leave_sessions("expiring");
    for _ in 0..MESSAGES {
        world.broker.send(world.publisher, &publish_expiring("expiring", b"old", false, 3600));
    }
    world.settle();
    world.broker.now = world.broker.now.after(Duration::from_secs(3601));
    let dropped = |world: &World| world.broker.shard.counters().dropped(Dropped::Expired) as usize;
    world.connect();
    let mut before = 0;
    while world.turn().is_some() {
        // What has been committed may let each go on once more in the same turn.
        assert!(dropped(&world) - before <= 2 * SESSIONS * PUMP_MESSAGES_MAX);
        before = dropped(&world);
    }
    assert_eq!(dropped(&world), SESSIONS * MESSAGES);
}

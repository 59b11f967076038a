//! Retained messages that are published while replays to their subscribers are under way.

mod support;

use ringmq::broker::{Input, LinkId, Promise};
use ringmq::metrics::Dropped;
use ringmq::options::Options;
use ringmq::store::record::Record;
use ringmq::store::{Entry, Epoch, Submission};
use support::bare::Bare;
use support::peer::{packet, text};
use support::vectors::packet_length;

/// A client of version 5 with a session that stays, which takes one message at a time.
fn subscriber(broker: &mut Bare) -> LinkId {
    let link = broker.open();
    let head = [&text("MQTT")[..], &[5, 0, 0, 0, 8, 0x11, 0, 0, 255, 255, 0x21, 0, 1]].concat();
    broker.send(link, &packet(0x10, &[&head[..], &text("subscriber")].concat()));
    link
}

fn publisher(broker: &mut Bare) -> LinkId {
    let link = broker.open();
    let head = [&text("MQTT")[..], &[5, 2, 0, 0, 0]].concat();
    broker.send(link, &packet(0x10, &[&head[..], &text("publisher")].concat()));
    link
}

fn publish(broker: &mut Bare, link: LinkId, topic: &str, payload: &str, retain: bool) {
    let body = [&text(topic)[..], &[0, 1, 0], payload.as_bytes()].concat();
    broker.send(link, &packet(0x32 | u8::from(retain), &body));
}

fn subscribe(broker: &mut Bare, link: LinkId, filters: &[String]) {
    let mut body = vec![0, 1, 0];
    for filter in filters {
        body.extend(text(filter));
        body.push(1);
    }
    broker.send(link, &packet(0x82, &body));
}

/// Takes what the link is sent, acknowledges each message, and goes on until nothing comes: topics
/// and payloads together.
fn read(broker: &mut Bare, link: LinkId) -> Vec<String> {
    let mut came = Vec::new();
    loop {
        while broker.shard.deadline().is_some_and(|due| due <= broker.now) {
            broker.input(Input::Tick);
        }
        let bytes = broker.take(link);
        let mut rest = &bytes[..];
        let before = came.len();
        while let Some(length) = packet_length(rest) {
            let (packet, more) = rest.split_at(length);
            rest = more;
            if packet[0] >> 4 == 3 {
                let topic_end = 4 + packet[3] as usize;
                let topic = String::from_utf8_lossy(&packet[4..topic_end]).into_owned();
                let payload = String::from_utf8_lossy(&packet[topic_end + 3..]).into_owned();
                came.push(topic + " " + &payload);
                let packet_id = [packet[topic_end], packet[topic_end + 1]];
                broker.send(link, &[&[0x40, 2][..], &packet_id].concat());
            }
        }
        if came.len() == before {
            return came;
        }
    }
}

/// The numbers that the record of each message says the message overtakes, and its bytes.
fn records(broker: &mut Bare) -> Vec<(Vec<u32>, usize)> {
    let mut records = Vec::new();
    while let Some(due) = broker.shard.deadline() {
        broker.now = due.max(broker.now);
        broker.input(Input::Tick);
        let Some(submission) = broker.shard.next_submission() else { continue };
        let Submission::Batch(batch) = submission else { panic!("one worker has no parts") };
        for entry in batch.entries {
            let Entry::Publish(publish) = entry else { continue };
            let record = publish.record(Epoch(0), true);
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let Record::Published(published) = record else { panic!("a publish") };
            let overtakes = published.others.into_iter().flat_map(|(_, way)| way.overtakes);
            records.push((overtakes.collect(), bytes.len()));
        }
        broker.input(Input::Committed { has_batch: true, parts: Vec::new() });
    }
    records
}

/// All combinations of `+` and `a` in ten levels: a thousand filters, all of which match.
fn overlapping() -> Vec<String> {
    let filter = |bits: u32| {
        let levels = (0..10).map(|level| if bits >> level & 1 == 1 { "a/" } else { "+/" });
        levels.collect::<String>() + "#"
    };
    (0..1024).map(filter).collect()
}

#[test]
fn the_record_of_a_live_message_names_one_replay_however_many_wait() {
    let mut broker = Bare::default();
    broker.shard.keep_journal(Epoch(0), Promise::Commit);
    let (publisher, subscriber) = (publisher(&mut broker), subscriber(&mut broker));
    for topic in ["x/1", "x/2"] {
        publish(&mut broker, publisher, topic, "old", true);
    }
    records(&mut broker);
    // One of two arrives and is not acknowledged, so that all replays behind it wait.
    subscribe(&mut broker, subscriber, &["x/#".to_owned()]);
    subscribe(&mut broker, subscriber, &overlapping());
    records(&mut broker);
    publish(&mut broker, publisher, &("a/".repeat(10) + "b"), "live", true);
    let records = records(&mut broker);
    assert_eq!(records.len(), 1, "{records:?}");
    let (overtakes, bytes) = &records[0];
    assert_eq!(overtakes, &[1025], "the last of them stands for all");
    assert!(*bytes < 120, "{bytes} bytes of record");
}

#[test]
fn a_live_message_overtakes_older_ones_in_every_replay_that_had_begun() {
    let mut broker = Bare::default();
    let (publisher, subscriber) = (publisher(&mut broker), subscriber(&mut broker));
    for topic in ["a", "b", "c"] {
        publish(&mut broker, publisher, topic, "old", true);
    }
    subscribe(&mut broker, subscriber, &["#".to_owned(), "b".to_owned()]);
    let first = broker.take(subscriber);
    publish(&mut broker, publisher, "b", "live", true);
    // This one began later, and is owed the live message as a retained one.
    subscribe(&mut broker, subscriber, &["+".to_owned()]);
    broker.put_back(subscriber, &first);
    let came = read(&mut broker, subscriber);
    let of_b: Vec<_> = came.iter().filter(|came| came.starts_with('b')).collect();
    assert_eq!(of_b, ["b live", "b live"], "{came:?}");
    assert_eq!(came.len(), 6, "a and c came for two filters each: {came:?}");
}

#[test]
fn a_live_message_that_is_dropped_overtakes_nothing() {
    let options = Options { max_queued_messages: 1, ..Options::default() };
    let mut broker = Bare::with(options);
    let (publisher, subscriber) = (publisher(&mut broker), subscriber(&mut broker));
    for topic in ["a", "b"] {
        publish(&mut broker, publisher, topic, "old", true);
    }
    subscribe(&mut broker, subscriber, &["#".to_owned()]);
    let first = broker.take(subscriber);
    publish(&mut broker, publisher, "z", "fills the queue", false);
    publish(&mut broker, publisher, "b", "dropped", true);
    assert_eq!(broker.shard.counters().dropped(Dropped::QueueFull), 1);
    broker.put_back(subscriber, &first);
    let mut came = read(&mut broker, subscriber);
    came.sort_unstable();
    assert_eq!(came, ["a old", "b old", "z fills the queue"]);
}

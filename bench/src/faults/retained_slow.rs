//! A subscriber of everything reads slowly what is retained: every topic must arrive with its last
//! message, and the broker must not take memory for it.

use super::Bench;
use super::broker::{Broker, Setup};
use super::bystander::Bystander;
use super::client::{Client, Heard};
use super::findings::{Findings, Goal, mib};
use super::packets::{VERSION, connect, retain, subscribe};
use crate::clock::{now_ns, seconds_ns};
use crate::failure::{Failure, Result};
use crate::stamp::{STAMP_BYTES, Stamp};
use crate::wire::{RawFrame, delivery};
use clap::Args;
use ringmq_mqtt::{PacketType, QoS};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::time::Duration;

/// The broker's memory besides what is retained.
const EXTRA_MIB: f64 = 64.0;

/// Topics that are written again while the subscriber stands still: fewer than a queue holds.
const CHANGED: u32 = 500;

/// Bytes that the kernel keeps for the subscriber.
const RECEIVE_BYTES: usize = 64 * 1024;

/// Packets that are sent at once.
const BATCH: u32 = 2000;

/// The time between two looks at the memory.
const LOOK_NS: u64 = 50_000_000;

/// Seconds without a packet after which the rest is lost.
const SILENCE_S: f64 = 10.0;

/// Sizes of the test.
#[derive(Debug, Args)]
pub(super) struct Sizes {
    /// Retained topics [1000000; small: 200000]
    #[arg(long)]
    topics: Option<u32>,
    /// Bytes of a payload
    #[arg(long, default_value_t = 20)]
    size: usize,
    /// Seconds for which the subscriber stands still [10; small: 2]
    #[arg(long)]
    pause: Option<f64>,
    /// Messages per second that it reads then (40000)
    #[arg(long, default_value_t = 40_000.0)]
    read_rate: f64,
}

/// Runs the test.
pub(super) fn run(bench: &Bench, sizes: &Sizes) -> Result<Findings> {
    let topics = bench.size(sizes.topics, 200_000, 1_000_000);
    let pause = bench.size(sizes.pause, 2.0, 10.0);
    let rate = sizes.read_rate;
    if topics == 0 || rate.is_nan() || rate <= 0.0 {
        return Err(Failure::new("--topics and --read-rate are above 0"));
    }
    let size = sizes.size.max(STAMP_BYTES);
    let words = format!(
        "{topics} retained topics of {size} bytes, a `#` subscriber stands still for {pause} s and \
         reads {rate} messages/s"
    );
    let mut findings = bench.findings("retained-slow", words);
    let arguments = vec!["--log-level".to_owned(), "warn".to_owned()];
    let mut broker = bench.start(&Setup { arguments, ..Setup::default() })?;
    let mut publisher = Client::connect(broker.plain, &connect("publisher"))?;
    let all = (0..topics).map(|topic| (topic, 0));
    store(&mut publisher, all, size)?;
    let full = broker.memory_at_rest()?;
    let bystander = Bystander::start(broker.plain, None)?;
    let mut reader = Client::connect(broker.plain, &connect("reader"))?;
    // More, and most would fit into the kernel; less, and the kernel would set the pace.
    set_socket_recv_buffer_size(&reader.stream, RECEIVE_BYTES)?;
    reader.send(&subscribe(&["#"], QoS::AtMostOnce))?;
    let step = topics.div_ceil(CHANGED);
    let seen = vec![None; topics as usize];
    let mut slow = Slow { broker: &broker, step, seen, most: 0, look_ns: 0 };
    slow.stand_still(pause / 2.0)?;
    let changed = (0..topics).step_by(step as usize).map(|topic| (topic, 1));
    store(&mut publisher, changed, size)?;
    slow.stand_still(pause / 2.0)?;
    let standing = slow.most;
    let seconds = slow.read(&mut reader, rate)?;
    let (missing, old, most) = (slow.missing(), slow.old(), slow.most);
    broker.check()?;
    findings.mistakes("topics that did not arrive", missing);
    findings.mistakes("topics whose last message did not arrive", old);
    let megabytes = |bytes: u64| mib(bytes) - mib(full);
    findings.note("memory with all topics", mib(full), "MiB");
    findings.note("extra memory while the subscriber stood still", megabytes(standing), "MiB");
    let goal = Goal::AtMost(EXTRA_MIB);
    findings.judge("extra memory at most", megabytes(most), "MiB", goal);
    findings.note("seconds to read everything", seconds, "s");
    let goal = Goal::AtMost(100.0);
    findings.judge_time("worst ping of a bystander", bystander.worst_ms(), "ms", goal);
    findings.mistakes("pings without an answer", bystander.failures());
    Ok(findings)
}

/// Publishes topics with their versions, and waits until the broker has read all of it.
fn store(
    publisher: &mut Client,
    topics: impl Iterator<Item = (u32, u32)>,
    size: usize,
) -> Result<()> {
    let mut packets = Vec::new();
    for (number, (topic, version)) in (1_u32..).zip(topics) {
        let stamp = Stamp { stream: topic, sequence: version, time_ns: 0 };
        let mut payload = stamp.bytes().to_vec();
        payload.resize(size, b'v');
        packets.extend(retain(&format!("r/{topic:x}"), QoS::AtMostOnce, 0, &payload));
        if number % BATCH == 0 {
            publisher.send(&packets)?;
            packets.clear();
        }
    }
    publisher.send(&packets)?;
    publisher.ping()?;
    Ok(())
}

struct Slow<'a> {
    broker: &'a Broker,
    /// Every so-many-th topic was changed.
    step: u32,
    /// The last version of each topic that came.
    seen: Vec<Option<u32>>,
    /// The most memory that the broker has had.
    most: u64,
    look_ns: u64,
}

impl Slow<'_> {
    fn look(&mut self) -> Result<()> {
        if now_ns() >= self.look_ns {
            self.most = self.most.max(self.broker.memory()?);
            self.look_ns = now_ns() + LOOK_NS;
        }
        Ok(())
    }

    fn stand_still(&mut self, seconds: f64) -> Result<()> {
        let end_ns = now_ns() + seconds_ns(seconds);
        while now_ns() < end_ns {
            self.look()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Reads at this rate until everything is there or nothing comes; the seconds that took.
    fn read(&mut self, reader: &mut Client, rate: f64) -> Result<f64> {
        let start_ns = now_ns();
        let (mut left, mut count) = (self.seen.len(), 0_u64);
        while left > 0 {
            match reader.hear(SILENCE_S) {
                Heard::Packet(packet) => {
                    if packet.kind() == Some(PacketType::Publish) {
                        left -= usize::from(self.take(packet.first, &packet.body));
                        count += 1;
                    }
                }
                Heard::Silence => break,
                Heard::Closed => return Err(Failure::new("the broker closed the slow reader")),
            }
            let due_ns = start_ns + seconds_ns(count as f64 / rate);
            let early_ns = due_ns.saturating_sub(now_ns());
            if early_ns > 1_000_000 {
                std::thread::sleep(Duration::from_nanos(early_ns));
            }
            self.look()?;
        }
        Ok((now_ns() - start_ns) as f64 / 1e9)
    }

    /// The last version of a topic.
    fn last(&self, topic: u32) -> u32 {
        u32::from(topic.is_multiple_of(self.step))
    }

    /// Notes a message; true when the topic is complete by it.
    fn take(&mut self, first: u8, body: &[u8]) -> bool {
        let frame = RawFrame { first, body, length: 0 };
        let delivery = delivery(&frame, VERSION.is_v5());
        let Some(stamp) = delivery.and_then(|delivery| Stamp::read(delivery.payload)) else {
            return false;
        };
        let last = self.last(stamp.stream);
        let Some(seen) = self.seen.get_mut(stamp.stream as usize) else { return false };
        let before = seen.replace(stamp.sequence);
        // A message that comes behind a later one makes the topic old, and is found in the end.
        before != Some(last) && stamp.sequence == last
    }

    fn missing(&self) -> u64 {
        self.seen.iter().filter(|version| version.is_none()).count() as u64
    }

    /// Topics that came, but not their last version, or not as the last one.
    fn old(&self) -> u64 {
        let is_old = |(topic, version): &(u32, &Option<u32>)| {
            version.is_some_and(|version| version != self.last(*topic))
        };
        (0..).zip(&self.seen).filter(is_old).count() as u64
    }
}

//! Subscribers of a busy topic stop reading; the others must hardly notice, and every message that
//! the broker drops for the stopped ones must be counted.

use super::Bench;
use super::broker::{Broker, Setup};
use super::bystander::Bystander;
use super::crowd::{Crowd, Event};
use super::findings::{Findings, Goal, mib};
use super::full_queues;
use super::packets::{VERSION, connect, encode, packet_id_of, subscribe};
use crate::clock::{now_ns, seconds_ns};
use crate::failure::{Failure, Result};
use crate::layer::Below;
use crate::stamp::Stamp;
use crate::tally::new_histogram;
use crate::wire::{RawFrame, Template, delivery};
use clap::Args;
use hdrhistogram::Histogram;
use ringmq_mqtt::{AckType, PacketType, QoS, ReasonCode, encode_ack};
use std::time::Duration;

const TOPIC: &str = "busy";

/// The publisher's place; healthy subscribers come behind it, then those that stop reading.
const PUBLISHER: usize = 0;

/// Publishes that may have no answer; the broker takes 1,024.
const UNANSWERED_MAX: u32 = 1000;

/// The time without a delivery after which readers that go on have everything.
const SILENCE_NS: u64 = 3_000_000_000;

/// The longest time for them to get everything.
const DRAIN_NS: u64 = 300_000_000_000;

/// The time for connections, and for the last answers to the publisher.
const PATIENCE_NS: u64 = 60_000_000_000;

/// MiB of buffers that a worker and its allocator keep for use: measured are up to 18.
const WORKER_MIB: u64 = 32;

/// Seconds for which the readers stand still the second time, at most.
const AGAIN_S: f64 = 60.0;

/// Sizes of the test.
#[derive(Debug, Args)]
pub(super) struct Sizes {
    /// Subscribers that stop reading, every second one at QoS 1 [1000; small: 60]
    #[arg(long)]
    readers: Option<u32>,
    /// Subscribers that go on, every second one at QoS 1 [20; small: 10]
    #[arg(long)]
    healthy: Option<u32>,
    /// Publishes per second, at QoS 1 [200; small: 400]
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds for which the readers stand still [600; small: 6]
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds of the baseline before [30; small: 3]
    #[arg(long)]
    baseline: Option<f64>,
    /// Bytes of a payload [2000; small: 16000]
    #[arg(long)]
    size: Option<usize>,
    /// The broker's limit of messages in a queue [1000; small: 200]
    #[arg(long)]
    queue: Option<u32>,
    /// MiB that may stay when the readers have left, besides 10 % [0; small: 16 for each worker,
    /// which keep buffers for use that weigh more than a small test's queues]
    #[arg(long, value_name = "MIB")]
    kept: Option<u64>,
    /// The broker's limit of memory, in MiB
    #[arg(long, default_value_t = 512)]
    max_memory: u64,
}

/// Runs the test.
pub(super) fn run(bench: &Bench, sizes: &Sizes) -> Result<Findings> {
    let readers = bench.size(sizes.readers, 60, 1000);
    let healthy = bench.size(sizes.healthy, 10, 20);
    let rate = bench.size(sizes.rate, 400.0, 200.0);
    let seconds = bench.size(sizes.seconds, 6.0, 600.0);
    let baseline = bench.size(sizes.baseline, 3.0, 30.0);
    let size = bench.size(sizes.size, 16_000, 2000).max(crate::stamp::STAMP_BYTES);
    let queue = bench.size(sizes.queue, 200, 1000).max(1);
    if readers == 0 || healthy == 0 || !(rate > 0.0 && rate <= 1e6) {
        return Err(Failure::new("--readers, --healthy and --rate are above 0"));
    }
    bench.make_room(readers + healthy)?;
    let words = format!(
        "{readers} of {} subscribers stop reading for {seconds} s, {rate} messages/s of {size} B",
        readers + healthy
    );
    let mut findings = bench.findings("stopped-readers", words);
    let broker = start(bench, queue, sizes.max_memory)?;
    let bystander = Bystander::start(broker.plain, None)?;
    let crowd = Crowd::new(broker.plain, Below::Tcp)?;
    let busy = Busy::new(crowd, healthy as usize, readers as usize, rate, size);
    let workers = u64::from(bench.common.workers);
    let kept = mib_to_bytes(bench.size(sizes.kept, WORKER_MIB * workers, 0));
    let again = mib_to_bytes(WORKER_MIB * workers);
    let test = Stopping { broker, bystander, busy, baseline, seconds, kept, again };
    test.run(&mut findings, mib_to_bytes(sizes.max_memory))?;
    full_queues::run(bench, readers, queue, &mut findings)?;
    Ok(findings)
}

fn mib_to_bytes(mib: u64) -> u64 {
    mib << 20
}

fn start(bench: &Bench, queue: u32, max_memory: u64) -> Result<Broker> {
    let arguments = [
        "--max-queued-messages",
        &queue.to_string(),
        "--max-memory",
        &mib_to_bytes(max_memory).to_string(),
        // A client that takes no byte for so long is given up; the test is about those that stay.
        "--tcp-keep-alive",
        "32767",
    ];
    let arguments = arguments.map(str::to_owned).to_vec();
    bench.start(&Setup { arguments, ..Setup::default() })
}

struct Stopping {
    broker: Broker,
    bystander: Bystander,
    busy: Busy,
    baseline: f64,
    seconds: f64,
    /// Bytes that may stay besides 10 %: the first time, and the second.
    kept: u64,
    again: u64,
}

/// One time that the readers came.
struct Episode {
    during: Phase,
    /// Messages that were published while they stood still.
    published: u64,
    /// Memory 10 s after they left.
    rest: u64,
}

/// The healthy subscribers' part of a phase.
struct Phase {
    latencies: Histogram<u64>,
    per_second: f64,
    worst_ms: f64,
    memory: u64,
}

impl Stopping {
    fn run(mut self, findings: &mut Findings, cap: u64) -> Result<()> {
        self.busy.open(0..self.busy.first_reader())?;
        let empty = self.warm_up()?;
        let before = self.phase(self.baseline)?;
        let first = self.episode(self.seconds)?;
        // Memory that was kept for use does not grow a second time; a leak does.
        let second = self.episode(self.seconds.min(AGAIN_S))?;
        report_phases(findings, &before, &first.during);
        let extra = first.during.memory.max(second.during.memory).saturating_sub(empty);
        findings.judge("memory over the baseline", mib(extra), "MiB", Goal::AtMost(mib(cap)));
        findings.note("memory before, once such readers came and went", mib(empty), "MiB");
        let within = |bytes: u64, kept: u64| Goal::AtMost(mib(bytes + bytes / 10 + kept));
        let what = "memory 10 s after they left";
        findings.judge(what, mib(first.rest), "MiB", within(empty, self.kept));
        let what = "memory 10 s after they left for the second time";
        findings.judge(what, mib(second.rest), "MiB", within(first.rest, self.again));
        findings.mistakes("pings without an answer", self.bystander.failures());
        findings.mistakes("connections closed by the broker", self.busy.closed);
        let read = self.busy.read;
        let due = (first.published + second.published) * self.busy.readers as u64;
        drop((self.bystander, self.busy.crowd));
        let stopped = self.broker.stop()?;
        findings.mistakes("stops without an orderly end", u64::from(!stopped.is_orderly));
        findings.note("published for stopped readers", due as f64, "");
        findings.note("read by them when they went on", read as f64, "");
        let missing = due as f64 - read as f64;
        findings.judge("neither read nor waiting: dropped", missing, "", Goal::AtLeast(1.0));
        let counted = stopped.count("messages_dropped.queue_full")? as f64;
        findings.judge("dropped as the broker counts", counted, "", Goal::Exactly(missing));
        Ok(())
    }

    /// The readers come, read all that they are sent, and leave. The memory 10 s later is that of a
    /// broker in use, with its buffers.
    fn warm_up(&mut self) -> Result<u64> {
        self.busy.open(self.busy.first_reader()..self.busy.places())?;
        self.phase(1.0)?;
        self.busy.finish_publishing()?;
        self.busy.drain_readers()?;
        self.busy.close_readers();
        self.busy.read = 0;
        std::thread::sleep(Duration::from_secs(10));
        self.broker.memory_at_rest()
    }

    /// The readers come, stand still, go on until they have what waits for them, and leave.
    fn episode(&mut self, seconds: f64) -> Result<Episode> {
        self.busy.ready = self.busy.first_reader();
        self.busy.open(self.busy.first_reader()..self.busy.places())?;
        self.busy.stop_readers();
        let first = self.busy.published;
        let during = self.phase(seconds)?;
        self.busy.finish_publishing()?;
        let published = u64::from(self.busy.published - first);
        self.busy.drain_readers()?;
        self.busy.close_readers();
        std::thread::sleep(Duration::from_secs(10));
        Ok(Episode { during, published, rest: self.broker.memory_at_rest()? })
    }

    fn phase(&mut self, seconds: f64) -> Result<Phase> {
        self.bystander.worst_ms();
        let busy = &mut self.busy;
        (busy.latencies, busy.delivered) = (new_histogram(), 0);
        let (start_ns, mut memory) = (now_ns(), 0);
        let end_ns = start_ns + seconds_ns(seconds);
        busy.due_ns = start_ns;
        while now_ns() < end_ns {
            busy.publish_until(end_ns.min(now_ns() + 1_000_000_000))?;
            memory = memory.max(self.broker.memory()?);
        }
        let latencies = std::mem::replace(&mut busy.latencies, new_histogram());
        let per_second = busy.delivered as f64 / ((now_ns() - start_ns) as f64 / 1e9);
        self.broker.check()?;
        Ok(Phase { latencies, per_second, worst_ms: self.bystander.worst_ms(), memory })
    }
}

fn report_phases(findings: &mut Findings, before: &Phase, during: &Phase) {
    findings.percentiles("healthy before", &before.latencies);
    findings.percentiles("healthy meanwhile", &during.latencies);
    let p99 = |phase: &Phase| phase.latencies.value_at_quantile(0.99).max(1) as f64;
    let ratio = p99(during) / p99(before);
    findings.judge_time("p99 meanwhile, of that before", ratio, "x", Goal::AtMost(2.0));
    findings.note("healthy deliveries before", before.per_second, "/s");
    let share = during.per_second / before.per_second.max(1e-9);
    findings.judge_time("healthy deliveries, of those before", share, "x", Goal::AtLeast(0.8));
    findings.note("worst ping of a bystander before", before.worst_ms, "ms");
    let goal = Goal::AtMost(100.0);
    findings.judge_time("worst ping of a bystander meanwhile", during.worst_ms, "ms", goal);
}

/// A busy topic with its publisher and subscribers.
struct Busy {
    crowd: Crowd,
    healthy: usize,
    readers: usize,
    template: Template,
    interval_ns: f64,
    /// When the next publish is due.
    due_ns: u64,
    published: u32,
    unanswered: u32,
    latencies: Histogram<u64>,
    /// Messages that healthy subscribers got.
    delivered: u64,
    /// Messages that the others got.
    read: u64,
    /// Connections that are subscribed, the publisher's counted when it is let in.
    ready: usize,
    closed: u64,
}

impl Busy {
    fn new(crowd: Crowd, healthy: usize, readers: usize, rate: f64, size: usize) -> Self {
        Self {
            crowd,
            healthy,
            readers,
            template: Template::new(VERSION, QoS::AtLeastOnce, TOPIC, size),
            interval_ns: 1e9 / rate,
            due_ns: 0,
            published: 0,
            unanswered: 0,
            latencies: new_histogram(),
            delivered: 0,
            read: 0,
            ready: 0,
            closed: 0,
        }
    }

    fn first_reader(&self) -> usize {
        PUBLISHER + 1 + self.healthy
    }

    fn places(&self) -> usize {
        self.first_reader() + self.readers
    }

    /// Connects and subscribes, a few at a time.
    fn open(&mut self, places: std::ops::Range<usize>) -> Result<()> {
        let end_ns = now_ns() + PATIENCE_NS;
        for place in places.clone() {
            let mut hello = encode(&connect(&format!("c{place}")));
            if place != PUBLISHER {
                let qos = if place % 2 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                hello.extend(subscribe(&[TOPIC], qos));
            }
            self.crowd.open(place, &hello)?;
            while place + 1 >= self.ready + 64 && now_ns() < end_ns {
                self.turn(10_000_000)?;
            }
        }
        while self.ready < places.end && now_ns() < end_ns {
            self.turn(10_000_000)?;
        }
        if self.ready < places.end {
            return Err(Failure::new("the broker does not let all subscribers in"));
        }
        Ok(())
    }

    fn stop_readers(&mut self) {
        (self.first_reader()..self.places()).for_each(|place| self.crowd.stop_reading(place));
    }

    fn close_readers(&mut self) {
        (self.first_reader()..self.places()).for_each(|place| self.crowd.close(place));
    }

    /// Publishes what is due until then, and takes what comes.
    fn publish_until(&mut self, end_ns: u64) -> Result<()> {
        loop {
            let now_ns = now_ns();
            if now_ns >= end_ns {
                return Ok(());
            }
            let mut packets = Vec::new();
            // The schedule waits for answers; what is late counts from when it was due.
            while self.due_ns <= now_ns && self.unanswered < UNANSWERED_MAX {
                let (sequence, time_ns) = (self.published, self.due_ns);
                let stamp = Stamp { stream: 0, sequence, time_ns };
                self.template.append(packet_id_of(sequence), stamp, &mut packets);
                self.published += 1;
                self.unanswered += 1;
                self.due_ns += self.interval_ns as u64;
            }
            if !packets.is_empty() {
                self.crowd.send(PUBLISHER, &packets);
            }
            let wait_ns = self.due_ns.min(end_ns).saturating_sub(now_ns);
            self.turn(wait_ns.clamp(100_000, 100_000_000))?;
        }
    }

    /// Waits for the last answers to the publisher.
    fn finish_publishing(&mut self) -> Result<()> {
        let end_ns = now_ns() + PATIENCE_NS;
        while self.unanswered > 0 {
            if now_ns() > end_ns {
                return Err(Failure::new("the broker does not answer all publishes"));
            }
            self.turn(100_000_000)?;
        }
        Ok(())
    }

    /// Lets the readers go on until they have everything that waits for them.
    fn drain_readers(&mut self) -> Result<()> {
        let places = self.first_reader()..self.places();
        places.for_each(|place| self.crowd.go_on_reading(place));
        let mut last_ns = now_ns();
        let end_ns = last_ns + DRAIN_NS;
        while now_ns() < end_ns.min(last_ns + SILENCE_NS) {
            let read = self.read;
            self.turn(100_000_000)?;
            if self.read > read {
                last_ns = now_ns();
            }
        }
        Ok(())
    }

    fn turn(&mut self, timeout_ns: u64) -> Result<()> {
        let first_reader = self.first_reader();
        let Self { crowd, latencies, delivered, read, ready, closed, unanswered, .. } = self;
        let mut on_packet =
            |place: usize, frame: &RawFrame<'_>, out: &mut Vec<u8>| match PacketType::from_first(
                frame.first,
            ) {
                Some(PacketType::ConnAck) if place == PUBLISHER => *ready += 1,
                Some(PacketType::SubAck) => *ready += 1,
                Some(PacketType::PubAck) => *unanswered -= 1,
                Some(PacketType::Publish) => {
                    let Some(delivery) = delivery(frame, VERSION.is_v5()) else { return };
                    if let Some((AckType::PubAck, packet_id)) = delivery.answer {
                        let code = ReasonCode::Success;
                        encode_ack(AckType::PubAck, VERSION, packet_id, code, out);
                    }
                    if place >= first_reader {
                        *read += 1;
                    } else if let Some(stamp) = Stamp::read(delivery.payload) {
                        *delivered += 1;
                        latencies.saturating_record(now_ns().saturating_sub(stamp.time_ns));
                    }
                }
                _ => {}
            };
        crowd.turn(timeout_ns, |place, event, out| match event {
            Event::Packet(frame) => on_packet(place, &frame, out),
            Event::Gone => *closed += 1,
        })
    }
}

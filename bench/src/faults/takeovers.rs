//! Many connections take over one session from each other, again and again: one of them has it at
//! any moment, nothing is lost on the way, and nothing stays behind.

use super::Bench;
use super::broker::{Broker, Setup};
use super::bystander::Bystander;
use super::crowd::{Crowd, Event};
use super::findings::{Findings, Goal, mib};
use super::packets::{VERSION, connect, connect_stored, encode, packet_id_of, publish, subscribe};
use crate::clock::{now_ns, seconds_ns};
use crate::failure::{Failure, Result};
use crate::layer::Below;
use crate::stamp::Stamp;
use crate::track::Tracker;
use crate::wire::{RawFrame, delivery};
use clap::Args;
use ringmq_mqtt::{AckType, PINGREQ, PacketType, QoS, ReasonCode, encode_ack};
use std::time::Duration;

const TOPIC: &str = "one/t";

/// Takeovers between two publishes to the session.
const PUBLISH_EVERY: u64 = 20;

/// Takeovers of which one has its loser asked for a sign of life.
const PROBE_EVERY: u64 = 16;

/// The time for a connection that was replaced to be closed, and for answers at the end.
const PATIENCE_S: f64 = 10.0;

/// The time in which something must happen while takeovers go on.
const STALL_NS: u64 = 20_000_000_000;

/// Memory that may be more at the end where that is above 10 %: the allocator's at rest varies by 4
/// MiB to either side. Of 1,000,000 takeovers a leak of 9 bytes each shows.
const REST_BYTES: u64 = 8 << 20;

/// Sizes of the test.
#[derive(Debug, Args)]
pub(super) struct Sizes {
    /// Clients with one client identifier [100; small: 20]
    #[arg(long)]
    clients: Option<usize>,
    /// Takeovers [1000000; small: 60000]
    #[arg(long)]
    takeovers: Option<u64>,
    /// Takeovers before memory and descriptors are looked at for the first time (5000)
    #[arg(long, default_value_t = 5000)]
    warmup: u64,
}

/// Runs the test.
pub(super) fn run(bench: &Bench, sizes: &Sizes) -> Result<Findings> {
    let clients = bench.size(sizes.clients, 20, 100);
    let takeovers = bench.size(sizes.takeovers, 60_000, 1_000_000);
    if clients < 2 {
        return Err(Failure::new("--clients are at least 2"));
    }
    bench.make_room(2 * clients as u32)?;
    let words = format!("{clients} clients with one identifier, {takeovers} takeovers");
    let mut findings = bench.findings("takeovers", words);
    let arguments = ["--log-level", "warn", "--max-queued-messages", "1000000"];
    let arguments = arguments.map(str::to_owned).to_vec();
    let mut broker = bench.start(&Setup { arguments, ..Setup::default() })?;
    let bystander = Bystander::start(broker.plain, None)?;
    let mut rivals = Rivals::new(Crowd::new(broker.plain, Below::Tcp)?, clients);
    rivals.begin()?;
    rivals.take_over(sizes.warmup)?;
    let before = Rest::look(&broker)?;
    bystander.worst_ms();
    let (start_ns, cpu_ns, warm) = (now_ns(), broker.cpu_ns()?, rivals.taken);
    rivals.take_over(takeovers)?;
    broker.check()?;
    let seconds = (now_ns() - start_ns) as f64 / 1e9;
    let (cpu_ns, worst_ms) = (broker.cpu_ns()? - cpu_ns, bystander.worst_ms());
    let done = rivals.taken - warm;
    rivals.finish()?;
    let after = Rest::look(&broker)?;
    findings.judge("takeovers", done as f64, "", Goal::AtLeast(takeovers as f64));
    findings.note("takeovers per second", done as f64 / seconds, "/s");
    findings.note("broker's CPU of a takeover", cpu_ns as f64 / 1e3 / done.max(1) as f64, "us");
    rivals.report(&mut findings);
    let goal = Goal::AtMost(100.0);
    findings.judge_time("worst ping of a bystander", worst_ms, "ms", goal);
    findings.mistakes("pings without an answer", bystander.failures());
    findings.note("memory at the beginning", mib(before.memory), "MiB");
    let most = (before.memory + before.memory / 10).max(before.memory + REST_BYTES);
    findings.judge("memory at the end", mib(after.memory), "MiB", Goal::AtMost(mib(most)));
    let goal = Goal::Exactly(before.descriptors as f64);
    findings.judge(
        "descriptors at the end as at the beginning",
        after.descriptors as f64,
        "",
        goal,
    );
    Ok(findings)
}

/// Resources at rest, while one client has the session.
struct Rest {
    memory: u64,
    descriptors: usize,
}

impl Rest {
    fn look(broker: &Broker) -> Result<Self> {
        // Connections linger for some seconds.
        std::thread::sleep(Duration::from_secs(6));
        Ok(Self { memory: broker.memory_at_rest()?, descriptors: broker.process.descriptors()? })
    }
}

struct Rivals {
    crowd: Crowd,
    states: Vec<State>,
    /// Connections that were let in.
    taken: u64,
    /// Messages for the session that were sent, and that are answered.
    sent: u32,
    acknowledged: u32,
    got: Tracker,
    mistakes: Mistakes,
    is_publisher_ready: bool,
    /// Places to be asked for a sign of life.
    probes: Vec<usize>,
}

/// The state of the connection at a place.
#[derive(Debug, Default, Clone, Copy)]
struct State {
    connect_ns: u64,
    /// When it was let in; 0 before that.
    let_in_ns: u64,
    /// When a connection was let in that had begun later; 0 before that.
    replaced_ns: u64,
    /// The broker has said why it closes.
    is_told: bool,
    /// A packet was sent after the session had gone, which may cost the goodbye its way.
    is_probed: bool,
}

#[derive(Debug, Default)]
struct Mistakes {
    /// Pings that were answered on a connection that had lost the session.
    served_twice: u64,
    /// Packets behind the goodbye.
    after_goodbye: u64,
    /// Other reasons than that the session was taken over.
    other_reason: u64,
    /// Ends without a reason, of connections that nothing was sent on.
    unsaid: u64,
    /// Ends before CONNACK, or refusals.
    refused: u64,
    /// Connections that had lost the session and were still open much later.
    left_open: u64,
    /// Connections that had the session in the end, but one.
    owners: u64,
    lost: u64,
}

impl Rivals {
    fn new(crowd: Crowd, clients: usize) -> Self {
        Self {
            crowd,
            states: vec![State::default(); clients],
            taken: 0,
            sent: 0,
            acknowledged: 0,
            got: Tracker::default(),
            mistakes: Mistakes::default(),
            is_publisher_ready: false,
            probes: Vec::new(),
        }
    }

    fn publisher(&self) -> usize {
        self.states.len()
    }

    /// The first client subscribes; the publisher is let in.
    fn begin(&mut self) -> Result<()> {
        let publisher = self.publisher();
        self.crowd.open(publisher, &encode(&connect("publisher")))?;
        let mut hello = encode(&connect_stored("one"));
        hello.extend(subscribe(&[TOPIC], QoS::AtLeastOnce));
        self.states[0] = State { connect_ns: now_ns(), ..State::default() };
        self.crowd.open(0, &hello)?;
        let end_ns = now_ns() + seconds_ns(PATIENCE_S);
        while !self.is_publisher_ready || self.states[0].let_in_ns == 0 {
            self.turn(100_000_000)?;
            if now_ns() > end_ns {
                return Err(Failure::new("the broker does not let the clients in"));
            }
        }
        Ok(())
    }

    /// Takes over so often; then one connection is left.
    fn take_over(&mut self, count: u64) -> Result<()> {
        let end = self.taken + count;
        let mut last = (self.taken, now_ns());
        while self.taken < end {
            for place in 0..self.states.len() {
                if !self.crowd.is_open(place) {
                    self.open(place)?;
                }
            }
            self.turn(100_000_000)?;
            if self.taken > last.0 {
                last = (self.taken, now_ns());
            } else if now_ns() > last.1 + STALL_NS {
                return Err(Failure::new("the broker lets nobody in any more"));
            }
            if u64::from(self.sent) < self.taken / PUBLISH_EVERY
                && self.sent < self.acknowledged + 500
            {
                let stamp = Stamp { stream: 0, sequence: self.sent, time_ns: 0 };
                let packet_id = packet_id_of(self.sent);
                let packet = publish(TOPIC, QoS::AtLeastOnce, packet_id, &stamp.bytes());
                self.crowd.send(self.publisher(), &packet);
                self.sent += 1;
            }
        }
        self.settle()
    }

    fn open(&mut self, place: usize) -> Result<()> {
        self.states[place] = State { connect_ns: now_ns(), ..State::default() };
        self.crowd.open(place, &encode(&connect_stored("one")))
    }

    /// Opens nothing more, and waits until all but one connection are closed.
    fn settle(&mut self) -> Result<()> {
        let end_ns = now_ns() + seconds_ns(PATIENCE_S);
        while self.crowd.count() > 2 && now_ns() < end_ns {
            self.turn(100_000_000)?;
        }
        self.mistakes.left_open += self.crowd.count().saturating_sub(2) as u64;
        Ok(())
    }

    /// Waits for the last messages, and asks every open connection whether the session is its own.
    fn finish(&mut self) -> Result<()> {
        let end_ns = now_ns() + seconds_ns(PATIENCE_S);
        let is_missing =
            |rivals: &Self| rivals.acknowledged < rivals.sent || rivals.got.seen() < rivals.sent;
        while is_missing(self) && now_ns() < end_ns {
            self.turn(100_000_000)?;
        }
        self.mistakes.lost = u64::from(self.sent - self.got.seen().min(self.sent));
        let owners = (0..self.states.len()).filter(|&place| {
            let state = &self.states[place];
            self.crowd.is_open(place) && state.let_in_ns != 0 && !state.is_told
        });
        self.mistakes.owners = owners.count().abs_diff(1) as u64;
        Ok(())
    }

    fn report(&self, findings: &mut Findings) {
        let mistakes = &self.mistakes;
        findings.mistakes("connections served after they lost the session", mistakes.served_twice);
        findings.mistakes("packets behind the goodbye", mistakes.after_goodbye);
        findings.mistakes("goodbyes with another reason", mistakes.other_reason);
        findings.mistakes("connections closed without a reason", mistakes.unsaid);
        findings.mistakes("connections not let in", mistakes.refused);
        findings.mistakes("connections open after they lost the session", mistakes.left_open);
        findings.mistakes("owners of the session in the end, but one", mistakes.owners);
        findings.note("messages to the session, at QoS 1", f64::from(self.sent), "");
        findings.mistakes("messages lost", mistakes.lost);
    }

    fn turn(&mut self, timeout_ns: u64) -> Result<()> {
        let publisher = self.publisher();
        let mut crowd_turn = Turn {
            states: &mut self.states,
            taken: &mut self.taken,
            acknowledged: &mut self.acknowledged,
            got: &mut self.got,
            mistakes: &mut self.mistakes,
            is_publisher_ready: &mut self.is_publisher_ready,
            probes: &mut self.probes,
            publisher,
        };
        let mut is_publisher_gone = false;
        self.crowd.turn(timeout_ns, |place, event, out| match event {
            Event::Packet(frame) => crowd_turn.take(place, &frame, out),
            Event::Gone if place == publisher => is_publisher_gone = true,
            Event::Gone => crowd_turn.on_gone(place),
        })?;
        if is_publisher_gone {
            return Err(Failure::new("the broker closed the publisher"));
        }
        for place in std::mem::take(&mut self.probes) {
            // A connection whose goodbye has come is known to be over.
            if self.crowd.is_open(place) && !self.states[place].is_told {
                self.states[place].is_probed = true;
                self.crowd.send(place, &PINGREQ);
            }
        }
        Ok(())
    }
}

/// The state that events change.
struct Turn<'a> {
    states: &'a mut [State],
    taken: &'a mut u64,
    acknowledged: &'a mut u32,
    got: &'a mut Tracker,
    mistakes: &'a mut Mistakes,
    is_publisher_ready: &'a mut bool,
    probes: &'a mut Vec<usize>,
    publisher: usize,
}

impl Turn<'_> {
    fn take(&mut self, place: usize, frame: &RawFrame<'_>, out: &mut Vec<u8>) {
        let kind = PacketType::from_first(frame.first);
        if place == self.publisher {
            match kind {
                Some(PacketType::ConnAck) => *self.is_publisher_ready = true,
                Some(PacketType::PubAck) => *self.acknowledged += 1,
                _ => {}
            }
            return;
        }
        if self.states[place].is_told {
            self.mistakes.after_goodbye += 1;
        }
        match kind {
            Some(PacketType::ConnAck) if frame.body.get(1) == Some(&0) => self.on_let_in(place),
            Some(PacketType::ConnAck) => self.mistakes.refused += 1,
            // Only connections that have lost the session are asked.
            Some(PacketType::PingResp) => self.mistakes.served_twice += 1,
            Some(PacketType::Disconnect) => {
                self.states[place].is_told = true;
                let is_taken_over =
                    frame.body.first() == Some(&(ReasonCode::SessionTakenOver as u8));
                self.mistakes.other_reason += u64::from(!is_taken_over);
            }
            Some(PacketType::Publish) => {
                let Some(delivery) = delivery(frame, VERSION.is_v5()) else { return };
                if let Some((AckType::PubAck, packet_id)) = delivery.answer {
                    let code = ReasonCode::Success;
                    encode_ack(AckType::PubAck, VERSION, packet_id, code, out);
                }
                if let Some(stamp) = Stamp::read(delivery.payload) {
                    self.got.accept(stamp.sequence, 1);
                }
            }
            _ => {}
        }
    }

    /// Every connection that was let in before this one began has lost the session now.
    fn on_let_in(&mut self, place: usize) {
        let now_ns = now_ns();
        let connect_ns = self.states[place].connect_ns;
        self.states[place].let_in_ns = now_ns;
        *self.taken += 1;
        let probes = (*self.taken).is_multiple_of(PROBE_EVERY);
        for (other, state) in self.states.iter_mut().enumerate() {
            let is_loser = state.let_in_ns != 0 && state.let_in_ns < connect_ns;
            if other != place && is_loser && state.replaced_ns == 0 {
                state.replaced_ns = now_ns;
                if probes {
                    self.probes.push(other);
                }
            }
        }
    }

    fn on_gone(&mut self, place: usize) {
        let state = self.states[place];
        if state.let_in_ns == 0 {
            self.mistakes.refused += 1;
        } else if !state.is_told && !state.is_probed {
            self.mistakes.unsaid += 1;
        }
        // Nothing of the connection counts any more.
        self.states[place] = State::default();
    }
}

//! The run: cycles of start, load and kill, and a drain from time to time.

use crate::broker::{Broker, Snapshots, Started, is_killed};
use crate::catalog::{AUTHORS, CLIENTS, FIRST_SUBSCRIBER, PIPELINES, PROBER, topics};
use crate::checker::Checker;
use crate::checker::violation::Kind;
use crate::client::outgoing::Message;
use crate::client::{Client, Turn};
use crate::clock::now_us;
use crate::failure::{Failure, Result};
use crate::flags::Flags;
use crate::pipeline::Pipeline;
use crate::reader::Reader;
use crate::relay::Relays;
use crate::report::{Report, Tally};
use ringmq_mqtt::QoS;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::SocketAddr;

/// The shortest load before a kill.
const LOAD_US_MIN: u64 = 20_000;
/// The longest wait for a named point.
const POINT_US: u64 = 600_000;
/// The longest wait for the first CONNACK.
const PATIENCE_US: u64 = 20_000_000;
/// The time that a reader may take, with all that is around it.
const READING_US: u64 = crate::reader::PATIENCE_US + 1_000_000;
/// The time for which probes keep subscribers waiting.
const PROBING_US: u64 = 500_000;
/// A drain is over when so long nothing came, and nothing is missing.
const QUIET_US: u64 = 500_000;
/// The same when something is missing: it will not come any more.
const SILENCE_US: u64 = 2_000_000;
/// The longest drain.
const DRAIN_US: u64 = 60_000_000;
/// The time that a broker may take to end when it is asked to.
const STOP_US: u64 = 5_000_000;
/// Starts that may fail one after the other.
const STARTS_MAX: u32 = 3;
/// Wait for sockets at most.
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// Where ringmq can kill itself.
const POINTS: [&str; 8] = [
    "gathered",
    "written",
    "synced",
    "acknowledged",
    "segment-created",
    "segment-deleted",
    "rewrite-begun",
    "recovered",
];

/// One run.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    flags: &'a Flags,
    prng: fastrand::Rng,
    checker: Checker,
    clients: Vec<Client>,
    reader: Reader,
    pipelines: Vec<Pipeline>,
    relays: Relays,
    snapshots: Snapshots,
    tally: Tally,
    begun_us: u64,
    heard_us: u64,
    is_draining: bool,
    /// The broker that was not killed.
    spared: Option<Broker>,
    /// Violations that were there already at the last look.
    known: u64,
}

impl<'a> Run<'a> {
    pub(crate) fn new(flags: &'a Flags) -> Result<Self> {
        let folder = flags.folder();
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            flags,
            prng: fastrand::Rng::with_seed(flags.seed),
            checker: Checker::new(topics(), CLIENTS, AUTHORS),
            clients: (0..CLIENTS).map(Client::new).collect(),
            reader: Reader::default(),
            pipelines: (0..PIPELINES).map(Pipeline::new).collect(),
            relays: Relays::default(),
            snapshots: Snapshots::new(&folder, flags.keep),
            tally: Tally::default(),
            begun_us: now_us(),
            heard_us: 0,
            is_draining: false,
            spared: None,
            known: 0,
        })
    }

    /// All cycles, and a last drain; whether nothing was wrong.
    pub(crate) fn all(mut self) -> Result<(Report, bool)> {
        while !self.is_over() {
            self.cycle()?;
            self.tell()?;
        }
        if !self.is_stopped() {
            if let Some(mut broker) = self.start("")? {
                self.drain(&mut broker)?;
                broker.kill()?;
            }
            self.tell()?;
        }
        self.tally.seconds = (now_us() - self.begun_us) as f64 / 1e6;
        self.tally.rounds = self.pipelines.iter().map(|pipeline| pipeline.rounds).sum();
        self.snapshots.clean_up()?;
        let report = Report::new(&mut self.tally, &self.checker);
        Ok((report, self.checker.violations.total() == 0))
    }

    fn is_over(&self) -> bool {
        let minutes = (now_us() - self.begun_us) as f64 / 60e6;
        self.tally.cycles >= self.flags.cycles || minutes >= self.flags.minutes || self.is_stopped()
    }

    /// Whether going on would show nothing new.
    fn is_stopped(&self) -> bool {
        let violations = &self.checker.violations;
        (self.flags.bug.is_some() && violations.total() > 0)
            || violations.count(Kind::BrokerDown) >= u64::from(STARTS_MAX)
    }

    /// Start, load, kill.
    fn cycle(&mut self) -> Result<()> {
        let since_judged = self.tally.cycles % self.flags.judge_every;
        self.snapshots.take(self.tally.cycles + 1, since_judged == 0)?;
        let (faults, has_point) = self.faults();
        self.tally.cycles += 1;
        let Some(mut broker) = self.start(&faults)? else {
            self.tally.at_points += u64::from(has_point);
            return Ok(());
        };
        self.begin_load();
        let is_alive = match self.tally.cycles.is_multiple_of(self.flags.judge_every) {
            true => self.drain(&mut broker)?,
            false => true,
        };
        if is_alive {
            self.load(&mut broker, has_point)?;
        }
        self.end(broker, has_point)
    }

    /// The faults planted in this cycle, and whether a named point is among them.
    fn faults(&mut self) -> (String, bool) {
        let bug = self.flags.bug.iter().map(|name| format!("bug:{name}"));
        let mut faults: Vec<String> = bug.collect();
        if self.flags.points && self.prng.bool() {
            faults.push(format!("clock:{}", self.wrong_by_s()));
            self.tally.wrong_clocks += 1;
        }
        let is_judged = (self.tally.cycles + 1).is_multiple_of(self.flags.judge_every);
        let has_point = self.flags.points && !is_judged && self.prng.bool();
        if has_point {
            let point = POINTS[self.prng.usize(..POINTS.len())];
            let count_max = if point == "recovered" { 1 } else { 30 };
            let count = self.prng.u32(1..=count_max);
            faults.push(format!("crash:{point}:{count}"));
        }
        (faults.join(","), has_point)
    }

    /// The error of a wrong wall clock: hours or years, to either side, or so much that it shows
    /// 1970.
    fn wrong_by_s(&mut self) -> i64 {
        const HOUR_S: i64 = 3_600;
        const YEAR_S: i64 = 365 * 24 * HOUR_S;
        let some = self.prng.i64(1..=20);
        match self.prng.u64(..5) {
            0 => some * HOUR_S,
            1 => -some * HOUR_S,
            2 => some * YEAR_S,
            3 => -some * YEAR_S,
            _ => -100 * YEAR_S,
        }
    }

    /// A broker that listens; none when it killed itself as it was told to before it did.
    fn start(&mut self, faults: &str) -> Result<Option<Broker>> {
        if let Some(broker) = self.spared.take() {
            return Ok(Some(broker));
        }
        let is_expected = faults.contains("crash:");
        for _ in 0..STARTS_MAX {
            match Broker::start(&self.flags.start(), &self.flags.folder(), faults)? {
                Started::Running(broker) => return Ok(Some(broker)),
                Started::Ended(status) if is_expected && is_killed(status) => return Ok(None),
                Started::Ended(status) if self.tally.recoveries_us.is_empty() => {
                    let log = self.flags.folder().join("log");
                    let log = std::fs::read_to_string(log).unwrap_or_default();
                    return Err(Failure::new(format_args!("no start, {status}: {log}")));
                }
                Started::Ended(status) => self
                    .checker
                    .violations
                    .add(Kind::BrokerDown, || format!("it does not start: {status}")),
            }
        }
        Ok(None)
    }

    /// Decides who comes when; in half of the cycles subscribers wait for probes.
    fn begin_load(&mut self) {
        let now_us = now_us();
        let is_probing = self.prng.bool();
        for client in &mut self.clients {
            client.outgoing.allow(self.flags.messages);
            client.wake_us = now_us + self.prng.u64(..10_000);
            if client.is_subscriber() && is_probing {
                client.wake_us = now_us + PROBING_US;
            }
        }
        let is_reading = self.prng.u8(..100) < 70;
        self.reader = if is_reading { Reader::default() } else { Reader::idle() };
        if is_probing {
            self.clients[PROBER].wake_us = now_us;
            let qos = |chance| if chance { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            for topic in self.checker.certain_topics() {
                let qos = qos(self.prng.bool());
                let author = PROBER as u32;
                let order = Message { author, topic, qos, retain: false, length: 64 };
                self.clients[PROBER].outgoing.order([order]);
            }
        }
    }

    /// Loads the broker until it is time to kill it, or it has killed itself.
    fn load(&mut self, broker: &mut Broker, has_point: bool) -> Result<()> {
        let span_us = self.flags.load_ms * 1_000 - LOAD_US_MIN;
        let load_us = LOAD_US_MIN + self.prng.u64(..span_us);
        let load_us = if has_point { POINT_US } else { load_us };
        let begun_us = now_us();
        while broker.ended()?.is_none() {
            self.turn(Some(broker.address));
            self.hear(broker);
            self.release_subscribers();
            let since_us = broker.heard_us.map_or(begun_us + PATIENCE_US, |us| us.max(begun_us));
            let now_us = now_us();
            // A reader that waits in vain is heard.
            let may_end = self.reader.is_done() || now_us > since_us + load_us + READING_US;
            if may_end && now_us > since_us + load_us {
                break;
            }
        }
        Ok(())
    }

    /// Notes when the broker said the first word.
    fn hear(&mut self, broker: &mut Broker) {
        if broker.heard_us.is_none() && self.heard_us >= broker.begun_us {
            broker.heard_us = Some(self.heard_us);
            self.tally.recoveries_us.push(self.heard_us - broker.begun_us);
        }
    }

    /// Ends the probes: subscribers that wait for them may come.
    fn release_subscribers(&mut self) {
        if !self.clients[PROBER].outgoing.is_idle() {
            return;
        }
        let now_us = now_us();
        for client in &mut self.clients[FIRST_SUBSCRIBER..] {
            if client.wake_us > now_us + 200_000 {
                client.wake_us = now_us + self.prng.u64(..10_000);
            }
        }
    }

    /// Kills the broker, unless it has ended, and hears what it said last.
    fn end(&mut self, mut broker: Broker, has_point: bool) -> Result<()> {
        match broker.ended()? {
            None if self.flags.spare => {
                self.spared = Some(broker);
                self.cut();
                return Ok(());
            }
            None if self.prng.u64(..100) < self.flags.stops => self.stop(&mut broker, has_point)?,
            None => {
                self.tally.kills += 1;
                broker.kill()?;
            }
            Some(status) if has_point && is_killed(status) => self.tally.at_points += 1,
            Some(status) => self
                .checker
                .violations
                .add(Kind::BrokerDown, || format!("it ended by itself: {status}")),
        }
        self.pipelines.iter_mut().for_each(Pipeline::reset);
        while self.clients.iter().any(|client| client.link().is_some()) {
            self.turn(None);
        }
        Ok(())
    }

    /// Ends the broker with a warning, while clients go on.
    fn stop(&mut self, broker: &mut Broker, has_point: bool) -> Result<()> {
        self.tally.stops += 1;
        broker.ask_to_end()?;
        let begun_us = now_us();
        loop {
            match broker.ended()? {
                Some(status) if status.success() => return Ok(()),
                // It came to the named point while it stopped.
                Some(status) if has_point && is_killed(status) => {
                    self.tally.at_points += 1;
                    return Ok(());
                }
                Some(status) => {
                    let ms = (now_us() - begun_us) / 1_000;
                    let tell = || format!("it ended {ms} ms after SIGTERM with {status}");
                    self.checker.violations.add(Kind::BrokerDown, tell);
                    return Ok(());
                }
                None if now_us() - begun_us > STOP_US => {
                    let tell = || "it did not end within 5 s of SIGTERM".into();
                    self.checker.violations.add(Kind::BrokerDown, tell);
                    return broker.kill();
                }
                None => self.turn(None),
            }
        }
    }

    /// Lets everything arrive that is to arrive, and judges. False when the broker ended.
    fn drain(&mut self, broker: &mut Broker) -> Result<bool> {
        self.is_draining = true;
        let begun_us = now_us();
        let mut is_alive = true;
        while is_alive && !self.is_drained(begun_us) {
            self.turn(Some(broker.address));
            self.hear(broker);
            self.release_subscribers();
            is_alive = broker.ended()?.is_none();
        }
        self.is_draining = false;
        if is_alive {
            self.tally.drains += 1;
            self.judge();
        }
        Ok(is_alive)
    }

    fn is_drained(&self, begun_us: u64) -> bool {
        let now_us = now_us();
        let quiet_us = now_us - self.heard_us.max(begun_us);
        if !self.pipelines.iter().all(Pipeline::is_idle) {
            return false;
        }
        if now_us - begun_us > DRAIN_US || quiet_us > SILENCE_US {
            return true;
        }
        quiet_us > QUIET_US
            && self.reader.is_done()
            && self.clients.iter().all(Client::is_idle)
            && self.clients.iter().all(|client| client.incoming.unreleased() == 0)
            && self.checker.missing() == 0
    }

    fn judge(&mut self) {
        for (index, client) in self.clients.iter_mut().enumerate() {
            let violations = &mut self.checker.violations;
            if !client.is_idle() {
                violations.add(Kind::Stuck, || client.unfinished());
            }
            let count = client.incoming.unreleased();
            if count > 0 {
                violations.add(Kind::Unreleased, || {
                    format!("client {index} waits for the PUBREL of {count} messages")
                });
                client.incoming.forget();
            }
        }
        for (client, filter) in self.checker.judge() {
            self.clients[client].wishes.doubt(&filter);
        }
    }

    /// Gives every client its turn, then waits a little.
    fn turn(&mut self, address: Option<SocketAddr>) {
        self.each(address, |clients, reader, pipelines, turn| {
            for client in clients {
                client.turn(turn);
            }
            if address.is_some() {
                reader.turn(turn);
                pipelines.iter_mut().for_each(|pipeline| pipeline.turn(turn));
            }
        });
        self.wait();
    }

    /// Cuts all connections.
    fn cut(&mut self) {
        self.each(None, |clients, reader, pipelines, turn| {
            clients.iter_mut().for_each(|client| client.cut(turn));
            pipelines.iter_mut().for_each(Pipeline::reset);
            *reader = Reader::idle();
        });
    }

    fn each(
        &mut self,
        address: Option<SocketAddr>,
        act: impl FnOnce(&mut [Client], &mut Reader, &mut [Pipeline], &mut Turn<'_>),
    ) {
        let mut turn = Turn {
            now_us: now_us(),
            address,
            checker: &mut self.checker,
            prng: &mut self.prng,
            relays: &mut self.relays,
            may_write: self.reader.is_done(),
            is_draining: self.is_draining,
            heard_us: &mut self.heard_us,
        };
        act(&mut self.clients, &mut self.reader, &mut self.pipelines, &mut turn);
    }

    /// Waits until a socket has something to say, a millisecond at most.
    fn wait(&self) {
        let links = self.clients.iter().filter_map(Client::link).chain(self.reader.link());
        let links = links.chain(self.pipelines.iter().filter_map(Pipeline::link));
        let mut sockets: Vec<PollFd<'_>> = links
            .map(|link| {
                let out = if link.unsent() > 0 { PollFlags::OUT } else { PollFlags::empty() };
                PollFd::new(&link.stream, PollFlags::IN | out)
            })
            .collect();
        // Only a signal ends it early.
        let _ = poll(&mut sockets, Some(&NAP));
    }

    /// Tells what went wrong in this cycle, and keeps the files it went wrong with.
    fn tell(&mut self) -> Result<()> {
        let total = self.checker.violations.total();
        if total == self.known {
            return Ok(());
        }
        self.known = total;
        let (cycle, seed) = (self.tally.cycles, self.flags.seed);
        for told in self.checker.violations.take_told() {
            eprintln!("cycle {cycle}, seed {seed}: {told}");
        }
        if let Some(kept) = self.snapshots.keep(cycle)? {
            eprintln!("cycle {cycle}: what the last ones began with is in {}", kept.display());
        }
        Ok(())
    }
}

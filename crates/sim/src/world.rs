//! Virtual time and the queue of events to come.

use super::client::{Client, Kind};
use super::driver::Worker;
use super::journal::{self, Journal};
use super::log::Log;
use super::mesh::Mesh;
use super::model::Model;
use super::rights::{Edition, Rights};
use super::scenario::Scenario;
use super::wire::Wire;
use super::{Report, RunSettings, Sabotage};
use ringmq::access::Policy;
use ringmq::base::time::Time;
use ringmq::broker::Quotas;
use ringmq::metrics::{Counters, Dropped};
use ringmq::testing::{Prng, open_policy};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

/// Something that happens at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A client does the next thing.
    Act(usize),
    /// A client sends the acknowledgements that it owes.
    Acknowledge(usize),
    /// Bytes reach the worker.
    Up(usize),
    /// Bytes reach the client.
    Down(usize),
    /// The network has room for the output that it did not take.
    Push(usize),
    /// The worker learns that the client has gone.
    HangUp(usize),
    /// The worker has closed the connection.
    Finish(usize),
    /// The verdict about a login comes.
    Verify(usize),
    /// A worker hears of new rules.
    Reload(usize),
    /// A connection arrives at its other worker.
    Arrive(usize),
    /// A worker sends the output in its outbox.
    Flush(usize),
    /// A worker looks at its rings.
    Sweep(usize),
    /// A worker looks for room in its rings.
    Retry(usize),
    /// A worker's deadline.
    Tick(usize),
    /// The commit that the journal is writing is on disk.
    Commit,
    /// A client keeps a connection alive.
    Ping(usize),
}

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) settings: RunSettings,
    pub(super) prng: Prng,
    pub(super) now: Time,
    queue: BinaryHeap<Reverse<(Time, u64, Event)>>,
    serial: u64,
    /// Events to come that are neither deadlines nor the next actions of clients.
    under_way: usize,
    pub(super) workers: Vec<Worker>,
    /// The policies by which logins are verified.
    pub(super) policies: Arc<[Policy]>,
    pub(super) mesh: Mesh,
    pub(super) wires: Vec<Wire>,
    pub(super) clients: Vec<Client>,
    pub(super) model: Model,
    pub(super) log: Log,
    pub(super) steps_left: u32,
    /// The clients do nothing new any more.
    pub(super) is_ending: bool,
    /// The broker tells all clients that it stops.
    pub(super) is_stopping: bool,
    /// Clients that would have done something meanwhile.
    pub(super) resting: Vec<usize>,
    /// The journal, which outlives the broker; None without one.
    pub(super) journal: Option<Journal>,
    /// The counts of the workers when the broker crashed.
    pub(super) past_counters: Counters,
    /// The workers' seed.
    pub(super) secret: u64,
    /// The number of times that the network is still to do harm on purpose.
    pub(super) sabotages_left: u32,
    /// The number of times that a worker is still to stand still.
    pub(super) late_turns_left: u32,
}

impl World {
    pub(super) fn new(seed: u64, settings: RunSettings, is_traced: bool) -> Self {
        let mut prng = Prng::new(seed);
        let scenario = Scenario::new(seed, &mut prng);
        let options = Arc::new(scenario.options.clone());
        let secret = prng.next();
        let count = scenario.workers;
        let first = scenario.is_restricted.then(|| Edition::new(&mut prng));
        let is_lax = settings.sabotage == Some(Sabotage::ForgetDenials);
        let open = || Arc::new([open_policy()]) as Arc<[Policy]>;
        let policies = first.as_ref().map_or_else(open, |edition| edition.policies(is_lax));
        let rights = first.map(|edition| Rights::new(edition, count));
        let worker = |index| Worker::new(options.clone(), policies.clone(), index, count, secret);
        let mut workers: Vec<Worker> = (0..count).map(worker).collect();
        let quotas = Arc::new(Quotas::new(secret));
        workers.iter_mut().for_each(|worker| {
            scenario.limit_turns(&mut worker.shard);
            worker.shard.share_quotas(quotas.clone());
        });
        let journal = scenario.is_durable.then(|| Journal::new(count));
        if journal.is_some() {
            workers
                .iter_mut()
                .for_each(|worker| journal::keep(&mut worker.shard, scenario.promise));
        }
        let mesh = Mesh::new(count, scenario.ring_capacity);
        let steps_left = settings.steps.unwrap_or(scenario.steps);
        let mut log = Log::new(seed, is_traced);
        log.line(|| format!("{scenario:?}"));
        Self {
            settings,
            prng,
            now: Time::from_nanoseconds(1),
            queue: BinaryHeap::new(),
            serial: 0,
            under_way: 0,
            workers,
            policies,
            mesh,
            wires: Vec::new(),
            clients: Vec::new(),
            model: Model::new(scenario.options.clone(), rights, scenario.is_durable),
            log,
            steps_left,
            is_ending: false,
            is_stopping: false,
            resting: Vec::new(),
            journal,
            past_counters: Counters::default(),
            secret,
            sabotages_left: 3,
            late_turns_left: if scenario.has_late_turns { 2 } else { 0 },
            scenario,
        }
    }

    /// Runs to the end, or to the first violation.
    pub(super) fn run(&mut self) {
        self.add_clients();
        self.connect_observer();
        self.settle();
        for client in 1..self.clients.len() {
            self.schedule_us(Event::Act(client), 20_000);
        }
        self.go_on_until(self.steps_left / 2);
        self.crash_midway();
        self.go_on_until(0);
        self.end();
    }

    fn go_on_until(&mut self, steps_left: u32) {
        while self.steps_left > steps_left && self.model.violation.is_none() && self.step() {}
    }

    pub(super) fn report(&self) -> Report {
        Report {
            hash: self.log.hash(),
            events: self.model.event,
            virtual_ms: self.now.nanoseconds() / 1_000_000,
            workers: self.scenario.workers,
            connections: self.wires.len(),
            messages: self.model.messages.len(),
            deliveries: self.model.deliveries,
            dropped: self.dropped(),
            denied: self.denied(),
            commits: self.journal.as_ref().map_or(0, Journal::commits),
        }
    }

    pub(super) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for worker in &self.workers {
            sum.add(worker.shard.counters());
        }
        journal::with_past(&self.past_counters, sum)
    }

    fn dropped(&self) -> u64 {
        self.counters().messages_dropped.iter().sum()
    }

    fn denied(&self) -> u64 {
        let sum = self.counters();
        let deliveries = sum.dropped(Dropped::Denied);
        sum.publishes_denied + sum.subscriptions_denied + deliveries + sum.logins_refused
    }

    /// Lets `event` happen within `most_us` microseconds.
    pub(super) fn schedule_us(&mut self, event: Event, most_us: u64) {
        let nanoseconds = 1 + self.prng.below(most_us.max(1) * 1000);
        self.schedule(event, self.now.after(Duration::from_nanos(nanoseconds)));
    }

    pub(super) fn schedule(&mut self, event: Event, at: Time) {
        self.serial += 1;
        self.under_way += usize::from(is_transient(event));
        self.queue.push(Reverse((at, self.serial, event)));
    }

    /// A delay of the network, sometimes a long one.
    pub(super) fn network_delay_us(&mut self) -> u64 {
        if self.prng.chance(2) { 300_000 } else { self.scenario.delay_us }
    }

    /// Lets the next thing happen; false when nothing is to come.
    pub(super) fn step(&mut self) -> bool {
        let Some(Reverse((at, _, event))) = self.queue.pop() else { return false };
        self.under_way -= usize::from(is_transient(event));
        self.now = at.max(self.now.after(Duration::from_nanos(1)));
        self.model.advance(self.now);
        self.log.mix(self.now.nanoseconds());
        if let Some(until) = self.stands_until(event) {
            let late = Duration::from_nanos(self.prng.below(1_000_000));
            self.schedule(event, until.after(late));
            return true;
        }
        match event {
            Event::Act(client) => self.act(client),
            Event::Acknowledge(client) => self.acknowledge(client),
            Event::Up(wire) => self.up(wire),
            Event::Down(wire) => self.down(wire),
            Event::Push(wire) => self.push(wire),
            Event::HangUp(wire) => self.hang_up_arrives(wire),
            Event::Finish(wire) => self.finish(wire),
            Event::Arrive(wire) => self.arrive(wire),
            Event::Verify(wire) => self.verify(wire),
            Event::Reload(worker) => self.reload(worker),
            Event::Flush(worker) => self.flush_due(worker),
            Event::Sweep(worker) => self.sweep(worker),
            Event::Retry(worker) => self.retry(worker),
            Event::Tick(worker) => self.tick(worker),
            Event::Commit => self.commit(),
            Event::Ping(wire) => self.ping(wire),
        }
        if self.mesh.is_quiet() {
            self.model.note_quiet();
        }
        true
    }

    /// Lets everything happen that is under way, and what is due at once.
    pub(super) fn settle(&mut self) {
        let mut steps = 0;
        while self.model.violation.is_none() && !self.is_settled() {
            self.step();
            steps += 1;
            if steps > STEPS_TO_SETTLE {
                self.model.fail("I20", "the world does not come to rest".into());
            }
        }
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while self.model.violation.is_none()
            && self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= end)
        {
            self.step();
        }
        self.now = self.now.max(end);
        self.model.advance(self.now);
    }

    fn is_settled(&self) -> bool {
        let soon = self.now.after(Duration::from_millis(20));
        self.under_way == 0
            && self.workers.iter().all(|w| w.shard.deadline().is_none_or(|due| due > soon))
    }

    /// Writes a line of the trace.
    pub(super) fn trace(&mut self, line: impl FnOnce() -> String) {
        let (event, now) = (self.model.event, self.now.nanoseconds());
        self.log
            .line(|| format!("[{event} {}.{:06} ms] {}", now / 1_000_000, now % 1_000_000, line()));
    }

    /// The client that sees everything.
    pub(super) fn is_observer(&self, client: usize) -> bool {
        self.clients[client].kind == Kind::Observer
    }
}

const STEPS_TO_SETTLE: u32 = 2_000_000;

const fn is_transient(event: Event) -> bool {
    !matches!(event, Event::Tick(_) | Event::Act(_) | Event::Ping(_))
}

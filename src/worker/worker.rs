//! The loop.

use super::closing::Closing;
use super::engine::{Engine, Gate};
use super::journal_line::JournalLine;
use super::notices::{LoginSender, Notice, Question, Reply, Settings};
use super::parcel::Parcel;
use super::places::Places;
use super::report::Report;
use super::transmit::Slice;
use crate::audit::Trail;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::broker::{Deed, Input, Past, Promise, Quotas, Shard, Unwritten};
use crate::io::clock::Clock;
use crate::io::listeners::Listeners;
use crate::io::ring::Ring;
use crate::io::setup::{RingEngine, RingError, RingSizes};
use crate::io::socket::{Listener, tcp_figures};
use crate::io::wake::Waker;
use crate::limits::MESH_BATCH_MAX;
use crate::mesh::Mesh;
use crate::metrics::{Gauges, Snapshot, record};
use crate::options::{Durability, Options};
use crossbeam_channel::Receiver;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// The parts that a worker is made of.
#[derive(Debug)]
pub struct Setup {
    /// The worker's number, from 0.
    pub worker: WorkerId,
    /// The settings to go by, until a notice brings new ones.
    pub settings: Settings,
    /// The sender of logins that are to be verified.
    pub logins: LoginSender,
    /// The notices from the rest of the process.
    pub notices: Receiver<Notice>,
    /// An unpredictable number, the same for all workers.
    pub seed: u64,
    /// The clock, the same for all workers.
    pub clock: Clock,
    /// The worker's end of the mesh.
    pub mesh: Mesh<Parcel>,
    /// The waker that the worker's doorbell in the mesh rings.
    pub waker: Arc<Waker>,
    /// The worker's own listening sockets.
    pub listeners: Vec<Listener>,
    /// The connections of all workers.
    pub places: Arc<Places>,
    /// The quotas of users, for all workers.
    pub quotas: Arc<Quotas>,
    /// The line to the journal, and the state that an earlier process has left there for this
    /// worker; None when everything is in memory.
    pub journal: Option<(JournalLine, Past)>,
    /// The trail to the audit log; None when there is none.
    pub audit: Option<Trail>,
    /// The engine of the worker's ring.
    pub engine: RingEngine,
    /// The sizes of its ring.
    pub sizes: RingSizes,
}

/// A worker, which stays on the thread that made it.
#[derive(Debug)]
pub struct Worker {
    worker: WorkerId,
    engine: Engine,
    slice: Slice,
    closing: Closing,
    notices: Receiver<Notice>,
    /// The line to the journal; None when everything is in memory.
    journal: Option<JournalLine>,
    clock: Clock,
    busy_poll: Duration,
    /// The questions for a snapshot that wait for the sums over all clients.
    snapshots: Vec<Reply<Snapshot>>,
    /// The time at which the journal got the batch that it is writing.
    submitted: Option<Time>,
}

impl Worker {
    /// A worker for the calling thread.
    ///
    /// # Errors
    /// The kernel's refusal to give it a ring, or what else it watches with.
    pub fn new(setup: Setup) -> Result<Self, RingError> {
        let Setup { worker, settings, logins, notices, clock, mesh, waker, .. } = setup;
        let ring = Ring::new(setup.engine, setup.sizes)?;
        let Settings { options, policies, .. } = settings.clone();
        let busy_poll = Duration::from_micros(options.busy_poll_us.into());
        let promise = promise(&options);
        let mut shard = Shard::new(options, policies, worker, mesh.workers(), setup.seed);
        shard.share_quotas(setup.quotas);
        if let Some(trail) = setup.audit {
            shard.keep_audit(trail);
        }
        let journal = setup.journal.map(|(journal, past)| {
            shard.keep_journal(journal.epoch(), promise);
            shard.restore(past, journal.epoch());
            journal
        });
        let gate = Gate::new(worker, Listeners::new(setup.listeners)?, setup.places);
        Ok(Self {
            worker,
            engine: Engine::new(shard, ring, mesh, gate, settings, logins, waker),
            slice: Slice::default(),
            closing: Closing::new(),
            notices,
            journal,
            clock,
            busy_poll,
            snapshots: Vec::new(),
            submitted: None,
        })
    }

    /// Works until the doorbell says stop and all connections are closed.
    #[must_use]
    pub fn run(mut self) -> Report {
        self.engine.now = self.clock.now();
        self.engine.gate.watch(&mut self.engine.ring);
        if self.journal.is_some() {
            self.engine.feed(Input::JournalState { failure: None });
        }
        while !self.closing.is_done(&self.engine) {
            self.turn();
            self.sleep();
        }
        let unwritten = self.finish_journal();
        self.report(unwritten)
    }

    fn turn(&mut self) {
        self.engine.now = self.clock.now();
        self.engine.ring.poll();
        let mut busy = self.engine.look_at_memory();
        busy |= self.handle_events();
        busy |= self.sweep();
        busy |= self.take_notices();
        busy |= self.engine.shake_hands();
        busy |= self.engine.judge_certificates();
        busy |= self.hear_journal();
        busy |= self.closing.stop_in_time(&mut self.engine);
        busy |= self.engine.run_timers();
        busy |= self.closing.end_due(&mut self.engine);
        busy |= self.submit_to_journal();
        // What is transmitted ends the last purse.
        let is_spent = self.engine.shard.has_done_enough();
        self.engine.shard.counters_mut().purses_spent += u64::from(is_spent);
        busy |= self.transmit();
        self.answer_snapshots();
        if busy {
            let turn = self.clock.now().since(self.engine.now);
            record(&mut self.engine.shard.histograms().turn, turn, 1);
        }
    }

    /// Answers those who want a snapshot, once the sums over all clients are made.
    fn answer_snapshots(&mut self) {
        if self.snapshots.is_empty() || self.engine.shard.has_census() {
            return;
        }
        let snapshot = self.snapshot();
        for reply in std::mem::take(&mut self.snapshots) {
            reply.send(snapshot.clone());
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let shard = &mut self.engine.shard;
        let histograms = shard.histograms().clone();
        let gauges = Gauges { connections: self.engine.links.len() as u64, ..shard.gauges() };
        Snapshot { worker: self.worker, counters: *shard.counters(), gauges, histograms }
    }

    /// Handles the events that the ring had collected when this began. True when there were any.
    fn handle_events(&mut self) -> bool {
        let events = self.engine.ring.event_count();
        for _ in 0..events {
            let Some(event) = self.engine.ring.next_event() else { break };
            self.engine.handle_event(event);
            self.engine.look_at_memory();
            self.flush_if_full();
        }
        events > 0
    }

    /// Takes the parcels of other workers, and sends on those that did not fit. True when there was
    /// anything.
    fn sweep(&mut self) -> bool {
        let mut busy = false;
        if self.engine.mesh.is_sweep_over() {
            self.engine.mesh.begin_sweep();
        }
        self.engine.shard.begin_mesh();
        for from in WorkerId::all(self.engine.mesh.workers()) {
            for _ in 0..MESH_BATCH_MAX {
                if self.engine.shard.has_done_enough() {
                    break;
                }
                let Some(parcel) = self.engine.mesh.receive(from) else { break };
                self.engine.unpack(from, parcel);
                self.flush_if_full();
                busy = true;
            }
        }
        if self.engine.mesh.is_sweep_over() && (busy || self.engine.shard.wants_sweep()) {
            self.engine.feed(Input::MeshSwept);
            busy = true;
        }
        self.engine.drain_overflow();
        busy
    }

    /// Takes the notices that have come. True when there were any.
    fn take_notices(&mut self) -> bool {
        let mut busy = false;
        while let Ok(notice) = self.notices.try_recv() {
            busy = true;
            match notice {
                Notice::Verdict { link, verdict } => {
                    self.engine.feed(Input::Authenticated { link, verdict });
                }
                Notice::Reload(settings, _announcement) => self.engine.reload(settings),
                Notice::Tell(news) => {
                    for (topic, payload) in &*news {
                        self.engine.feed(Input::Own { topic, payload });
                        self.flush_if_full();
                    }
                }
                Notice::EndTraces => self.engine.shard.end_unread_traces(),
                Notice::Bridge(socket) => self.engine.welcome_bridge(socket),
                Notice::Drain => self.engine.gate.shut(),
                Notice::Ask(question) => self.answer(question),
            }
        }
        busy
    }

    fn answer(&mut self, question: Question) {
        match question {
            Question::Snapshot(reply) => {
                if self.snapshots.is_empty() && !self.engine.shard.has_census() {
                    self.engine.shard.begin_census();
                }
                self.snapshots.push(reply);
            }
            Question::Glance(reply) => reply.send(self.snapshot()),
            Question::Clients(query, reply) => {
                reply.send(self.engine.shard.clients_page(&query));
            }
            Question::Client(client_id, reply) => {
                let details = self.engine.shard.client_details(&client_id);
                reply.send(details.map(|details| {
                    let link = details.row.connection.as_ref().map(|it| it.link);
                    let connection = link.and_then(|link| self.engine.links.get(link));
                    (details, connection.and_then(|it| tcp_figures(it.as_fd())))
                }));
            }
            Question::Recipients(sought, reply) => {
                reply.send(self.engine.shard.recipients(&sought));
            }
            Question::Retained(asked, reply) => {
                reply.send(self.engine.shard.retained_rows(&asked));
            }
            Question::Levels(below, begins, reply) => {
                reply.send(self.engine.shard.retained_levels(below.as_deref(), &begins));
            }
            Question::Trace(watched, witness, reply) => {
                reply.send(self.engine.shard.begin_trace(watched, witness));
            }
            Question::Act(act, reply) => {
                let mut deed = Deed::default();
                self.engine.feed(Input::Operate { act: &act, deed: &mut deed });
                self.flush_if_full();
                reply.send(deed);
            }
        }
    }

    /// Tells the shard the journal's news. True when there were any.
    fn hear_journal(&mut self) -> bool {
        let mut busy = false;
        while let Some(news) = self.journal.as_mut().and_then(JournalLine::hear) {
            if let Input::Committed { has_batch: true, .. } = news
                && let Some(since) = self.submitted.take()
            {
                let commit = self.clock.now().since(since);
                record(&mut self.engine.shard.histograms().commit, commit, 1);
            }
            self.engine.feed(news);
            busy = true;
        }
        busy
    }

    /// Hands submissions that are due to the journal. True when there were any.
    fn submit_to_journal(&mut self) -> bool {
        let Some(journal) = &mut self.journal else { return false };
        let (busy, has_batch) = journal.submit(&mut self.engine.shard);
        if has_batch {
            self.submitted = Some(self.clock.now());
        }
        // A submission that needed no commit may have released something.
        self.engine.carry_out_all();
        busy
    }

    /// Sends everything and looks at the connections that need it, which may cause more to be sent.
    /// True when there was anything.
    fn transmit(&mut self) -> bool {
        let mut busy = false;
        loop {
            self.engine.mesh.ring_doorbells();
            busy |= self.flush();
            if !self.engine.links.needs_attention() {
                return busy;
            }
            self.closing.attend_all(&mut self.engine);
            busy = true;
        }
    }

    /// Sends all output. True when there was any.
    fn flush(&mut self) -> bool {
        let busy = self.slice.flush(&mut self.engine);
        if busy {
            self.engine.shard.record_handed(self.clock.now());
        }
        busy
    }

    /// Sends amid a turn what the next event may find no room behind. The turn ends soon then.
    fn flush_if_full(&mut self) {
        if self.engine.outbox_is_full() {
            self.flush();
            self.engine.shard.cut_turn();
        }
    }

    /// Sleeps until there is something to do; returns at once when there is.
    fn sleep(&mut self) {
        if self.engine.has_more() || self.closing.is_done(&self.engine) {
            return;
        }
        if !self.busy_poll.is_zero() && self.spin() {
            return;
        }
        if self.engine.mesh.fall_asleep(self.closing.is_stopping()) {
            if !self.hears_something() {
                let now = self.clock.now();
                self.engine.ring.wait(self.deadline().map(|deadline| deadline.since(now)));
            }
            self.engine.mesh.doorbell().stay_awake();
        }
    }

    /// Watches for work without sleeping, for a while. True when there is some.
    fn spin(&mut self) -> bool {
        // Requests to the ring have to be under way, or nothing would come of them.
        self.engine.ring.poll();
        let until = self.clock.now().after(self.busy_poll);
        let until = self.deadline().map_or(until, |deadline| deadline.min(until));
        while !self.has_work() {
            if self.clock.now() >= until {
                return false;
            }
            std::hint::spin_loop();
        }
        true
    }

    fn has_work(&mut self) -> bool {
        self.engine.ring.has_events()
            || self.engine.ring.is_ready()
            || self.engine.mesh.has_work()
            || self.hears_something()
            || (self.engine.mesh.doorbell().is_stopped() && !self.closing.is_stopping())
    }

    /// True when the rest of the process has sent something.
    fn hears_something(&self) -> bool {
        !self.notices.is_empty() || self.journal.as_ref().is_some_and(JournalLine::has_news)
    }

    /// The time at which the next timer is due.
    fn deadline(&self) -> Option<Time> {
        [self.engine.deadline(), self.closing.deadline()].into_iter().flatten().min()
    }

    /// Waits until the journal has all that happened to any worker, since the record of one may
    /// need a part of another; for a while only, since the disk may be full. The records that the
    /// journal has not written by then are left.
    fn finish_journal(&mut self) -> Unwritten {
        let deadline = self.closing.journal_deadline();
        while self.journal.is_some() && self.clock.now() < deadline {
            self.engine.now = self.clock.now();
            let mut busy = self.sweep();
            busy |= self.hear_journal();
            self.engine.shard.hurry_journal();
            busy |= self.submit_to_journal();
            self.engine.mesh.ring_doorbells();
            if self.engine.mesh.finish(!busy && !self.engine.shard.owes_journal()) {
                break;
            }
            if !busy {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        if let Some(journal) = self.journal.take() {
            journal.close();
        }
        self.engine.shard.unwritten()
    }

    fn report(mut self, unwritten: Unwritten) -> Report {
        Report {
            snapshot: self.snapshot(),
            connections_refused: self.engine.gate.refused(),
            connections_cut: self.closing.connections_cut(),
            unwritten,
        }
    }
}

/// The meaning of an acknowledgement, by the options.
fn promise(options: &Options) -> Promise {
    match options.durability {
        Durability::Commit => Promise::Commit,
        Durability::Interval | Durability::None => {
            let interval = Duration::from_millis(u64::from(options.durability_interval_ms));
            Promise::Interval(interval)
        }
    }
}

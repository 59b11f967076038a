//! The loop.

use super::accept::Accepting;
use super::connection::Connection;
use super::exchange::Parcel;
use super::journal_line::JournalLine;
use super::notices::{LoginSender, Notice, Settings};
use super::places::Places;
use super::report::{Report, record, turn_histogram};
use super::transmit::{FrameKey, SliceSend};
use crate::base::ids::{Slots, WorkerId};
use crate::base::time::Time;
use crate::broker::{Input, LinkId, Past, Promise, Shard, Unsent, Unwritten};
use crate::io::clock::Clock;
use crate::io::event::{Event, SendFailure};
use crate::io::ring::Ring;
use crate::io::setup::{RingError, RingSizes};
use crate::io::socket::Listener;
use crate::io::wake::Waker;
use crate::mesh::Mesh;
use crate::options::{Durability, Options};
use crossbeam_channel::Receiver;
use hdrhistogram::Histogram;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What a worker is made of.
#[derive(Debug)]
pub struct Setup {
    /// Which worker, from 0.
    pub worker: WorkerId,
    /// What it goes by, until it is told otherwise.
    pub settings: Settings,
    /// Where logins are verified.
    pub logins: LoginSender,
    /// What comes from the rest of the process.
    pub notices: Receiver<Notice>,
    /// The same unpredictable number for all workers.
    pub seed: u64,
    /// The same clock for all workers.
    pub clock: Clock,
    /// Its end of the mesh.
    pub mesh: Mesh<Parcel>,
    /// What its doorbell in the mesh wakes.
    pub waker: Arc<Waker>,
    /// Its own listening sockets.
    pub listeners: Vec<Listener>,
    /// The connections of all workers.
    pub places: Arc<Places>,
    /// The way to the journal, and what an earlier process has left there for this worker; None
    /// when everything is in memory.
    pub journal: Option<(JournalLine, Past)>,
    /// How large its ring is.
    pub sizes: RingSizes,
}

/// A worker. It stays on the thread that made it.
#[derive(Debug)]
pub struct Worker {
    pub(super) worker: WorkerId,
    pub(super) shard: Shard,
    pub(super) ring: Ring<Unsent>,
    pub(super) mesh: Mesh<Parcel>,
    pub(super) waker: Arc<Waker>,
    pub(super) settings: Settings,
    pub(super) logins: LoginSender,
    pub(super) notices: Receiver<Notice>,
    pub(super) clock: Clock,
    /// When this turn began.
    pub(super) now: Time,
    /// The way to the journal; None when everything is in memory.
    pub(super) journal: Option<JournalLine>,
    pub(super) connections: Slots<LinkId, Connection>,
    pub(super) places: Arc<Places>,
    pub(super) connections_refused: u64,
    pub(super) listeners: Vec<Accepting>,
    /// When to try again to accept, after descriptors or memory ran out.
    pub(super) accept_at: Option<Time>,
    /// Descriptors or memory have run out, and no connection was accepted since.
    pub(super) is_starved: bool,
    /// Connections are closed unheard, and none was let in since.
    pub(super) is_full: bool,
    /// Connections to look at once the output is taken: to receive, to go on closing, to free.
    pub(super) attention: Vec<LinkId>,
    /// Connections whose peers seem to be silent: see [`Output::LookForInput`].
    ///
    /// [`Output::LookForInput`]: crate::broker::Output::LookForInput
    pub(super) suspects: Vec<LinkId>,
    /// Connections whose layers below MQTT may have something to send.
    pub(super) talkative: Vec<LinkId>,
    /// Connections whose handshakes wait for a turn.
    pub(super) handshakes: VecDeque<LinkId>,
    /// Connections whose certificates are still to be judged by new settings.
    pub(super) unjudged: VecDeque<LinkId>,
    /// How many connections have a large CONNECT held.
    pub(super) large_connects: usize,
    /// What came out of the layers below MQTT, for the shard; kept for its memory.
    pub(super) plain: Vec<u8>,
    /// What goes into the sockets of the present slice, out of the layers below MQTT.
    pub(super) wrapped: Vec<u8>,
    /// The last of these that other links can be sent as well, and what it was made of.
    pub(super) last_frame: Option<(FrameKey, Range<usize>)>,
    /// Deadlines of closing connections, in order because each is the same time ahead.
    pub(super) lingering: VecDeque<(Time, LinkId)>,
    /// When to look whether something still comes on connections that linger while it stops, in
    /// order as well.
    pub(super) parting: VecDeque<(Time, LinkId)>,
    /// Workers of whose full ring the shard is still to be told.
    pub(super) mesh_full: Vec<WorkerId>,
    /// The links of the sends being submitted; kept for its memory, as are the failures.
    pub(super) slice: Vec<SliceSend>,
    pub(super) failures: Vec<SendFailure>,
    pub(super) stage: Stage,
    /// When it was told to stop.
    pub(super) stop_began: Time,
    busy_poll: Duration,
    turns: Histogram<u64>,
}

/// Whether the worker goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It does.
    Running,
    /// It closes its connections, until then.
    Stopping {
        /// When it cuts off those that are left.
        deadline: Time,
    },
    /// It has cut them off: so many.
    Stopped {
        /// How many were left.
        cut: usize,
    },
}

impl Worker {
    /// A worker for the calling thread.
    ///
    /// # Errors
    /// When the kernel has no ring for it.
    pub fn new(setup: Setup) -> Result<Self, RingError> {
        let workers = setup.mesh.workers();
        let busy_poll = Duration::from_micros(u64::from(setup.settings.options.busy_poll_us));
        let Settings { options, policies, .. } = setup.settings.clone();
        let mut ring = Ring::new(setup.sizes)?;
        ring.watch(&setup.waker);
        let promise = promise(&options);
        let mut shard = Shard::new(options, policies, setup.worker, workers, setup.seed);
        let journal = setup.journal.map(|(journal, past)| {
            shard.keep_journal(journal.epoch, promise);
            shard.restore(past, journal.epoch);
            journal
        });
        Ok(Self {
            worker: setup.worker,
            shard,
            journal,
            settings: setup.settings,
            logins: setup.logins,
            notices: setup.notices,
            ring,
            mesh: setup.mesh,
            waker: setup.waker,
            now: setup.clock.now(),
            clock: setup.clock,
            connections: Slots::default(),
            places: setup.places,
            connections_refused: 0,
            listeners: setup.listeners.into_iter().map(Accepting::new).collect(),
            accept_at: None,
            is_starved: false,
            is_full: false,
            attention: Vec::new(),
            suspects: Vec::new(),
            talkative: Vec::new(),
            handshakes: VecDeque::new(),
            unjudged: VecDeque::new(),
            large_connects: 0,
            plain: Vec::new(),
            wrapped: Vec::new(),
            last_frame: None,
            lingering: VecDeque::new(),
            parting: VecDeque::new(),
            mesh_full: Vec::new(),
            slice: Vec::new(),
            failures: Vec::new(),
            stage: Stage::Running,
            stop_began: Time::ZERO,
            busy_poll,
            turns: turn_histogram(),
        })
    }

    /// Works until the doorbell says stop and all connections are closed.
    #[must_use]
    pub fn run(mut self) -> Report {
        self.accept();
        while !self.is_done() {
            self.turn();
            self.sleep();
        }
        let clock = self.clock;
        let unwritten = self.finish_journal(&clock);
        self.report(unwritten)
    }

    fn turn(&mut self) {
        self.now = self.clock.now();
        self.ring.poll();
        let mut busy = self.handle_events();
        busy |= self.exchange();
        busy |= self.take_notices();
        busy |= self.shake_hands();
        busy |= self.judge_certificates();
        busy |= self.hear_journal();
        busy |= self.run_timers();
        busy |= self.submit_to_journal();
        busy |= self.transmit();
        if busy {
            record(&mut self.turns, self.clock.now().since(self.now));
        }
    }

    /// Sleeps until there is something to do; returns at once when there is.
    fn sleep(&mut self) {
        let has_layers = !self.handshakes.is_empty() || !self.unjudged.is_empty();
        let has_more = self.shard.wants_sweep() || has_layers || !self.suspects.is_empty();
        if self.ring.has_events() || has_more || self.is_done() {
            return;
        }
        if !self.busy_poll.is_zero() && self.spin() {
            return;
        }
        if self.mesh.fall_asleep(self.stage != Stage::Running) {
            if !self.notices.is_empty() || self.has_news() {
                return self.mesh.doorbell().stay_awake();
            }
            let now = self.clock.now();
            self.ring.wait(self.deadline().map(|deadline| deadline.since(now)));
            self.mesh.doorbell().stay_awake();
        }
    }

    /// Watches for work without sleeping, for a while. True when there is some.
    fn spin(&mut self) -> bool {
        // What was asked of the ring has to be under way, or nothing would come of it.
        self.ring.poll();
        let began = self.clock.now();
        let until = began.after(self.busy_poll);
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
        self.ring.has_events()
            || self.ring.is_ready()
            || self.mesh.has_work()
            || !self.notices.is_empty()
            || self.has_news()
            || (self.mesh.doorbell().is_stopped() && self.stage == Stage::Running)
    }

    fn has_news(&self) -> bool {
        self.journal.as_ref().is_some_and(JournalLine::has_work)
    }

    /// Handles what the ring had collected when this began. True when there was anything.
    fn handle_events(&mut self) -> bool {
        let events = self.ring.event_count();
        for _ in 0..events {
            let Some(event) = self.ring.next_event() else { break };
            self.handle_event(event);
            if self.outbox_is_full() {
                self.flush();
            }
        }
        events > 0
    }

    /// Handles one event. Never flushes, so that a flush may call it between its slices.
    pub(super) fn handle_event(&mut self, event: Event<Unsent>) {
        match event {
            Event::Received { link, bytes, more } => self.on_received(link, bytes, more),
            Event::Drained { link, result, backlog } => self.on_drained(link, result, backlog),
            Event::Accepted { listener, socket, more } => self.on_accepted(listener, socket, more),
            Event::Woken { more: true } => {}
            Event::Woken { more: false } => self.ring.watch(&self.waker),
        }
    }

    /// True when the output has to be sent before anything more is handled.
    pub(super) fn outbox_is_full(&mut self) -> bool {
        self.shard.outbox().is_full()
    }

    /// Tells the shard, and does what it asks for.
    pub(super) fn feed(&mut self, input: Input<'_>) {
        self.shard.handle(self.now, input);
        self.carry_out_all();
    }

    fn run_timers(&mut self) -> bool {
        let mut busy = self.stop_in_time() | self.look_for_input();
        if self.shard.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.feed(Input::Tick);
            busy = true;
        }
        if self.accept_at.is_some_and(|time| time <= self.now) {
            self.accept();
        }
        busy | self.end_lingering()
    }

    /// When the next timer is due.
    fn deadline(&self) -> Option<Time> {
        let stop = match self.stage {
            Stage::Stopping { deadline } => Some(deadline),
            Stage::Running | Stage::Stopped { .. } => None,
        };
        let first = |list: &VecDeque<(Time, LinkId)>| list.front().map(|&(deadline, _)| deadline);
        let (lingering, parting) = (first(&self.lingering), first(&self.parting));
        let deadlines = [self.shard.deadline(), lingering, parting, self.accept_at, stop];
        deadlines.into_iter().flatten().min()
    }

    fn report(self, unwritten: Unwritten) -> Report {
        let connections_cut = match self.stage {
            Stage::Stopped { cut } => cut,
            Stage::Running | Stage::Stopping { .. } => 0,
        };
        Report {
            worker: self.worker,
            counters: *self.shard.counters(),
            turns: self.turns,
            connections_refused: self.connections_refused,
            connections_cut,
            unwritten,
        }
    }
}

/// What an acknowledgement means.
fn promise(options: &Options) -> Promise {
    match options.durability {
        Durability::Commit => Promise::Commit,
        Durability::Interval | Durability::None => {
            let interval = Duration::from_millis(u64::from(options.durability_interval_ms));
            Promise::Interval(interval)
        }
    }
}

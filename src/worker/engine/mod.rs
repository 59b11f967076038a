//! The engine of a worker: events of the ring become input of the shard, and the shard's output
//! becomes deeds.
//!
//! Six fields are open to the rest of the worker, which borrows several of them at a time; all but
//! the time keep their own state to themselves. The other fields belong to this folder alone.

mod accept;
mod drained;
mod gate;
mod layers;
mod leave;
mod receive;

pub(super) use gate::Gate;

use super::connection::{Connection, Move, Phase};
use super::links::Links;
use super::memory_gauge::MemoryGauge;
use super::notices::{LoginSender, Settings};
use super::parcel::Parcel;
use crate::base::ids::WorkerId;
use crate::base::time::Time;
use crate::broker::{Input, LinkId, Origin, Output, Pressure, Shard, Unsent};
use crate::io::event::Event;
use crate::io::ring::Ring;
use crate::io::wake::Waker;
use crate::mesh::{Mesh, Sent};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// A shard and all that it moves.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) shard: Shard,
    pub(super) ring: Ring<Unsent>,
    pub(super) mesh: Mesh<Parcel>,
    pub(super) links: Links,
    pub(super) gate: Gate,
    /// The time at which this turn began.
    pub(super) now: Time,
    waker: Arc<Waker>,
    settings: Settings,
    logins: LoginSender,
    /// Connections whose peers seem to be silent: see [`Output::LookForInput`].
    suspects: Vec<LinkId>,
    /// Connections whose handshakes wait for a turn.
    handshakes: VecDeque<LinkId>,
    /// Connections whose certificates are still to be judged by new settings.
    unjudged: VecDeque<LinkId>,
    gauge: MemoryGauge,
    /// Bytes that came out of the layers below MQTT, for the shard; kept for its memory.
    plain: Vec<u8>,
}

impl Engine {
    /// An engine whose ring watches `waker`.
    pub(super) fn new(
        shard: Shard,
        mut ring: Ring<Unsent>,
        mesh: Mesh<Parcel>,
        gate: Gate,
        settings: Settings,
        logins: LoginSender,
        waker: Arc<Waker>,
    ) -> Self {
        ring.watch(&waker);
        let gauge = MemoryGauge::new(settings.memory_max);
        Self {
            shard,
            ring,
            mesh,
            links: Links::default(),
            gate,
            now: Time::ZERO,
            waker,
            settings,
            logins,
            suspects: Vec::new(),
            handshakes: VecDeque::new(),
            unjudged: VecDeque::new(),
            gauge,
            plain: Vec::new(),
        }
    }

    /// True when the next turn has something to do, whatever comes.
    pub(super) fn has_more(&self) -> bool {
        let has_layers = !self.handshakes.is_empty() || !self.unjudged.is_empty();
        self.ring.has_events()
            || self.shard.wants_sweep()
            || has_layers
            || !self.suspects.is_empty()
    }

    /// True when the output has to be sent before anything more is handled.
    pub(super) fn outbox_is_full(&mut self) -> bool {
        self.shard.outbox().is_full()
    }

    /// The next time at which the engine has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        let deadlines = [self.shard.deadline(), self.gate.retry_at(), self.gauge.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Runs the timers that are due. True when the shard had one.
    pub(super) fn run_timers(&mut self) -> bool {
        let mut busy = self.look_for_input();
        self.gauge.give_back(self.now);
        if self.shard.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.feed(Input::Tick);
            busy = true;
        }
        if self.gate.retry_at().is_some_and(|time| time <= self.now) {
            self.gate.watch(&mut self.ring);
        }
        busy
    }

    /// Tells the shard when much more, or much less, of the memory is in use than it knows. True
    /// when that is so.
    pub(super) fn look_at_memory(&mut self) -> bool {
        let Some((used, pressure)) = self.gauge.look() else { return false };
        if self.gate.worker() == WorkerId(0) {
            tell_pressure(used, self.settings.memory_max, pressure);
        }
        self.feed(Input::Pressure(pressure));
        true
    }

    /// Handles one event. Never flushes, so that a flush may call it between its slices.
    pub(super) fn handle_event(&mut self, event: Event<Unsent>) {
        match event {
            Event::Received { link, bytes, more } => self.on_received(link, bytes, more),
            Event::Drained { link, result, backlog } => self.on_drained(link, result, backlog),
            Event::Acceptable => self.on_acceptable(),
            Event::Woken { more: true } => {}
            Event::Woken { more: false } => self.ring.watch(&self.waker),
        }
    }

    /// Gives the shard an input, and carries out its answer.
    pub(super) fn feed(&mut self, input: Input<'_>) {
        self.shard.handle(self.now, input);
        self.carry_out_all();
    }

    /// Carries out all that the shard asks for.
    pub(super) fn carry_out_all(&mut self) {
        while let Some(output) = self.shard.next_output() {
            self.carry_out(output);
        }
    }

    /// Takes in what another worker has sent.
    pub(super) fn unpack(&mut self, from: WorkerId, parcel: Parcel) {
        match parcel {
            Parcel::Message(message) => self.feed(Input::Mesh { from, message }),
            Parcel::Connection { place, .. } if self.gate.is_shut() => self.gate.give_back(&place),
            Parcel::Connection { socket, layers, place, origin, received, finished } => {
                let connection = Connection::new(socket, layers, origin.listener, place);
                let link = self.open(connection, origin);
                // The settings may have changed while the connection was on its way.
                self.unjudged.push_back(link);
                self.feed(Input::Received { link, bytes: &received });
                if finished {
                    self.end_input(link);
                }
            }
        }
    }

    /// Moves what waits for full rings into them, as far as there is room.
    pub(super) fn drain_overflow(&mut self) {
        let mut open = SmallVec::<[WorkerId; 8]>::new();
        self.mesh.drain_overflow(|to| open.push(to));
        for to in open {
            // An earlier round of this loop may have filled the ring again.
            if !self.mesh.is_waiting_for(to) {
                self.feed(Input::MeshOpen { to });
            }
        }
    }

    /// Goes by new settings. Certificates that were accepted before are judged anew, in turn.
    pub(super) fn reload(&mut self, settings: Settings) {
        let Settings { options, policies, .. } = settings.clone();
        self.gauge.set_limit(settings.memory_max);
        self.settings = settings;
        self.feed(Input::Reload { options, policies });
        let with_layers = self.links.iter().filter(|(_, c)| c.layers.is_some());
        self.unjudged = with_layers.map(|(link, _)| link).collect();
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Close { link } => self.links.close(link),
            Output::Authenticate { link, login } => self.logins.send(link, *login),
            Output::Mesh { to, message } => self.post(to, Parcel::Message(message)),
            Output::PauseReceive { link } => self.set_paused(link, true),
            Output::ResumeReceive { link } => self.set_paused(link, false),
            Output::AwaitBytes { link, count } => self.await_bytes(link, count),
            Output::LookForInput { link } => self.suspects.push(link),
            Output::Handover { link, to, origin, received } => {
                if let Some(connection) = self.links.get_open(link) {
                    connection.phase = Phase::Moving(Box::new(Move { to, origin, received }));
                    self.links.attend(link);
                }
            }
        }
    }

    /// Opens a link for a connection.
    fn open(&mut self, connection: Connection, origin: Origin) -> LinkId {
        let link = self.links.insert(connection);
        self.shard.open(self.now, link, origin);
        link
    }

    /// Sends to another worker, and tells the shard when that fills the ring.
    fn post(&mut self, to: WorkerId, parcel: Parcel) {
        if self.mesh.send(to, parcel) == Sent::Full {
            self.shard.handle(self.now, Input::MeshFull { to });
        }
    }
}

/// Tells the log what the broker does because of the memory in use.
fn tell_pressure(used: u64, limit: u64, pressure: Pressure) {
    let (used_mib, max_mib) = (used >> 20, limit >> 20);
    let deeds = match pressure {
        Pressure::None => {
            return tracing::info!(used_mib, max_mib, "Memory: there is enough again");
        }
        Pressure::Tight => "new retained topics, stored sessions and subscriptions are refused",
        Pressure::Short => "clients that hold most lose what waits for them",
        Pressure::Full => "no new client and no message comes in",
    };
    tracing::warn!(used_mib, max_mib, "Memory: of --max-memory so much is used that {deeds}");
}

//! The surroundings of a worker's shard: the driver feeds inputs, carries outputs out, sends the
//! outbox, and looks at the rings.

use super::client::Kind;
use super::network;
use super::reload::Reload;
use super::rights::Credential;
use super::scenario;
use super::wire::{Phase, Wire};
use super::world::{Event, World};
use ringmq::access::Policy;
use ringmq::base::ids::{Slots, WorkerId};
use ringmq::base::time::Time;
use ringmq::broker::{Input, LinkId, Origin, Output, Shard};
use ringmq::options::Options;
use ringmq::testing::{append, balance, has_dirty};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A sweep over the rings that is not over.
#[derive(Debug)]
struct Sweep {
    /// The workers whose rings are still to be looked at, and the number of messages to take from
    /// each.
    rings: Vec<(usize, usize)>,
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) shard: Shard,
    /// Link → wire.
    pub(super) links: Slots<LinkId, usize>,
    ticks_at: Option<Time>,
    is_flush_scheduled: bool,
    is_sweep_scheduled: bool,
    is_retry_scheduled: bool,
    sweep: Option<Sweep>,
    /// Wires that may have been parsed on their own.
    resumed: Vec<usize>,
    /// Rules that the worker is still to hear of.
    pub(super) reloads: VecDeque<Reload>,
    /// The time until which the worker does nothing.
    pub(super) stands_until: Time,
}

impl Worker {
    pub(super) fn new(
        options: Arc<Options>,
        policies: Arc<[Policy]>,
        index: usize,
        count: usize,
        secret: u64,
    ) -> Self {
        Self {
            shard: Shard::new(options, policies, WorkerId::at(index), count, secret),
            links: Slots::default(),
            ticks_at: None,
            is_flush_scheduled: false,
            is_sweep_scheduled: false,
            is_retry_scheduled: false,
            sweep: None,
            resumed: Vec::new(),
            reloads: VecDeque::new(),
            stands_until: Time::ZERO,
        }
    }

    /// Goes on with another shard, and without links.
    pub(super) fn restart(&mut self, shard: Shard) {
        self.shard = shard;
        self.links = Slots::default();
        self.sweep = None;
        self.stands_until = Time::ZERO;
        self.resumed.clear();
    }
}

impl World {
    /// Opens the wire at its worker, which is told at once who has a certificate.
    pub(super) fn open(&mut self, wire: usize) {
        let worker = self.wires[wire].worker;
        let peer = std::net::SocketAddr::from(([192, 0, 2, 1], wire as u16));
        let link = self.open_from(wire, peer.into());
        if let Credential::Certificate(user) = self.wires[wire].credential {
            let (peer, certificate_user) = (Some(peer), Some(user.into()));
            let input = Input::Identified { link, peer, certificate_user, excess: None };
            self.workers[worker].shard.handle(self.now, input);
        }
    }

    pub(super) fn open_from(&mut self, wire: usize, origin: Origin) -> LinkId {
        let worker = self.wires[wire].worker;
        let link = self.workers[worker].links.insert(wire);
        self.wires[wire].link = Some(link);
        self.workers[worker].shard.open(self.now, link, origin);
        self.schedule_tick(worker);
        link
    }

    /// Gives the shard an input and carries out its outputs.
    pub(super) fn feed(&mut self, worker: usize, input: Input<'_>) {
        self.workers[worker].shard.handle(self.now, input);
        self.check_balance(worker);
        self.drain(worker);
        self.collect(worker);
        self.drain(worker);
        for wire in std::mem::take(&mut self.workers[worker].resumed) {
            if !self.wires[wire].is_answered {
                self.flush_earlier(wire);
            }
            self.after_input(wire);
        }
        let outbox_has_more = has_dirty(self.workers[worker].shard.outbox());
        if outbox_has_more && self.prng.chance(self.scenario.flushes) {
            self.flush(worker);
        } else if outbox_has_more && !self.workers[worker].is_flush_scheduled {
            self.workers[worker].is_flush_scheduled = true;
            self.schedule_us(Event::Flush(worker), 300);
        } else if !outbox_has_more && !self.workers[worker].is_flush_scheduled {
            // What came out was sent already; the turn is over.
            self.workers[worker].shard.outbox().reset();
        }
        if self.mesh.has_overflow(worker) && !self.workers[worker].is_retry_scheduled {
            self.workers[worker].is_retry_scheduled = true;
            self.schedule_us(Event::Retry(worker), 500);
        }
        if self.workers[worker].shard.wants_sweep() {
            self.schedule_sweep(worker);
        }
        self.schedule_tick(worker);
    }

    // I23
    fn check_balance(&mut self, worker: usize) {
        let shard = &self.workers[worker].shard;
        let (owed, ended) = balance(shard);
        if owed != ended {
            let counters = shard.counters();
            let text = format!("worker {worker}: {owed} owed, {ended} ended or wait: {counters:?}");
            self.model.fail("I23", text);
        }
    }

    fn drain(&mut self, worker: usize) {
        while let Some(output) = self.workers[worker].shard.next_output() {
            match output {
                Output::Close { link } => self.close(worker, link),
                Output::Authenticate { link, login } => {
                    let wire = self.wire_of(worker, link);
                    self.wires[wire].login = Some((worker, link, login));
                    let most_us = scenario::pick(&mut self.prng, &[1_000, 5_000, 5_000, 1_000_000]);
                    self.schedule_us(Event::Verify(wire), most_us);
                }
                Output::Handover { link, to, received, origin } => {
                    let wire = self.unlink(worker, link);
                    self.trace(|| format!("wire {wire} moves from worker {worker} to {to}"));
                    self.wires[wire].worker = to.index();
                    self.wires[wire].moving = Some((origin, received));
                    self.schedule_us(Event::Arrive(wire), 2_000);
                }
                Output::AwaitBytes { link, count } => {
                    let wire = self.wire_of(worker, link);
                    self.wires[wire].awaited = count;
                }
                Output::LookForInput { link } => {
                    let wire = &self.wires[self.wire_of(worker, link)];
                    let waiting = wire.up.bytes.len();
                    let has_input = waiting > 0 && waiting >= wire.awaited;
                    let input = Input::Looked { link, has_input };
                    self.workers[worker].shard.handle(self.now, input);
                }
                Output::PauseReceive { link } => {
                    let wire = self.wire_of(worker, link);
                    let is_under_way = self.prng.chance(30);
                    self.wires[wire].is_paused = true;
                    self.wires[wire].is_under_way = is_under_way;
                    self.trace(|| format!("wire {wire} pauses"));
                }
                Output::ResumeReceive { link } => {
                    let wire = self.wire_of(worker, link);
                    self.wires[wire].is_paused = false;
                    self.workers[worker].resumed.push(wire);
                    self.trace(|| format!("wire {wire} resumes"));
                    self.schedule_up(wire);
                }
                Output::Mesh { to: id, message } => {
                    let to = id.index();
                    self.trace(|| format!("worker {worker} → {to}: {}", brief(&message)));
                    if self.mesh.push(worker, to, message) {
                        self.trace(|| format!("ring {worker} → {to} is full"));
                        self.workers[worker].shard.handle(self.now, Input::MeshFull { to: id });
                    }
                    self.schedule_sweep(to);
                }
            }
        }
    }

    fn wire_of(&self, worker: usize, link: LinkId) -> usize {
        *self.workers[worker].links.get(link).expect("the shard names links that are open")
    }

    /// The link does not exist any more; which wire it was.
    pub(super) fn unlink(&mut self, worker: usize, link: LinkId) -> usize {
        let wire = self.workers[worker].links.remove(link).expect("it is open");
        self.wires[wire].link = None;
        self.wires[wire].is_paused = false;
        wire
    }

    /// The shard wants the link closed.
    fn close(&mut self, worker: usize, link: LinkId) {
        let wire = self.wire_of(worker, link);
        if !self.wires[wire].is_paused {
            self.note_handled(wire);
        }
        self.transmit_perhaps(worker, link, true);
        self.note_handled(wire);
        self.trace(|| format!("wire {wire} is closed by the broker"));
        let state = &mut self.wires[wire];
        state.phase = Phase::Closing;
        let has_gone = state.goodbye.is_some() || state.is_finished;
        if !has_gone && self.clients[state.client].kind != Kind::Hostile {
            self.explain_close(wire);
        }
        self.model.lose(wire, &self.wires[wire]);
        self.schedule_us(Event::Finish(wire), 3_000);
    }

    /// The broker may close the connection of a client that behaves only for another one of it.
    fn explain_close(&mut self, wire: usize) {
        if self.wires[wire].is_refused {
            return;
        }
        if self.is_stopping {
            return self.expect_code(wire, 0x8B);
        }
        let Some(session) = self.wires[wire].session else {
            return self.model.fail("I17", format!("the CONNECT of wire {wire} was refused"));
        };
        if self.wires[wire].is_put_out || !self.model.admits(&self.wires[wire]) {
            return self.expect_code(wire, 0x87);
        }
        let code = self.wires[wire].close_code;
        if self.wires[wire].has_fallen_silent() && code.is_none_or(|code| code == 0x8D) {
            return;
        }
        let client = self.wires[wire].client;
        let has_newer = self.wires[wire + 1..].iter().any(|newer| newer.client == client);
        if !has_newer {
            let code = self.wires[wire].close_code;
            let text = format!("wire {wire} of client {client} was closed with {code:02x?}");
            return self.model.fail("I17", text);
        }
        self.trace(|| format!("wire {wire} of session {session} is taken over"));
        self.expect_code(wire, 0x8E);
    }

    /// The client hears why it is closed, if it can.
    fn expect_code(&mut self, wire: usize, expected: u8) {
        let state = &self.wires[wire];
        let can_hear = state.down.unsent.is_empty() && state.version.is_v5();
        if can_hear && state.close_code != Some(expected) {
            let code = state.close_code;
            let text = format!("wire {wire} hears {code:02x?}, not {expected:#04x}");
            self.model.fail("I6", text);
        }
    }

    pub(super) fn flush_due(&mut self, worker: usize) {
        self.workers[worker].is_flush_scheduled = false;
        self.flush(worker);
    }

    /// Sends the output in the outbox.
    pub(super) fn flush(&mut self, worker: usize) {
        while let Some(link) = self.workers[worker].shard.outbox().next_dirty() {
            self.transmit(worker, link);
            if !has_dirty(self.workers[worker].shard.outbox()) {
                self.drain(worker);
            }
        }
        self.workers[worker].shard.outbox().reset();
        self.schedule_tick(worker);
    }

    /// Sends the output in the outbox for the client's earlier connections.
    fn flush_earlier(&mut self, wire: usize) {
        let Wire { client, worker, .. } = self.wires[wire];
        let earlier = self.wires[..wire].iter().filter(|w| w.client == client);
        let links: Vec<_> = earlier.filter(|w| w.worker == worker).filter_map(|w| w.link).collect();
        links.into_iter().for_each(|link| self.transmit(worker, link));
    }

    /// Sends the output in the outbox for one link.
    pub(super) fn transmit(&mut self, worker: usize, link: LinkId) {
        self.transmit_perhaps(worker, link, false);
    }

    /// The same; the last bytes of a link go behind what it is still to be sent.
    fn transmit_perhaps(&mut self, worker: usize, link: LinkId, is_last: bool) {
        let wire = self.workers[worker].links.get(link).copied();
        let outbox = self.workers[worker].shard.outbox();
        let bytes: Vec<u8> = outbox.segments(link).flatten().copied().collect();
        let Some(wire) = wire.filter(|_| !bytes.is_empty()) else {
            return outbox.sent(link);
        };
        if self.wires[wire].phase != Phase::Open {
            let text = format!("wire {wire} is to be sent {bytes:02x?} after it was closed");
            self.model.fail("I6", text);
        }
        let is_blocked = !self.wires[wire].down.unsent.is_empty();
        if is_blocked && !is_last {
            let text = format!("wire {wire} is to be sent something while it is blocked");
            self.model.fail("I18", text);
        }
        let bytes = self.spoil(wire, bytes);
        self.log.mix(wire as u64);
        self.log.mix_bytes(&bytes);
        self.note_emitted(wire, &bytes);
        if is_blocked {
            let outbox = self.workers[worker].shard.outbox();
            let rest = outbox.take_rest(link, 0);
            return append(&mut self.wires[wire].down.unsent, rest);
        }
        let sent = bytes.len().min(self.wires[wire].room());
        let state = &mut self.wires[wire];
        state.down.bytes.extend(&bytes[..sent]);
        let outbox = self.workers[worker].shard.outbox();
        if sent < bytes.len() {
            state.down.unsent = outbox.take_rest(link, sent);
            self.trace(|| format!("wire {wire} is blocked"));
            self.workers[worker].shard.handle(self.now, Input::Blocked { link });
        } else {
            outbox.sent(link);
        }
        self.schedule_down(wire);
    }

    /// Remembers when these bytes came out, and looks at what the model must know at once.
    fn note_emitted(&mut self, wire: usize, bytes: &[u8]) {
        let (event, now) = (self.model.event, self.now);
        let state = &mut self.wires[wire];
        state.down.emitted += bytes.len() as u64;
        state.down.marks.push_back((state.down.emitted, event, now));
        state.close_code = network::last_disconnect(bytes).or(state.close_code);
        if !std::mem::replace(&mut state.is_answered, true)
            && let Some((present, code)) = network::connack(bytes, state.version)
        {
            self.trace(|| format!("wire {wire}: CONNACK {code:#04x}, session present {present}"));
            let who = self.who(wire);
            self.check_answer(wire, code);
            if code == 0 {
                self.note_handled_earlier(wire);
                self.doubt_unread(wire);
                let state = &mut self.wires[wire];
                self.model.accept(wire, state, present, who);
                let mut early = std::mem::take(&mut state.up.handed_items);
                early.iter_mut().for_each(|handed| self.model.place_early(state, handed));
                state.up.handed_items = early;
                self.note_handled(wire);
            }
        }
    }

    /// Tells the model what the shard has handled on the client's earlier connections: it has done
    /// so before it answered this one, where both went on in the same event.
    fn note_handled_earlier(&mut self, wire: usize) {
        let Wire { client, worker, .. } = self.wires[wire];
        for earlier in 0..wire {
            let state = &self.wires[earlier];
            if state.client == client && state.worker == worker && state.link.is_some() {
                self.note_handled(earlier);
            }
        }
    }

    /// Doubts the output that the client has not read on its earlier connections: it may have been
    /// sent.
    fn doubt_unread(&mut self, wire: usize) {
        let client = self.wires[wire].client;
        for earlier in self.wires[..wire].iter().filter(|earlier| earlier.client == client) {
            let outbox = self.workers[earlier.worker].shard.outbox();
            let waits = earlier.link.is_some_and(|link| outbox.segments(link).next().is_some());
            let is_unread = waits || earlier.down.parsed < earlier.down.emitted;
            earlier.session.filter(|_| is_unread).into_iter().for_each(|s| self.model.doubt(s));
        }
    }

    fn schedule_tick(&mut self, worker: usize) {
        let Some(due) = self.workers[worker].shard.deadline() else { return };
        let due = due.max(self.now);
        let known = self.workers[worker].ticks_at;
        if known.is_some_and(|at| at <= due.after(Duration::from_millis(5))) {
            return;
        }
        let late = Duration::from_micros(self.prng.below(3_000));
        let at = due.after(late);
        self.workers[worker].ticks_at = Some(at);
        self.schedule(Event::Tick(worker), at);
    }

    pub(super) fn tick(&mut self, worker: usize) {
        if self.workers[worker].ticks_at.is_some_and(|at| at <= self.now) {
            self.workers[worker].ticks_at = None;
        }
        if self.workers[worker].shard.deadline().is_some_and(|due| due <= self.now) {
            self.feed(worker, Input::Tick);
        } else {
            self.schedule_tick(worker);
        }
    }

    fn schedule_sweep(&mut self, worker: usize) {
        if !std::mem::replace(&mut self.workers[worker].is_sweep_scheduled, true) {
            let slow = if self.scenario.rewrites > 5 { 50 } else { 5 };
            let most_us = if self.prng.chance(slow) { 30_000 } else { 500 };
            self.schedule_us(Event::Sweep(worker), most_us);
        }
    }

    /// Begins a sweep over the rings or goes on with it.
    pub(super) fn sweep(&mut self, worker: usize) {
        let mut sweep = self.workers[worker].sweep.take().unwrap_or_else(|| self.new_sweep(worker));
        while let Some((from, count)) = sweep.rings.pop() {
            for _ in 0..count {
                let Some(message) = self.mesh.pop(from, worker) else { break };
                self.trace(|| format!("worker {worker} ← {from}: {}", brief(&message)));
                let from = WorkerId::at(from);
                self.feed(worker, Input::Mesh { from, message });
            }
            self.retry_soon(from);
            if !sweep.rings.is_empty() && self.prng.chance(20) {
                self.workers[worker].sweep = Some(sweep);
                return self.schedule_us(Event::Sweep(worker), 500);
            }
        }
        self.workers[worker].is_sweep_scheduled = false;
        self.feed(worker, Input::MeshSwept);
        let has_more = (0..self.scenario.workers).any(|from| self.mesh.visible(from, worker) > 0);
        if has_more {
            self.schedule_sweep(worker);
        }
    }

    /// The present contents of the rings, in a random order.
    fn new_sweep(&mut self, worker: usize) -> Sweep {
        let others = (0..self.scenario.workers).filter(|&from| from != worker);
        let mut rings: Vec<_> =
            others.map(|from| (from, self.mesh.visible(from, worker))).collect();
        for last in (1..rings.len()).rev() {
            rings.swap(last, self.prng.below(last as u64 + 1) as usize);
        }
        Sweep { rings }
    }

    fn retry_soon(&mut self, worker: usize) {
        let has_overflow = self.mesh.has_overflow(worker);
        let scheduled = &mut self.workers[worker].is_retry_scheduled;
        if has_overflow && !std::mem::replace(scheduled, true) {
            self.schedule_us(Event::Retry(worker), 500);
        }
    }

    /// Moves messages that wait for room.
    pub(super) fn retry(&mut self, worker: usize) {
        self.workers[worker].is_retry_scheduled = false;
        let (opened, _) = self.mesh.retry(worker);
        for to in 0..self.scenario.workers {
            if self.mesh.visible(worker, to) > 0 {
                self.schedule_sweep(to);
            }
        }
        for to in opened {
            self.trace(|| format!("ring {worker} → {to} is open"));
            self.feed(worker, Input::MeshOpen { to: WorkerId::at(to) });
        }
    }
}

/// A mesh message on one line.
fn brief(message: &ringmq::broker::MeshMessage) -> String {
    use ringmq::broker::MeshMessage;
    match message {
        MeshMessage::Publish { message, plain, shares, relayed, .. } => format!(
            "Publish {} {} plain {plain} shares {shares:?} relayed {relayed}",
            message.topic(),
            super::model::name_of(message.payload()),
        ),
        MeshMessage::Retain { message, .. } => {
            format!("Retain {} {}", message.topic(), super::model::name_of(message.payload()))
        }
        other => format!("{other:?}"),
    }
}

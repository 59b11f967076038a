//! The sans-io broker of one worker.

use super::accounts::Census;
use super::boundary::{Input, Output};
use super::carry::Carry;
use super::clients::Clients;
use super::homes::Homes;
use super::ledger::RetainedMark;
use super::link::{Blocks, Link, State};
use super::mesh_message::MeshMessage;
use super::neighbours::Neighbours;
use super::ongoing::Progress;
use super::origin::Origin;
use super::outbox::Outbox;
use super::peer::Peer;
use super::pressure::Shedding;
use super::purse::{HOLDER_STEPS, Purse};
use super::quotas::Quotas;
use super::rewrite_progress::Rewrite;
use super::told::{self, Departure};
use super::trace::Traces;
use crate::access::Policy;
use crate::base::ids::{LinkId, SessionId, WorkerId};
use crate::base::prng::Prng;
use crate::base::time::Time;
use crate::base::visits;
use crate::limits::{CLOSE_WAIT_MAX, STOP_WAIT_MAX};
use crate::metrics::{Counters, Histograms};
use crate::mqtt::{Frame, Packet, PacketType, ProtocolError, ReasonCode};
use crate::options::Options;
use crate::store::Message;
use crate::store::VERSION_MIN;
use crate::topics::{Matches, Retained, Subscriptions};
use std::collections::VecDeque;
use std::sync::Arc;

/// One worker's broker: it owns the sessions whose home is this worker, the connections of their
/// clients, an index of their subscriptions and of the other workers' interest, and the retained
/// messages whose topics live here. It touches no socket, no clock and no file.
#[derive(Debug)]
pub struct Shard {
    pub(super) clients: Clients,
    pub(super) subscriptions: Subscriptions,
    pub(super) retained: Retained<Message>,
    /// Counts, by its references, the large CONNECT packets that are kept.
    pub(super) large_logins: Arc<()>,
    /// The policies, by listener.
    pub(super) policies: Arc<[Policy]>,
    /// The quotas of users.
    pub(super) quotas: Arc<Quotas>,
    pub(super) index: WorkerId,
    pub(super) workers: usize,
    pub(super) matches: Matches,
    pub(super) prng: Prng,
    homes: Homes,
    pub(super) shedding: Shedding,
    pub(super) census: Census,
    pub(super) histograms: Box<Histograms>,
    /// The time until which the log hears no more of users with too many retained messages.
    pub(super) retained_told_until: Time,
    /// Links that wait until less gathers for the journal.
    pub(super) journal_waiting: Vec<LinkId>,
    /// The records that are still to be written anew, while a rewrite goes on.
    pub(super) rewrite: Option<Rewrite>,
    /// The version of the message that was retained here last.
    pub(super) version: u64,
    /// Topics that were cleared, with what an older message of them may still be on its way to the
    /// journal.
    pub(super) cleared: VecDeque<(RetainedMark, Arc<Message>)>,
    pub(super) neighbours: Neighbours,
    pub(super) traces: Traces,
}

impl Shard {
    /// Worker `worker` of `workers`; all of them are given the same `policies`, one for each of the
    /// options' listeners, and the same `seed`, which should be unpredictable outside tests.
    #[must_use]
    pub fn new(
        options: Arc<Options>,
        policies: Arc<[Policy]>,
        worker: WorkerId,
        workers: usize,
        seed: u64,
    ) -> Self {
        Self {
            clients: Clients::new(options, seed, (u64::from(worker.0) + 1, workers as u64)),
            subscriptions: Subscriptions::new(worker, seed),
            retained: Retained::default(),
            large_logins: Arc::new(()),
            policies,
            quotas: Arc::new(Quotas::new(seed)),
            index: worker,
            workers,
            matches: Matches::default(),
            prng: Prng::new(seed ^ u64::from(worker.0) << 32),
            homes: Homes::new(workers, seed),
            shedding: Shedding::default(),
            census: Census::default(),
            histograms: Box::default(),
            retained_told_until: Time::ZERO,
            journal_waiting: Vec::new(),
            rewrite: None,
            version: VERSION_MIN,
            cleared: VecDeque::new(),
            neighbours: Neighbours::default(),
            traces: Traces::default(),
        }
    }

    /// Counts what users keep together with other workers. Must come first.
    pub fn share_quotas(&mut self, quotas: Arc<Quotas>) {
        self.quotas = quotas;
    }

    /// The time at which [`Self::restore`] takes place, where that is not the clock's start.
    pub(crate) fn open_at(&mut self, now: Time) {
        self.clients.now = self.clients.now.max(now);
    }

    /// A connection, which is `link` from now on.
    pub fn open(&mut self, now: Time, link: LinkId, origin: impl Into<Origin>) {
        self.clients.now = self.clients.now.max(now);
        self.clients.insert_link(Link::new(link, origin.into(), now));
        self.clients.refresh_link_timer(link);
    }

    /// Takes note of what happened. Drain [`Self::next_output`] and [`Self::outbox`] afterwards.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        self.clients.now = self.clients.now.max(now);
        let exchanges_max = self.clients.options.max_inflight;
        let purse = self.clients.outbox.purse();
        let most = purse.total() + purse.input_max() + input.bytes() as u64;
        let (paid, seen) = (purse.paid_visits(), visits::taken());
        self.handle_input(input);
        self.close_misfits();
        debug_assert!(self.steps() <= most, "an input that costs more than a turn and its bytes");
        let paid = self.clients.outbox.purse().paid_visits() - paid;
        let (seen, unpaid) = (visits::taken() - seen, Purse::unpaid_visits(exchanges_max));
        debug_assert!(seen <= paid + unpaid, "an input that pays for {paid} of {seen} visits");
    }

    fn handle_input(&mut self, input: Input<'_>) {
        match input {
            Input::Identified { link: id, peer, certificate_user, excess } => {
                if let Some(link) = self.clients.link(id) {
                    let excess = link.origin.excess.or(excess);
                    link.origin = Origin { peer, certificate_user, excess, ..link.origin };
                    self.clients.refresh_link_timer(id);
                }
            }
            Input::Heard { link } => self.heard(link),
            Input::Disowned { link } => {
                let cause = "the client's certificate is not accepted any more";
                self.disconnect(link, Departure::Removed(cause));
            }
            Input::Authenticated { link, verdict } => self.take_verdict(link, verdict),
            Input::Reload { options, policies } => self.reload(options, policies),
            Input::Received { link, bytes } => {
                self.clients.counters.received_bytes += bytes.len() as u64;
                self.received(link, bytes);
            }
            Input::Closed { link } => self.closed(link, &Departure::Closed),
            Input::Failed { link, error } => self.closed(link, &Departure::Failed(error)),
            Input::Finished { link } => self.finished(link, Departure::Closed),
            Input::Garbled { link: id, peer, cause } => {
                if let Some(link) = self.clients.link(id) {
                    link.origin.peer = peer.or(link.origin.peer);
                }
                self.finished(id, Departure::Garbled(cause.into()));
            }
            Input::Blocked { link } => self.set_blocked(link, |blocks| blocks.socket = true),
            Input::Writable { link } => self.writable(link),
            Input::Mesh { from, message } => self.handle_mesh(from, message),
            Input::MeshSwept => self.mesh_swept(),
            Input::MeshFull { to } => self.neighbours.note_full(to),
            Input::MeshOpen { to } => self.mesh_open(to),
            Input::Looked { link, has_input } => self.looked(link, has_input),
            Input::Tick => self.tick(),
            Input::Committed { has_batch, parts } => self.committed(has_batch, &parts),
            Input::RewriteBegun { rewrite } => self.begin_rewrite(rewrite),
            Input::Own { topic, payload } => self.publish_own(topic, payload),
            Input::Operate { act, deed } => *deed = self.operate(act),
            Input::JournalState { failure } => self.tell_journal_state(failure.as_deref()),
            Input::Pressure(pressure) => self.set_pressure(pressure),
            Input::Shutdown => self.shut_down(),
        }
    }

    /// True when nothing more is to be handled in this turn that can wait for the next one.
    pub fn has_done_enough(&mut self) -> bool {
        self.clients.outbox.purse().is_empty()
    }

    /// Lets messages of other workers have their own part of the turn's work.
    pub fn begin_mesh(&mut self) {
        self.clients.refill_purse();
    }

    /// Lets what can wait for the next turn do so: output had to be sent amid this one.
    pub fn cut_turn(&mut self) {
        self.clients.outbox.purse().empty();
    }

    /// The steps of work so far, but for those of fan-outs: see [`Self::limit_turns`].
    #[must_use]
    pub fn steps(&mut self) -> u64 {
        self.clients.outbox.purse().total()
    }

    /// Gives each turn so many steps of work instead of
    /// [`TURN_STEPS_MAX`](crate::limits::TURN_STEPS_MAX), so that a test sees work go on in a later
    /// turn.
    pub fn limit_turns(&mut self, steps_max: usize) {
        self.clients.outbox.purse().limit(steps_max);
    }

    /// The next thing to do, in order; None when nothing is left.
    pub fn next_output(&mut self) -> Option<Output> {
        let output = self.clients.outputs.pop_front();
        if output.is_none() {
            self.neighbours.note_drained();
        }
        output
    }

    /// The time at which [`Input::Tick`] is due, if ever; [`Time::ZERO`] when it is due at once.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let has_more = !self.clients.unfinished.is_empty() || !self.clients.turns.is_empty();
        let clears_away = !self.clients.over.is_empty() && !self.neighbours.is_busy();
        if has_more || clears_away || self.has_census() || self.neighbours.can_go_on() {
            return Some(Time::ZERO);
        }
        let timers = self.clients.timers.next().into_iter().chain(self.retained.deadline());
        let timers = timers.chain(self.clients.drops.deadline()).chain(self.shed_due());
        timers.chain(self.journal_deadline()).min()
    }

    /// True when [`Input::MeshSwept`] must come soon, also if nothing else happens.
    #[must_use]
    pub fn wants_sweep(&self) -> bool {
        self.neighbours.has_questions()
    }

    /// The output that is to be sent.
    pub const fn outbox(&mut self) -> &mut Outbox {
        &mut self.clients.outbox
    }

    /// The durations so far, for the driver to record its own in.
    pub const fn histograms(&mut self) -> &mut Histograms {
        &mut self.histograms
    }

    /// Records that the outbox was sent at `now`.
    pub fn record_handed(&mut self, now: Time) {
        self.clients.handed.record(now, &mut self.histograms.delivery);
    }

    /// The counts of events so far, for the driver to count its own in.
    pub const fn counters_mut(&mut self) -> &mut Counters {
        &mut self.clients.counters
    }

    /// The counts of events so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.clients.counters
    }

    /// The number of messages that wait to be sent to clients for the first time.
    #[must_use]
    pub(crate) fn waiting_len(&self) -> u64 {
        self.clients.waiting_len()
    }

    /// The numbers of sessions, subscription tree nodes and retained messages: at rest, all that
    /// clients left behind.
    #[must_use]
    pub fn census(&self) -> (usize, usize, usize) {
        (self.clients.sessions.len(), self.subscriptions.node_count(), self.retained.len())
    }

    pub(super) fn client_home(&self, client_id: &str) -> WorkerId {
        self.homes.of(client_id)
    }

    pub(super) fn topic_home(&self, topic: &str) -> WorkerId {
        self.homes.of(topic)
    }

    /// The workers besides this one.
    pub(super) fn others(&self) -> impl Iterator<Item = WorkerId> + use<> {
        let index = self.index;
        WorkerId::all(self.workers).filter(move |&worker| worker != index)
    }

    /// Every ring was looked at once more. A question for retained messages that came before this
    /// sweep began is answered now, or after a later one if this turn is long: all messages stored
    /// before the question have arrived.
    fn mesh_swept(&mut self) {
        self.clients.refill_purse();
        while !self.clients.outbox.purse().is_empty()
            && let Some((from, query)) = self.neighbours.next_due_question()
        {
            let page = self.answer(&query);
            if from == self.index {
                let session = page.session;
                self.take_page(from, page);
                self.pump_replays(session);
            } else {
                self.mesh(from, MeshMessage::RetainedPage(Box::new(page)));
            }
        }
        self.neighbours.begin_sweep();
    }

    pub(super) fn set_blocked(&mut self, id: LinkId, set: impl FnOnce(&mut Blocks)) {
        let Some(link) = self.clients.link(id) else { return };
        set(&mut link.blocked);
        if let Some(session) = link.session() {
            self.clients.refresh_route(session);
        }
    }

    fn writable(&mut self, id: LinkId) {
        self.unblock(id, |blocks| blocks.socket = false);
    }

    /// Takes one block off a link; once none is left, the output that waited is sent.
    pub(super) fn unblock(&mut self, id: LinkId, clear: impl FnOnce(&mut Blocks)) {
        self.set_blocked(id, clear);
        let Some(link) = self.clients.link(id).filter(|link| !link.blocked.any()) else { return };
        let session = link.session();
        self.clients.send_backlog(id);
        if let Some(session) = session {
            self.pump(session);
        }
        if self.clients.resume(id, |pauses| pauses.backlog = false) {
            self.go_on(id);
        }
    }

    /// Sends messages that wait for the session's client.
    pub(super) fn pump(&mut self, id: SessionId) {
        self.clients.pump(id);
        self.pump_replays(id);
    }

    pub(super) fn handle_frame(
        &mut self,
        id: LinkId,
        frame: &Frame<'_>,
        rest: &[u8],
    ) -> Result<Progress, ProtocolError> {
        let kind = frame.kind().ok_or(ProtocolError::malformed("reserved packet type"))?;
        self.clients.counters.packets_received += 1;
        if self.is_traced() {
            self.trace_received(id, frame);
        }
        let Some(link) = self.clients.link(id) else { return Ok(Progress::Done) };
        link.packets_received += 1;
        let peer = match link.state {
            State::Connected { session } => Peer { link: id, session, version: link.version },
            State::Authenticating => {
                return self.handle_unauthenticated(id, frame).map(|()| Progress::Done);
            }
            State::Fresh { .. } | State::Closing => {
                return self.handle_first(id, frame, rest).map(|()| Progress::Done);
            }
        };
        let handled = match kind {
            PacketType::Publish => self.handle_publish(peer, frame),
            PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => {
                self.handle_ack(peer, frame)
            }
            PacketType::Subscribe => return self.handle_subscribe(peer, frame),
            PacketType::Unsubscribe => return self.handle_unsubscribe(peer, frame),
            PacketType::PingReq => self.handle_ping(id, frame),
            PacketType::Disconnect => self.handle_disconnect(peer, frame),
            PacketType::Auth => self.handle_auth(peer, frame),
            PacketType::Connect => Err(ProtocolError::protocol("a second CONNECT")),
            PacketType::ConnAck
            | PacketType::SubAck
            | PacketType::UnsubAck
            | PacketType::PingResp => Err(ProtocolError::protocol("a packet only a server sends")),
        };
        handled.map(|()| Progress::Done)
    }

    fn handle_ping(&mut self, id: LinkId, frame: &Frame<'_>) -> Result<(), ProtocolError> {
        if !frame.body.is_empty() {
            return Err(ProtocolError::malformed("PINGREQ with a body"));
        }
        self.clients.respond(id, &Packet::PingResp);
        Ok(())
    }

    /// The peer broke the protocol: it is told why, where its version has words for it, and goes.
    // [MQTT-4.13.1-1]
    pub(super) fn refuse(&mut self, id: LinkId, error: ProtocolError) {
        self.clients.counters.protocol_errors += 1;
        self.disconnect(id, Departure::Refused(error));
    }

    /// Closes the connections of clients that do not take the output they are owed.
    // [MQTT-3.1.2-24]
    pub(super) fn close_misfits(&mut self) {
        while let Some(id) = self.clients.misfits.pop() {
            let cause = "a packet is larger than the client takes";
            let error = ProtocolError::new(ReasonCode::PacketTooLarge, cause);
            self.disconnect(id, Departure::Refused(error));
        }
    }

    /// Closes the connection; a connected 5.0 client is told why, behind the responses it is owed.
    /// The client's will is published.
    pub(super) fn disconnect(&mut self, id: LinkId, departure: Departure) {
        let Some(link) = self.clients.link(id) else { return };
        if link.state == State::Closing {
            return;
        }
        let is_told = link.version.is_v5() && link.session().is_some();
        if self.is_traced() {
            self.trace_closing(id);
        }
        if let Some(packet) = departure.packet().filter(|_| is_told) {
            self.clients.respond(id, &Packet::Disconnect(packet));
        }
        self.hang_up(id, &departure);
    }

    /// The peer has sent its last byte. Earlier bytes that wait are still handled. A client that
    /// leaves while its login is verified, and has sent nothing behind CONNECT, has just gone.
    fn finished(&mut self, id: LinkId, departure: Departure) {
        let due = self.clients.now.after(CLOSE_WAIT_MAX);
        let Some(link) = self.clients.link(id).filter(|link| link.state != State::Closing) else {
            return;
        };
        link.is_finished = true;
        let wants_more = link.state != State::Authenticating || !link.carry.is_empty();
        if !link.pauses.any() || !wants_more {
            return self.hang_up(id, &departure);
        }
        if departure != Departure::Closed {
            link.keep_departure(departure);
        }
        self.clients.set_link_timer(id, Some(due));
    }

    /// Closes the connection of a peer that has sent its last byte.
    pub(super) fn hang_up_finished(&mut self, id: LinkId) {
        let Some(link) = self.clients.link(id) else { return };
        let departure = link.take_departure().unwrap_or(Departure::Closed);
        self.hang_up(id, &departure);
    }

    /// Closes the connection without a word. The will of its client is published.
    pub(super) fn hang_up(&mut self, id: LinkId, departure: &Departure) {
        self.tell_departure(id, departure);
        let session = self.clients.link(id).and_then(|link| link.session());
        self.close(id);
        if let Some(session) = session {
            self.lose_link(session, true);
        }
    }

    /// Tells the log that a connection ends. Called once for each, before it is closed.
    pub(super) fn tell_departure(&mut self, id: LinkId, departure: &Departure) {
        let Some(link) = self.clients.link(id) else { return };
        let (state, origin) = (link.state, link.origin.clone());
        match state {
            State::Connected { session } => {
                self.clients.counters.clients_departed[departure.kind().place()] += 1;
                let place = &mut self.clients.sessions[session.slot];
                place.departed = Some(departure.kind());
                told::departed(&origin, &place.client_id, departure);
                self.clients.audit_departed(id, session, departure);
            }
            State::Authenticating => self.tell_refused_login(id, departure),
            State::Fresh { .. } => {
                told::ended(&origin, departure);
                self.clients.audit_unheard(id, departure);
            }
            State::Closing => {}
        }
    }

    /// Closes the connection after its output is sent, with the responses that wait. No further
    /// packet of its client is handled.
    pub(super) fn close(&mut self, id: LinkId) {
        let due = self.clients.now.after(CLOSE_WAIT_MAX);
        let Some(link) = self.clients.link(id).filter(|link| link.state != State::Closing) else {
            return;
        };
        link.state = State::Closing;
        link.carry = Carry::default();
        link.forget_login();
        let ongoing = link.take_ongoing();
        if link.defers() {
            self.clients.set_link_timer(id, Some(due));
        } else {
            self.finish(id);
        }
        if let Some(ongoing) = ongoing {
            // There is no rest of the packet any more.
            self.response_ready(id, ongoing.response);
        }
    }

    /// A connection that is closed has nothing more to wait for.
    pub(super) fn finish(&mut self, id: LinkId) {
        self.clients.set_link_timer(id, None);
        self.clients.send_backlog(id);
        self.clients.outputs.push_back(Output::Close { link: id });
    }

    fn closed(&mut self, id: LinkId, departure: &Departure) {
        self.tell_departure(id, departure);
        let Some(link) = self.clients.remove_link(id) else { return };
        if let Some(session) = link.session() {
            self.lose_link(session, true);
        }
    }

    fn shut_down(&mut self) {
        for id in self.clients.link_ids() {
            let Some(link) = self.clients.link(id) else { continue };
            if let Some(session) = link.session() {
                // The broker stops, not the client: its will is not due.
                self.clients.sessions[session.slot].will = None;
            }
            self.disconnect(id, Departure::Stop);
            if self.clients.link(id).is_some_and(|link| link.defers()) {
                let due = self.clients.now.after(STOP_WAIT_MAX);
                self.clients.set_link_timer(id, Some(due));
            }
        }
        let held: usize = self.clients.sessions.iter().map(|(_, session)| session.held()).sum();
        self.clients.outbox.purse().spend_at_once(HOLDER_STEPS * held);
        let sent: Vec<_> = self.clients.sessions.iter().filter_map(|(_, s)| s.sent()).collect();
        for record in sent {
            self.clients.note(record);
        }
    }
}

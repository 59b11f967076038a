//! The clients of this worker: their links, their sessions, and their output.

use super::audit_trail::AuditTrail;
use super::boundary::Output;
use super::drops::Drops;
use super::ledger::Ledger;
use super::link::{Link, State};
use super::outbox::{Outbox, PRIVATE};
use super::pressure::Pressure;
use super::session::Session;
use super::timers::{TimerKey, Timers};
use crate::base::ids::{LinkId, Serial, SessionId, SessionNumber, Slots};
use crate::base::time::Time;
use crate::limits::BACKLOG_BYTES_MAX;
use crate::metrics::{Counters, Handed, Withdrawn};
use crate::mqtt::Packet;
use crate::options::Options;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

/// The facts of a session that the loop that delivers needs; a dense list with one entry a session
/// slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) link: LinkId,
    /// The largest packet the client takes; 0 while it is not connected.
    pub(super) packet_bytes_max: u32,
    pub(super) is_v5: bool,
    /// Whether a QoS 0 message goes straight to the outbox.
    pub(super) is_plain: bool,
}

impl Route {
    const NONE: Self = Self {
        link: LinkId { slot: u32::MAX, generation: 0 },
        packet_bytes_max: 0,
        is_v5: false,
        is_plain: false,
    };

    pub(super) const fn is_online(self) -> bool {
        self.packet_bytes_max > 0
    }
}

#[derive(Debug)]
pub(super) struct Clients {
    pub(super) options: Arc<Options>,
    pub(super) now: Time,
    pub(super) links: Vec<Option<Box<Link>>>,
    pub(super) sessions: Slots<SessionId, Session>,
    pub(super) routes: Vec<Route>,
    /// The numbers of the sessions whose messages the journal keeps, by slot; 0 for others.
    stored: Vec<SessionNumber>,
    by_client_id: HashTable<SessionId>,
    hasher: FixedState,
    pub(super) outbox: Outbox,
    pub(super) outputs: VecDeque<Output>,
    pub(super) timers: Timers,
    /// How much memory is in use.
    pub(super) pressure: Pressure,
    /// Links that wait until there is more memory.
    pub(super) memory_waiting: Vec<LinkId>,
    /// Links whose received bytes wait for the next turn.
    pub(super) turns: VecDeque<LinkId>,
    /// Sessions that are over, but for some of their subscriptions.
    pub(super) over: VecDeque<SessionId>,
    /// Sessions with more to send than one turn should take.
    pub(super) unfinished: VecDeque<SessionId>,
    /// Sessions with more to send than the journal should be told at once.
    pub(super) hand_over_awaited: Vec<SessionId>,
    pub(super) counters: Counters,
    /// The copies of messages in the output that is to be sent.
    pub(super) handed: Handed,
    /// Links whose clients accept no packet as large as the one for them.
    pub(super) misfits: Vec<LinkId>,
    /// Dropped messages, until the log is told.
    pub(super) drops: Drops,
    /// The trail to the audit log; None when there is none.
    pub(super) audit: Option<Box<AuditTrail>>,
    /// The journal cannot be written.
    pub(super) journal_fails: bool,
    /// The changes for the journal; None when nothing outlives the process.
    pub(super) ledger: Option<Box<Ledger>>,
    serial: Serial,
    /// The next number for a session or a message, and the step to the one after it.
    numbers: (u64, u64),
}

impl Clients {
    /// Makes an empty set of clients, whose numbers count from `first` in steps of `step`.
    pub(super) fn new(options: Arc<Options>, seed: u64, (first, step): (u64, u64)) -> Self {
        Self {
            options,
            now: Time::ZERO,
            links: Vec::new(),
            sessions: Slots::default(),
            routes: Vec::new(),
            stored: Vec::new(),
            by_client_id: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            outbox: Outbox::default(),
            outputs: VecDeque::new(),
            timers: Timers::default(),
            pressure: Pressure::None,
            memory_waiting: Vec::new(),
            turns: VecDeque::new(),
            over: VecDeque::new(),
            unfinished: VecDeque::new(),
            hand_over_awaited: Vec::new(),
            counters: Counters::default(),
            handed: Handed::default(),
            misfits: Vec::new(),
            drops: Drops::default(),
            audit: None,
            journal_fails: false,
            ledger: None,
            serial: Serial::NONE,
            numbers: (first, step),
        }
    }

    /// A number that no session and no message of any worker has. Numbers that outlive the process
    /// are never given again.
    pub(super) const fn next_number(&mut self) -> u64 {
        let (number, step) = self.numbers;
        self.numbers.0 += step;
        number
    }

    /// Lets numbers and serials continue after those of an earlier process.
    pub(super) const fn go_on_after(&mut self, number_max: u64) {
        self.numbers.0 += number_max;
        // Packet identifiers that are still in flight are noticed by how old their serials are.
        self.serial = Serial(65_535);
    }

    /// The link `id`, unless it has gone.
    pub(super) fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        let link = self.links.get_mut(id.slot as usize)?.as_deref_mut()?;
        (link.id == id).then_some(link)
    }

    pub(super) fn insert_link(&mut self, link: Link) {
        let slot = link.id.slot as usize;
        if slot >= self.links.len() {
            self.links.resize_with(slot + 1, || None);
        }
        self.outbox.open(link.id);
        self.links[slot] = Some(Box::new(link));
    }

    pub(super) fn remove_link(&mut self, id: LinkId) -> Option<Box<Link>> {
        self.link(id)?;
        self.timers.set(TimerKey::Link(id.slot), None);
        let link = self.links[id.slot as usize].take()?;
        self.counters.withdraw(Withdrawn::Away, link.backlog_size().0 as u64);
        Some(link)
    }

    pub(super) fn find_session(&self, client_id: &str) -> Option<SessionId> {
        let hash = self.hasher.hash_one(client_id);
        let is_it = |id: &SessionId| &*self.sessions[id.slot].client_id == client_id;
        self.by_client_id.find(hash, is_it).copied()
    }

    /// True while the session is there and not over.
    pub(super) fn has_session(&self, id: SessionId) -> bool {
        self.sessions.get(id).is_some_and(|session| !session.is_over)
    }

    pub(super) fn insert_session(&mut self, session: Session) -> SessionId {
        let hash = self.hasher.hash_one(&*session.client_id);
        let id = self.sessions.insert(session);
        let rehash = |id: &SessionId| self.hasher.hash_one(&*self.sessions[id.slot].client_id);
        self.by_client_id.insert_unique(hash, id, rehash);
        if id.slot as usize >= self.routes.len() {
            self.routes.resize(id.slot as usize + 1, Route::NONE);
            self.stored.resize(id.slot as usize + 1, SessionNumber::NONE);
        }
        self.routes[id.slot as usize] = Route::NONE;
        id
    }

    /// Ends a session and returns what was in it. Its slot and its subscriptions stay for
    /// [`Self::over`]; a message for them goes nowhere.
    pub(super) fn end_session(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.get_mut(id).filter(|session| !session.is_over)?;
        let mut over = Session::new("", SessionNumber::NONE);
        over.is_over = true;
        std::mem::swap(&mut over.subscriptions, &mut session.subscriptions);
        let hash = self.hasher.hash_one(&*session.client_id);
        let mut session = std::mem::replace(session, over);
        session.count(None);
        if let Ok(entry) = self.by_client_id.find_entry(hash, |known| *known == id) {
            entry.remove();
        }
        self.routes[id.slot as usize] = Route::NONE;
        self.stored[id.slot as usize] = SessionNumber::NONE;
        self.timers.set(TimerKey::Session(id.slot), None);
        self.over.push_back(id);
        Some(session)
    }

    /// Sets the route of a session to the present state of its link.
    pub(super) fn refresh_route(&mut self, id: SessionId) {
        let session = &self.sessions[id.slot];
        let is_replaying = session.is_replaying();
        let link = session.link.and_then(|link| self.links[link.slot as usize].as_deref());
        self.routes[id.slot as usize] = link.map_or(Route::NONE, |link| Route {
            link: link.id,
            packet_bytes_max: link.packet_bytes_max,
            is_v5: link.version.is_v5(),
            is_plain: link.is_plain() && !is_replaying,
        });
    }

    /// The number of the session in `slot` if the journal keeps its messages, else 0.
    #[inline]
    pub(super) fn stored(&self, slot: u32) -> SessionNumber {
        self.stored[slot as usize]
    }

    /// Updates whether the journal keeps the session's messages.
    pub(super) fn refresh_stored(&mut self, id: SessionId) {
        let session = &self.sessions[id.slot];
        let is_stored = session.is_recorded && session.expiry_s > 0;
        self.stored[id.slot as usize] =
            if is_stored { session.number } else { SessionNumber::NONE };
    }

    /// The time for which a peer may be silent before its CONNECT.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.options.connect_timeout_s))
    }

    /// Sets the link's timer to the first of its deadlines.
    pub(super) fn refresh_link_timer(&mut self, id: LinkId) {
        let patience = self.patience();
        let due = self.link(id).and_then(|link| link.due(patience));
        self.set_link_timer(id, due);
    }

    /// Sets the link's timer.
    pub(super) fn set_link_timer(&mut self, id: LinkId, due: Option<Time>) {
        if self.link(id).is_some() {
            self.timers.set(TimerKey::Link(id.slot), due);
        }
    }

    /// Sets the session's timer to the first of its deadlines.
    pub(super) fn refresh_session_timer(&mut self, id: SessionId) {
        let session = &self.sessions[id.slot];
        let due = session.ends.into_iter().chain(session.will_due()).min();
        self.timers.set(TimerKey::Session(id.slot), due);
    }

    /// A number that no other publish of this worker has.
    pub(super) const fn next_serial(&mut self) -> Serial {
        self.serial.0 += 1;
        self.serial
    }

    /// Sends a response, behind those that wait for other workers.
    pub(super) fn respond(&mut self, id: LinkId, packet: &Packet<'_>) {
        match self.link(id) {
            Some(link) if link.defers() => {
                let bytes = self.encode(id, packet);
                self.respond_bytes(id, &bytes);
            }
            _ => self.send(id, packet),
        }
    }

    /// Sends an encoded response, as [`Self::respond`] does.
    pub(super) fn respond_bytes(&mut self, id: LinkId, bytes: &[u8]) {
        match self.link(id) {
            Some(link) if link.defers() => {
                link.deferred_mut().write_behind(bytes);
                self.limit_deferred(id);
            }
            _ => self.send_bytes(id, bytes),
        }
    }

    /// A part of the turn begins that has a purse of its own.
    pub(super) fn refill_purse(&mut self) {
        let purse = self.outbox.purse();
        self.counters.purses_spent += u64::from(purse.is_empty());
        purse.refill();
    }

    /// Encodes a packet that the link is to be sent. A packet that the client does not accept gives
    /// no bytes, and closes the link.
    pub(super) fn encode(&mut self, id: LinkId, packet: &Packet<'_>) -> Vec<u8> {
        let bytes = self.encode_uncounted(id, packet);
        if !bytes.is_empty() {
            self.count_response(bytes.len());
        }
        bytes
    }

    /// Encodes a packet as [`Self::encode`] does, for a caller that does not send it for sure.
    pub(super) fn encode_uncounted(&mut self, id: LinkId, packet: &Packet<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(link) = self.link(id) else { return bytes };
        let (version, max) = link.terms();
        if !packet.encode_within(version, max, &mut bytes) {
            self.misfits.push(id);
        }
        bytes
    }

    /// Counts a packet that the link is sent, so many bytes long, and that is no PUBLISH.
    pub(super) const fn count_response(&mut self, length: usize) {
        self.counters.responses_sent += 1;
        self.counters.sent_bytes += length as u64;
    }

    /// Pauses a link on which too many responses wait.
    pub(super) fn limit_deferred(&mut self, id: LinkId) {
        if self.link(id).is_some_and(|link| link.defers_much(1)) {
            self.pause(id, |pauses| pauses.deferred = true);
        }
    }

    /// Sends a packet that is not a PUBLISH.
    pub(super) fn send(&mut self, id: LinkId, packet: &Packet<'_>) {
        let Some(link) = self.link(id) else { return };
        let (version, max) = link.terms();
        if link.blocked.any() {
            let bytes = self.encode(id, packet);
            return self.send_bytes(id, &bytes);
        }
        let mut fits = true;
        let run = self.outbox.encode(PRIVATE, |out| fits = packet.encode_within(version, max, out));
        if fits {
            self.count_response(run.len());
            self.outbox.append(id, run);
        } else {
            self.misfits.push(id);
        }
    }

    /// Sends an encoded packet, as [`Self::send`] does.
    pub(super) fn send_bytes(&mut self, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.link(id).filter(|_| !bytes.is_empty()) else { return };
        if !link.blocked.any() {
            let run = self.outbox.encode(PRIVATE, |out| out.extend_from_slice(bytes));
            self.outbox.append(id, run);
            return;
        }
        if link.backlog_mut().add_responses(bytes) > BACKLOG_BYTES_MAX && !link.pauses.backlog {
            self.pause(id, |pauses| pauses.backlog = true);
        }
    }

    /// Sends the packets that waited until the link is writable; none go out before CONNACK.
    pub(super) fn send_backlog(&mut self, id: LinkId) {
        let Some(link) = self.link(id).filter(|link| !link.blocked.connack) else { return };
        let responses = link.take_responses();
        if !responses.is_empty() {
            let run = self.outbox.encode(PRIVATE, |out| out.extend_from_slice(&responses));
            self.outbox.append(id, run);
        }
    }

    /// Adds a reason not to handle the link's input.
    pub(super) fn pause(&mut self, id: LinkId, add: impl FnOnce(&mut super::link::Pauses)) {
        let Some(link) = self.link(id) else { return };
        let was = link.pauses.stops_input();
        add(&mut link.pauses);
        if !was && link.pauses.stops_input() {
            self.outputs.push_back(Output::PauseReceive { link: id });
        }
    }

    /// Lets the link go on in its next turn.
    pub(super) fn pause_for_turn(&mut self, id: LinkId) {
        self.pause(id, |pauses| pauses.turn = true);
        self.turns.push_back(id);
    }

    /// Removes a reason not to handle the link's input; true when it may be handled again.
    pub(super) fn resume(
        &mut self,
        id: LinkId,
        take: impl FnOnce(&mut super::link::Pauses),
    ) -> bool {
        let now = self.now;
        let Some(link) = self.link(id) else { return false };
        let was = link.pauses.any();
        take(&mut link.pauses);
        if was {
            // The peer could not be heard meanwhile.
            link.heard = now;
        }
        let resumes = was && !link.pauses.any();
        if resumes && link.state != State::Closing {
            self.outputs.push_back(Output::ResumeReceive { link: id });
        }
        resumes
    }

    /// All links, by slot.
    pub(super) fn link_ids(&self) -> Vec<LinkId> {
        self.links.iter().flatten().map(|link| link.id).collect()
    }
}

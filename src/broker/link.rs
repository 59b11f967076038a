//! A connection, as far as the broker knows of it.

use super::aliases::Aliases;
use super::backlog::Backlog;
use super::carry::Carry;
use super::deferred::{DeferredResponses, ResponseId};
use super::link_login::LinkLogin;
use super::ongoing::{FilterTally, Ongoing};
use super::origin::Origin;
use super::rate::PublishRate;
use super::told::Departure;
use crate::base::ids::{LinkId, SessionId};
use crate::base::time::Time;
use crate::limits::{CONNECT_TIME_FACTOR, TURNED_AWAY_TIME_MAX};
use crate::mqtt::Version;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) origin: Origin,
    pub(super) state: State,
    pub(super) version: Version,
    /// The client is a bridge, which MQTT 3 has no subscription options for.
    pub(super) is_bridge: bool,
    /// Bytes received that are not a whole packet yet, or are not to be handled yet.
    pub(super) carry: Carry,
    /// The time at which something last came from the peer.
    pub(super) heard: Time,
    /// The time since which CONNECT, or the next step of the login, is awaited, or since which
    /// the client is connected.
    pub(super) awaited: Time,
    /// The number of times in a row that a look at a peer which seemed silent found input waiting.
    pub(super) looks: u8,
    /// The keep-alive period that was agreed on, in seconds; 0 is none.
    pub(super) keep_alive_s: u16,
    /// The largest packet the peer takes.
    pub(super) packet_bytes_max: u32,
    /// The peer has sent its last byte.
    pub(super) is_finished: bool,
    /// The client's last PUBLISH went to nobody but queues.
    pub(super) fills_queues: bool,
    /// The reasons for which output for the link waits.
    pub(super) blocked: Blocks,
    pub(super) pauses: Pauses,
    /// The number of packets that the peer has sent.
    pub(super) packets_received: u64,
    /// Times from a message's receipt until the client acknowledged it.
    pub(super) acknowledged: AckTimes,
    rare: Option<Box<Rare>>,
}

/// Times of acknowledgements, in units of 1,024 nanoseconds: each acknowledgement pays for them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AckTimes {
    /// The mean, in which the last eight count most.
    mean: u32,
    greatest: u32,
}

impl AckTimes {
    /// The mean and the greatest one, if there is any.
    pub(super) fn shown(self) -> Option<(Duration, Duration)> {
        let time = |units: u32| Duration::from_nanos(u64::from(units) << 10);
        (self.greatest > 0).then(|| (time(self.mean), time(self.greatest)))
    }

    /// Adds the time from `received` to `now`.
    pub(super) fn add(&mut self, received: Time, now: Time) {
        let units = now.nanoseconds().saturating_sub(received.nanoseconds()) >> 10;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.greatest = self.greatest.max(units);
        self.mean = match self.mean {
            0 => units,
            mean => (mean - mean / 8).saturating_add(units / 8),
        };
    }
}

/// State of a link that most links do without.
#[derive(Debug, Default)]
struct Rare {
    deferred: DeferredResponses,
    backlog: Backlog,
    aliases: Aliases,
    login: LinkLogin,
    ongoing: Option<Box<Ongoing>>,
    publish_rate: PublishRate,
    /// The reason for which the peer's last byte has come, unless the peer has just closed; until
    /// the log is told.
    departure: Option<Departure>,
}

// A client that has logged in keeps one for as long as it is connected.
const _: () = assert!(size_of::<Rare>() <= 312);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// CONNECT is awaited. `whole`: all of it has arrived in the kernel, so it may be taken out.
    Fresh { whole: bool },
    /// CONNECT is read, and its login is being verified.
    Authenticating,
    /// CONNECT was accepted.
    Connected { session: SessionId },
    /// The peer's bytes do not count any more; the link is closed when no response is deferred any
    /// more.
    Closing,
}

/// The reasons for which nothing is sent on a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    /// A part of the last output is still on its way.
    pub(super) socket: bool,
    /// The link's CONNACK waits for the disk.
    pub(super) connack: bool,
}

impl Blocks {
    #[inline]
    pub(super) const fn any(self) -> bool {
        self.socket || self.connack
    }
}

/// The reasons for which nothing that comes on a link is handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pauses {
    /// The peer does not read its responses.
    pub(super) backlog: bool,
    /// The link's next packet may send to another worker, and a ring is full.
    pub(super) mesh: bool,
    /// Too many responses of the link wait.
    pub(super) deferred: bool,
    /// The link's CONNECT or AUTH is being verified. This pause alone takes some input still, so
    /// that it shows when the peer has gone.
    pub(super) login: bool,
    /// The link's CONNECT or AUTH is being verified, and the peer goes on sending.
    pub(super) early: bool,
    /// The link's client publishes, and the journal does not keep up.
    pub(super) journal: bool,
    /// The link's client publishes, and there is too little memory.
    pub(super) memory: bool,
    /// The rest of what has come waits for the link's next turn.
    pub(super) turn: bool,
}

impl Pauses {
    pub(super) const fn any(self) -> bool {
        self.login || self.stops_input()
    }

    /// True when nothing at all is taken from the peer.
    pub(super) const fn stops_input(self) -> bool {
        let held_up = self.mesh || self.deferred || self.journal || self.memory || self.turn;
        held_up || self.backlog || self.early
    }
}

impl Link {
    pub(super) fn new(id: LinkId, origin: Origin, now: Time) -> Self {
        Self {
            id,
            origin,
            state: State::Fresh { whole: false },
            version: Version::V311,
            is_bridge: false,
            carry: Carry::default(),
            heard: now,
            awaited: now,
            looks: 0,
            keep_alive_s: 0,
            packet_bytes_max: u32::MAX,
            is_finished: false,
            fills_queues: false,
            packets_received: 0,
            acknowledged: AckTimes::default(),
            blocked: Blocks::default(),
            pauses: Pauses::default(),
            rare: None,
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The time at which the peer has been silent for too long: one and a half keep-alive periods.
    // [MQTT-3.1.2-22]
    pub(super) fn silent_at(&self) -> Option<Time> {
        let silence = Duration::from_millis(u64::from(self.keep_alive_s) * 1500);
        (self.keep_alive_s > 0).then(|| self.heard.after(silence))
    }

    /// The time at which a peer has taken too long to come in: `patience` without a byte, and some
    /// times as long in all.
    fn entry_due(&self, patience: Duration) -> Time {
        let most = match self.origin.excess {
            None => patience * CONNECT_TIME_FACTOR,
            Some(_) => TURNED_AWAY_TIME_MAX,
        };
        self.heard.after(patience).min(self.awaited.after(most))
    }

    /// The time at which the peer is due: it has not come in with `patience`, it is silent, or its
    /// login expires.
    pub(super) fn due(&self, patience: Duration) -> Option<Time> {
        match self.state {
            State::Fresh { .. } | State::Authenticating => Some(self.entry_due(patience)),
            State::Connected { .. } => self.silent_at().into_iter().chain(self.expires()).min(),
            State::Closing => None,
        }
    }

    /// True when the broker keeps the peer from going on, so that the silence of the peer says
    /// nothing.
    pub(super) const fn is_held_up(&self) -> bool {
        let Pauses { mesh, login, journal, deferred, memory, turn, .. } = self.pauses;
        let is_paused = mesh || login || journal || deferred || memory || turn;
        (is_paused || self.blocked.connack) && !self.pauses.backlog
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        match self.state {
            State::Connected { session } => Some(session),
            State::Fresh { .. } | State::Authenticating | State::Closing => None,
        }
    }

    /// True when a QoS 0 message can go straight to the outbox, encoded as for everybody.
    pub(super) fn is_plain(&self) -> bool {
        let is_rare = |rare: &Rare| rare.aliases.are_taken() || rare.backlog.has_messages();
        !self.blocked.any() && !self.rare.as_deref().is_some_and(is_rare)
    }

    /// The protocol version of packets for the peer, and the most bytes that each may have.
    pub(super) const fn terms(&self) -> (Version, usize) {
        (self.version, self.packet_bytes_max as usize)
    }

    /// True when a response must wait behind others that wait for other workers.
    pub(super) fn defers(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.deferred.is_empty())
    }

    /// True when more than one `share`th of the responses that may wait do.
    pub(super) fn defers_much(&self, share: usize) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.deferred.are_over(share))
    }

    pub(super) fn deferred_mut(&mut self) -> &mut DeferredResponses {
        &mut self.rare().deferred
    }

    /// Defers a response until `waits` things are done, and names it.
    pub(super) fn defer(&mut self, waits: u32, bytes: Vec<u8>) -> ResponseId {
        let connack_waits = self.blocked.connack;
        self.deferred_mut().defer(waits, bytes, connack_waits)
    }

    /// Drops the responses that are deferred.
    pub(super) fn forget_deferred(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.deferred.clear();
        }
    }

    /// True when QoS 0 messages wait until the link is writable.
    pub(super) fn has_waiting(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.backlog.has_messages())
    }

    pub(super) fn backlog_mut(&mut self) -> &mut Backlog {
        &mut self.rare().backlog
    }

    /// The number of QoS 0 messages that wait until the link is writable, and their bytes.
    pub(super) fn backlog_size(&self) -> (usize, usize) {
        self.rare.as_ref().map_or((0, 0), |rare| rare.backlog.size())
    }

    /// The bytes that the link holds of what came, and of what is to be sent.
    pub(super) fn held_bytes(&self) -> usize {
        let waiting = |rare: &Rare| rare.backlog.bytes() + rare.deferred.bytes();
        self.carry.len() + self.rare.as_deref().map_or(0, waiting)
    }

    /// The bytes that the link takes, without messages that wait.
    pub(super) fn memory(&self) -> usize {
        let rare = |rare: &Rare| {
            size_of::<Rare>()
                + rare.backlog.memory()
                + rare.deferred.bytes()
                + rare.aliases.memory()
        };
        size_of::<Self>() + self.carry.memory() + self.rare.as_deref().map_or(0, rare)
    }

    /// Takes the responses that waited until the link is writable.
    pub(super) fn take_responses(&mut self) -> Vec<u8> {
        self.rare.as_mut().map_or_else(Vec::new, |rare| rare.backlog.take_responses())
    }

    pub(super) fn aliases(&self) -> Option<&Aliases> {
        self.rare.as_deref().map(|rare| &rare.aliases)
    }

    pub(super) fn aliases_mut(&mut self) -> &mut Aliases {
        &mut self.rare().aliases
    }

    pub(super) fn login(&self) -> Option<&LinkLogin> {
        self.rare.as_deref().map(|rare| &rare.login)
    }

    pub(super) fn login_mut(&mut self) -> &mut LinkLogin {
        &mut self.rare().login
    }

    /// Ends the wait for a verdict.
    pub(super) fn forget_login(&mut self) {
        if let Some(rare) = &mut self.rare {
            drop(rare.login.take());
        }
    }

    /// The time at which the client's proof of itself expires.
    pub(super) fn expires(&self) -> Option<Time> {
        self.login().and_then(LinkLogin::expires)
    }

    /// Keeps a packet of which some filters are done.
    pub(super) fn keep_ongoing(&mut self, ongoing: Ongoing) {
        self.rare().ongoing = Some(Box::new(ongoing));
    }

    /// Takes the packet of which some filters are done.
    pub(super) fn take_ongoing(&mut self) -> Option<Box<Ongoing>> {
        self.rare.as_mut()?.ongoing.take()
    }

    /// Takes the filters that are done of such a packet, for the audit log.
    pub(super) fn take_tally(&mut self) -> Option<Box<FilterTally>> {
        self.rare.as_mut()?.ongoing.as_mut()?.tally.take()
    }

    pub(super) fn publish_rate_mut(&mut self) -> &mut PublishRate {
        &mut self.rare().publish_rate
    }

    /// Keeps why the peer's last byte has come until [`Self::take_departure`] tells.
    pub(super) fn keep_departure(&mut self, departure: Departure) {
        self.rare().departure = Some(departure);
    }

    pub(super) fn take_departure(&mut self) -> Option<Departure> {
        self.rare.as_mut()?.departure.take()
    }
}

//! A connection, as far as the broker knows of it.

use super::connect_request::ConnectRequest;
use super::delivery::Delivery;
use super::origin::Origin;
use super::rate::Rate;
use super::told::Departure;
use crate::access::ScramExchange;
use crate::base::ids::{LinkId, SessionId};
use crate::base::maps::HashMap;
use crate::base::queue::Queue;
use crate::base::time::Time;
use crate::limits::{
    CONNECT_TIME_FACTOR, DEFERRED_BYTES_MAX, DEFERRED_RESPONSES_MAX, TURNED_AWAY_TIME_MAX,
};
use crate::mqtt::Version;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) origin: Origin,
    pub(super) state: State,
    pub(super) version: Version,
    /// Received, and not yet a whole packet or not yet to be handled.
    pub(super) carry: Vec<u8>,
    /// When something last came from the peer.
    pub(super) heard: Time,
    /// Since when its CONNECT, or the next step of its login, is awaited.
    pub(super) awaited: Time,
    /// How often in a row input was found waiting when the peer seemed to be silent.
    pub(super) looks: u8,
    /// The keep-alive period that was agreed on, in seconds; 0 is none.
    pub(super) keep_alive_s: u16,
    /// What the shard's timers hold of it.
    pub(super) timer: Option<Time>,
    /// The largest packet the peer takes.
    pub(super) packet_bytes_max: u32,
    /// The peer has sent its last byte.
    pub(super) is_finished: bool,
    /// Why what is for the link waits.
    pub(super) blocked: Blocks,
    pub(super) pauses: Pauses,
    pub(super) rare: Option<Box<Rare>>,
}

/// What most links do without.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Responses that wait for other workers, and those behind them.
    deferred: VecDeque<Deferred>,
    /// Names the first of `deferred`.
    deferred_first: ResponseId,
    /// The bytes of `deferred`.
    deferred_bytes: usize,
    /// Responses that wait until the link is writable.
    pub(super) backlog: Vec<u8>,
    /// QoS 0 messages that wait until the link is writable.
    pub(super) queue: Queue<Delivery>,
    pub(super) queue_bytes: usize,
    /// Topic aliases that the peer has set.
    pub(super) aliases_in: HashMap<u16, Box<str>>,
    /// Topic aliases given to the peer.
    pub(super) aliases_out: HashMap<Box<str>, u16>,
    /// How many of them it takes.
    pub(super) aliases_out_max: u16,
    /// Who the client is, while that is being found out.
    pub(super) login: Option<Box<PendingLogin>>,
    /// The authentication method of its CONNECT.
    pub(super) method: Option<Arc<str>>,
    /// When what it has shown of itself expires.
    pub(super) expires: Option<Time>,
    /// Why the peer's last byte has come, where it has not just closed; until it is told.
    pub(super) departure: Option<Departure>,
    pub(super) messages: Rate,
    pub(super) bytes: Rate,
}

/// A login that is not over.
#[derive(Debug, Default)]
pub(super) struct PendingLogin {
    /// What the client asks for; None when a connected client authenticates again.
    pub(super) request: Option<ConnectRequest>,
    /// For a large CONNECT, of which there may be few.
    pub(super) permit: Option<Arc<()>>,
    /// What the last step left for the next one; None while the authenticator has it.
    pub(super) exchange: Option<Box<ScramExchange>>,
    /// That it lives tells the authenticator that the link waits for the verdict; None before the
    /// login is handed out.
    pub(super) waits: Option<Arc<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// CONNECT is awaited. `whole`: all of it has arrived in the kernel, so it may be taken out.
    Fresh { whole: bool },
    /// CONNECT is read, and it is being found out who the client is.
    Authenticating,
    /// CONNECT was accepted.
    Connected { session: SessionId },
    /// Nothing the peer says counts any more; it is closed when no response is deferred any more.
    Closing,
}

/// Why nothing is sent on a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    /// A part of the last output is still on its way.
    pub(super) socket: bool,
    /// Its CONNACK waits for the disk.
    pub(super) connack: bool,
}

impl Blocks {
    #[inline]
    pub(super) const fn any(self) -> bool {
        self.socket || self.connack
    }
}

/// Why nothing that comes on a link is handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pauses {
    /// The peer does not read its responses.
    pub(super) backlog: bool,
    /// Its next packet may send to another worker, and a ring is full.
    pub(super) mesh: bool,
    /// Too many of its responses wait.
    pub(super) deferred: bool,
    /// Its CONNECT or AUTH is being looked at. Unlike with the others, some input is still taken,
    /// so that it shows when the peer has gone.
    pub(super) login: bool,
    /// It is, and the peer goes on sending.
    pub(super) early: bool,
    /// It publishes, and the journal does not keep up.
    pub(super) journal: bool,
}

impl Pauses {
    pub(super) const fn any(self) -> bool {
        self.login || self.stops_input()
    }

    /// True when nothing at all is taken from the peer.
    pub(super) const fn stops_input(self) -> bool {
        self.backlog || self.mesh || self.deferred || self.early || self.journal
    }
}

/// Names a deferred response among those of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ResponseId(u32);

impl ResponseId {
    const fn after(self, count: usize) -> Self {
        Self(self.0.wrapping_add(count as u32))
    }
}

/// A response that waits, or stands behind one that does.
#[derive(Debug)]
pub(super) struct Deferred {
    waits: u32,
    /// It is CONNACK, before which the link is sent nothing else: see [`Blocks::connack`].
    pub(super) is_connack: bool,
    pub(super) bytes: Vec<u8>,
}

impl Link {
    pub(super) fn new(id: LinkId, origin: Origin, now: Time) -> Self {
        Self {
            id,
            origin,
            state: State::Fresh { whole: false },
            version: Version::V311,
            carry: Vec::new(),
            heard: now,
            awaited: now,
            looks: 0,
            keep_alive_s: 0,
            timer: None,
            packet_bytes_max: u32::MAX,
            is_finished: false,
            blocked: Blocks::default(),
            pauses: Pauses::default(),
            rare: None,
        }
    }

    /// What the client asks for, while it is being found out who it is.
    pub(super) fn request(&self) -> Option<&ConnectRequest> {
        self.rare.as_deref()?.login.as_deref()?.request.as_ref()
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// When the peer has been silent for too long: one and a half keep-alive periods.
    // [MQTT-3.1.2-22]
    pub(super) fn silent_at(&self) -> Option<Time> {
        let silence = Duration::from_millis(u64::from(self.keep_alive_s) * 1500);
        (self.keep_alive_s > 0).then(|| self.heard.after(silence))
    }

    /// When a peer that has not come in has taken too long for it: `patience` without a byte, and
    /// some times as long in all.
    fn entry_due(&self, patience: Duration) -> Time {
        let most = match self.origin.excess {
            None => patience * CONNECT_TIME_FACTOR,
            Some(_) => TURNED_AWAY_TIME_MAX,
        };
        self.heard.after(patience).min(self.awaited.after(most))
    }

    /// When the peer has to be looked after: it has not come in with `patience`, it is silent, or
    /// what it has shown expires.
    pub(super) fn due(&self, patience: Duration) -> Option<Time> {
        match self.state {
            State::Fresh { .. } | State::Authenticating => Some(self.entry_due(patience)),
            State::Connected { .. } => {
                let expires = self.rare.as_ref().and_then(|rare| rare.expires);
                self.silent_at().into_iter().chain(expires).min()
            }
            State::Closing => None,
        }
    }

    /// True when the broker keeps the peer from going on, so that the silence of the peer says
    /// nothing.
    pub(super) const fn is_held_up(&self) -> bool {
        let Pauses { backlog, mesh, login, early: _, journal, deferred } = self.pauses;
        (mesh || login || journal || deferred || self.blocked.connack) && !backlog
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        match self.state {
            State::Connected { session } => Some(session),
            State::Fresh { .. } | State::Authenticating | State::Closing => None,
        }
    }

    /// True when a QoS 0 message can go straight to the outbox, encoded as for everybody.
    pub(super) fn is_plain(&self) -> bool {
        let is_rare = |rare: &Rare| rare.aliases_out_max > 0 || !rare.queue.is_empty();
        !self.blocked.any() && !self.rare.as_deref().is_some_and(is_rare)
    }

    /// True when a response must wait behind others that wait for other workers.
    pub(super) fn defers(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.deferred.is_empty())
    }

    /// True when more than one `share`th of the responses that may wait do.
    pub(super) fn defers_much(&self, share: usize) -> bool {
        self.rare.as_ref().is_some_and(|rare| {
            rare.deferred.len() > DEFERRED_RESPONSES_MAX / share
                || rare.deferred_bytes > DEFERRED_BYTES_MAX / share
        })
    }

    /// How a packet for the peer is encoded, and how many bytes it may have.
    pub(super) const fn terms(&self) -> (Version, usize) {
        (self.version, self.packet_bytes_max as usize)
    }

    /// Writes a response that must wait behind others.
    pub(super) fn write_behind_deferred(&mut self, bytes: &[u8]) {
        let rare = self.rare();
        let deferred = &mut rare.deferred;
        if deferred.back().is_none_or(|last| last.waits > 0) {
            deferred.push_back(Deferred { waits: 0, is_connack: false, bytes: Vec::new() });
        }
        let last = deferred.back_mut().expect("one was just put there");
        last.bytes.extend_from_slice(bytes);
        rare.deferred_bytes += bytes.len();
    }

    /// Defers a response until [`Self::count_done`] was called `waits` times, and names it. CONNACK
    /// is the first one deferred, since nothing is handled before it.
    pub(super) fn defer(&mut self, waits: u32, bytes: Vec<u8>) -> ResponseId {
        let is_connack = self.blocked.connack;
        let rare = self.rare();
        let is_connack = is_connack && rare.deferred.is_empty();
        let response = rare.deferred_first.after(rare.deferred.len());
        rare.deferred_bytes += bytes.len();
        rare.deferred.push_back(Deferred { waits, is_connack, bytes });
        response
    }

    /// One thing that the response `serial` waited for is done; true when that was the last.
    pub(super) fn count_done(&mut self, response: ResponseId) -> bool {
        let rare = self.rare();
        let place = response.0.wrapping_sub(rare.deferred_first.0) as usize;
        rare.deferred.get_mut(place).is_some_and(|deferred| {
            deferred.waits = deferred.waits.saturating_sub(1);
            deferred.waits == 0
        })
    }

    /// Drops the responses that are deferred.
    pub(super) fn forget_deferred(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.deferred_first = rare.deferred_first.after(rare.deferred.len());
            rare.deferred.clear();
            rare.deferred_bytes = 0;
        }
    }

    /// The next response that need not wait any more, and its serial.
    pub(super) fn next_ready(&mut self) -> Option<(ResponseId, Deferred)> {
        let rare = self.rare.as_mut()?;
        rare.deferred.front().filter(|deferred| deferred.waits == 0)?;
        let response = rare.deferred_first;
        rare.deferred_first = response.after(1);
        let deferred = rare.deferred.pop_front()?;
        rare.deferred_bytes -= deferred.bytes.len();
        Some((response, deferred))
    }
}

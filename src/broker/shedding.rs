//! The memory of the process fills: what is refused, who waits, and whose messages go.
//!
//! The driver tells the shard how much of `--max-memory` is in use. New state of clients is refused
//! first; then the clients that hold most lose the messages that wait for them, or their
//! connection; at last nothing comes in any more. Whatever the broker has acknowledged as retained,
//! as a session or as a subscription stays.

use super::clients::Clients;
use super::pressure::{NO_MEMORY, Pressure, TOO_MANY_RETAINED};
use super::purse::HOLDER_STEPS;
use super::quotas::Quota;
use super::shard::Shard;
use super::told::{self, Departure};
use crate::base::ids::{LinkId, SessionId};
use crate::base::time::Time;
use crate::limits::{
    DROPS_INTERVAL, SHED_BYTES_MAX, SHED_BYTES_MIN, SHED_INTERVAL, USUAL_BYTES_MAX,
};
use crate::metrics::Dropped;
use crate::mqtt::{Frame, PacketType, ProtocolError, Publish};

impl Shard {
    /// The driver tells how much memory is in use.
    pub(super) fn set_pressure(&mut self, pressure: Pressure) {
        let before = std::mem::replace(&mut self.clients.pressure, pressure);
        if pressure > before {
            self.begin_told_census();
        }
        if pressure < before {
            for id in std::mem::take(&mut self.clients.memory_waiting) {
                if self.clients.resume(id, |pauses| pauses.memory = false) {
                    self.go_on(id);
                }
            }
        }
    }

    /// True when the link's next packet, a PUBLISH, waits until there is more memory.
    pub(super) fn waits_for_memory(&mut self, id: LinkId, frame: &Frame<'_>) -> bool {
        let pressure = self.clients.pressure;
        if pressure == Pressure::None || frame.kind() != Some(PacketType::Publish) {
            return false;
        }
        let only_fills = self.clients.link(id).is_some_and(|link| link.fills_queues);
        if pressure < Pressure::Full && !only_fills {
            return false;
        }
        self.clients.pause(id, |pauses| pauses.memory = true);
        self.clients.memory_waiting.push(id);
        true
    }

    /// True when a message of the user may be refused when it is to be retained. What stands on its
    /// topic, and so whether it takes more than it frees, is known at the topic's home alone.
    pub(super) fn may_be_refused(&self, publish: &Publish<'_>, quota: &Quota) -> bool {
        let is_tight = self.clients.pressure > Pressure::None;
        publish.retain && !publish.payload.is_empty() && (is_tight || self.is_at_limit(quota))
    }

    /// The reason not to retain a message of a user on a topic that lives here: a message that is
    /// not larger than the user's own one there is always retained.
    pub(super) fn refuses_to_retain(
        &self,
        topic: &str,
        payload: &[u8],
        user: Option<&str>,
    ) -> Option<ProtocolError> {
        if payload.is_empty() {
            return None;
        }
        let stands = self.retained.get(topic);
        let is_tight = self.clients.pressure > Pressure::None;
        if is_tight && stands.is_none_or(|message| message.payload().len() < payload.len()) {
            return Some(NO_MEMORY);
        }
        let is_one_more = stands.is_none_or(|message| message.user() != user);
        let is_over = is_one_more && self.is_at_limit(&self.quotas.of(user));
        is_over.then_some(TOO_MANY_RETAINED)
    }

    fn is_at_limit(&self, quota: &Quota) -> bool {
        let max = self.clients.options.max_retained;
        max > 0 && quota.retained() >= max
    }

    /// Notes that a message of a user is not retained. The log hears of a user's limit at most once
    /// a minute.
    pub(super) fn note_not_retained(&mut self, error: ProtocolError, user: Option<Box<str>>) {
        self.count_refused(1, error);
        let now = self.clients.now;
        if error == TOO_MANY_RETAINED && self.retained_told_until <= now {
            self.retained_told_until = now.after(DROPS_INTERVAL);
            told::too_many_retained(user.as_deref(), error.cause);
        }
    }

    /// Counts what was refused for lack of memory, or for what its user keeps already.
    pub(super) fn count_refused(&mut self, count: u64, error: ProtocolError) {
        let counters = &mut self.clients.counters;
        match error == NO_MEMORY {
            true => counters.refused_memory += count,
            false => counters.refused_quota += count,
        }
    }

    /// True when a client must not get a new session: one that would outlive its connection, or any
    /// at last.
    pub(super) fn lacks_room_for_session(&self, is_stored: bool) -> bool {
        let pressure = self.clients.pressure;
        pressure >= Pressure::Full || is_stored && pressure >= Pressure::Tight
    }

    /// The time at which clients are to be looked at that may hold too much.
    pub(super) fn shed_due(&self) -> Option<Time> {
        let is_short = self.clients.pressure >= Pressure::Short;
        is_short.then(|| self.shedding.due.unwrap_or(Time::ZERO))
    }

    /// Looks at some clients, and takes from those that hold at least half as much as the one that
    /// held most in the last round. The driver tells between turns whether that was enough.
    pub(super) fn shed(&mut self) {
        if self.shed_due().is_none_or(|due| due > self.clients.now) {
            return;
        }
        let mut freed = 0;
        for _ in 0..=self.clients.routes.len() {
            if self.clients.outbox.purse().is_empty() || freed > SHED_BYTES_MAX {
                return;
            }
            self.clients.outbox.purse().spend(HOLDER_STEPS);
            if self.shedding.next >= self.clients.routes.len() {
                self.shedding.next = 0;
                if std::mem::take(&mut self.shedding.freed) == 0 {
                    self.shedding.due = Some(self.clients.now.after(SHED_INTERVAL));
                }
                self.shedding.greatest = std::mem::take(&mut self.shedding.greatest_so_far);
            }
            let slot = self.shedding.next as u32;
            self.shedding.next += 1;
            let Some(id) = self.clients.sessions.id_at(slot) else { continue };
            let held = self.clients.held_bytes(id);
            self.shedding.greatest_so_far = self.shedding.greatest_so_far.max(held);
            let greatest = self.shedding.greatest;
            if greatest > 0 && held >= (greatest / 2).max(SHED_BYTES_MIN) {
                let cut = self.cut(id);
                freed += cut;
                self.shedding.freed += cut;
            }
        }
    }

    /// Takes from a client what waits for it: its queue, or else its connection. What a client may
    /// well hold while it sends and is sent messages costs it its connection only at last. Returns
    /// the bytes that it does not hold any more.
    fn cut(&mut self, id: SessionId) -> usize {
        let queued = self.clients.sessions[id.slot].queue_bytes();
        let link = self.clients.sessions[id.slot].link;
        let held = self.clients.held_bytes(id);
        let is_usual = held < USUAL_BYTES_MAX && self.clients.pressure < Pressure::Full;
        if queued * 2 >= held || link.is_none() {
            while !self.clients.outbox.purse().is_empty()
                && self.clients.drop_queued(id, Dropped::Memory)
            {
                self.clients.outbox.purse().spend(HOLDER_STEPS);
            }
            queued - self.clients.sessions[id.slot].queue_bytes()
        } else if let Some(link) = link.filter(|_| !is_usual) {
            let client_id = &self.clients.sessions[id.slot].client_id;
            told::swells(client_id, held);
            self.disconnect(link, Departure::Refused(NO_MEMORY));
            held
        } else {
            0
        }
    }
}

impl Clients {
    /// Drops the message that has waited longest for the session's client; false when none waits.
    pub(super) fn drop_queued(&mut self, id: SessionId, reason: Dropped) -> bool {
        let Some(delivery) = self.sessions[id.slot].dequeue() else { return false };
        self.counters.drop(reason, 1);
        self.note_dropped(id, reason, delivery.message.topic());
        self.note_done(id.slot, &delivery);
        true
    }

    /// The bytes of messages and packets that wait for the session's client or came from it.
    fn held_bytes(&mut self, id: SessionId) -> usize {
        let session = &self.sessions[id.slot];
        let (held, link) = (session.waiting_bytes(), session.link);
        held + link.and_then(|link| self.link(link)).map_or(0, |link| link.held_bytes())
    }
}

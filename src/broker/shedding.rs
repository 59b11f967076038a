//! The memory of the process fills: what is refused, who waits, and whose messages go.
//!
//! The driver tells the shard how much of `--max-memory` is in use. New state of clients is refused
//! first; then the clients that hold most lose the messages that wait for them, or their
//! connection; at last nothing comes in any more. Whatever the broker has acknowledged as retained,
//! as a session or as a subscription stays.

use super::clients::Clients;
use super::drops::DropReason;
use super::pressure::{NO_MEMORY, Pressure};
use super::purse::HOLDER_STEPS;
use super::shard::Shard;
use super::told::{self, Departure};
use crate::base::ids::{LinkId, SessionId};
use crate::base::time::Time;
use crate::limits::{SHED_BYTES_MAX, SHED_BYTES_MIN, SHED_INTERVAL, USUAL_BYTES_MAX};
use crate::mqtt::{Frame, PacketType, Publish};

impl Shard {
    /// The driver tells how much memory is in use.
    pub(super) fn set_pressure(&mut self, pressure: Pressure) {
        let before = std::mem::replace(&mut self.clients.pressure, pressure);
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

    /// True when a publish must not be retained, since it would take more memory than the message
    /// that is retained on its topic now. Whether there is one is known at the topic's home alone.
    pub(super) fn lacks_room_to_retain(&self, publish: &Publish<'_>) -> bool {
        let pressure = self.clients.pressure;
        if pressure == Pressure::None || !publish.retain || publish.payload.is_empty() {
            return false;
        }
        let is_here = self.topic_home(publish.topic) == self.index;
        let stands = || self.retained.get(publish.topic);
        match is_here {
            true => stands().is_none_or(|m| m.payload().len() < publish.payload.len()),
            false => pressure >= Pressure::Short,
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
                && let Some(delivery) = self.clients.sessions[id.slot].dequeue()
            {
                self.clients.outbox.purse().spend(HOLDER_STEPS);
                self.clients.counters.dropped_memory += 1;
                self.clients.note_dropped(id, DropReason::Memory, delivery.message.topic());
                self.clients.note_done(id.slot, &delivery);
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
    /// The bytes of messages and packets that wait for the session's client or came from it.
    fn held_bytes(&mut self, id: SessionId) -> usize {
        let session = &self.sessions[id.slot];
        let in_flight = session.in_flight.iter().filter_map(|entry| entry.delivery());
        let in_flight = in_flight.map(|delivery| delivery.message.bytes().len());
        let held = session.queue_bytes() + in_flight.sum::<usize>();
        let link = session.link;
        held + link.and_then(|link| self.link(link)).map_or(0, |link| link.held_bytes())
    }
}

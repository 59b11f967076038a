//! Sends what waited: for the window, for the link to be writable, for the client to come back.

use super::clients::{Clients, Route};
use super::ledger::{Fate, Noted, stored};
use super::publication::Publication;
use super::session::{Delivery, SessionId};
use crate::limits::PUMP_BYTES_MAX;
use crate::mqtt::{Ack, AckType, Packet, QoS, ReasonCode};
use std::sync::Arc;

impl Clients {
    /// The route of a session that can be sent something now.
    pub(super) fn open_route(&mut self, id: SessionId) -> Option<Route> {
        self.sessions.get(id)?;
        let route = self.routes[id.slot as usize];
        let link = self.link(route.link).filter(|_| route.is_online())?;
        (!link.blocked.any()).then_some(route)
    }

    /// Sends as much of what waits as the client's window and one turn allow.
    pub(super) fn pump(&mut self, id: SessionId) {
        let Some(route) = self.open_route(id) else { return };
        self.pump_unacknowledged(id, route);
        self.resend(id, route);
        while self.sessions[id.slot].has_window() {
            if self.has_enough(route, id) {
                return;
            }
            if !self.may_dequeue(id) {
                return;
            }
            let Some(delivery) = self.sessions[id.slot].dequeue() else { return };
            self.send_waiting(id, route, delivery);
        }
    }

    /// False when the next queued message waits for the disk: a QoS 2 message of another worker's
    /// client gets no packet identifier before its record is there.
    fn may_dequeue(&self, id: SessionId) -> bool {
        let first = self.sessions[id.slot].first_queued();
        first.is_none_or(|d| d.qos < QoS::ExactlyOnce || self.is_before_next(d.record))
    }

    /// True when the link has enough to send for this turn; the session is looked after again.
    pub(super) fn has_enough(&mut self, route: Route, id: SessionId) -> bool {
        let has_enough = self.outbox.pending(route.link) >= PUMP_BYTES_MAX;
        let session = &mut self.sessions[id.slot];
        if has_enough && !std::mem::replace(&mut session.is_unfinished, true) {
            self.unfinished.push_back(id);
        }
        has_enough
    }

    fn pump_unacknowledged(&mut self, id: SessionId, route: Route) {
        loop {
            let Some(link) = self.link(route.link) else { return };
            let Some(rare) = link.rare.as_deref_mut() else { return };
            let Some(delivery) = rare.queue.pop_front() else { return };
            rare.queue_bytes -= delivery.message.bytes().len();
            let is_last = rare.queue.is_empty();
            rare.is_dropping &= !is_last;
            self.send_waiting(id, route, delivery);
            if is_last {
                return self.refresh_route(id);
            }
            if self.has_enough(route, id) {
                return;
            }
        }
    }

    /// Sends a message for the first time, some time after it was published.
    // [MQTT-3.3.2-5]
    pub(super) fn send_waiting(&mut self, id: SessionId, route: Route, delivery: Delivery) {
        if delivery.message.is_expired(self.now) {
            self.counters.dropped_expired += 1;
            return self.note_done(id.slot, &delivery);
        }
        if !self.may_still_read(id.slot, delivery.message.topic()) {
            return self.note_done(id.slot, &delivery);
        }
        if delivery.qos > QoS::AtMostOnce {
            return self.send_acknowledged(id, route, delivery);
        }
        let message = delivery.message.clone();
        let serial = self.next_serial();
        let mut publication = Publication::kept(&message, self.now, serial);
        self.send_private(route, &delivery, &mut publication, 0, false);
    }

    /// A session that outlives the process has to know what is in flight: a retained message at
    /// all, a QoS 2 message under which identifier.
    fn send_acknowledged(&mut self, id: SessionId, route: Route, mut delivery: Delivery) {
        let session = self.stored(id.slot);
        let is_stored = session != 0;
        let is_retained = delivery.record == 0;
        let is_exact = delivery.qos == QoS::ExactlyOnce;
        if !is_stored || !(is_retained || is_exact) {
            self.send_now(id, route, delivery);
            return;
        }
        if is_retained && is_exact {
            // The same message may be on its way to the session already, under another identifier.
            delivery.message = Arc::new(delivery.message.renamed(self.next_number()));
        }
        let number = self.next_number();
        self.begin_record(number);
        delivery.record = self.ledger.as_ref().map_or(0, |ledger| ledger.open_number());
        let (message, other) = (delivery.message.clone(), stored(&delivery));
        let fate = match is_exact {
            true => self.hold(id, route, delivery, is_retained),
            false => self.send_now(id, route, delivery),
        };
        if let Some(ledger) = &mut self.ledger {
            ledger.add_other(session, other, fate);
        }
        self.end_record(Noted::default(), &mut Publication::kept(&message, self.now, 0));
    }

    fn send_now(&mut self, id: SessionId, route: Route, delivery: Delivery) -> Fate {
        let message = delivery.message.clone();
        let serial = self.next_serial();
        let session = &mut self.sessions[id.slot];
        let packet_id = session.packet_id(serial);
        session.send(packet_id, serial, delivery.clone());
        let mut publication = Publication::kept(&message, self.now, serial);
        let dup = delivery.may_have_been_sent();
        match self.send_private(route, &delivery, &mut publication, packet_id, dup) {
            true if delivery.qos == QoS::ExactlyOnce => Fate::SentAs(packet_id),
            true => Fate::Sent,
            false => Fate::Dropped,
        }
    }

    /// Lets a QoS 2 message wait until its packet identifier is on disk, if it has to be.
    fn hold(&mut self, id: SessionId, route: Route, delivery: Delivery, is_replay: bool) -> Fate {
        if !self.ledger.as_ref().is_some_and(|ledger| ledger.holds()) {
            return self.send_now(id, route, delivery);
        }
        let serial = self.next_serial();
        let session = &mut self.sessions[id.slot];
        let packet_id = session.packet_id(serial);
        session.hold(packet_id, serial, delivery, is_replay);
        Fate::Held(id, packet_id)
    }

    /// Sends again what was in flight when the connection before this one ended, as the window
    /// allows.
    // [MQTT-4.4.0-1], [MQTT-4.6.0-1]
    fn resend(&mut self, id: SessionId, route: Route) {
        while self.sessions[id.slot].has_unsent() && !self.has_enough(route, id) {
            let unsent = self.sessions[id.slot].next_unsent();
            let Some((packet_id, delivery, dup)) = unsent else { return };
            let Some(delivery) = delivery else {
                let pubrel = Ack::new(AckType::PubRel, packet_id, ReasonCode::Success);
                self.send(route.link, &Packet::Ack(pubrel));
                continue;
            };
            let message = Arc::clone(&delivery.message);
            // [MQTT-3.3.2-5]; an exchange that has begun goes on.
            if !dup && message.is_expired(self.now) {
                self.counters.dropped_expired += 1;
                self.complete(id.slot, packet_id);
                continue;
            }
            if !self.may_still_read(id.slot, message.topic()) {
                self.complete(id.slot, packet_id);
                continue;
            }
            let mut publication = Publication::kept(&message, self.now, 0);
            self.send_private(route, &delivery, &mut publication, packet_id, dup);
        }
    }
}

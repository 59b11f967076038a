//! Sends delayed messages: those that wait for the window, for a writable link, or for the client.

use super::clients::{Clients, Route};
use super::delivery::{Delivery, Particulars};
use super::in_flight::{Outgoing, Wait};
use super::ledger::{Fate, Noted, Recording, stored};
use super::merged::SubscriptionIds;
use super::publication::Publication;
use super::purse::KEPT_STEPS;
use super::record_ref::RecordRef;
use crate::base::ids::{DeliveryNumber, RecordName, Serial, SessionId};
use crate::limits::{GATHERING_BYTES_MAX, PUMP_BYTES_MAX, PUMP_MESSAGES_MAX};
use crate::metrics::Dropped;
use crate::mqtt::{Ack, AckType, Packet, QoS, ReasonCode};
use crate::store::record::StoredDelivery;
use std::sync::Arc;

impl Clients {
    /// The route of a session that can be sent packets now.
    pub(super) fn open_route(&mut self, id: SessionId) -> Option<Route> {
        self.sessions.get(id)?;
        let route = self.routes[id.slot as usize];
        let link = self.link(route.link).filter(|_| route.is_online())?;
        (!link.blocked.any()).then_some(route)
    }

    /// Sends as many delayed messages as the client's window and one turn allow.
    pub(super) fn pump(&mut self, id: SessionId) {
        let Some(route) = self.open_route(id) else { return };
        if self.outbox.is_over() {
            return self.pump_later(id.slot);
        }
        self.pump_unacknowledged(id, route);
        self.resend(id, route);
        for _ in 0..PUMP_MESSAGES_MAX {
            let session = &self.sessions[id.slot];
            let may_go_on = !session.in_flight.has_unsent() && session.has_room();
            if !may_go_on || self.has_enough(route, id) || !self.may_dequeue(id) {
                return;
            }
            let Some(delivery) = self.sessions[id.slot].dequeue() else { return };
            self.send_kept(id, route, delivery, 0);
        }
        self.pump_later(id.slot);
    }

    /// False when the next queued message waits for the disk. A QoS 2 message gets no packet
    /// identifier before another worker's record of it is on disk, nor while enough bytes gather
    /// already.
    fn may_dequeue(&mut self, id: SessionId) -> bool {
        let first = self.sessions[id.slot].first_queued();
        let Some(first) = first.filter(|delivery| delivery.qos == QoS::ExactlyOnce) else {
            return true;
        };
        self.is_before_next(first.record) && !self.waits_for_hand_over(id)
    }

    /// True when enough bytes gather for the journal, so that a delivery that needs a record has to
    /// wait for the next submission. The session is pumped again after it.
    pub(super) fn waits_for_hand_over(&mut self, id: SessionId) -> bool {
        let is_stored = !self.stored(id.slot).is_none();
        let Some(ledger) = self.ledger.as_mut().filter(|_| is_stored) else { return false };
        if ledger.bytes() < GATHERING_BYTES_MAX {
            return false;
        }
        ledger.hurry(self.now);
        let is_known = std::mem::replace(&mut self.sessions[id.slot].waits_for_hand_over, true);
        self.hand_over_awaited.extend((!is_known).then_some(id));
        true
    }

    /// Pumps the sessions that waited for a submission: the ledger has room again.
    pub(super) fn note_handed_over(&mut self) {
        for id in std::mem::take(&mut self.hand_over_awaited) {
            if let Some(session) = self.sessions.get_mut(id) {
                session.waits_for_hand_over = false;
                self.pump_later(id.slot);
            }
        }
    }

    /// True when the link has enough output for this turn; the session is pumped again later.
    pub(super) fn has_enough(&mut self, route: Route, id: SessionId) -> bool {
        let has_enough = self.outbox.pending(route.link) >= PUMP_BYTES_MAX
            || self.outbox.is_over()
            || self.outbox.purse().is_empty();
        if has_enough {
            self.pump_later(id.slot);
        }
        has_enough
    }

    /// Lets the session in `slot` be pumped again once this turn's output is sent.
    pub(super) fn pump_later(&mut self, slot: u32) {
        let is_known = std::mem::replace(&mut self.sessions[slot].is_unfinished, true);
        self.unfinished.extend(self.sessions.id_at(slot).filter(|_| !is_known));
    }

    fn pump_unacknowledged(&mut self, id: SessionId, route: Route) {
        for _ in 0..PUMP_MESSAGES_MAX {
            let link = self.link(route.link).filter(|link| link.has_waiting());
            let Some(backlog) = link.map(|link| link.backlog_mut()) else { return };
            let Some(delivery) = backlog.next_message() else { return };
            let is_last = !backlog.has_messages();
            self.send_kept(id, route, delivery, 0);
            if is_last {
                return self.refresh_route(id);
            }
            if self.has_enough(route, id) {
                return;
            }
        }
        self.pump_later(id.slot);
    }

    /// Sends a message for the first time, some time after its publish. `replay` is the number of
    /// the message's replay; 0 for none.
    // [MQTT-3.3.2-5]
    pub(super) fn send_kept(
        &mut self,
        id: SessionId,
        route: Route,
        delivery: Delivery,
        replay: u32,
    ) {
        self.outbox.purse().spend(KEPT_STEPS);
        if delivery.message.is_expired(self.now) {
            self.count_drops(id.slot, Dropped::Expired, 1);
            return self.note_done(id.slot, &delivery);
        }
        if !self.may_still_read(id.slot, delivery.message.topic()) {
            return self.note_done(id.slot, &delivery);
        }
        if delivery.qos > QoS::AtMostOnce {
            return self.send_acknowledged(id, route, delivery, replay);
        }
        let message = delivery.message.clone();
        let serial = self.next_serial();
        let mut publication = Publication::kept(&message, self.now, serial);
        self.send_private(route, &delivery, &mut publication, 0, false);
    }

    /// Sends a QoS 1 or 2 message. A session that outlives the process records a retained message,
    /// so that the retained store does not send it again, and the packet identifier of a QoS 2
    /// message. Both wait for the disk.
    fn send_acknowledged(
        &mut self,
        id: SessionId,
        route: Route,
        mut delivery: Delivery,
        replay: u32,
    ) {
        let session = self.stored(id.slot);
        if session.is_none() || (replay == 0 && delivery.qos < QoS::ExactlyOnce) {
            return self.send_in_turn(id, route, delivery);
        }
        if replay != 0 {
            // The same message may be on its way to the session already, as it was published.
            let no_ids = SubscriptionIds::new();
            delivery.more = Particulars::new(DeliveryNumber(self.next_number()), no_ids, None);
        }
        let ledger = self.ledger.as_ref();
        let is_known = ledger.is_some_and(|ledger| ledger.has_handed_over(delivery.record));
        let wait = match replay {
            0 if is_known => Wait::DiskForId,
            0 => Wait::Disk,
            _ => Wait::DiskAsReplay,
        };
        let name = RecordName(self.next_number());
        let mut recording = self.begin_record(name);
        delivery.record = recording.as_ref().map_or(RecordRef::NONE, Recording::place);
        let message = delivery.message.clone();
        let other = StoredDelivery { replay, ..stored(&delivery) };
        let fate = self.park(id, route, delivery, wait);
        if let Some(recording) = &mut recording {
            recording.add_other(session, other, fate);
        }
        let mut publication = Publication::kept(&message, self.now, Serial::NONE);
        self.end_record(recording, Noted::default(), &mut publication);
    }

    /// Sends a message behind earlier ones that wait for the disk.
    fn send_in_turn(&mut self, id: SessionId, route: Route, delivery: Delivery) {
        if !self.sessions[id.slot].in_flight.is_waiting() {
            self.send_now(id, route, delivery);
            return;
        }
        let serial = self.next_serial();
        let in_flight = &mut self.sessions[id.slot].in_flight;
        let packet_id = in_flight.packet_id(serial);
        in_flight.wait(packet_id, serial, delivery, Wait::Turn);
    }

    fn send_now(&mut self, id: SessionId, route: Route, delivery: Delivery) -> Fate {
        let message = delivery.message.clone();
        let serial = self.next_serial();
        let in_flight = &mut self.sessions[id.slot].in_flight;
        let packet_id = in_flight.packet_id(serial);
        in_flight.send(packet_id, serial, delivery.clone());
        let mut publication = Publication::kept(&message, self.now, serial);
        let dup = delivery.may_have_been_sent();
        match self.send_private(route, &delivery, &mut publication, packet_id, dup) {
            true if delivery.qos == QoS::ExactlyOnce => Fate::SentAs(packet_id),
            true => Fate::Sent,
            false => Fate::Dropped,
        }
    }

    /// Lets a message wait for the disk, if the promise to clients requires it.
    fn park(&mut self, id: SessionId, route: Route, delivery: Delivery, wait: Wait) -> Fate {
        if !self.ledger.as_ref().is_some_and(|ledger| ledger.waits_for_disk()) {
            return self.send_now(id, route, delivery);
        }
        let serial = self.next_serial();
        let in_flight = &mut self.sessions[id.slot].in_flight;
        let packet_id = in_flight.packet_id(serial);
        in_flight.wait(packet_id, serial, delivery, wait);
        Fate::Parked(id, packet_id)
    }

    /// Sends the packets in flight from an earlier connection, and the messages that have waited
    /// for their turn, as the window allows.
    // [MQTT-4.4.0-1], [MQTT-4.6.0-1]
    fn resend(&mut self, id: SessionId, route: Route) {
        for _ in 0..PUMP_MESSAGES_MAX {
            if !self.sessions[id.slot].in_flight.has_unsent() || self.has_enough(route, id) {
                return;
            }
            self.outbox.purse().spend(KEPT_STEPS);
            let outgoing = self.sessions[id.slot].next_outgoing();
            let Some(Outgoing { packet_id, delivery, dup, is_retry }) = outgoing else { return };
            let Some(delivery) = delivery else {
                let pubrel = Ack::new(AckType::PubRel, packet_id, ReasonCode::Success);
                self.send(route.link, &Packet::Ack(pubrel));
                continue;
            };
            self.counters.messages_retried += u64::from(is_retry);
            let message = Arc::clone(&delivery.message);
            // [MQTT-3.3.2-5]; an exchange that has begun goes on.
            if !dup && message.is_expired(self.now) {
                self.count_drops(id.slot, Dropped::Expired, 1);
                self.complete(id.slot, packet_id);
                continue;
            }
            if !self.may_still_read(id.slot, message.topic()) {
                self.give_up(id.slot, route.link, packet_id, dup);
                continue;
            }
            let mut publication = Publication::kept(&message, self.now, Serial::NONE);
            self.send_private(route, &delivery, &mut publication, packet_id, dup);
        }
        self.pump_later(id.slot);
    }
}

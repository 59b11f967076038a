//! Sends what waited: for the window, for the link to be writable, for the client to come back.

use super::clients::{Clients, Route};
use super::publication::Publication;
use super::session::{Delivery, SessionId};
use crate::limits::PUMP_BYTES_MAX;
use crate::mqtt::{AckType, QoS, ReasonCode, encode_ack};
use std::sync::Arc;

impl Clients {
    /// The route of a session that can be sent something now.
    pub(super) fn open_route(&mut self, id: SessionId) -> Option<Route> {
        self.sessions.get(id)?;
        let route = self.routes[id.slot as usize];
        let link = self.link(route.link).filter(|_| route.is_online())?;
        (!link.blocked).then_some(route)
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
            let Some(delivery) = self.sessions[id.slot].dequeue() else { return };
            self.send_waiting(id, route, delivery);
        }
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
            return;
        }
        if !self.may_still_read(id.slot, delivery.message.topic()) {
            return;
        }
        let message = delivery.message.clone();
        let serial = self.next_serial();
        let mut publication = Publication::kept(&message, self.now, serial);
        let packet_id = match delivery.qos {
            QoS::AtMostOnce => 0,
            _ => {
                let session = &mut self.sessions[id.slot];
                let packet_id = session.packet_id(serial);
                session.send(packet_id, serial, delivery.clone());
                packet_id
            }
        };
        self.send_private(route, &delivery, &mut publication, packet_id, false);
    }

    /// Sends again what was in flight when the connection before this one ended, as the window
    /// allows.
    // [MQTT-4.4.0-1], [MQTT-4.6.0-1]
    fn resend(&mut self, id: SessionId, route: Route) {
        while self.sessions[id.slot].has_unsent() && !self.has_enough(route, id) {
            let Some((packet_id, delivery)) = self.sessions[id.slot].next_unsent() else { return };
            let Some(delivery) = delivery else {
                let version = self.link(route.link).map(|link| link.version);
                let Some(version) = version else { return };
                self.send(route.link, |out| {
                    encode_ack(AckType::PubRel, version, packet_id, ReasonCode::Success, out);
                });
                continue;
            };
            let message = Arc::clone(&delivery.message);
            if !self.may_still_read(id.slot, message.topic()) {
                self.sessions[id.slot].complete(packet_id);
                continue;
            }
            let mut publication = Publication::kept(&message, self.now, 0);
            self.send_private(route, &delivery, &mut publication, packet_id, true);
        }
    }
}

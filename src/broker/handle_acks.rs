//! PUBACK, PUBREC, PUBREL and PUBCOMP from a client.

use super::peer::Peer;
use super::shard::Shard;
use crate::base::ids::SessionId;
use crate::base::time::Time;
use crate::mqtt::{Ack, AckType, Frame, Packet, ProtocolError, QoS, ReasonCode};
use crate::store::record::Record;

impl Shard {
    pub(super) fn handle_ack(
        &mut self,
        peer: Peer,
        frame: &Frame<'_>,
    ) -> Result<(), ProtocolError> {
        let ack = Ack::decode(frame, peer.version)?;
        match ack.kind {
            AckType::PubAck => self.handle_puback(peer, ack.packet_id),
            AckType::PubRec => self.handle_pubrec(peer, &ack),
            AckType::PubRel => self.handle_pubrel(peer, ack.packet_id),
            AckType::PubComp => self.handle_pubcomp(peer.session, ack.packet_id),
        }
        Ok(())
    }

    /// A QoS 1 message has arrived, or was refused for good.
    // [MQTT-4.3.2-3], [MQTT-4.4.0-2]
    fn handle_puback(&mut self, peer: Peer, packet_id: u16) {
        let id = peer.session;
        let session = &mut self.clients.sessions[id.slot];
        let delivery = session.in_flight.get_mut(packet_id).and_then(|entry| entry.delivery());
        let received = delivery.filter(|delivery| delivery.qos == QoS::AtLeastOnce);
        if let Some(received) = received.map(|delivery| delivery.message.received) {
            self.note_acknowledged(peer, received);
            self.clients.complete(id.slot, packet_id);
            self.window_opened(id);
        }
    }

    /// Notes that a message which came at `received` has reached the client.
    fn note_acknowledged(&mut self, peer: Peer, received: Time) {
        let now = self.clients.now;
        if let Some(link) = self.clients.link(peer.link) {
            link.acknowledged.add(received, now);
        }
    }

    // [MQTT-4.3.3-4]
    fn handle_pubrec(&mut self, peer: Peer, ack: &Ack<'_>) {
        let id = peer.session;
        let session = &mut self.clients.sessions[id.slot];
        let entry = session.in_flight.get_mut(ack.packet_id);
        let delivery = entry.as_ref().and_then(|entry| entry.delivery());
        let received = delivery.map(|delivery| delivery.message.received);
        let is_known = entry.is_some_and(|entry| {
            entry.delivery().is_none_or(|delivery| delivery.qos == QoS::ExactlyOnce)
        });
        if let Some(received) = received.filter(|_| is_known) {
            self.note_acknowledged(peer, received);
        }
        if is_known && ack.code.is_error() {
            self.clients.complete(id.slot, ack.packet_id);
            return self.window_opened(id);
        }
        if is_known {
            self.clients.release(id.slot, peer.link, ack.packet_id);
        } else if !ack.code.is_error() {
            let code = ReasonCode::PacketIdentifierNotFound;
            let pubrel = Ack::new(AckType::PubRel, ack.packet_id, code);
            self.clients.respond(peer.link, &Packet::Ack(pubrel));
        }
    }

    // [MQTT-4.3.3-11]
    fn handle_pubrel(&mut self, peer: Peer, packet_id: u16) {
        let mark = self.clients.mark();
        let is_known = self.forget_received(peer.session, packet_id);
        let code = match is_known {
            true => ReasonCode::Success,
            false => ReasonCode::PacketIdentifierNotFound,
        };
        let pubcomp = Packet::Ack(Ack::new(AckType::PubComp, packet_id, code));
        let bytes = self.clients.encode(peer.link, &pubcomp);
        self.clients.respond_noted(peer.link, mark, bytes);
    }

    /// Frees the packet identifier of a QoS 2 message from the client; true when it was in use.
    pub(super) fn forget_received(&mut self, id: SessionId, packet_id: u16) -> bool {
        let is_known = self.clients.sessions[id.slot].rare().received.remove(&packet_id);
        let session = self.clients.stored(id.slot);
        if is_known && !session.is_none() {
            self.clients.note(Record::Forgotten { session, packet_id });
        }
        is_known
    }

    fn handle_pubcomp(&mut self, id: SessionId, packet_id: u16) {
        let session = &mut self.clients.sessions[id.slot];
        let entry = session.in_flight.get_mut(packet_id);
        if entry.is_some_and(|entry| entry.delivery().is_none()) {
            self.clients.complete(id.slot, packet_id);
            self.window_opened(id);
        }
    }

    /// The window has room for one more message in flight.
    fn window_opened(&mut self, id: SessionId) {
        let session = &self.clients.sessions[id.slot];
        if session.in_flight.has_unsent() || !session.is_queue_empty() || session.is_replaying() {
            self.pump(id);
        }
    }
}

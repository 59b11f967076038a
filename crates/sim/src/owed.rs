//! V34: a client's requests are answered: in order, in time, and before the broker closes.

use super::network;
use super::wire::{Phase, Wire};
use super::world::World;
use ringmq::base::time::Time;
use ringmq::limits::JOURNAL_LINGER_MAX;
use ringmq_mqtt::{AckType, Framed, Packet, PacketType, QoS, Sender, next_frame};
use std::collections::VecDeque;
use std::time::Duration;

/// The time that an answer may take while the client reads: far longer than anything in this world.
const OWED_MAX: Duration = Duration::from_secs(30);

/// An answer that the broker owes: its type and the packet identifier, 0 where it has none.
type Answer = (PacketType, u16);

/// The answers that the broker owes on one connection, in order.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Each with the byte by which the shard has the question, and when it had it.
    answers: VecDeque<(u64, Answer, Option<Time>)>,
}

impl Owed {
    /// The client asks, with these bytes, the last of which is the `end`th.
    pub(super) fn ask(&mut self, bytes: &[u8], version: ringmq_mqtt::Version, end: u64) {
        for (first, last) in network::frames(bytes) {
            let Ok(Framed::Whole(frame)) = next_frame(&bytes[first..last], usize::MAX) else {
                return;
            };
            let Ok(packet) = Packet::decode(&frame, version, Sender::Client) else { return };
            self.answers.extend(answer(&packet).map(|answer| (end, answer, None)));
        }
    }

    /// The shard has got bytes up to the one numbered `handed`.
    pub(super) fn note_handed(&mut self, handed: u64, now: Time) {
        for (end, _, since) in &mut self.answers {
            if *end <= handed {
                since.get_or_insert(now);
            }
        }
    }

    /// The broker sends a packet; false when it answers something that comes later, or nothing.
    fn note_answer(&mut self, packet: &Packet<'_>) -> bool {
        let Some(given) = given(packet) else { return true };
        if self.answers.front().is_some_and(|(_, answer, _)| *answer == given) {
            self.answers.pop_front();
            return true;
        }
        // PUBREL comes again on a new connection.
        let is_repeated = given.0 == PacketType::PubRel;
        is_repeated && self.answers.iter().all(|(_, answer, _)| *answer != given)
    }

    /// The first answer that is owed, and since when.
    fn first(&self) -> Option<(Answer, Time)> {
        self.answers.front().and_then(|&(_, answer, since)| Some((answer, since?)))
    }
}

/// The answer that a client's packet asks for.
fn answer(packet: &Packet<'_>) -> Option<Answer> {
    match packet {
        Packet::Connect(_) => Some((PacketType::ConnAck, 0)),
        Packet::Publish(publish) => match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some((PacketType::PubAck, publish.packet_id)),
            QoS::ExactlyOnce => Some((PacketType::PubRec, publish.packet_id)),
        },
        Packet::Ack(ack) => match ack.kind {
            AckType::PubRec => Some((PacketType::PubRel, ack.packet_id)),
            AckType::PubRel => Some((PacketType::PubComp, ack.packet_id)),
            AckType::PubAck | AckType::PubComp => None,
        },
        Packet::Subscribe(subscribe) => Some((PacketType::SubAck, subscribe.packet_id)),
        Packet::Unsubscribe(unsubscribe) => Some((PacketType::UnsubAck, unsubscribe.packet_id)),
        Packet::PingReq => Some((PacketType::PingResp, 0)),
        _ => None,
    }
}

/// The answer that a packet of the broker gives.
fn given(packet: &Packet<'_>) -> Option<Answer> {
    match packet {
        Packet::ConnAck(_) => Some((PacketType::ConnAck, 0)),
        Packet::Ack(ack) => match ack.kind {
            AckType::PubAck => Some((PacketType::PubAck, ack.packet_id)),
            AckType::PubRec => Some((PacketType::PubRec, ack.packet_id)),
            AckType::PubRel => Some((PacketType::PubRel, ack.packet_id)),
            AckType::PubComp => Some((PacketType::PubComp, ack.packet_id)),
        },
        Packet::SubAck(suback) => Some((PacketType::SubAck, suback.packet_id)),
        Packet::UnsubAck(unsuback) => Some((PacketType::UnsubAck, unsuback.packet_id)),
        Packet::PingResp => Some((PacketType::PingResp, 0)),
        _ => None,
    }
}

impl Wire {
    /// An answer is owed to a question that the shard has got.
    pub(super) fn is_asking(&self) -> bool {
        self.owed.first().is_some()
    }
}

impl World {
    /// The client behaves and reads, so that the broker may not keep an answer from it.
    fn is_owed(&self, wire: &Wire) -> bool {
        let is_hostile = self.clients[wire.client].kind == super::client::Kind::Hostile;
        let is_slow = wire.is_stalled || wire.capacity < 1 << 20;
        let is_open = wire.phase == Phase::Open && wire.hung_up.is_none();
        is_open && !is_hostile && !is_slow && self.settings.sabotage.is_none()
    }

    /// A packet of the broker has reached its client.
    pub(super) fn note_answer(&mut self, wire: usize, packet: &Packet<'_>) {
        let state = &mut self.wires[wire];
        if !state.owed.note_answer(packet) && self.settings.sabotage.is_none() {
            let text = format!("wire {wire} got {packet:?}, owed is {:?}", state.owed);
            self.model.fail("V34", text);
        }
    }

    /// No answer of a client's connections is late.
    pub(super) fn check_owed(&mut self, client: usize) {
        let late = self.wires.iter().enumerate().find(|(_, wire)| {
            let is_late = |(_, since): (_, Time)| self.now.since(since) > OWED_MAX;
            wire.client == client && self.is_owed(wire) && wire.owed.first().is_some_and(is_late)
        });
        if let Some((wire, state)) = late {
            let text = format!("wire {wire} waits for {:?}", state.owed.first());
            self.model.fail("V34", text);
        }
    }

    /// The broker has closed the connection of a client that has left it: what it has done for the
    /// client is answered.
    pub(super) fn check_answered(&mut self, wire: usize) {
        let state = &self.wires[wire];
        let is_owed = state.is_leaving && state.is_whole && state.hung_up.is_none();
        let is_owed = is_owed && !state.is_put_out && self.model.admits(state);
        let has_newer = self.wires[wire + 1..].iter().any(|newer| newer.client == state.client);
        let Some(first) = state.owed.first().filter(|_| is_owed && !has_newer) else { return };
        self.model.fail("V34", format!("wire {wire} is closed, and {first:?} is owed"));
    }

    /// The world is at rest: every question has its answer.
    pub(super) fn check_nothing_is_owed(&mut self) {
        // What lingers with the journal may go on lingering.
        let is_old = |(_, since): (_, Time)| self.now.since(since) > JOURNAL_LINGER_MAX;
        let asks = |wire: &Wire| self.is_owed(wire) && wire.owed.first().is_some_and(is_old);
        if let Some((wire, state)) = self.wires.iter().enumerate().find(|(_, w)| asks(w)) {
            let text = format!("wire {wire} waits for ever for {:?}", state.owed.first());
            self.model.fail("V34", text);
        }
    }
}

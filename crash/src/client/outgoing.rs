//! The publishing half of a client: the messages in flight, and the next ones.

use super::Turn;
use crate::catalog::{PLAIN_TOPICS, RELAYS, register, registers, relay};
use crate::link::Link;
use crate::stamp::{LENGTH_MIN, Stamp};
use ringmq_mqtt::{Ack, AckType, Packet, Publish, QoS, ReasonCode};
use std::collections::VecDeque;

/// Publishes of one turn, so that the load is a stream and not a flood.
const BURST: usize = 8;

/// A message that is not acknowledged in full.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    packet_id: u16,
    sequence: u64,
    message: Message,
    /// PUBREC has come.
    is_released: bool,
}

/// A message to publish.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    /// The client, or the register that is written in turn.
    pub(crate) author: u32,
    pub(crate) topic: u16,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Bytes of the payload; 0 clears a register.
    pub(crate) length: u32,
}

/// The sending side of a client.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    author: u32,
    in_flight: VecDeque<InFlight>,
    /// The number of messages that may be in flight; 0 when the client does not publish by itself.
    window: usize,
    /// The number of messages that the client still publishes before the next restart.
    budget: u64,
    /// The messages that the client was told to publish.
    orders: VecDeque<Message>,
    last_id: u16,
    /// Takes the lowest packet identifier that is free, and not the next.
    is_thrifty: bool,
}

impl Outgoing {
    pub(crate) fn new(client: usize, window: usize) -> Self {
        let is_thrifty = client % 2 == 1;
        Self { author: client as u32, window, is_thrifty, ..Self::default() }
    }

    /// So many messages may follow.
    pub(crate) fn allow(&mut self, budget: u64) {
        self.budget = budget;
    }

    /// Asks for these messages.
    pub(crate) fn order(&mut self, messages: impl IntoIterator<Item = Message>) {
        self.orders.extend(messages);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.orders.is_empty()
    }

    /// The session is gone, and with it the messages in flight.
    pub(crate) fn forget(&mut self, turn: &mut Turn<'_>) {
        for lost in self.in_flight.drain(..) {
            turn.checker.abandoned(lost.message.author, lost.sequence);
            turn.relays.finish(lost.message.author);
        }
    }

    /// Sends everything again, in the original order: [MQTT-4.4.0-1], [MQTT-4.6.0-1].
    pub(crate) fn resend(&self, link: &mut Link, turn: &Turn<'_>) {
        for known in &self.in_flight {
            if known.is_released {
                send_ack(link, AckType::PubRel, known.packet_id);
            } else {
                Self::send(link, turn, known, true);
            }
        }
    }

    fn send(link: &mut Link, turn: &Turn<'_>, sent: &InFlight, dup: bool) {
        let Message { author, topic, qos, retain, length } = sent.message;
        let stamp = Stamp { publisher: author, sequence: sent.sequence, topic, length };
        let payload = if length == 0 { Vec::new() } else { stamp.payload() };
        let topic = &*turn.checker.topics[usize::from(topic)];
        let packet_id = sent.packet_id;
        let payload = &*payload;
        let publish = Publish { dup, qos, retain, topic, packet_id, payload, ..Publish::default() };
        link.send(&Packet::Publish(publish));
    }

    /// Publishes as many messages as the window lets through.
    pub(crate) fn publish(&mut self, link: &mut Link, turn: &mut Turn<'_>, quota: usize) {
        for _ in 0..BURST {
            if self.in_flight.len() >= quota.min(self.window.max(1)) {
                return;
            }
            let is_probe = !self.orders.is_empty();
            let Some(message) = self.orders.pop_front().or_else(|| self.next(turn)) else { return };
            self.publish_one(link, turn, message, is_probe);
        }
    }

    fn publish_one(&mut self, link: &mut Link, turn: &mut Turn<'_>, message: Message, probe: bool) {
        let Message { author, topic, qos, retain, length } = message;
        let sequence = turn.checker.sent(author, topic, qos, probe);
        if retain {
            turn.checker.writing(author, sequence, length == 0);
        }
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { self.free_id() };
        let sent = InFlight { packet_id, sequence, message, is_released: false };
        Self::send(link, turn, &sent, false);
        if qos != QoS::AtMostOnce {
            self.in_flight.push_back(sent);
        }
    }

    fn next(&mut self, turn: &mut Turn<'_>) -> Option<Message> {
        if turn.is_draining || self.window == 0 || self.budget == 0 {
            return None;
        }
        self.budget -= 1;
        let prng = &mut turn.prng;
        let span = if prng.u8(..100) < 2 { 20_000 } else { 2_000 };
        let length = prng.u32(LENGTH_MIN..span);
        if prng.u8(..100) < 8 && turn.may_write {
            let length = if prng.u8(..100) < 10 { 0 } else { length };
            let number = prng.usize(..RELAYS);
            if prng.bool() && turn.relays.begin(number, self.author as usize) {
                let (author, topic, qos) = relay(number);
                turn.checker.publishers[author as usize].is_relay = true;
                return Some(Message { author, topic, qos, retain: true, length });
            }
            let author = self.author;
            let (topic, qos) = register(author as usize, prng.u64(..registers()) as usize);
            return Some(Message { author, topic, qos, retain: true, length });
        }
        let topic = prng.usize(..PLAIN_TOPICS) as u16;
        let qos = match prng.u64(..10) {
            0 => QoS::AtMostOnce,
            1..5 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        Some(Message { author: self.author, topic, qos, retain: false, length })
    }

    fn free_id(&mut self) -> u16 {
        let mut id = if self.is_thrifty { 1 } else { self.last_id.checked_add(1).unwrap_or(1) };
        while self.in_flight.iter().any(|known| known.packet_id == id) {
            id = id.checked_add(1).unwrap_or(1);
        }
        self.last_id = id;
        id
    }

    /// PUBACK, PUBREC or PUBCOMP has come.
    pub(crate) fn answered(&mut self, link: &mut Link, turn: &mut Turn<'_>, ack: &Ack<'_>) {
        let known = self.in_flight.iter().position(|known| known.packet_id == ack.packet_id);
        let Some(place) = known else {
            // The client has forgotten it: so shall the broker.
            if ack.kind == AckType::PubRec && !ack.code.is_error() {
                send_ack(link, AckType::PubRel, ack.packet_id);
            }
            return;
        };
        let InFlight { sequence, message, is_released, .. } = self.in_flight[place];
        let author = message.author;
        let is_comp = ack.kind == AckType::PubComp;
        let is_fitting = match message.qos {
            QoS::ExactlyOnce if is_comp => is_released,
            QoS::ExactlyOnce => ack.kind == AckType::PubRec,
            _ => ack.kind == AckType::PubAck,
        };
        if !is_fitting {
            return;
        }
        if ack.code.is_error() && !is_comp {
            self.in_flight.remove(place);
            turn.relays.finish(author);
            return turn.checker.abandoned(author, sequence);
        }
        turn.checker.acknowledged(author, sequence);
        if ack.kind == AckType::PubRec {
            self.in_flight[place].is_released = true;
            return send_ack(link, AckType::PubRel, ack.packet_id);
        }
        turn.checker.completed(author, sequence);
        turn.relays.finish(author);
        self.in_flight.remove(place);
    }
}

/// Sends an acknowledgement that says success.
pub(crate) fn send_ack(link: &mut Link, kind: AckType, packet_id: u16) {
    let code = ReasonCode::Success;
    let user_properties = ringmq_mqtt::UserProperties::default();
    link.send(&Packet::Ack(Ack { kind, packet_id, code, reason: None, user_properties }));
}

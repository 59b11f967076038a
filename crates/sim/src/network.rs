//! The bytes of connections, both ways: cut anywhere, late, stuck, lost with the connection.

use super::Sabotage;
use super::client::Kind;
use super::wire::{Item, Phase, Wire};
use super::world::{Event, World};
use ringmq::broker::Input;
use ringmq_mqtt::{Framed, Packet, PacketType, Publish, QoS, Sender, Version, next_frame};

/// Bytes that a worker receives at once.
const RECEIVE_BYTES: usize = 4096;

impl World {
    /// Puts bytes on the wire for the broker; `item` is their meaning.
    pub(super) fn send(&mut self, wire: usize, bytes: &[u8], item: Item) {
        let state = &mut self.wires[wire];
        if state.hung_up.is_some() || state.is_leaving {
            return;
        }
        state.up.bytes.extend(bytes);
        state.up.sent += bytes.len() as u64;
        if self.clients[state.client].kind != Kind::Hostile {
            state.owed.ask(bytes, state.version, state.up.sent);
        }
        state.up.items.push_back((state.up.sent, item));
        self.schedule_up(wire);
    }

    pub(super) fn schedule_up(&mut self, wire: usize) {
        if !std::mem::replace(&mut self.wires[wire].up.is_scheduled, true) {
            let delay_us = self.network_delay_us();
            self.schedule_us(Event::Up(wire), delay_us);
        }
    }

    pub(super) fn schedule_down(&mut self, wire: usize) {
        if !std::mem::replace(&mut self.wires[wire].down.is_scheduled, true) {
            let delay_us = self.network_delay_us();
            self.schedule_us(Event::Down(wire), delay_us);
        }
    }

    /// The number of the `available` bytes that move at once.
    fn cut(&mut self, available: usize) -> usize {
        if !self.prng.chance(self.scenario.cuts) {
            return available;
        }
        let most = if self.prng.chance(50) { 4 } else { 200 };
        available.min(1 + self.prng.below(most) as usize)
    }

    /// Bytes reach the worker.
    pub(super) fn up(&mut self, wire: usize) {
        self.wires[wire].up.is_scheduled = false;
        let state = &mut self.wires[wire];
        let available = state.up.bytes.len();
        if available == 0 {
            return self.end_input(wire);
        }
        if state.link.is_none() {
            return;
        }
        if state.is_paused && !std::mem::take(&mut state.is_under_way) {
            return;
        }
        if available < state.awaited {
            return;
        }
        let awaited = std::mem::take(&mut state.awaited);
        let count = self.cut(available.min(RECEIVE_BYTES)).max(awaited);
        self.hand(wire, count);
        let state = &self.wires[wire];
        let has_more = !state.up.bytes.is_empty() || state.is_half_closed;
        if state.phase == Phase::Open && has_more {
            self.schedule_up(wire);
        }
    }

    /// The worker learns that the client has sent its last byte.
    fn end_input(&mut self, wire: usize) {
        let state = &mut self.wires[wire];
        let Some(link) = state.link.filter(|_| state.phase == Phase::Open) else { return };
        if state.is_half_closed && !std::mem::replace(&mut state.is_finished, true) {
            let worker = state.worker;
            state.left.get_or_insert(self.now);
            self.trace(|| format!("wire {wire} is finished"));
            self.feed(worker, Input::Finished { link });
            self.after_input(wire);
        }
    }

    /// Hands the next `count` bytes to the shard.
    fn hand(&mut self, wire: usize, count: usize) {
        let state = &mut self.wires[wire];
        let Some(link) = state.link else { return };
        let bytes: Vec<u8> = state.up.bytes.drain(..count).collect();
        state.up.handed += count as u64;
        let worker = state.worker;
        self.note_handed(wire);
        self.trace(|| format!("wire {wire} → worker {worker}: {count} bytes"));
        self.feed(worker, Input::Received { link, bytes: &bytes });
        self.after_input(wire);
    }

    /// Sends the first answer at once, so that the model knows the decision.
    pub(super) fn after_input(&mut self, wire: usize) {
        let state = &self.wires[wire];
        if let Some(link) = state.link.filter(|_| !state.is_answered) {
            self.transmit(state.worker, link);
        }
        self.note_handled(wire);
    }

    /// Tells the model of packets that the shard has got whole.
    fn note_handed(&mut self, wire: usize) {
        let state = &mut self.wires[wire];
        // What comes when the broker has hung up already is not answered.
        if state.phase == Phase::Open {
            state.owed.note_handed(state.up.handed, self.now);
        }
        while let Some((end, _)) = state.up.items.front()
            && *end <= state.up.handed
        {
            let (_, item) = state.up.items.pop_front().expect("there is a first");
            if state.phase == Phase::Open {
                if matches!(item, Item::Disconnect { .. }) {
                    state.left.get_or_insert(self.now);
                }
                let handed = self.model.handed(state, item);
                state.up.handed_items.push_back(handed);
            }
        }
    }

    /// Tells the model of packets that the shard has dealt with: all it got, unless it was told
    /// to keep some.
    pub(super) fn note_handled(&mut self, wire: usize) {
        let state = &mut self.wires[wire];
        let is_answered = (state.session.is_some() && !state.is_put_out) || state.is_refused;
        if state.is_paused || !is_answered || state.moving.is_some() || state.phase != Phase::Open {
            return;
        }
        while let Some(handed) = state.up.handed_items.pop_front() {
            if let Item::Disconnect { code, expiry_s } = handed.item {
                state.goodbye = Some((code, expiry_s));
            }
            self.model.handled(state, &handed);
        }
        // From here on the connection may only wait for what its client is owed.
        if state.goodbye.is_some() || state.is_finished {
            self.model.lose(wire, &self.wires[wire]);
        }
    }

    /// A connection arrives at the worker of its session.
    pub(super) fn arrive(&mut self, wire: usize) {
        let Some((origin, bytes)) = self.wires[wire].moving.take() else { return };
        let worker = self.wires[wire].worker;
        let link = self.open_from(wire, origin);
        self.feed(worker, Input::Received { link, bytes: &bytes });
        self.after_input(wire);
        if std::mem::take(&mut self.wires[wire].is_finished) {
            self.end_input(wire);
        }
        self.schedule_up(wire);
    }

    /// Bytes reach the client.
    pub(super) fn down(&mut self, wire: usize) {
        let state = &mut self.wires[wire];
        state.down.is_scheduled = false;
        if state.is_stalled || state.hung_up.is_some() {
            return;
        }
        let available = state.down.bytes.len();
        let count = self.cut(available);
        let state = &mut self.wires[wire];
        state.down.buffer.extend(state.down.bytes.drain(..count));
        if !state.down.unsent.is_empty() {
            let delay_us = self.network_delay_us();
            self.schedule_us(Event::Push(wire), delay_us);
        }
        self.read(wire);
        let state = &self.wires[wire];
        if !state.down.bytes.is_empty() {
            self.schedule_down(wire);
        } else if state.down.is_finished {
            self.closed_by_broker(wire);
        }
    }

    /// The network has room again.
    pub(super) fn push(&mut self, wire: usize) {
        let state = &mut self.wires[wire];
        if state.phase == Phase::Dead || state.down.unsent.is_empty() {
            return;
        }
        let room = state.room();
        push_unsent(state, room);
        if state.down.unsent.is_empty()
            && state.phase == Phase::Open
            && let Some(link) = state.link
        {
            let worker = state.worker;
            self.trace(|| format!("wire {wire} is writable"));
            self.feed(worker, Input::Writable { link });
        }
        self.schedule_down(wire);
    }

    /// The client closes its end. `lossy`: bytes that the worker has not got are lost.
    pub(super) fn hang_up(&mut self, wire: usize, lossy: bool) {
        if self.wires[wire].hung_up.is_none() {
            self.wires[wire].hung_up = Some(lossy);
            self.trace(|| format!("wire {wire} hangs up, lossy {lossy}"));
            let delay_us = self.network_delay_us();
            self.schedule_us(Event::HangUp(wire), delay_us);
        }
    }

    /// The worker learns that the client has gone.
    pub(super) fn hang_up_arrives(&mut self, wire: usize) {
        let lossy = self.wires[wire].hung_up == Some(true);
        if self.wires[wire].moving.is_some() {
            return self.schedule_us(Event::HangUp(wire), 1_000);
        }
        let state = &mut self.wires[wire];
        let count = state.up.bytes.len();
        let is_open = state.phase == Phase::Open && state.link.is_some();
        if !lossy && is_open && state.down.unsent.is_empty() && !state.is_finished {
            if count > 0 && !state.is_paused {
                self.hand(wire, count);
            } else if !state.is_paused {
                state.is_half_closed = true;
                return self.end_input(wire);
            }
            return self.schedule_us(Event::HangUp(wire), 1_000);
        }
        if self.wires[wire].phase == Phase::Open {
            self.bury(wire);
        }
    }

    /// The worker has closed the connection: the client gets the rest, or not.
    pub(super) fn finish(&mut self, wire: usize) {
        if self.wires[wire].phase != Phase::Closing {
            return;
        }
        let keeps = self.prng.chance(80);
        let state = &mut self.wires[wire];
        state.is_whole = keeps || state.down.unsent.is_empty();
        if keeps {
            push_unsent(state, usize::MAX);
        } else if !state.down.unsent.is_empty() {
            state.down.bytes.clear();
        }
        self.bury(wire);
    }

    /// Nothing more happens on the wire at the worker's end, which the shard is told.
    pub(super) fn bury(&mut self, wire: usize) {
        self.trace(|| format!("wire {wire} is gone"));
        let state = &mut self.wires[wire];
        state.down.is_finished = true;
        if state.phase == Phase::Open {
            self.model.lose(wire, &self.wires[wire]);
        }
        let state = &mut self.wires[wire];
        if let Some(session) = state.session.filter(|_| state.hung_up.is_some()) {
            // What the outbox held for it was not sent.
            self.model.doubt(session);
        }
        state.phase = Phase::Dead;
        state.down.unsent = ringmq::broker::Unsent::default();
        state.up = super::wire::Upward::default();
        if let Some(link) = state.link {
            let worker = state.worker;
            self.unlink(worker, link);
            self.feed(worker, Input::Closed { link });
        }
        self.schedule_down(wire);
    }

    /// Does harm to the output of a shard, if the run is to.
    pub(super) fn spoil(&mut self, wire: usize, bytes: Vec<u8>) -> Vec<u8> {
        let Some(sabotage) = self.settings.sabotage else { return bytes };
        let is_exempt = self.is_observer(self.wires[wire].client) || !self.wires[wire].is_answered;
        let is_tight = self.wires[wire].room() < 2 * bytes.len();
        if is_exempt || is_tight || self.sabotages_left == 0 || self.prng.chance(70) {
            return bytes;
        }
        let spoilt = spoilt(&bytes, self.wires[wire].version, sabotage);
        if let Some(spoilt) = spoilt {
            self.sabotages_left -= 1;
            self.trace(|| format!("wire {wire}: {sabotage:?}"));
            return spoilt;
        }
        bytes
    }
}

fn push_unsent(state: &mut Wire, mut room: usize) {
    while let Some(bytes) = state.down.unsent.front() {
        let count = bytes.len().min(room);
        if count == 0 {
            return;
        }
        state.down.bytes.extend(&bytes[..count]);
        state.down.unsent.advance(count);
        room -= count;
    }
}

/// The packets that `bytes` hold, each as (first, last) byte.
pub(super) fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Ok(Framed::Whole(frame)) = next_frame(&bytes[at..], usize::MAX) {
        frames.push((at, at + frame.length));
        at += frame.length;
    }
    frames
}

/// The code of the last packet, if it is DISCONNECT.
pub(super) fn last_disconnect(bytes: &[u8]) -> Option<u8> {
    let (start, end) = frames(bytes).last().copied()?;
    let packet = &bytes[start..end];
    let is_disconnect = PacketType::from_first(packet[0]) == Some(PacketType::Disconnect);
    is_disconnect.then(|| packet.get(2).copied().unwrap_or(0))
}

/// Session Present and the code of the CONNACK that `bytes` begin with.
pub(super) fn connack(bytes: &[u8], version: Version) -> Option<(bool, u8)> {
    let Ok(Framed::Whole(frame)) = next_frame(bytes, usize::MAX) else { return None };
    match Packet::decode(&frame, version, Sender::Server) {
        Ok(Packet::ConnAck(connack)) => Some((connack.session_present, connack.code as u8)),
        _ => None,
    }
}

/// `bytes` with a defect, if they hold what it needs.
fn spoilt(bytes: &[u8], version: Version, sabotage: Sabotage) -> Option<Vec<u8>> {
    let frames = frames(bytes);
    let publish = |&(start, end): &(usize, usize)| -> Option<Publish<'_>> {
        let Ok(Framed::Whole(frame)) = next_frame(&bytes[start..end], usize::MAX) else {
            return None;
        };
        match Packet::decode(&frame, version, Sender::Server) {
            Ok(Packet::Publish(publish)) if !publish.topic.is_empty() => Some(publish),
            _ => None,
        }
    };
    let is_fit = |range: &(usize, usize)| {
        let fits = |p: Publish<'_>| !p.retain && !p.dup && p.payload.len() > 20;
        publish(range).is_some_and(fits)
    };
    let (start, end) = *frames.iter().rev().find(|range| is_fit(range))?;
    let (before, it, after) = (&bytes[..start], &bytes[start..end], &bytes[end..]);
    let last = publish(&(start, end))?;
    match sabotage {
        Sabotage::Duplicate => Some([before, it, it, after].concat()),
        Sabotage::Lose if last.qos > QoS::AtMostOnce => Some([before, after].concat()),
        Sabotage::Lose => None,
        Sabotage::Alter => {
            let mut altered = bytes.to_vec();
            altered[end - 1] ^= 1;
            Some(altered)
        }
        Sabotage::Swap => {
            let earlier = frames.iter().find(|range| {
                let same = |p: Publish<'_>| {
                    p.topic == last.topic
                        && p.qos == last.qos
                        && p.payload[..4] == last.payload[..4]
                        && p.payload != last.payload
                };
                range.1 <= start && is_fit(range) && publish(range).is_some_and(same)
            })?;
            let (head, first, between) =
                (&bytes[..earlier.0], &bytes[earlier.0..earlier.1], &bytes[earlier.1..start]);
            Some([head, it, between, first, after].concat())
        }
        Sabotage::KeepRules | Sabotage::ForgetDenials | Sabotage::MistakeLink => None,
    }
}

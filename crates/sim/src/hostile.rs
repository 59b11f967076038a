//! I17: clients that break the protocol. Each is closed, with the right code, and nobody else is.

use super::scenario::pick;
use super::wire::{Item, Terms, Wire};
use super::world::World;
use ringmq::base::time::Time;
use ringmq::limits::CONNECT_TIME_FACTOR;
use ringmq_mqtt::{Packet, Publish, QoS, Version};
use std::time::Duration;

/// The offence that a client commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offence {
    /// The client says nothing at all.
    Silence,
    /// The client sends half of a CONNECT.
    HalfConnect,
    /// The client sends a CONNECT byte by byte, and never its last byte.
    Dribble,
    /// The client sends another packet first.
    NoConnect,
    /// The client sends these bytes once it is connected, and expects this code; the last field
    /// says whether a 3.1.1 client can do so.
    Bytes(&'static [u8], u8, bool),
    /// The client sends more QoS 2 messages than the server takes.
    Flood,
    /// The client keeps silent for longer than its keep alive.
    Sleep,
}

/// The offence of a hostile client on one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grudge {
    wire: usize,
    offence: Offence,
    /// The time by which the broker is to have closed.
    ends: Time,
    /// The code of DISCONNECT.
    code: Option<u8>,
    /// The broker sent something before CONNECT was complete.
    was_answered: bool,
    /// The number of bytes of the client's CONNECT that have gone out.
    dribbled: usize,
}

/// The beginning of a CONNECT that goes on with a client identifier of 52 bytes.
const DRIBBLE: &[u8] = b"\x10\x40\0\x04MQTT\x04\x02\0\0\0\x34";

const OFFENCES: [Offence; 27] = [
    Offence::Silence,
    Offence::Dribble,
    Offence::HalfConnect,
    Offence::NoConnect,
    Offence::Flood,
    Offence::Sleep,
    // A second CONNECT.
    Offence::Bytes(b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0", 0x82, true),
    // Packet type 0, wrong flags, a length of five bytes, both QoS bits.
    Offence::Bytes(b"\0\0", 0x81, true),
    Offence::Bytes(b"\xC1\0", 0x81, true),
    Offence::Bytes(b"\x80\x06\0\x01\0\x01a\0", 0x81, true),
    Offence::Bytes(b"\x60\x02\0\x01", 0x81, true),
    Offence::Bytes(b"\x30\xFF\xFF\xFF\xFF\x01", 0x81, true),
    Offence::Bytes(b"\x36\x05\0\x01a\0\x01", 0x81, true),
    // A packet too large.
    Offence::Bytes(b"\x30\xFF\xFF\xFF\x7F", 0x95, true),
    // Packets of a server; AUTH.
    Offence::Bytes(b"\x20\x02\0\0", 0x82, true),
    Offence::Bytes(b"\xD0\0", 0x82, true),
    Offence::Bytes(b"\xF0\0", 0x82, false),
    // Topics: with a wildcard, not UTF-8, cut off, none.
    Offence::Bytes(b"\x30\x04\0\x01#\0", 0x90, true),
    Offence::Bytes(b"\x30\x04\0\x01\xFF\0", 0x81, true),
    Offence::Bytes(b"\x30\x03\0\x09a", 0x81, true),
    Offence::Bytes(b"\x30\x03\0\0\0", 0x82, false),
    // Aliases: 0, above the maximum, and one never set is a protocol error.
    Offence::Bytes(b"\x30\x07\0\x01a\x03\x23\0\0", 0x94, false),
    Offence::Bytes(b"\x30\x07\0\x01a\x03\x23\xFF\xFF", 0x94, false),
    // No filter; No Local on a shared subscription; packet identifier 0.
    Offence::Bytes(b"\x82\x03\0\x01\0", 0x82, false),
    Offence::Bytes(b"\x82\x10\0\x01\0\0\x0A$share/g/a\x04", 0x82, false),
    Offence::Bytes(b"\x82\x07\0\0\0\0\x01a\0", 0x81, false),
    // A session expiry where CONNECT had none.
    Offence::Bytes(b"\xE0\x07\0\x05\x11\0\0\0\x09", 0x82, false),
];

impl World {
    /// The latest that a peer may be closed. A late turn gives one that comes in its time again.
    fn latest_end(&self, grudge: &Grudge) -> Time {
        let second = Duration::from_secs(1);
        let latest = self.model.latest(grudge.ends, second);
        if latest == grudge.ends.after(second) {
            return latest;
        }
        let patience = u32::from(self.scenario.options.connect_timeout_s);
        self.model.latest(latest.after_seconds(patience), second)
    }

    /// Waits for the broker's answer to the last offence, or commits the next.
    pub(super) fn act_hostile(&mut self, client: usize) {
        if let Some(grudge) = self.clients[client].grudge {
            if self.now > self.latest_end(&grudge) {
                self.model.fail("I17", format!("client {client} was not closed: {grudge:?}"));
            }
            if grudge.offence == Offence::Dribble && !self.is_ending {
                self.dribble(client, grudge);
            }
            return;
        }
        let version = self.clients[client].version;
        let offence = pick(&mut self.prng, &OFFENCES);
        if !version.is_v5() && matches!(offence, Offence::Bytes(_, _, false) | Offence::Flood) {
            return;
        }
        let wire = match offence {
            Offence::Silence | Offence::HalfConnect | Offence::Dribble | Offence::NoConnect => {
                self.open_rudely(client, offence)
            }
            _ => {
                let keep_alive_s = u16::from(offence == Offence::Sleep);
                let terms = Terms { clean_start: true, keep_alive_s, ..Terms::default() };
                self.connect(client, Terms { receive_maximum: u16::MAX, ..terms })
            }
        };
        let patience = u32::from(self.scenario.options.connect_timeout_s);
        let times = if offence == Offence::Dribble { CONNECT_TIME_FACTOR } else { 1 };
        let ends = self.now.after_seconds(times * patience + 2);
        let grudge = Grudge { wire, offence, ends, code: None, was_answered: false, dribbled: 0 };
        self.clients[client].grudge = Some(grudge);
    }

    fn dribble(&mut self, client: usize, grudge: Grudge) {
        let Grudge { wire, dribbled, .. } = grudge;
        // Two bytes of the packet stand before its length begins to count, one is never sent.
        if dribbled < 0x40 + 1 {
            let byte = DRIBBLE.get(dribbled).copied().unwrap_or(b'a');
            self.clients[client].grudge = Some(Grudge { dribbled: dribbled + 1, ..grudge });
            self.send(wire, &[byte], Item::Other);
        }
    }

    fn open_rudely(&mut self, client: usize, offence: Offence) -> usize {
        let version = self.clients[client].version;
        let worker = self.prng.below(self.scenario.workers as u64) as usize;
        let wire = self.wires.len();
        self.wires.push(Wire::new(client, worker, version, self.now));
        self.trace(|| format!("client {client} offends on wire {wire}: {offence:?}"));
        self.open(wire);
        match offence {
            Offence::HalfConnect => self.send(wire, b"\x10\x0E\0\x04MQTT\x04\x02", Item::Other),
            Offence::NoConnect => self.send(wire, b"\x30\x03\0\x01a", Item::Other),
            _ => {}
        }
        wire
    }

    /// A hostile client got something.
    pub(super) fn receive_hostile(&mut self, wire: usize, packet: &Packet<'_>) {
        let client = self.wires[wire].client;
        let Some(mut grudge) = self.clients[client].grudge else { return };
        match packet {
            Packet::ConnAck(_) => {
                grudge.was_answered = true;
                self.clients[client].grudge = Some(grudge);
                self.offend(wire, grudge.offence);
            }
            Packet::Disconnect(disconnect) => {
                grudge.code = Some(disconnect.code as u8);
                self.clients[client].grudge = Some(grudge);
            }
            _ => {}
        }
    }

    fn offend(&mut self, wire: usize, offence: Offence) {
        self.trace(|| format!("wire {wire} offends: {offence:?}"));
        match offence {
            Offence::Bytes(bytes, ..) => self.send(wire, bytes, Item::Other),
            Offence::Flood => {
                let mut bytes = Vec::new();
                for packet_id in 1..=self.scenario.options.receive_maximum + 1 {
                    let qos = QoS::ExactlyOnce;
                    let topic = "hostile/flood";
                    let publish = Publish { qos, topic, packet_id, ..Publish::default() };
                    publish.encode(Version::V5, &mut bytes);
                }
                self.send(wire, &bytes, Item::Other);
            }
            _ => {}
        }
    }

    /// The broker has closed the connection of a hostile client.
    pub(super) fn hostile_closed(&mut self, wire: usize) {
        let client = self.wires[wire].client;
        let Some(grudge) = self.clients[client].grudge.take_if(|grudge| grudge.wire == wire) else {
            return;
        };
        let is_v5 = self.wires[wire].version.is_v5();
        let opened = self.wires[wire].opened;
        let age = self.now.since(opened);
        let code = match grudge.offence {
            Offence::Silence | Offence::HalfConnect | Offence::Dribble | Offence::NoConnect => None,
            Offence::Bytes(_, code, _) => Some(code),
            Offence::Flood => Some(0x93),
            Offence::Sleep => Some(0x8D),
        };
        let is_slow = match grudge.offence {
            Offence::Silence | Offence::HalfConnect | Offence::Dribble => {
                age.as_secs() < u64::from(self.scenario.options.connect_timeout_s)
            }
            Offence::Sleep => {
                age < Duration::from_millis(1500)
                    || self.now > self.model.latest(opened, Duration::from_secs(4))
            }
            _ => false,
        };
        let was_refused = self.wires[wire].terms.receive_maximum > 0 && !grudge.was_answered;
        if grudge.code != code.filter(|_| is_v5) || is_slow || was_refused {
            let text = format!("client {client}, {is_v5}, after {age:?}: {grudge:?}");
            self.model.fail("I17", text);
        }
    }
}

//! The receiving half of a client: what it must answer, and the identifiers that it keeps, as a
//! client library with a file does.

use super::Turn;
use super::outgoing::send_ack;
use crate::checker::violation::Kind;
use crate::link::Link;
use crate::stamp::Stamp;
use ringmq_mqtt::{AckType, Publish, QoS};
use std::collections::{BTreeMap, VecDeque};

/// The longest time between two late acknowledgements.
const PAUSE_US: u64 = 4_000;

/// The receiving side of a client.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// QoS 2 messages that are received and not released, by packet identifier. Kept for as long
    /// as the broker says that the session is present.
    held: BTreeMap<u16, Option<Stamp>>,
    /// Acknowledgements, and when they are due.
    owed: VecDeque<(u64, AckType, u16)>,
    /// No acknowledgement is sent before: one that was late held those behind it back.
    paused_us: u64,
    /// The longest delay of an acknowledgement.
    pub(crate) lateness_us: u64,
}

impl Incoming {
    /// The session is gone.
    pub(crate) fn forget(&mut self) {
        self.held.clear();
    }

    /// The connection is gone: unacknowledged messages will come again.
    pub(crate) fn disconnect(&mut self) {
        self.owed.clear();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.owed.is_empty()
    }

    /// QoS 2 messages that wait for their PUBREL.
    pub(crate) fn unreleased(&self) -> usize {
        self.held.len()
    }

    /// PUBLISH has come.
    pub(crate) fn published(&mut self, client: usize, turn: &mut Turn<'_>, publish: &Publish<'_>) {
        let id = publish.packet_id;
        match publish.qos {
            QoS::AtMostOnce => drop(turn.checker.delivered(client, publish)),
            QoS::AtLeastOnce => {
                turn.checker.delivered(client, publish);
                self.owe(turn, AckType::PubAck, id);
            }
            QoS::ExactlyOnce => {
                self.hold(client, turn, publish);
                self.owe(turn, AckType::PubRec, id);
            }
        }
    }

    /// Counts a QoS 2 message unless its identifier is held: [MQTT-4.3.3-10].
    fn hold(&mut self, client: usize, turn: &mut Turn<'_>, publish: &Publish<'_>) {
        let id = publish.packet_id;
        let Some(held) = self.held.get(&id) else {
            let stamp = turn.checker.delivered(client, publish);
            self.held.insert(id, stamp);
            return;
        };
        let stamp = Stamp::read(publish.payload);
        if *held != stamp {
            turn.checker.violations.add(Kind::IdentifierReused, || {
                format!("client {client} holds {id} for {held:?} and got it for {stamp:?}")
            });
        }
    }

    /// PUBREL has come.
    pub(crate) fn released(&mut self, turn: &mut Turn<'_>, packet_id: u16) {
        self.held.remove(&packet_id);
        self.owe(turn, AckType::PubComp, packet_id);
    }

    fn owe(&mut self, turn: &mut Turn<'_>, kind: AckType, packet_id: u16) {
        let late_us = if self.lateness_us > 0 { turn.prng.u64(..self.lateness_us) } else { 0 };
        self.owed.push_back((turn.now_us + late_us, kind, packet_id));
    }

    /// Sends acknowledgements that are due, in order; a late client not all at once.
    pub(crate) fn acknowledge(&mut self, link: &mut Link, turn: &mut Turn<'_>) {
        while let Some(&(due_us, kind, packet_id)) = self.owed.front() {
            if due_us.max(self.paused_us) > turn.now_us && !turn.is_draining {
                return;
            }
            send_ack(link, kind, packet_id);
            self.owed.pop_front();
            if self.lateness_us > 0 {
                self.paused_us = turn.now_us + turn.prng.u64(..PAUSE_US);
            }
        }
    }
}

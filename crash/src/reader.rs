//! A subscriber without a past, which reads the retained registers after each restart.

use crate::checker::retained::Floors;
use crate::client::Turn;
use crate::client::outgoing::send_ack;
use crate::client::wishes::subscribe;
use crate::link::Link;
use ringmq_mqtt::{AckType, Connect, Packet, Publish, QoS, Version};
use std::collections::BTreeMap;

const VERSION: Version = Version::V311;

/// The time for which the reader listens for messages that should not be there.
const LINGER_US: u64 = 20_000;

/// The time for which the reader waits for messages that should be there.
pub(crate) const PATIENCE_US: u64 = 1_500_000;

/// One look at the registers.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    link: Option<Link>,
    /// The values that were certain when the reader subscribed.
    floors: Floors,
    /// The time at which the reader subscribed.
    since_us: u64,
    values: BTreeMap<u16, u64>,
    is_done: bool,
}

impl Reader {
    pub(crate) fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// A reader that has nothing to do.
    pub(crate) fn idle() -> Self {
        Self { is_done: true, ..Self::default() }
    }

    /// True when the reader has judged, or had nothing to do.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Does everything that can be done now.
    pub(crate) fn turn(&mut self, turn: &mut Turn<'_>) {
        if self.is_done {
            return;
        }
        if self.link.is_none() {
            self.connect(turn);
        }
        let Some(mut link) = self.link.take() else { return };
        let bytes = link.take();
        let mut used = 0;
        while let Ok(Some((packet, length))) = Link::packet(&bytes[used..], VERSION) {
            used += length;
            self.handle(&mut link, turn, packet);
        }
        if link.give_back(bytes, used).is_err() || link.flush().is_err() {
            return;
        }
        self.link = Some(link);
        self.judge(turn);
    }

    /// Asks for a connection; the name is new, so that there is no session.
    fn connect(&mut self, turn: &mut Turn<'_>) {
        let Some(address) = turn.address else { return };
        let Ok(mut link) = Link::open(address, VERSION) else { return };
        let name = format!("reader-{:x}", turn.prng.u64(..));
        link.send(&Packet::Connect(Connect::new(VERSION, &name)));
        *self = Self { link: Some(link), ..Self::default() };
    }

    fn handle(&mut self, link: &mut Link, turn: &mut Turn<'_>, packet: Packet<'_>) {
        match packet {
            Packet::ConnAck(_) => {
                self.floors = turn.checker.registers.floors();
                self.since_us = turn.now_us;
                link.send(&subscribe(1, "r/#", QoS::AtLeastOnce));
                link.send(&subscribe(2, "q/#", QoS::AtLeastOnce));
            }
            Packet::Publish(publish) => {
                self.note(turn, &publish);
                if publish.qos == QoS::AtLeastOnce {
                    send_ack(link, AckType::PubAck, publish.packet_id);
                }
            }
            _ => {}
        }
    }

    /// A retained value, or a newer one that came meanwhile.
    fn note(&mut self, turn: &mut Turn<'_>, publish: &Publish<'_>) {
        if publish.payload.is_empty() {
            return;
        }
        if let Some(stamp) = turn.checker.check_content(usize::MAX, publish) {
            let value = self.values.entry(stamp.topic).or_default();
            *value = stamp.sequence.max(*value);
        }
    }

    /// Judges when everything is there that must be, or will not come any more.
    fn judge(&mut self, turn: &mut Turn<'_>) {
        if self.since_us == 0 {
            return;
        }
        let waited_us = turn.now_us - self.since_us;
        let is_missing = turn.checker.awaits_retained(&self.floors, &self.values);
        if waited_us < LINGER_US || (is_missing && waited_us < PATIENCE_US) {
            return;
        }
        turn.checker.judge_retained(&self.floors, &self.values);
        self.is_done = true;
        self.link = None;
    }
}

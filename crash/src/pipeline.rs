//! Clients that do not wait for answers: they connect again and again with CONNECT, SUBSCRIBE,
//! PUBLISH, PINGREQ and sometimes DISCONNECT in one write.

use crate::checker::violation::Kind;
use crate::client::Turn;
use crate::client::outgoing::send_ack;
use crate::client::wishes::subscribe;
use crate::link::{Gone, Link};
use ringmq_mqtt::{AckType, Connect, Disconnect, Packet, Publish, QoS, Version};

/// The time that an answer may take while the broker runs.
const PATIENCE_US: u64 = 10_000_000;
/// A connection that ended early is a mistake when the broker still runs so much later.
const GRACE_US: u64 = 1_000_000;
/// The longest time between two connections.
const PAUSE_US: u64 = 30_000;
/// The answers, in order.
const ANSWERS: [&str; 4] = ["CONNACK", "SUBACK", "PUBACK", "PINGRESP"];

/// One of these clients.
#[derive(Debug)]
pub(crate) struct Pipeline {
    name: String,
    version: Version,
    link: Option<Link>,
    /// The packets that were sent, for a report.
    sent: String,
    /// The number of the [`ANSWERS`] that have come.
    answered: usize,
    /// The time at which the client connected.
    since_us: u64,
    /// The time at which the connection ended before everything was answered.
    broken_us: Option<u64>,
    wake_us: u64,
    /// Connections on which everything was answered.
    pub(crate) rounds: u64,
}

impl Pipeline {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            name: format!("pipeline-{number}"),
            version: if number.is_multiple_of(2) { Version::V5 } else { Version::V311 },
            link: None,
            sent: String::new(),
            answered: 0,
            since_us: 0,
            broken_us: None,
            wake_us: 0,
            rounds: 0,
        }
    }

    pub(crate) fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Nothing is to be answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.link.is_none() && self.broken_us.is_none()
    }

    /// The broker has ended: open requests need no answer any more.
    pub(crate) fn reset(&mut self) {
        self.link = None;
        self.broken_us = None;
    }

    /// Does everything that can be done now. The broker runs, and was not asked to end.
    pub(crate) fn turn(&mut self, turn: &mut Turn<'_>) {
        if let Some(broken_us) = self.broken_us {
            if turn.now_us > broken_us + GRACE_US {
                self.fail(turn, "and the connection ended");
            }
            return;
        }
        if self.link.is_none() && !turn.is_draining && turn.now_us >= self.wake_us {
            self.connect(turn);
        }
        let Some(mut link) = self.link.take() else { return };
        let bytes = link.take();
        let mut used = 0;
        while let Ok(Some((packet, length))) = Link::packet(&bytes[used..], self.version) {
            used += length;
            *turn.heard_us = turn.now_us;
            self.handle(&mut link, turn, &packet);
        }
        let is_gone =
            matches!((link.give_back(bytes, used), link.flush()), (Err(Gone), _) | (_, Err(Gone)));
        if self.answered == ANSWERS.len() {
            self.rounds += 1;
            self.wake_us = turn.now_us + turn.prng.u64(..PAUSE_US);
        } else if is_gone {
            self.broken_us = Some(turn.now_us);
        } else {
            self.link = Some(link);
            if turn.now_us > self.since_us + PATIENCE_US {
                self.fail(turn, "within 10 s");
            }
        }
    }

    fn fail(&mut self, turn: &mut Turn<'_>, what: &str) {
        let Self { name, version, sent, answered, .. } = &*self;
        turn.checker.violations.add(Kind::Stuck, || {
            let missing = ANSWERS[*answered];
            format!("{name}, {version:?}, sent {sent} in one write: no {missing} came {what}")
        });
        self.reset();
    }

    fn connect(&mut self, turn: &mut Turn<'_>) {
        let Some(address) = turn.address else { return };
        let Ok(mut link) = Link::open(address, self.version) else { return };
        let mut connect = Connect::new(self.version, &self.name);
        connect.clean_start = turn.prng.bool();
        connect.session_expiry_s = if turn.prng.bool() { 3_600 } else { 0 };
        link.send(&Packet::Connect(connect));
        link.send(&subscribe(1, "p/#", QoS::AtLeastOnce));
        let retain = turn.prng.bool();
        let topic = &*format!("p/{}", turn.prng.u64(..4));
        let (qos, payload) = (QoS::AtLeastOnce, self.name.as_bytes());
        let publish = Publish { qos, retain, topic, packet_id: 2, payload, ..Publish::default() };
        link.send(&Packet::Publish(publish));
        link.send(&Packet::PingReq);
        let leaves = turn.prng.u8(..100) < 30;
        if leaves {
            link.send(&Packet::Disconnect(Disconnect::default()));
        }
        self.sent = format!("retain {retain}, DISCONNECT {leaves}");
        self.answered = 0;
        self.since_us = turn.now_us;
        self.link = Some(link);
    }

    fn handle(&mut self, link: &mut Link, turn: &mut Turn<'_>, packet: &Packet<'_>) {
        let name = match packet {
            Packet::ConnAck(connack) if !connack.code.is_error() => "CONNACK",
            Packet::SubAck(suback) if suback.packet_id == 1 => "SUBACK",
            Packet::Ack(ack) if ack.kind == AckType::PubAck && ack.packet_id == 2 => "PUBACK",
            Packet::PingResp => "PINGRESP",
            Packet::Publish(publish) => {
                if publish.qos == QoS::AtLeastOnce {
                    send_ack(link, AckType::PubAck, publish.packet_id);
                }
                return;
            }
            _ => return,
        };
        if ANSWERS.get(self.answered) == Some(&name) {
            self.answered += 1;
            return;
        }
        let Self { sent, answered, .. } = &*self;
        turn.checker.violations.add(Kind::Stuck, || {
            format!("{}: {name} came as answer {answered} to {sent}", self.name)
        });
    }
}

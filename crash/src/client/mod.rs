//! A client with a session: one connection at a time, and the memory that outlives it.
//!
//! The client does as the specification asks of one that keeps its state: after a lost connection
//! it sends again the messages that were not acknowledged, and forgets everything when the broker
//! has no session.

mod behaviour;
pub(crate) mod incoming;
pub(crate) mod outgoing;
pub(crate) mod wishes;

use crate::catalog::{
    FIRST_SUBSCRIBER, PUBLISHERS, filters, receive_maximum, session_expiry_s, version,
    will_delay_s, will_topic,
};
use crate::checker::Checker;
use crate::checker::violation::Kind;
use crate::link::{Gone, Link};
use crate::relay::Relays;
use crate::stamp::Stamp;
use incoming::Incoming;
use outgoing::Outgoing;
use ringmq_mqtt::{Ack, AckType, ConnAck, Connect, Packet, QoS, Version, Will};
use std::net::SocketAddr;
use wishes::Wishes;

/// The surroundings that a client may look at and change when it is its turn.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now_us: u64,
    /// The address of the broker, while it runs.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) checker: &'a mut Checker,
    pub(crate) prng: &'a mut fastrand::Rng,
    pub(crate) relays: &'a mut Relays,
    /// No reader looks at the registers, so that a lost one is not written before it is missed.
    pub(crate) may_write: bool,
    /// Nothing new begins, everything is acknowledged at once.
    pub(crate) is_draining: bool,
    /// The time at which the last packet came, of any client.
    pub(crate) heard_us: &'a mut u64,
}

/// The terms of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terms {
    clean_start: bool,
    /// The session outlives the connection.
    is_durable: bool,
}

const DURABLE: Terms = Terms { clean_start: false, is_durable: true };

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    index: usize,
    name: String,
    version: Version,
    link: Option<Link>,
    /// CONNACK has come.
    is_open: bool,
    /// The connection that is being taken over; nothing is read from it.
    old: Option<Link>,
    /// The terms that were asked for, or will be.
    terms: Terms,
    /// The time before which the client does not connect.
    pub(crate) wake_us: u64,
    /// The time at which the client acts of its own accord.
    act_us: u64,
    /// The number of messages that the broker takes at a time.
    quota: usize,
    /// The author of the client's wills for the checker.
    will_author: u32,
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    pub(crate) wishes: Wishes,
}

impl Client {
    /// The client at this place of the catalog.
    pub(crate) fn new(index: usize) -> Self {
        let window = if index < PUBLISHERS { 8 << index } else { 0 };
        let (stable, churning) = filters(index);
        let will_author = index as u32;
        Self {
            index,
            name: format!("crash-{index}"),
            version: version(index),
            link: None,
            is_open: false,
            old: None,
            terms: DURABLE,
            wake_us: 0,
            act_us: 0,
            quota: usize::MAX,
            will_author,
            outgoing: Outgoing::new(index, window),
            incoming: Incoming::default(),
            wishes: Wishes::new(stable, churning),
        }
    }

    /// The client's socket, to wait for.
    pub(crate) fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Nothing is under way, whether on its side or in doubt.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_open
            && self.terms.is_durable
            && self.outgoing.is_idle()
            && self.incoming.is_idle()
            && self.wishes.is_idle()
    }

    /// The unfinished exchanges, in words.
    pub(crate) fn unfinished(&self) -> String {
        let Self { index, is_open, terms, outgoing, wishes, .. } = self;
        format!("client {index}, open: {is_open}, {terms:?}, {outgoing:?}, {wishes:?}")
    }

    /// Does everything that can be done now.
    pub(crate) fn turn(&mut self, turn: &mut Turn<'_>) {
        if self.link.is_none() && turn.now_us >= self.wake_us {
            self.connect(turn);
        }
        let Some(mut link) = self.link.take() else { return };
        let is_alive = self.receive(&mut link, turn).is_ok();
        if self.is_open && is_alive {
            self.incoming.acknowledge(&mut link, turn);
            self.wishes.ask(self.index, &mut link, turn);
            self.outgoing.publish(&mut link, turn, self.quota);
        }
        if is_alive && link.flush().is_ok() {
            self.link = Some(link);
            self.act(turn);
        } else {
            self.disconnected(turn);
        }
    }

    /// Asks for a connection; tries again in a millisecond when there is none.
    fn connect(&mut self, turn: &mut Turn<'_>) {
        let Some(address) = turn.address else { return };
        let Ok(mut link) = Link::open(address, self.version) else {
            self.wake_us = turn.now_us + 1_000;
            return;
        };
        if turn.is_draining && !self.terms.clean_start {
            self.terms = DURABLE;
        }
        let mut connect = Connect::new(self.version, &self.name);
        connect.clean_start = self.terms.clean_start;
        let expiry_s = session_expiry_s(self.index);
        connect.session_expiry_s = if self.terms.is_durable { expiry_s } else { 0 };
        connect.receive_maximum = receive_maximum(self.index).unwrap_or(u16::MAX);
        let will = will_delay_s(self.index).map(|delay_s| (self.will(turn), delay_s));
        let topic = will.as_ref().map(|(stamp, _)| &*turn.checker.topics[stamp.topic as usize]);
        let payload = will.as_ref().map(|(stamp, _)| stamp.payload()).unwrap_or_default();
        connect.will = topic.zip(will).map(|(topic, (_, delay_s))| {
            let delay_s = if self.version.is_v5() { delay_s } else { 0 };
            Will { qos: QoS::ExactlyOnce, topic, payload: &payload, delay_s, ..Will::default() }
        });
        link.send(&Packet::Connect(connect));
        turn.checker.connecting(self.index, self.terms.clean_start);
        self.link = Some(link);
        self.is_open = false;
    }

    /// The will of the next connection.
    fn will(&self, turn: &mut Turn<'_>) -> Stamp {
        let publisher = self.will_author;
        let topic = will_topic(self.index);
        turn.checker.publishers[publisher as usize].is_will = true;
        let sequence = turn.checker.sent(publisher, topic, QoS::ExactlyOnce, false);
        Stamp { publisher, sequence, topic, length: 100 }
    }

    fn receive(&mut self, link: &mut Link, turn: &mut Turn<'_>) -> Result<(), Gone> {
        let bytes = link.take();
        let mut used = 0;
        let mut result = Ok(());
        while result.is_ok() {
            match Link::packet(&bytes[used..], self.version) {
                Ok(None) => break,
                Ok(Some((packet, length))) => {
                    used += length;
                    *turn.heard_us = turn.now_us;
                    result = self.handle(link, turn, packet);
                }
                Err(error) => {
                    let tell = || format!("client {}: {error}", self.index);
                    turn.checker.violations.add(Kind::Altered, tell);
                    result = Err(Gone);
                }
            }
        }
        link.give_back(bytes, used).and(result)
    }

    fn handle(
        &mut self,
        link: &mut Link,
        turn: &mut Turn<'_>,
        packet: Packet<'_>,
    ) -> Result<(), Gone> {
        match packet {
            Packet::ConnAck(connack) => return self.accepted(link, turn, &connack),
            Packet::Publish(publish) => self.incoming.published(self.index, turn, &publish),
            Packet::Ack(Ack { kind: AckType::PubRel, packet_id, .. }) => {
                self.incoming.released(turn, packet_id);
            }
            Packet::Ack(ack) => self.outgoing.answered(link, turn, &ack),
            Packet::SubAck(suback) => {
                self.wishes.answered(self.index, turn, suback.packet_id, suback.codes[0]);
            }
            Packet::UnsubAck(unsuback) => {
                let code = unsuback.codes.first().copied().unwrap_or(0);
                self.wishes.answered(self.index, turn, unsuback.packet_id, code);
            }
            Packet::Disconnect(_) => return Err(Gone),
            _ => {}
        }
        Ok(())
    }

    /// CONNACK has come.
    fn accepted(
        &mut self,
        link: &mut Link,
        turn: &mut Turn<'_>,
        connack: &ConnAck<'_>,
    ) -> Result<(), Gone> {
        if connack.code.is_error() {
            return Err(Gone);
        }
        let Terms { clean_start, is_durable } = self.terms;
        turn.checker.connected(self.index, connack.session_present, is_durable);
        if clean_start || !connack.session_present {
            self.outgoing.forget(turn);
            self.incoming.forget();
            self.wishes.forget();
        }
        self.old = None;
        self.is_open = true;
        self.quota = connack.receive_maximum.map_or(usize::MAX, usize::from);
        // A clean start is over once it is answered, so that the next connection finds its session.
        self.terms.clean_start = false;
        self.schedule(turn);
        self.outgoing.resend(link, turn);
        Ok(())
    }

    /// Cuts the client's connection.
    pub(crate) fn cut(&mut self, turn: &Turn<'_>) {
        if self.link.is_some() {
            self.disconnected(turn);
        }
    }

    /// The connection is gone.
    fn disconnected(&mut self, turn: &Turn<'_>) {
        self.link = None;
        self.old = None;
        if self.is_open && !self.terms.is_durable {
            self.terms = DURABLE;
        }
        self.is_open = false;
        self.incoming.disconnect();
        self.wishes.disconnect();
        self.wake_us = self.wake_us.max(turn.now_us + 1_000);
    }

    /// Whether it is one that subscribes.
    pub(crate) fn is_subscriber(&self) -> bool {
        self.index >= FIRST_SUBSCRIBER
    }
}

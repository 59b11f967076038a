//! Traces: the packets of a client, a user or a topic as they pass, for an operator who watches.
//!
//! Nothing is done while nobody watches, but for one look at an empty list for each packet that
//! comes and each flush of output. Output is read where it leaves, so that a trace shows what the
//! peer is sent, byte by byte.

use crate::base::ids::LinkId;
use crate::base::time::Time;
use crate::mqtt::{Packet, PacketType, Publish, matches};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// The traces of one worker at a time.
const TRACES_MAX: usize = 8;
/// The bytes of a payload, and of another text of a peer, that are shown.
pub(super) const SHOWN_BYTES_MAX: usize = 1024;
/// The links that close and are remembered.
const CLOSING_MAX: usize = 64;
/// The publishes whose time of receipt is remembered for the delay of their deliveries.
const PUBLISHES_MAX: usize = 256;

/// The packets that an operator wants to see; those that everything given here is true of.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// The client identifier.
    pub client_id: Option<String>,
    /// The verified name of the user.
    pub user: Option<String>,
    /// A valid filter: PUBLISH packets alone, on topics that match.
    pub topic: Option<String>,
    /// Whether payloads are shown.
    pub has_payloads: bool,
}

/// A packet that passed.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The time.
    pub at: Time,
    /// The packet goes to the client.
    pub is_sent: bool,
    /// The client identifier.
    pub client_id: String,
    /// The type.
    pub kind: PacketType,
    /// The bytes of the whole packet.
    pub bytes: usize,
    /// The packet identifier.
    pub packet_id: Option<u16>,
    /// The reason codes.
    pub codes: Vec<u8>,
    /// The topic of a PUBLISH, or the filters; cut.
    pub topics: Vec<String>,
    /// The particulars of a PUBLISH.
    pub publish: Option<SeenPublish>,
    /// The time since the message of a sent PUBLISH was received, where that was lately.
    pub delay: Option<Duration>,
}

/// The particulars of a PUBLISH that passed.
#[derive(Debug, Clone)]
pub struct SeenPublish {
    /// The QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// The topic alias.
    pub alias: Option<u16>,
    /// The bytes of the payload.
    pub payload_bytes: usize,
    /// The begin of the payload, if payloads are shown.
    pub payload: Option<Vec<u8>>,
}

/// The taker of what was seen.
pub struct Witness(Box<dyn Fn(Option<Seen>) -> bool + Send>);

impl Witness {
    /// A witness that calls `take`, which returns at once: false once nobody wants more, which None
    /// asks.
    pub fn new(take: impl Fn(Option<Seen>) -> bool + Send + 'static) -> Self {
        Self(Box::new(take))
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Witness")
    }
}

/// One trace.
#[derive(Debug)]
struct Trace {
    watched: Watched,
    witness: Witness,
}

/// The traces of a worker.
#[derive(Debug, Default)]
pub(super) struct Traces {
    all: Vec<Trace>,
    /// The latest publishes: topics, and when they came.
    publishes: VecDeque<(String, Time)>,
    /// Links that close, with their clients and users: what they are told last is still to be
    /// shown.
    closing: VecDeque<(LinkId, String, Option<String>)>,
}

impl Watched {
    fn accepts_client(&self, client_id: &str, user: Option<&str>) -> bool {
        self.client_id.as_deref().is_none_or(|wanted| wanted == client_id)
            && self.user.as_deref().is_none_or(|wanted| user == Some(wanted))
    }

    fn accepts(&self, packet: &Packet<'_>) -> bool {
        self.topic.as_deref().is_none_or(
            |filter| matches!(packet, Packet::Publish(publish) if matches(filter, publish.topic)),
        )
    }
}

impl Traces {
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Ends the traces that nobody reads any more.
    pub(super) fn end_unread(&mut self) {
        self.all.retain(|trace| (trace.witness.0)(None));
    }

    /// Begins a trace; false when there are too many.
    pub(super) fn begin(&mut self, watched: Watched, witness: Witness) -> bool {
        self.end_unread();
        let has_room = self.all.len() < TRACES_MAX;
        if has_room {
            self.all.push(Trace { watched, witness });
        }
        has_room
    }

    /// True when a trace may show packets of this client.
    pub(super) fn watch(&self, client_id: &str, user: Option<&str>) -> bool {
        self.all.iter().any(|trace| trace.watched.accepts_client(client_id, user))
    }

    /// Remembers whose link it is that closes.
    pub(super) fn note_closing(&mut self, id: LinkId, client_id: &str, user: Option<&str>) {
        if self.closing.len() == CLOSING_MAX {
            self.closing.pop_front();
        }
        self.closing.push_back((id, client_id.to_owned(), user.map(ToOwned::to_owned)));
    }

    /// The client and the user of a link that closes.
    pub(super) fn closing(&self, id: LinkId) -> Option<(String, Option<String>)> {
        let found = self.closing.iter().find(|(known, ..)| *known == id);
        found.map(|(_, client_id, user)| (client_id.clone(), user.clone()))
    }

    pub(super) fn note_publish(&mut self, publish: &Publish<'_>, now: Time) {
        if self.publishes.len() == PUBLISHES_MAX {
            self.publishes.pop_front();
        }
        self.publishes.push_back((publish.topic.to_owned(), now));
    }

    fn delay(&self, topic: &str, now: Time) -> Option<Duration> {
        let latest = self.publishes.iter().rev().find(|(known, _)| known == topic);
        latest.map(|(_, received)| now.since(*received))
    }

    /// Shows a packet to those who watch for it.
    pub(super) fn show(
        &mut self,
        client: (&str, Option<&str>),
        packet: &Packet<'_>,
        mut seen: Seen,
    ) {
        if let (Packet::Publish(publish), true) = (packet, seen.is_sent) {
            seen.delay = self.delay(publish.topic, seen.at);
        }
        self.all.retain(|trace| {
            let watched = &trace.watched;
            if !watched.accepts_client(client.0, client.1) || !watched.accepts(packet) {
                return true;
            }
            let mut seen = seen.clone();
            if let (Packet::Publish(publish), Some(shown), true) =
                (packet, seen.publish.as_mut(), watched.has_payloads)
            {
                let end = publish.payload.len().min(SHOWN_BYTES_MAX);
                shown.payload = Some(publish.payload[..end].to_vec());
            }
            (trace.witness.0)(Some(seen))
        });
    }
}

//! The records of the journal: one for each change of data that outlives the process.
//!
//! Every record can be applied twice, and a record about a session that is not known changes
//! nothing; so a suffix of the journal is enough wherever everything that lives has been written
//! anew within it. Records are encoded as postcard 1 encodes them: see `docs/STORAGE.md`.
//!
//! Points in time are milliseconds of the journal's own time: the clock of a process ends with it,
//! and the wall clock may be set.

use crate::base::ids::{DeliveryName, DeliveryNumber, ListenerId, MessageId, SessionNumber};
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// One change. The order of the variants is part of the format: new ones go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record<'a> {
    /// The attributes of a session, which may be new.
    #[serde(borrow)]
    Session(Attributes<'a>),
    /// All of a session: this record replaces the session's earlier records, but for deliveries
    /// that it does not name, which come behind its own.
    #[serde(borrow)]
    Whole(Whole<'a>),
    /// A session is over.
    Ended {
        /// The session's number.
        session: SessionNumber,
    },
    /// The session subscribed, or replaced a subscription.
    Subscribed {
        /// The session's number.
        session: SessionNumber,
        /// The filter and its options.
        #[serde(borrow)]
        subscription: Subscription<'a>,
    },
    /// The session unsubscribed.
    Unsubscribed {
        /// The session's number.
        session: SessionNumber,
        /// The whole filter.
        #[serde(borrow)]
        filter: Cow<'a, str>,
    },
    /// The session has been sent the retained messages that it was owed for a subscription.
    Replayed {
        /// The session's number.
        session: SessionNumber,
        /// The whole filter.
        #[serde(borrow)]
        filter: Cow<'a, str>,
    },
    /// A message goes to sessions, becomes its topic's retained message, or both.
    #[serde(borrow)]
    Published(Published<'a>),
    /// The session's client has sent PUBREC: only the PUBREL part of the exchange is left.
    Released {
        /// The session's number.
        session: SessionNumber,
        /// The delivery's number.
        delivery: DeliveryNumber,
    },
    /// Deliveries that are over.
    Done(Vec<DeliveryName>),
    /// The session's client has sent PUBREL: the identifier may name another message now.
    Forgotten {
        /// The session's number.
        session: SessionNumber,
        /// The packet identifier that its client chose.
        packet_id: u16,
    },
    /// A session without a connection, at a stop or in a rewrite: of its deliveries only these may
    /// have been sent. Holds until its client connects.
    Sent {
        /// The session's number.
        session: SessionNumber,
        /// (number of the delivery, packet identifier), in the order in which they were sent; 0 for
        /// an identifier that is not known.
        deliveries: Vec<(DeliveryNumber, u16)>,
    },
    /// The journal's time, and the machine's clocks at that moment.
    Clock(ClockNote),
}

impl Record<'_> {
    /// The bytes of memory that the record takes until it is written.
    #[must_use]
    pub(crate) fn memory(&self) -> usize {
        let more = match self {
            Self::Session(attributes) => attributes.memory(),
            Self::Whole(whole) => whole.memory(),
            Self::Subscribed { subscription, .. } => subscription.memory(),
            Self::Unsubscribed { filter, .. } | Self::Replayed { filter, .. } => filter.len(),
            Self::Published(published) => {
                published.body.as_ref().map_or(0, |body| body.bytes.len())
            }
            Self::Sent { deliveries, .. } => size_of_val(&**deliveries),
            Self::Done(deliveries) => size_of_val(&**deliveries),
            Self::Ended { .. }
            | Self::Released { .. }
            | Self::Forgotten { .. }
            | Self::Clock(_) => 0,
        };
        size_of::<Self>() + more
    }
}

impl Attributes<'_> {
    fn memory(&self) -> usize {
        let will = self.will.as_ref();
        let will = will.map_or(0, |w| w.topic.len() + w.payload.len() + w.properties.len());
        self.client_id.len() + will
    }
}

impl Subscription<'_> {
    fn memory(&self) -> usize {
        let owed = self.owed.as_ref();
        let owed = owed.map_or(0, |owed| owed.after.len() + size_of_val(&*owed.overtaken));
        size_of::<Self>() + self.filter.len() + owed
    }
}

impl Whole<'_> {
    fn memory(&self) -> usize {
        let subscriptions = self.subscriptions.iter().map(Subscription::memory);
        let deliveries = size_of_val(&*self.deliveries) + size_of_val(&*self.received);
        self.attributes.memory() + subscriptions.sum::<usize>() + deliveries
    }
}

/// The journal's time, and the machine's clocks at that moment: see [`Reading`](super::Reading).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockNote {
    /// The journal's time.
    pub journal_ms: u64,
    /// As [`Reading::wall_ms`](super::Reading::wall_ms).
    pub wall_ms: u64,
    /// As [`Reading::boot`](super::Reading::boot).
    pub boot: [u8; 16],
    /// As [`Reading::boot_ms`](super::Reading::boot_ms).
    pub boot_ms: u64,
}

/// A session, without its subscriptions and messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes<'a> {
    /// Names the session in the journal; no other one ever has the same.
    pub session: SessionNumber,
    /// The client's identifier.
    #[serde(borrow)]
    pub client_id: Cow<'a, str>,
    /// The user and listener that the session belongs to.
    #[serde(borrow)]
    pub owner: Owner<'a>,
    /// Seconds for which the session outlives its connection; `u32::MAX` is for ever.
    pub expiry_s: u32,
    /// The client is connected.
    pub is_connected: bool,
    /// The time at which the session ends; only while its client is not connected.
    pub ends_ms: Option<u64>,
    /// The will that is still to be published or discarded.
    #[serde(borrow)]
    pub will: Option<StoredWill<'a>>,
    /// The time at which the will is due; only while its client is not connected.
    pub will_due_ms: Option<u64>,
}

/// The identity of a client, as far as it outlives the connection. Rules that came with a token or
/// from the hook do not: the next connection brings them anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner<'a> {
    /// The verified user name.
    #[serde(borrow)]
    pub user: Option<Cow<'a, str>>,
    /// The client identifier, where it is not the session's own.
    #[serde(borrow)]
    pub client_id: Option<Cow<'a, str>>,
    /// The hook said that this client may do everything.
    pub is_superuser: bool,
    /// The listener by which it came: its place in the list.
    pub listener: ListenerId,
}

/// A will, as CONNECT gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the specification's")]
pub struct StoredWill<'a> {
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    #[serde(borrow, with = "serde_bytes")]
    pub payload: Cow<'a, [u8]>,
    #[serde(borrow, with = "serde_bytes")]
    pub properties: Cow<'a, [u8]>,
    pub qos: u8,
    pub retain: bool,
    pub delay_s: u32,
    pub message_expiry_s: Option<u32>,
}

/// A session with all that hangs on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole<'a> {
    /// The session's attributes.
    #[serde(borrow)]
    pub attributes: Attributes<'a>,
    /// The session's subscriptions.
    #[serde(borrow)]
    pub subscriptions: Vec<Subscription<'a>>,
    /// Deliveries to its client, in order: (message, how).
    #[serde(borrow)]
    pub deliveries: Vec<(MessageId, StoredDelivery<'a>)>,
    /// Packet identifiers of QoS 2 messages received and not released.
    pub received: Vec<u16>,
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription<'a> {
    /// The whole filter.
    #[serde(borrow)]
    pub filter: Cow<'a, str>,
    /// The options byte, as SUBSCRIBE has it.
    pub options: u8,
    /// 0 for none.
    pub subscription_id: u32,
    /// The retained messages that are still to be sent; None when all have been.
    #[serde(borrow)]
    pub owed: Option<Owed<'a>>,
}

/// The progress of sending the retained messages for a subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed<'a> {
    /// The name of these owed messages, unlike any other of the session. Counts from 1.
    pub number: u32,
    /// Topics up to this one, in the order of their bytes, are done with.
    #[serde(borrow)]
    pub after: Cow<'a, str>,
    /// Ids of messages that were delivered as they were published: they are owed neither under this
    /// number nor under a lower one of the session.
    pub overtaken: Vec<MessageId>,
}

/// A message on its way to one session, and how.
///
/// A session may be on its way to several copies of one message: as a subscriber, as a member of
/// each of its groups, and as retained. Each copy is a delivery with a number of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDelivery<'a> {
    /// Names the delivery; no other one of the session ever has the same. 0 stands for the
    /// message's id, which names the copy that an ordinary subscriber gets.
    pub number: DeliveryNumber,
    /// 1 or 2; 0 for one that is over already.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// The packet identifier, once a QoS 2 message has one; 0 before, and with QoS 1.
    pub packet_id: u16,
    /// The client has sent PUBREC.
    pub is_released: bool,
    /// The subscription identifiers of the delivery.
    pub subscription_ids: Vec<u32>,
    /// The whole filter of the shared group for which the session got the message.
    #[serde(borrow)]
    pub share: Option<Cow<'a, str>>,
    /// As [`Owed::number`], when the message goes as a retained one for a subscription; 0
    /// otherwise.
    pub replay: u32,
    /// As [`Owed::number`], when the message goes as a published one: under this number and lower
    /// ones the session is not owed the message as a retained one. Of several the greatest counts;
    /// earlier processes listed every subscription whose filter matches.
    pub overtakes: Vec<u32>,
}

impl StoredDelivery<'_> {
    /// The number that names the delivery, one of the message with the id `message`.
    #[must_use]
    pub const fn number_of(&self, message: MessageId) -> DeliveryNumber {
        if self.number.is_none() { DeliveryNumber(message.0) } else { self.number }
    }
}

/// A message and where it goes, as bytes on the disk hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published<'a> {
    /// Names the message in the journal; no other one ever has the same.
    pub message: MessageId,
    /// The message, unless it is in the journal already.
    #[serde(borrow)]
    pub body: Option<Body<'a>>,
    /// The message's version, where the message is retained on its topic now, or clears it: unless
    /// a greater version stands there.
    pub retained: Option<u64>,
    /// The publisher's session, and the packet identifier of the QoS 2 PUBLISH that brought it.
    pub received: Option<(SessionNumber, u16)>,
    /// The delivery that this record ends, because a member of its group gets the message instead.
    pub taken: Option<DeliveryName>,
    /// Sessions that get the message in the same way.
    pub groups: Vec<SessionGroup<'a>>,
    /// Sessions that get the message each in a way of its own.
    #[serde(borrow)]
    pub others: Vec<(SessionNumber, StoredDelivery<'a>)>,
}

/// Sessions that get a message in the same way, and for no subscription identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionGroup<'a> {
    /// 1 or 2.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// The packet identifier, as [`StoredDelivery::packet_id`].
    pub packet_id: u16,
    /// The numbers of the sessions.
    pub sessions: Numbers<'a>,
}

/// The end of the time in which a message is worth delivering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredExpiry {
    /// The time from which the message is expired, in milliseconds of the journal's time.
    pub at_ms: u64,
    /// The Message Expiry Interval that it came with, in seconds.
    pub interval_s: u32,
}

/// A message's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body<'a> {
    /// The QoS at which the message was published.
    pub qos: u8,
    /// RETAIN as it was published.
    pub retain: bool,
    /// The time from which the message is not worth delivering any more.
    pub expires: Option<StoredExpiry>,
    /// The publisher, where that matters later.
    #[serde(borrow)]
    pub owner: Option<Owner<'a>>,
    /// The length of the topic, and that of the properties behind it, in bytes.
    pub lengths: (u32, u32),
    /// `topic | properties | payload`.
    #[serde(borrow, with = "serde_bytes")]
    pub bytes: Cow<'a, [u8]>,
}

/// Numbers, encoded as the first and then the differences: sessions that were made one after the
/// other take one byte each.
#[derive(Clone, PartialEq, Eq)]
pub struct Numbers<'a>(pub Cow<'a, [SessionNumber]>);

impl fmt::Debug for Numbers<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        let mut last = 0;
        for &SessionNumber(number) in &*self.0 {
            list.serialize_element(&(number.wrapping_sub(last) as i64))?;
            last = number;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Numbers<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Differences).map(|numbers| Self(Cow::Owned(numbers)))
    }
}

struct Differences;

impl<'de> Visitor<'de> for Differences {
    type Value = Vec<SessionNumber>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of differences")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<SessionNumber>, A::Error> {
        let mut numbers = Vec::new();
        let mut last = 0_u64;
        while let Some(difference) = list.next_element::<i64>()? {
            last = last.wrapping_add_signed(difference);
            numbers.push(SessionNumber(last));
        }
        Ok(numbers)
    }
}

impl Record<'_> {
    /// Appends the encoded record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let filled = postcard::to_extend(self, std::mem::take(out));
        *out = filled.expect("a vector takes everything");
    }
}

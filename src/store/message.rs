//! A message that outlives the turn it came in: queued, in flight, retained or on its way to
//! another worker. One allocation holds its bytes, however many refer to it.

use crate::access::Identity;
use crate::base::balance::Balance;
use crate::base::ids::{ListenerId, MessageId, SessionNumber};
use crate::base::time::Time;
use crate::mqtt::{Properties, QoS};
use std::cell::Cell;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// An application message.
#[derive(Debug)]
pub struct Message {
    /// `topic | properties | payload`.
    bytes: Box<[u8]>,
    topic_length: u32,
    properties_length: u32,
    /// The QoS at which the message was published.
    pub qos: QoS,
    /// RETAIN as it was published.
    pub retain: bool,
    /// The end of the time in which the message is worth delivering.
    pub expires: Option<Expiry>,
    /// The session that published the message: for No Local.
    pub publisher: SessionNumber,
    /// The time at which the message came, to this process at least.
    pub received: Time,
    /// The publisher, where that matters later: a retained message is withheld when its publisher
    /// may not write there any more.
    pub source: Option<Source>,
    /// Orders the retained messages of one topic: given by the topic's home, the only worker that
    /// writes it, when the message comes there; 0 before.
    version: AtomicU64,
    /// The message's name in the journal; 0 when no part of the message is ever to be there.
    pub id: MessageId,
    /// Twice the latest rewrite since whose beginning the message's bytes are in the journal, or on
    /// their way there, and 1 more when another record counts on it; 0 for none. Every worker that
    /// needs them there looks at this number.
    stored: AtomicU32,
    /// The retained store's account has the message, so that of other messages has not.
    is_retained: AtomicBool,
}

/// The publisher of a message, and the listener.
#[derive(Debug, Clone)]
pub struct Source {
    /// The publisher.
    pub identity: Arc<Identity>,
    /// The place of the listener in the list of listeners.
    pub listener: ListenerId,
}

impl Source {
    /// The verified name of the publisher, if it has one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.identity.user.as_deref()
    }
}

/// The parts of a message besides its bytes.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the fields are those of Message")]
pub struct Traits {
    pub qos: QoS,
    pub retain: bool,
    pub expires: Option<Expiry>,
    pub publisher: SessionNumber,
    pub received: Time,
    pub id: MessageId,
}

/// The end of the time in which a message is worth delivering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// The time from which the message is expired.
    pub at: Time,
    /// The Message Expiry Interval that the message came with, in seconds.
    pub interval_s: u32,
}

impl Expiry {
    /// The interval to hand on with the message: the one that the message came with, less the whole
    /// seconds that it has waited. Clocks of workers and processes may differ, so it is never more
    /// than that.
    // [MQTT-3.3.2-6]
    #[must_use]
    pub(crate) fn left_s(self, now: Time) -> u32 {
        let left = self.at.since(now);
        let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        u32::try_from(whole).unwrap_or(u32::MAX).min(self.interval_s)
    }
}

static KEPT: Balance = Balance::new();

thread_local! {
    static UNTOLD: Cell<i64> = const { Cell::new(0) };
}

/// The bytes of all messages in this process that are not retained, each once, however many refer
/// to it.
#[must_use]
pub fn kept_bytes() -> u64 {
    KEPT.get()
}

impl Drop for Message {
    fn drop(&mut self) {
        if !*self.is_retained.get_mut() {
            KEPT.add(&UNTOLD, -(self.memory() as i64));
        }
    }
}

impl Message {
    /// The bytes that the message takes, with the two counts of its `Arc`.
    #[must_use]
    pub(crate) fn memory(&self) -> usize {
        size_of::<[usize; 2]>() + size_of::<Self>() + self.bytes.len()
    }

    /// Moves the message between the account of retained messages and that of all others.
    pub(crate) fn set_retained(&self, is_retained: bool) {
        let bytes = self.memory() as i64;
        if self.is_retained.swap(is_retained, Ordering::Relaxed) != is_retained {
            KEPT.add(&UNTOLD, if is_retained { -bytes } else { bytes });
        }
    }

    /// A message on `topic`.
    #[must_use]
    pub fn new(
        topic: &str,
        properties: &Properties<'_>,
        payload: &[u8],
        traits: Traits,
        source: Option<Source>,
    ) -> Self {
        let properties_length = properties.len();
        let mut bytes = Vec::with_capacity(topic.len() + properties_length + payload.len());
        bytes.extend_from_slice(topic.as_bytes());
        properties.append_to(&mut bytes);
        bytes.extend_from_slice(payload);
        Self::from_bytes(bytes.into(), (topic.len(), properties_length), traits, source)
    }

    /// The verified name of the publisher, where it is known.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.source.as_ref().and_then(Source::user)
    }

    /// A message whose `bytes` are those of its topic, its properties and its payload; `lengths`
    /// are those of the first two.
    #[must_use]
    pub(crate) fn from_bytes(
        bytes: Box<[u8]>,
        lengths: (usize, usize),
        traits: Traits,
        source: Option<Source>,
    ) -> Self {
        let Traits { qos, retain, expires, publisher, received, id } = traits;
        let message = Self {
            bytes,
            topic_length: lengths.0 as u32,
            properties_length: lengths.1 as u32,
            qos,
            retain,
            expires,
            publisher,
            received,
            source,
            version: AtomicU64::new(0),
            id,
            stored: AtomicU32::new(0),
            is_retained: AtomicBool::new(false),
        };
        KEPT.add(&UNTOLD, message.memory() as i64);
        message
    }

    /// The message's version, once the topic's home has it: the greater one of two is the later
    /// one.
    #[must_use]
    pub fn version(&self) -> Option<NonZeroU64> {
        // A ring or the journal has carried what depends on it; here only the number counts.
        NonZeroU64::new(self.version.load(Ordering::Relaxed))
    }

    /// Sets the version that the topic's home gives the message.
    pub fn set_version(&self, version: u64) {
        self.version.store(version, Ordering::Relaxed);
    }

    /// Notes that the message's bytes are written in `rewrite`; true when they have to be, since no
    /// earlier note says so.
    pub fn note_stored(&self, rewrite: u32) -> bool {
        // Its bytes reach another thread by a ring, which orders everything; only the number
        // counts.
        let noted = rewrite << 1;
        let note = |stored| Some(if stored < noted { noted } else { stored | 1 });
        let before = self.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, note);
        before.is_ok_and(|before| before < noted)
    }

    /// Notes that the message's bytes are not written after all: false when somebody counts on
    /// them.
    pub(crate) fn forget_stored(&self) -> bool {
        let forget = |stored| (stored & 1 == 0).then_some(0);
        self.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, forget).is_ok()
    }

    /// The lengths of the topic and of the properties, in bytes.
    #[must_use]
    pub(crate) fn lengths(&self) -> (usize, usize) {
        (self.topic_length as usize, self.properties_length as usize)
    }

    /// The parts that the message was made of, besides its bytes.
    #[must_use]
    pub(crate) fn traits(&self) -> Traits {
        let Self { qos, retain, expires, publisher, received, id, .. } = *self;
        Traits { qos, retain, expires, publisher, received, id }
    }

    /// The topic name.
    #[must_use]
    pub fn topic(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.topic_length as usize])
            .expect("it was a string when it came")
    }

    /// The properties that go on to subscribers, encoded.
    #[must_use]
    pub(crate) fn properties(&self) -> Properties<'_> {
        let from = self.topic_length as usize;
        Properties::from_bytes(&self.bytes[from..from + self.properties_length as usize])
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload_start()..]
    }

    /// The offset of the payload in [`Self::bytes`].
    pub(crate) fn payload_start(&self) -> usize {
        (self.topic_length + self.properties_length) as usize
    }

    /// All bytes of the message: their number is its size in a queue.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True when the message's time is over.
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|expires| expires.at <= now)
    }
}

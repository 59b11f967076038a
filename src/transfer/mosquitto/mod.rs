//! A database of Mosquitto's as a state.

mod chunks;
mod received;
mod session;

use super::counts::Counts;
use super::error::ImportError;
use super::{Imported, Terms, published};
use crate::base::ids::{DeliveryNumber, ListenerId, MessageId, SessionNumber};
use crate::base::maps::HashMap;
use crate::mqtt::{Frame, Publish, Sender, SubscriptionOptions, TopicFilter, Version};
use crate::store::record::{Body, Owner, Record, StoredDelivery, StoredExpiry, Subscription};
use crate::store::{Epoch, State, VERSION_MIN};
use chunks::{Chunk, Chunks, Message};
use session::Pending;
use std::collections::BTreeMap;
use std::io::BufRead;

/// The largest subscription identifier that there is.
pub(super) const SUBSCRIPTION_ID_MAX: u32 = 268_435_455;

/// Reads a database.
///
/// # Errors
/// The file is not Mosquitto's, of another format, or damaged where no damage is accepted.
pub(super) fn read(input: impl BufRead, terms: &Terms) -> Result<Imported, ImportError> {
    let mut chunks = Chunks::open(input)?;
    let mut database = Database::new(terms);
    let damage = loop {
        match database.take_next(&mut chunks) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(error @ ImportError::At { .. }) if terms.accepts_damage => break Some(error),
            Err(error) => return Err(error),
        }
    };
    let (state, counts) = database.finish();
    Ok(Imported { state, counts, damage })
}

/// The content of the chunks so far.
struct Database<'a> {
    terms: &'a Terms,
    state: State,
    counts: Counts,
    /// The last number of a message, a delivery or a session.
    number: u64,
    version: u64,
    /// By Mosquitto's id.
    messages: HashMap<u64, Known>,
    sessions: BTreeMap<String, Pending>,
    /// Mosquitto's ids of the retained messages.
    retained: Vec<u64>,
    /// QoS 2 messages that wait for their PUBREL: the publisher, the packet identifier, Mosquitto's
    /// id.
    received: Vec<(String, u16, u64)>,
}

/// A message of the database.
#[derive(Debug, Clone)]
struct Known {
    id: MessageId,
    qos: u8,
    retain: bool,
    is_expired: bool,
}

impl<'a> Database<'a> {
    fn new(terms: &'a Terms) -> Self {
        let mut state = State::new(Epoch(0));
        // The journal's time begins at the wall clock's.
        state.apply(Record::Clock(terms.now.note(terms.now.wall_ms)));
        Self {
            terms,
            state,
            counts: Counts::default(),
            number: 0,
            version: VERSION_MIN,
            messages: HashMap::default(),
            sessions: BTreeMap::new(),
            retained: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Takes the next chunk; false at the end.
    fn take_next(&mut self, chunks: &mut Chunks<impl BufRead>) -> Result<bool, ImportError> {
        let Some(chunk) = chunks.next()? else { return Ok(false) };
        let taken = match chunk {
            Chunk::Config => Ok(()),
            Chunk::Unknown => {
                self.counts.left_out.unknown += 1;
                Ok(())
            }
            Chunk::Message(message) => self.message(message),
            Chunk::Retained(id) => {
                self.retained.push(id);
                Ok(())
            }
            Chunk::Client(client) => {
                let session = self.sessions.entry(client.client_id.clone()).or_default();
                session.client = Some(client);
                Ok(())
            }
            Chunk::Subscription(subscription) => self.subscription(subscription),
            Chunk::ClientMessage(message) => self.client_message(message),
        };
        taken.map(|()| true).map_err(|cause| chunks.wrong(cause))
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn now_s(&self) -> i64 {
        (self.terms.now.wall_ms / 1000).cast_signed()
    }

    fn message(&mut self, message: Message) -> Result<(), String> {
        let (bytes, lengths) = content(&message)?;
        let expires = match message.expires_s {
            ..=0 => Ok(None),
            at => match u32::try_from(at.saturating_sub(self.now_s())) {
                Ok(left @ 1..) => {
                    Ok(Some(StoredExpiry { at_ms: at.unsigned_abs() * 1000, interval_s: left }))
                }
                _ => Err(()),
            },
        };
        let id = MessageId(self.next_number());
        let known =
            Known { id, qos: message.qos, retain: message.retain, is_expired: expires.is_err() };
        if self.messages.insert(message.id, known).is_some() {
            return Err(format!("the id {} belongs to two messages", message.id));
        }
        let Ok(expires) = expires else { return Ok(()) };
        let has_source = message.retain && !message.source_id.is_empty();
        let owner = has_source.then(|| Owner {
            user: Some(message.source_user.into())
                .filter(|user: &std::borrow::Cow<'_, str>| !user.is_empty()),
            client_id: Some(message.source_id.into()),
            is_superuser: false,
            listener: ListenerId(0),
        });
        let (qos, retain) = (message.qos, message.retain);
        let body = Body { qos, retain, expires, owner, lengths, bytes: bytes.into() };
        self.state.apply(published(id, Some(body), None));
        Ok(())
    }

    fn subscription(&mut self, found: chunks::Subscription) -> Result<(), String> {
        let filter = TopicFilter::parse(&found.filter, usize::MAX);
        let filter = filter.map_err(|error| format!("a subscription: {error}"))?;
        let byte = found.qos | found.options & 0b0011_1100;
        let options = SubscriptionOptions::decode(byte, Version::V5);
        let mut options = options.map_err(|error| format!("a subscription: {error}"))?;
        options.no_local &= filter.share_name.is_none();
        if found.identifier > SUBSCRIPTION_ID_MAX {
            return Err(format!("the subscription identifier {} is none", found.identifier));
        }
        let subscription = Subscription {
            filter: found.filter.clone().into(),
            options: options.to_byte(Version::V5),
            subscription_id: found.identifier,
            owed: None,
        };
        let session = self.sessions.entry(found.client_id).or_default();
        session.subscriptions.insert(found.filter, subscription);
        Ok(())
    }

    fn client_message(&mut self, found: chunks::ClientMessage) -> Result<(), String> {
        let subscription_ids = subscription_ids(&found.properties)?;
        match (found.is_outgoing, found.qos) {
            (true, _) => {
                let session = self.sessions.entry(found.client_id.clone()).or_default();
                session.messages.push((found, subscription_ids));
            }
            // [MQTT-4.3.3-2]
            (false, 2) => {
                self.received.push((found.client_id, found.packet_id, found.message));
            }
            // The client sends it again.
            (false, _) => {}
        }
        Ok(())
    }

    /// All chunks were read.
    fn finish(mut self) -> (State, Counts) {
        for id in std::mem::take(&mut self.retained) {
            match self.messages.get(&id).cloned() {
                Some(known) if known.is_expired => self.counts.left_out.expired += 1,
                Some(known) => self.retain(known.id),
                None => self.counts.left_out.stray += 1,
            }
        }
        let mut sessions = Vec::new();
        for (client_id, pending) in std::mem::take(&mut self.sessions) {
            self.add_session(client_id, pending, &mut sessions);
        }
        self.receive(&mut sessions);
        for (whole, sent) in sessions {
            let session = whole.attributes.session;
            self.counts.add(&whole);
            self.counts.note_sent(sent.len());
            self.state.apply(Record::Whole(whole));
            self.state.apply(Record::Sent { session, deliveries: sent });
        }
        self.state.finish();
        self.counts.retained = self.state.retained().count() as u64;
        (self.state, self.counts)
    }

    fn retain(&mut self, id: MessageId) {
        self.version += 1;
        self.state.apply(published(id, None, Some(self.version)));
    }

    /// The number of a session's next delivery of a message: none for the first one, which goes by
    /// the message's id.
    fn number_for(
        &mut self,
        id: MessageId,
        deliveries: &[(MessageId, StoredDelivery<'_>)],
    ) -> DeliveryNumber {
        match deliveries.iter().any(|(known, _)| *known == id) {
            true => DeliveryNumber(self.next_number()),
            false => DeliveryNumber::NONE,
        }
    }

    fn session_number(&mut self) -> SessionNumber {
        SessionNumber(self.next_number())
    }
}

/// The deliveries that were sent, in order, each with its packet identifier.
type Sent = Vec<(DeliveryNumber, u16)>;

/// A message's `topic | properties | payload`, and the lengths of the first two. Topic and
/// properties are checked as those of a PUBLISH that comes in.
fn content(message: &Message) -> Result<(Vec<u8>, (u32, u32)), String> {
    let (topic, rest) = message.bytes.split_at(message.topic_length);
    let (payload, properties) = rest.split_at(message.payload_length);
    let properties = if properties.is_empty() { &[0] } else { properties };
    let head = publish_head(topic, properties);
    let publish = decoded(&head)?;
    let mut bytes =
        Vec::with_capacity(topic.len() + publish.properties.len() + message.payload_length);
    bytes.extend_from_slice(topic);
    publish.properties.append_to(&mut bytes);
    let lengths = (topic.len() as u32, (bytes.len() - topic.len()) as u32);
    bytes.extend_from_slice(payload);
    Ok((bytes, lengths))
}

/// The subscription identifiers among encoded properties.
fn subscription_ids(properties: &[u8]) -> Result<Vec<u32>, String> {
    if properties.is_empty() {
        return Ok(Vec::new());
    }
    let head = publish_head(b"t", properties);
    decoded(&head).map(|publish| publish.subscription_ids.to_vec())
}

fn publish_head(topic: &[u8], properties: &[u8]) -> Vec<u8> {
    let length = topic.len() as u16;
    [&length.to_be_bytes(), topic, properties].concat()
}

fn decoded(head: &[u8]) -> Result<Publish<'_>, String> {
    let frame = Frame { first: 0x30, body: head, length: head.len() };
    match Publish::decode(&frame, Version::V5, Sender::Server) {
        Ok(publish) if publish.payload.is_empty() && !publish.topic.is_empty() => Ok(publish),
        Ok(_) => Err("a message: its lengths do not agree".to_owned()),
        Err(error) => Err(format!("a message: {error}")),
    }
}

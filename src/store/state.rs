//! What the records of a journal come to.

use super::batch::Epoch;
use super::message::{Expiry, Message, Source, Traits};
use super::record::{
    Attributes, Body, Owner, Published, Record, StoredDelivery, StoredExpiry, StoredWill,
    Subscription, Whole,
};
use crate::access::{Identity, Proof};
use crate::base::maps::{HashMap, HashSet};
use crate::mqtt::QoS;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All that outlives a process.
#[derive(Debug, Default)]
pub struct State {
    /// By number.
    pub sessions: HashMap<u64, StoredSession>,
    /// By id.
    pub messages: HashMap<u64, Arc<Message>>,
    /// By topic: the id of the message that is retained there, and its version; none when it was
    /// cleared.
    retained: HashMap<Box<str>, Register>,
    /// Messages that are retained, and whose bytes are still to come.
    retained_early: HashSet<u64>,
    /// (session, message) that was taken from the session before it was known that there is such a
    /// delivery: workers are not in step with each other.
    taken_early: BTreeSet<(u64, u64)>,
    /// What goes to sessions of which nothing is known yet: they live on workers whose records come
    /// later.
    for_later: HashMap<u64, Vec<(u64, StoredDelivery<'static>)>>,
    /// The greatest number or id seen, and the greatest count of a version.
    pub number_max: u64,
    /// The greatest count of a version seen.
    pub version_max: u64,
    deliveries_made: u64,
    epoch: Epoch,
}

/// The id of a retained message, and its version.
type Register = (Option<u64>, (u64, u32));

/// A session.
#[derive(Debug)]
pub struct StoredSession {
    /// What it is.
    pub attributes: Attributes<'static>,
    /// By whole filter.
    pub subscriptions: BTreeMap<Box<str>, Subscription<'static>>,
    /// By the message's id: where it stands in the order, and how it goes.
    deliveries: HashMap<u64, (u64, StoredDelivery<'static>)>,
    /// Packet identifiers received and not released.
    pub received: BTreeSet<u16>,
}

impl StoredSession {
    fn new(attributes: Attributes<'static>) -> Self {
        Self {
            attributes,
            subscriptions: BTreeMap::new(),
            deliveries: HashMap::default(),
            received: BTreeSet::new(),
        }
    }

    fn into_deliveries(self) -> Vec<(u64, StoredDelivery<'static>)> {
        let mut list: Vec<_> = self.deliveries.into_iter().collect();
        list.sort_unstable_by_key(|(_, (order, _))| *order);
        list.into_iter().map(|(message, (_, way))| (message, way)).collect()
    }

    /// What its client is to be sent, in order: (message, how).
    #[must_use]
    pub fn deliveries(&self) -> Vec<(u64, &StoredDelivery<'static>)> {
        let mut list: Vec<_> =
            self.deliveries.iter().map(|(&message, (order, way))| (*order, message, way)).collect();
        list.sort_unstable_by_key(|&(order, ..)| order);
        list.into_iter().map(|(_, message, way)| (message, way)).collect()
    }
}

impl State {
    /// Nothing yet. Points in time become those of a clock that began at `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// Takes note of a record.
    pub fn apply(&mut self, record: Record<'_>) {
        match record {
            Record::Session(attributes) => self.set_attributes(attributes),
            Record::Whole(whole) => self.set_whole(whole),
            Record::Ended { session } => {
                self.sessions.remove(&session);
            }
            Record::Subscribed { session, subscription } => {
                if let Some(known) = self.sessions.get_mut(&session) {
                    known.subscriptions.insert((*subscription.filter).into(), subscription.owned());
                }
            }
            Record::Unsubscribed { session, filter } => {
                if let Some(known) = self.sessions.get_mut(&session) {
                    known.subscriptions.remove(&*filter);
                }
            }
            Record::Replayed { session, filter } => {
                let known = self.sessions.get_mut(&session);
                if let Some(known) = known.and_then(|known| known.subscriptions.get_mut(&*filter)) {
                    known.is_owed = false;
                }
            }
            Record::Published(published) => self.publish(published),
            Record::Released { session, message } => {
                self.number_max = self.number_max.max(message);
                let known = self.sessions.get_mut(&session);
                if let Some((_, way)) = known.and_then(|s| s.deliveries.get_mut(&message)) {
                    way.is_released = true;
                }
            }
            Record::Done(done) => {
                for (session, message) in done {
                    self.complete(session, message);
                }
            }
            Record::Forgotten { session, packet_id } => {
                if let Some(known) = self.sessions.get_mut(&session) {
                    known.received.remove(&packet_id);
                }
            }
        }
    }

    /// Forgets what nobody refers to. For the end of the journal.
    pub fn finish(&mut self) {
        self.taken_early.clear();
        self.retained_early.clear();
        self.for_later.clear();
        let mut wanted: HashSet<u64> =
            self.retained.values().filter_map(|(message, _)| *message).collect();
        for session in self.sessions.values_mut() {
            if session.attributes.expiry_s == 0 {
                // It ends with its connection, which is gone.
                session.deliveries.clear();
            }
            let messages = &self.messages;
            session.deliveries.retain(|id, way| messages.contains_key(id) || way.1.is_released);
            // Of what is released only PUBREL is left to send.
            let unreleased = session.deliveries.iter().filter(|(_, way)| !way.1.is_released);
            wanted.extend(unreleased.map(|(message, _)| *message));
        }
        self.messages.retain(|id, _| wanted.contains(id));
    }

    /// The retained messages, in no order.
    pub fn retained(&self) -> impl Iterator<Item = &Arc<Message>> {
        let ids = self.retained.values().filter_map(|(message, _)| *message);
        ids.filter_map(|id| self.messages.get(&id))
    }

    /// Everything anew, as few records as possible: what a compacted journal holds.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut ids: Vec<_> = self.messages.keys().copied().collect();
        ids.sort_unstable();
        let mut numbers: Vec<_> = self.sessions.keys().copied().collect();
        numbers.sort_unstable();
        let bodies = ids.into_iter().map(|id| self.body(id));
        bodies.chain(numbers.into_iter().map(|number| self.whole(number)))
    }

    fn body(&self, id: u64) -> Record<'_> {
        let message = &self.messages[&id];
        let retained = self.retained.get(message.topic());
        Record::Published(Published {
            message: id,
            body: Some(Body::of(message, self.epoch)),
            is_retained: retained.is_some_and(|(known, _)| *known == Some(id)),
            received: None,
            taken_from: None,
            groups: Vec::new(),
            others: Vec::new(),
        })
    }

    fn whole(&self, number: u64) -> Record<'_> {
        let session = &self.sessions[&number];
        let deliveries = session.deliveries().into_iter();
        Record::Whole(Whole {
            attributes: session.attributes.clone(),
            subscriptions: session.subscriptions.values().cloned().collect(),
            deliveries: deliveries.map(|(message, way)| (message, way.clone())).collect(),
            received: session.received.iter().copied().collect(),
        })
    }

    fn set_attributes(&mut self, attributes: Attributes<'_>) {
        self.number_max = self.number_max.max(attributes.session);
        let attributes = attributes.owned();
        match self.sessions.get_mut(&attributes.session) {
            Some(known) => known.attributes = attributes,
            None => {
                let number = attributes.session;
                self.sessions.insert(number, StoredSession::new(attributes));
                for (message, way) in self.for_later.remove(&number).unwrap_or_default() {
                    self.deliver(number, message, way);
                }
            }
        }
    }

    /// All of a session, but for what other workers' records have brought it since its worker wrote
    /// this: that may stand before it. What was done stands in the worker's own order.
    fn set_whole(&mut self, whole: Whole<'_>) {
        let number = whole.attributes.session;
        self.number_max = self.number_max.max(number);
        let brought = match self.sessions.remove(&number) {
            Some(known) => known.into_deliveries(),
            None => self.for_later.remove(&number).unwrap_or_default(),
        };
        let mut session = StoredSession::new(whole.attributes.owned());
        let subscriptions = whole.subscriptions.into_iter();
        session.subscriptions = subscriptions.map(|s| ((*s.filter).into(), s.owned())).collect();
        session.received = whole.received.into_iter().collect();
        for (message, way) in whole.deliveries {
            self.number_max = self.number_max.max(message);
            self.deliveries_made += 1;
            session.deliveries.insert(message, (self.deliveries_made, way.owned()));
        }
        let is_new = |(message, _): &(u64, _)| !session.deliveries.contains_key(message);
        let brought: Vec<_> = brought.into_iter().filter(is_new).collect();
        self.sessions.insert(number, session);
        // It says what was taken; what comes after it is new, as where nothing came before it.
        let early = self.taken_early.range((number, 0)..=(number, u64::MAX));
        for entry in early.copied().collect::<Vec<_>>() {
            self.taken_early.remove(&entry);
        }
        for (message, way) in brought {
            self.deliver(number, message, way);
        }
    }

    fn publish(&mut self, published: Published<'_>) {
        let id = published.message;
        self.number_max = self.number_max.max(id);
        if let Some(body) = published.body.filter(Body::is_sound)
            && !self.messages.contains_key(&id)
        {
            self.version_max = self.version_max.max(body.version.0);
            self.messages.insert(id, Arc::new(body.message(id, self.epoch)));
        }
        let was_early = !self.retained_early.is_empty() && self.retained_early.remove(&id);
        if published.is_retained || was_early {
            self.retain(id);
        }
        if let Some((session, packet_id)) = published.received
            && let Some(known) = self.sessions.get_mut(&session)
        {
            known.received.insert(packet_id);
        }
        for group in published.groups {
            let (qos, retain, packet_id) = (group.qos, group.retain, group.packet_id);
            for &session in &*group.sessions.0 {
                let way = StoredDelivery { qos, retain, packet_id, ..StoredDelivery::default() };
                self.deliver(session, id, way);
            }
        }
        for (session, way) in published.others {
            self.deliver(session, id, way.owned());
        }
        if let Some(session) = published.taken_from
            && !self.complete(session, id)
        {
            self.taken_early.insert((session, id));
        }
    }

    fn deliver(&mut self, session: u64, message: u64, way: StoredDelivery<'static>) {
        if !self.taken_early.is_empty() && self.taken_early.remove(&(session, message)) {
            return;
        }
        let Some(known) = self.sessions.get_mut(&session) else {
            self.for_later.entry(session).or_default().push((message, way));
            return;
        };
        self.deliveries_made += 1;
        let made = self.deliveries_made;
        let entry = known.deliveries.entry(message).or_insert_with(|| (made, way.clone()));
        if way.packet_id != 0 {
            entry.1.packet_id = way.packet_id;
        }
    }

    /// The session need not be sent the message any more; false when it is not known that it has
    /// to be.
    fn complete(&mut self, session: u64, message: u64) -> bool {
        self.number_max = self.number_max.max(message);
        if let Some(known) = self.sessions.get_mut(&session) {
            return known.deliveries.remove(&message).is_some();
        }
        let Some(later) = self.for_later.get_mut(&session) else { return false };
        let before = later.len();
        later.retain(|(known, _)| *known != message);
        later.len() < before
    }

    /// The message is its topic's now, or clears it, unless what stands there is newer.
    fn retain(&mut self, id: u64) {
        let Some(message) = self.messages.get(&id) else {
            self.retained_early.insert(id);
            return;
        };
        let value = (!message.payload().is_empty()).then_some(id);
        let register = (value, message.version);
        match self.retained.get_mut(message.topic()) {
            Some(known) if known.1 > message.version => {}
            Some(known) => *known = register,
            None => {
                self.retained.insert(message.topic().into(), register);
            }
        }
    }
}

impl StoredExpiry {
    const fn of(expires: Expiry, epoch: Epoch) -> Self {
        Self { at_ms: epoch.milliseconds(expires.at), interval_s: expires.interval_s }
    }

    const fn expiry(self, epoch: Epoch) -> Expiry {
        Expiry { at: epoch.time(self.at_ms), interval_s: self.interval_s }
    }
}

impl Body<'_> {
    /// A message's content.
    #[must_use]
    pub fn of(message: &Message, epoch: Epoch) -> Body<'_> {
        let (topic, properties) = message.lengths();
        Body {
            qos: message.qos as u8,
            retain: message.retain,
            expires: message.expires.map(|expires| StoredExpiry::of(expires, epoch)),
            version: message.version,
            owner: message.source.as_ref().map(|source| Owner {
                client_id: Some(Cow::Borrowed(&source.identity.client_id)),
                ..Owner::of(&source.identity, source.listener)
            }),
            lengths: (topic as u32, properties as u32),
            bytes: Cow::Borrowed(message.bytes()),
        }
    }

    /// The same, for any time.
    #[must_use]
    pub fn owned(self) -> Body<'static> {
        Body {
            owner: self.owner.map(Owner::owned),
            bytes: Cow::Owned(self.bytes.into_owned()),
            qos: self.qos,
            retain: self.retain,
            expires: self.expires,
            version: self.version,
            lengths: self.lengths,
        }
    }

    /// True when its lengths fit its bytes and its topic is text.
    fn is_sound(&self) -> bool {
        let (topic, properties) = (self.lengths.0 as usize, self.lengths.1 as usize);
        let text = self.bytes.get(..topic).is_some_and(|topic| std::str::from_utf8(topic).is_ok());
        text && self.bytes.len() - topic >= properties
    }

    fn message(self, id: u64, epoch: Epoch) -> Message {
        let traits = Traits {
            qos: qos(self.qos),
            retain: self.retain,
            expires: self.expires.map(|expires| expires.expiry(epoch)),
            publisher: 0,
            version: self.version,
            id,
        };
        let source = self.owner.map(|owner| {
            let listener = owner.listener;
            Source { identity: Arc::new(owner.identity("")), listener }
        });
        let lengths = (self.lengths.0 as usize, self.lengths.1 as usize);
        Message::from_bytes(self.bytes.into_owned().into(), lengths, traits, source)
    }
}

impl<'a> Owner<'a> {
    /// What is stored of an identity.
    #[must_use]
    pub fn of(identity: &'a Identity, listener: u16) -> Self {
        let user = identity.user.as_deref().map(Cow::Borrowed);
        Self { user, client_id: None, is_superuser: identity.is_superuser, listener }
    }

    /// The identity, of a client whose identifier is `client_id` unless it is stored, too.
    #[must_use]
    pub fn identity(&self, client_id: &str) -> Identity {
        Identity {
            user: self.user.as_deref().map(Into::into),
            client_id: self.client_id.as_deref().unwrap_or(client_id).into(),
            proof: if self.user.is_some() { Proof::Earlier } else { Proof::None },
            rules: None,
            is_superuser: self.is_superuser,
        }
    }

    /// The same, for any time.
    #[must_use]
    pub fn owned(self) -> Owner<'static> {
        Owner {
            user: self.user.map(owned),
            client_id: self.client_id.map(owned),
            is_superuser: self.is_superuser,
            listener: self.listener,
        }
    }
}

impl Attributes<'_> {
    fn owned(self) -> Attributes<'static> {
        Attributes {
            session: self.session,
            client_id: owned(self.client_id),
            owner: self.owner.owned(),
            expiry_s: self.expiry_s,
            is_connected: self.is_connected,
            ends_ms: self.ends_ms,
            will: self.will.map(StoredWill::owned),
            will_due_ms: self.will_due_ms,
        }
    }
}

impl StoredWill<'_> {
    fn owned(self) -> StoredWill<'static> {
        StoredWill {
            topic: owned(self.topic),
            payload: Cow::Owned(self.payload.into_owned()),
            properties: Cow::Owned(self.properties.into_owned()),
            qos: self.qos,
            retain: self.retain,
            delay_s: self.delay_s,
            message_expiry_s: self.message_expiry_s,
        }
    }
}

impl Subscription<'_> {
    fn owned(self) -> Subscription<'static> {
        Subscription {
            filter: owned(self.filter),
            options: self.options,
            subscription_id: self.subscription_id,
            is_owed: self.is_owed,
        }
    }
}

impl StoredDelivery<'_> {
    fn owned(self) -> StoredDelivery<'static> {
        StoredDelivery {
            qos: self.qos,
            retain: self.retain,
            packet_id: self.packet_id,
            is_released: self.is_released,
            subscription_ids: self.subscription_ids,
            share: self.share.map(owned),
        }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

/// The QoS that a stored number stands for.
#[must_use]
pub const fn qos(number: u8) -> QoS {
    match number {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

//! The state that the records of a journal come to.

use super::batch::Epoch;
use super::message::{Expiry, Message, Source, Traits};
use super::record::{
    Attributes, Body, ClockNote, Owed, Owner, Published, Record, StoredDelivery, StoredExpiry,
    StoredWill, Subscription, Whole,
};
use crate::access::{Identity, Proof};
use crate::base::ids::{DeliveryName, DeliveryNumber, ListenerId, MessageId, SessionNumber};
use crate::base::maps::{HashMap, HashSet};
use crate::base::time::Time;
use crate::mqtt::QoS;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All data that outlives a process.
#[derive(Debug, Default)]
pub struct State {
    /// The sessions, by number.
    pub sessions: HashMap<SessionNumber, StoredSession>,
    /// The messages, by id.
    pub messages: HashMap<MessageId, Arc<Message>>,
    /// The id and the version of the message that is retained on each topic; no id when the topic
    /// was cleared. Peers chose the topics, so the map is an ordered one.
    retained: BTreeMap<Box<str>, Register>,
    /// Messages that are retained, and whose bytes are still to come: their versions.
    retained_early: HashMap<MessageId, u64>,
    /// Deliveries that were taken from their session before the state knew of them: workers are not
    /// in step with each other.
    taken_early: HashSet<DeliveryName>,
    /// Deliveries to sessions of which nothing is known yet: those live on workers whose records
    /// come later.
    for_later: HashMap<SessionNumber, Vec<StoredCopy>>,
    /// The greatest number or id seen.
    pub number_max: u64,
    /// The greatest version seen.
    pub version_max: u64,
    /// The last note of the journal's time.
    pub clock: Option<ClockNote>,
    deliveries_made: u64,
    epoch: Epoch,
}

/// The id of a retained message, and its version.
type Register = (Option<MessageId>, u64);

/// A delivery: the message's id, and how it goes.
pub type StoredCopy = (MessageId, StoredDelivery<'static>);

/// A session.
#[derive(Debug)]
pub struct StoredSession {
    /// The session's attributes.
    pub attributes: Attributes<'static>,
    /// The subscriptions, by whole filter.
    pub subscriptions: BTreeMap<Box<str>, Subscription<'static>>,
    /// The deliveries, by number, each with its place in the order.
    deliveries: HashMap<DeliveryNumber, (u64, StoredCopy)>,
    /// Messages that the client was sent live, each with the greatest [`Owed::number`] that it
    /// overtakes: so they are found whether that subscription is known yet, known still, or not.
    overtaken: HashMap<MessageId, u32>,
    /// The greatest [`Owed::number`] that any record names: the next process goes on behind it, so
    /// that no earlier note is taken for one about a replay of its own.
    pub replays_begun: u32,
    /// The deliveries that were sent, as [`Record::Sent`] says; None when that is unknown.
    pub sent: Option<Vec<(DeliveryNumber, u16)>>,
    /// Packet identifiers received and not released.
    pub received: BTreeSet<u16>,
}

impl StoredSession {
    fn new(attributes: Attributes<'static>) -> Self {
        Self {
            attributes,
            subscriptions: BTreeMap::new(),
            deliveries: HashMap::default(),
            overtaken: HashMap::default(),
            replays_begun: 0,
            sent: None,
            received: BTreeSet::new(),
        }
    }

    fn into_deliveries(self) -> Vec<StoredCopy> {
        let mut list: Vec<_> = self.deliveries.into_values().collect();
        list.sort_unstable_by_key(|(order, _)| *order);
        list.into_iter().map(|(_, copy)| copy).collect()
    }

    /// The deliveries to its client, in order.
    #[must_use]
    pub fn deliveries(&self) -> Vec<&StoredCopy> {
        let mut list: Vec<_> = self.deliveries.values().collect();
        list.sort_unstable_by_key(|(order, _)| *order);
        list.into_iter().map(|(_, copy)| copy).collect()
    }

    fn subscribe(&mut self, subscription: Subscription<'_>) {
        let mut subscription = subscription.owned();
        if let Some(owed) = &mut subscription.owed {
            self.replays_begun = self.replays_begun.max(owed.number);
            let overtaken = std::mem::take(&mut owed.overtaken);
            overtaken.into_iter().for_each(|id| self.note_overtaken(id, owed.number));
        }
        self.subscriptions.insert((*subscription.filter).into(), subscription);
    }

    /// Notes that the client was sent a message live, which is not owed to it under this number nor
    /// under a lower one.
    fn note_overtaken(&mut self, id: MessageId, number: u32) {
        self.replays_begun = self.replays_begun.max(number);
        let known = self.overtaken.entry(id).or_default();
        *known = number.max(*known);
    }

    /// The messages that the client was sent live, as [`Owed::overtaken`] of each number has them.
    fn overtaken(&self) -> BTreeMap<u32, Vec<MessageId>> {
        let owed = self.subscriptions.values().filter_map(|known| known.owed.as_ref());
        let mut overtaken: BTreeMap<u32, Vec<MessageId>> =
            owed.map(|owed| (owed.number, Vec::new())).collect();
        for (id, last) in &self.overtaken {
            if let Some((_, ids)) = overtaken.range_mut(..=last).next_back() {
                ids.push(*id);
            }
        }
        overtaken.values_mut().for_each(|ids| ids.sort_unstable());
        overtaken
    }

    /// The retained messages that are owed under this number.
    fn owed(&mut self, number: u32) -> Option<&mut Owed<'static>> {
        let owed = self.subscriptions.values_mut().filter_map(|known| known.owed.as_mut());
        owed.into_iter().find(|owed| owed.number == number)
    }
}

impl State {
    /// An empty state. Points in time become those of a clock that began at `epoch`.
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
                    known.subscribe(subscription);
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
                    known.owed = None;
                }
            }
            Record::Published(published) => self.publish(published),
            Record::Released { session, delivery } => {
                self.number_max = self.number_max.max(delivery.0);
                let known = self.sessions.get_mut(&session);
                if let Some((_, (_, way))) = known.and_then(|s| s.deliveries.get_mut(&delivery)) {
                    way.is_released = true;
                }
            }
            Record::Done(done) => {
                for delivery in done {
                    self.complete(delivery);
                }
            }
            Record::Forgotten { session, packet_id } => {
                if let Some(known) = self.sessions.get_mut(&session) {
                    known.received.remove(&packet_id);
                }
            }
            Record::Sent { session, deliveries } => {
                if let Some(known) = self.sessions.get_mut(&session) {
                    known.sent = Some(deliveries);
                }
            }
            Record::Clock(note) => self.clock = Some(note),
        }
    }

    /// Forgets all that no session and no topic refers to. For the end of the journal.
    pub fn finish(&mut self) {
        self.taken_early.clear();
        self.retained_early.clear();
        self.for_later.clear();
        let retained: HashSet<MessageId> =
            self.retained.values().filter_map(|(message, _)| *message).collect();
        let mut wanted = retained.clone();
        for session in self.sessions.values_mut() {
            if session.attributes.expiry_s == 0 {
                // It ends with its connection, which is gone.
                session.deliveries.clear();
            }
            let messages = &self.messages;
            let is_there = |(id, way): &StoredCopy| messages.contains_key(id) || way.is_released;
            session.deliveries.retain(|_, (_, copy)| is_there(copy));
            // Of what is released only PUBREL is left to send.
            let copies = session.deliveries.values().map(|(_, copy)| copy);
            wanted.extend(copies.filter(|(_, way)| !way.is_released).map(|(id, _)| *id));
            // What is not retained any more is owed to nobody, and never will be again.
            session.overtaken.retain(|id, _| retained.contains(id));
            let mut overtaken = session.overtaken();
            for owed in session.subscriptions.values_mut().filter_map(|s| s.owed.as_mut()) {
                owed.overtaken = overtaken.remove(&owed.number).unwrap_or_default();
            }
        }
        self.messages.retain(|id, _| wanted.contains(id));
        for (id, version) in self.retained.values() {
            if let Some(message) = id.and_then(|id| self.messages.get(&id)) {
                message.set_version(*version);
            }
        }
    }

    /// The earliest point in time at which something ends that lives.
    #[must_use]
    pub fn earliest_ms(&self) -> Option<u64> {
        let attributes = self.sessions.values().map(|session| &session.attributes);
        let ends = attributes.flat_map(|session| [session.ends_ms, session.will_due_ms]);
        let expires = self.messages.values().map(|message| message.expires);
        let expires = expires.map(|expires| expires.map(|e| self.epoch.milliseconds(e.at)));
        ends.chain(expires).flatten().min()
    }

    /// From now on points in time are those of a clock that began at `epoch`.
    pub fn set_epoch(&mut self, epoch: Epoch) {
        let before = std::mem::replace(&mut self.epoch, epoch);
        for message in self.messages.values_mut().filter(|message| message.expires.is_some()) {
            let moved = |time| epoch.time(before.milliseconds(time));
            let expires =
                message.expires.map(|expires| Expiry { at: moved(expires.at), ..expires });
            if let Some(message) = Arc::get_mut(message) {
                message.expires = expires;
            }
        }
    }

    /// The retained messages, in no order.
    pub fn retained(&self) -> impl Iterator<Item = &Arc<Message>> {
        let ids = self.retained.values().filter_map(|(message, _)| *message);
        ids.filter_map(|id| self.messages.get(&id))
    }

    /// The records of the whole state, as few as possible: the content of a compacted journal.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut ids: Vec<_> = self.messages.keys().copied().collect();
        ids.sort_unstable();
        let mut numbers: Vec<_> = self.sessions.keys().copied().collect();
        numbers.sort_unstable();
        let bodies = ids.into_iter().map(|id| self.body(id));
        let sent = numbers.clone().into_iter().filter_map(|number| self.sent(number));
        let wholes = numbers.into_iter().map(|number| self.whole(number));
        let clock = self.clock.map(Record::Clock);
        clock.into_iter().chain(bodies).chain(wholes).chain(sent)
    }

    fn body(&self, id: MessageId) -> Record<'_> {
        let message = &self.messages[&id];
        let retained = self.retained.get(message.topic());
        Record::Published(Published {
            message: id,
            body: Some(Body::of(message, self.epoch)),
            retained: retained.filter(|(known, _)| *known == Some(id)).map(|(_, version)| *version),
            received: None,
            taken: None,
            groups: Vec::new(),
            others: Vec::new(),
        })
    }

    fn whole(&self, number: SessionNumber) -> Record<'_> {
        let session = &self.sessions[&number];
        let deliveries = session.deliveries().into_iter();
        let mut overtaken = session.overtaken();
        let mut subscriptions: Vec<_> = session.subscriptions.values().cloned().collect();
        for owed in subscriptions.iter_mut().filter_map(|known| known.owed.as_mut()) {
            owed.overtaken = overtaken.remove(&owed.number).unwrap_or_default();
        }
        Record::Whole(Whole {
            attributes: session.attributes.clone(),
            subscriptions,
            deliveries: deliveries.cloned().collect(),
            received: session.received.iter().copied().collect(),
        })
    }

    fn sent(&self, number: SessionNumber) -> Option<Record<'_>> {
        let deliveries = self.sessions[&number].sent.clone()?;
        Some(Record::Sent { session: number, deliveries })
    }

    fn set_attributes(&mut self, attributes: Attributes<'_>) {
        self.number_max = self.number_max.max(attributes.session.0);
        let attributes = attributes.owned();
        match self.sessions.get_mut(&attributes.session) {
            Some(known) => {
                if attributes.is_connected {
                    known.sent = None;
                }
                known.attributes = attributes;
            }
            None => {
                let number = attributes.session;
                self.sessions.insert(number, StoredSession::new(attributes));
                for (id, way) in self.for_later.remove(&number).unwrap_or_default() {
                    self.deliver(number, id, way);
                }
            }
        }
    }

    /// Replaces a session by `whole`, but keeps deliveries that records of other workers have
    /// brought since the session's worker wrote this record, since those may stand before this one.
    /// The worker's own records are in order.
    fn set_whole(&mut self, whole: Whole<'_>) {
        let number = whole.attributes.session;
        self.number_max = self.number_max.max(number.0);
        let before = self.sessions.remove(&number);
        let mut session = StoredSession::new(whole.attributes.owned());
        for subscription in whole.subscriptions {
            session.subscribe(subscription);
        }
        if let Some(known) = &before {
            session.replays_begun = session.replays_begun.max(known.replays_begun);
            known.overtaken.iter().for_each(|(id, last)| session.note_overtaken(*id, *last));
        }
        let brought = match before {
            Some(known) => known.into_deliveries(),
            None => self.for_later.remove(&number).unwrap_or_default(),
        };
        session.received = whole.received.into_iter().collect();
        for (id, way) in whole.deliveries {
            let number = way.number_of(id);
            self.number_max = self.number_max.max(id.0).max(number.0);
            self.deliveries_made += 1;
            session.deliveries.insert(number, (self.deliveries_made, (id, way.owned())));
        }
        let is_new = |(id, way): &StoredCopy| !session.deliveries.contains_key(&way.number_of(*id));
        let brought: Vec<_> = brought.into_iter().filter(is_new).collect();
        self.sessions.insert(number, session);
        for (id, way) in brought {
            self.deliver(number, id, way);
        }
    }

    fn publish(&mut self, published: Published<'_>) {
        let id = published.message;
        self.number_max = self.number_max.max(id.0);
        if let Some(body) = published.body
            && !self.messages.contains_key(&id)
        {
            self.messages.insert(id, Arc::new(body.message(id, self.epoch)));
        }
        if let Some(version) = published.retained.or_else(|| self.retained_early.remove(&id)) {
            self.version_max = self.version_max.max(version);
            self.retain(id, version);
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
        if let Some(taken) = published.taken
            && !self.complete(taken)
        {
            self.taken_early.insert(taken);
        }
    }

    fn deliver(&mut self, session: SessionNumber, id: MessageId, mut way: StoredDelivery<'static>) {
        let number = way.number_of(id);
        self.number_max = self.number_max.max(number.0);
        if !self.taken_early.is_empty()
            && self.taken_early.remove(&DeliveryName { session, number })
        {
            return;
        }
        let Some(known) = self.sessions.get_mut(&session) else {
            self.for_later.entry(session).or_default().push((id, way));
            return;
        };
        for last in std::mem::take(&mut way.overtakes) {
            known.note_overtaken(id, last);
        }
        let replay = std::mem::take(&mut way.replay);
        if replay != 0
            && let Some(owed) = known.owed(replay)
            && let Some(message) = self.messages.get(&id)
            && *owed.after < *message.topic()
        {
            owed.after = message.topic().to_owned().into();
        }
        if way.qos == 0 {
            return;
        }
        self.deliveries_made += 1;
        let made = self.deliveries_made;
        let packet_id = way.packet_id;
        let (_, (_, known)) = known.deliveries.entry(number).or_insert((made, (id, way)));
        if packet_id != 0 {
            known.packet_id = packet_id;
        }
    }

    /// The delivery is over; false when it is not known that there is one.
    fn complete(&mut self, DeliveryName { session, number }: DeliveryName) -> bool {
        self.number_max = self.number_max.max(number.0);
        if let Some(known) = self.sessions.get_mut(&session) {
            return known.deliveries.remove(&number).is_some();
        }
        let Some(later) = self.for_later.get_mut(&session) else { return false };
        let before = later.len();
        later.retain(|(id, way)| way.number_of(*id) != number);
        later.len() < before
    }

    /// The message is its topic's now, or clears it, unless what stands there is newer.
    fn retain(&mut self, id: MessageId, version: u64) {
        let Some(message) = self.messages.get(&id) else {
            self.retained_early.insert(id, version);
            return;
        };
        let value = (!message.payload().is_empty()).then_some(id);
        let register = (value, version);
        match self.retained.get_mut(message.topic()) {
            Some(known) if known.1 > version => {}
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
            owner: message.source.as_ref().map(|source| Owner {
                client_id: Some(Cow::Borrowed(&source.identity.client_id)),
                ..Owner::of(&source.identity, source.listener)
            }),
            lengths: (topic as u32, properties as u32),
            bytes: Cow::Borrowed(message.bytes()),
        }
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn owned(self) -> Body<'static> {
        Body {
            owner: self.owner.map(Owner::owned),
            bytes: Cow::Owned(self.bytes.into_owned()),
            qos: self.qos,
            retain: self.retain,
            expires: self.expires,
            lengths: self.lengths,
        }
    }

    fn message(self, id: MessageId, epoch: Epoch) -> Message {
        let traits = Traits {
            qos: qos(self.qos),
            retain: self.retain,
            expires: self.expires.map(|expires| expires.expiry(epoch)),
            publisher: SessionNumber::NONE,
            received: Time::ZERO,
            id,
        };
        let source = self.owner.map(|owner| {
            let listener = owner.listener;
            Source { identity: Arc::new(owner.identity("")), listener }
        });
        let lengths = (self.lengths.0 as usize, self.lengths.1 as usize);
        let message = Message::from_bytes(self.bytes.into_owned().into(), lengths, traits, source);
        // What is retained gets its own in the end; anything else is older than that.
        message.set_version(VERSION_MIN);
        message
    }
}

impl<'a> Owner<'a> {
    /// The stored part of an identity.
    #[must_use]
    pub(crate) fn of(identity: &'a Identity, listener: ListenerId) -> Self {
        let user = identity.user.as_deref().map(Cow::Borrowed);
        Self { user, client_id: None, is_superuser: identity.is_superuser, listener }
    }

    /// The identity, of a client whose identifier is `client_id` unless it is stored, too.
    #[must_use]
    pub(crate) fn identity(&self, client_id: &str) -> Identity {
        Identity {
            user: self.user.as_deref().map(Into::into),
            client_id: self.client_id.as_deref().unwrap_or(client_id).into(),
            proof: if self.user.is_some() { Proof::Earlier } else { Proof::None },
            rules: None,
            is_superuser: self.is_superuser,
        }
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub(crate) fn owned(self) -> Owner<'static> {
        Owner {
            user: self.user.map(owned),
            client_id: self.client_id.map(owned),
            is_superuser: self.is_superuser,
            listener: self.listener,
        }
    }
}

impl Attributes<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub(crate) fn owned(self) -> Attributes<'static> {
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
    /// A copy that borrows nothing.
    #[must_use]
    pub(crate) fn owned(self) -> Subscription<'static> {
        Subscription {
            filter: owned(self.filter),
            options: self.options,
            subscription_id: self.subscription_id,
            owed: self.owed.map(|owed| Owed { after: self::owned(owed.after), ..owed }),
        }
    }
}

impl StoredDelivery<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub(crate) fn owned(self) -> StoredDelivery<'static> {
        StoredDelivery {
            number: self.number,
            qos: self.qos,
            retain: self.retain,
            packet_id: self.packet_id,
            is_released: self.is_released,
            subscription_ids: self.subscription_ids,
            share: self.share.map(owned),
            replay: self.replay,
            overtakes: self.overtakes,
        }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

/// The lowest version: those that the homes of topics give begin behind it.
pub const VERSION_MIN: u64 = 1;

/// The QoS that a stored number stands for.
#[must_use]
pub const fn qos(number: u8) -> QoS {
    match number {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

//! The broker's inputs and their times: messages, sessions, subscriptions, as intervals of events.
//!
//! A packet is *handed* to a shard at one event and *handled* at the same or a later one, since a
//! paused link keeps packets. The subscriptions that a publish meets are therefore between two
//! bounds: a subscription that was there for certain from the first to the last moment of the
//! publish must be served, one that may have been there at any moment of it may be.

use super::permission::Passage;
use super::rights::{Credential, Rights, Who};
use super::wills::Will;
use super::wire::{Handed, Item, Wire};
use ringmq::base::time::Time;
use ringmq::options::Options;
use ringmq_mqtt::{QoS, RetainHandling, SubscriptionOptions, TopicFilter, matches};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The event of a thing that has not happened.
pub(super) const NEVER: u64 = u64::MAX;

/// Bytes of a payload that say whose it is.
pub(super) const NAME_BYTES: usize = 16;

/// An application message that a client sent, or left as its will.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) publisher: u32,
    pub(super) sequence: u32,
    /// The publisher's session, when the message was first handed over.
    pub(super) session: Option<usize>,
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) payload: Vec<u8>,
    /// The properties, encoded.
    pub(super) properties: Vec<u8>,
    pub(super) expiry_s: Option<u32>,
    pub(super) is_will: bool,
    /// Whether the publisher may publish the message.
    pub(super) passage: Passage,
    /// The numbers of times that the message was handed to a shard, and that a shard was done with
    /// it for certain.
    pub(super) handed: u32,
    pub(super) handled: u32,
    /// The first event and time at which a shard may have seen the message, the last ones at which
    /// it did.
    pub(super) first: u64,
    pub(super) first_time: Time,
    pub(super) last: u64,
    pub(super) last_time: Time,
    /// The event at which the publisher had the first acknowledgement of the message.
    pub(super) acknowledged: u64,
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, topic, qos, retain, expiry_s, handed, handled, first, last, .. } = self;
        let passage = self.passage;
        write!(
            formatter,
            "m{}.{} on {topic} {qos:?} retain {retain} expiry {expiry_s:?} of session {session:?}, \
             handed {handed} handled {handled} times from event {first} to {last}, {passage:?}",
            self.publisher, self.sequence,
        )
    }
}

impl Message {
    pub(super) const fn clears(&self) -> bool {
        self.payload.is_empty()
    }

    /// True when it is not known whether each copy that was handed over was also handled, or
    /// permitted.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.handled == 0
            || !self.passage.is_certain
            || (self.qos != QoS::ExactlyOnce && self.handed > self.handled)
    }

    /// The number of copies that the broker may take for different messages.
    pub(super) const fn copies_max(&self) -> u32 {
        match self.qos {
            QoS::AtLeastOnce if self.handed > 1 => self.handed,
            _ => 1,
        }
    }
}

/// One SUBSCRIBE's effect on one filter of a session.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    /// The whole filter.
    pub(super) filter: String,
    pub(super) options: SubscriptionOptions,
    pub(super) id: Option<u32>,
    pub(super) from_possible: u64,
    /// SUBACK has come.
    pub(super) from_certain: u64,
    pub(super) until_certain: u64,
    pub(super) until_possible: u64,
    /// The client has sent an UNSUBSCRIBE for it.
    pub(super) is_unsubscribed: bool,
    /// Whether the client may be granted it, and refused.
    pub(super) judgement: (bool, bool),
    pub(super) is_refused: bool,
    /// Earlier ones that it takes the place of, unless it is refused.
    pub(super) replaces: Vec<usize>,
}

impl Subscription {
    pub(super) fn is_shared(&self) -> bool {
        self.filter.starts_with("$share/")
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        matches(TopicFilter::parsed(&self.filter).filter, topic)
    }

    /// Whether it may have asked for retained messages.
    pub(super) fn asks_retained(&self) -> bool {
        !self.is_shared()
            && !self.is_refused
            && self.options.retain_handling != RetainHandling::DoNotSend
    }
}

/// The deliveries of one message to a session's client.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Deliveries without DUP, replays of the retained store not among them.
    pub(super) fresh: u32,
    /// Deliveries that the client took for new: fresh ones, and those first seen with DUP.
    pub(super) taken: u32,
    /// Replays without DUP.
    pub(super) replays: u32,
    /// The message came at all, in whatever way.
    pub(super) came: bool,
    /// Some deliveries may have been replays.
    pub(super) is_unclear: bool,
}

/// A session of the broker.
#[derive(Debug)]
pub(super) struct Session {
    /// The owners of the session, each from an event on: nobody's becomes somebody's.
    owners: Vec<(u64, Who)>,
    /// The worker on which the session lives.
    pub(super) worker: usize,
    /// The credential that the client showed last.
    pub(super) credential: Credential,
    /// The wire that has the session.
    pub(super) wire: Option<usize>,
    pub(super) connections: u32,
    pub(super) expiry_s: u32,
    /// The time at which the session lost its last connection.
    pub(super) lost: Option<Time>,
    /// The same, or before: a DISCONNECT may have come before CONNACK had left the disk.
    left: Option<Time>,
    pub(super) ended: bool,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) seen: BTreeMap<usize, Seen>,
    /// Something may have been sent to its client that the client has not read, or the broker has
    /// crashed and does not know what it had sent.
    pub(super) is_in_doubt: bool,
    /// Packet identifier → the message that was sent under it last, and when it was first sent,
    /// counted in messages.
    pub(super) first_sent: BTreeMap<u16, (usize, u64)>,
    pub(super) sent: u64,
    /// The greatest of these numbers sent again on the present connection.
    pub(super) resent: u64,
    /// (publisher, topic, QoS) → the sequence of the last first delivery.
    pub(super) order: BTreeMap<(u32, String, QoS), u32>,
    /// Topic → live retained messages that came, and when they came out of the shard.
    pub(super) live: BTreeMap<String, Vec<(usize, u64)>>,
    /// The will of the session's present or last connection.
    pub(super) will: Option<usize>,
    /// The smallest Maximum Packet Size that the session ever had.
    pub(super) packet_bytes_max: u32,
}

impl Session {
    /// The owner of the session.
    pub(super) fn who(&self) -> &Who {
        self.owners.last().map(|(_, who)| who).expect("there is a first")
    }

    /// The owners of the session at any moment from event `first` to event `last`.
    pub(super) fn owners(&self, first: u64, last: u64) -> impl Iterator<Item = &Who> {
        let from = self.owners.partition_point(|(since, _)| *since <= first).max(1) - 1;
        let until = self.owners.partition_point(|(since, _)| *since <= last).max(from + 1);
        self.owners[from..until].iter().map(|(_, who)| who)
    }

    /// True when the subscription is there until now, or one that took its place at once: not where
    /// the client has unsubscribed in between, even if it has subscribed again at once.
    pub(super) fn stays(&self, subscription: &Subscription) -> bool {
        let (mut until, mut is_unsubscribed) =
            (subscription.until_certain, subscription.is_unsubscribed);
        while until != NEVER {
            let next = self.subscriptions.iter().filter(|_| !is_unsubscribed).find(|next| {
                let is_same = next.filter == subscription.filter && !next.is_refused;
                is_same && next.from_possible == until && next.until_certain > until
            });
            let Some(next) = next else { return false };
            (until, is_unsubscribed) = (next.until_certain, next.is_unsubscribed);
        }
        !is_unsubscribed
    }

    /// True when the session has ended, or its time has come.
    pub(super) fn is_over(&self, now: Time) -> bool {
        let is_late =
            |lost: Time| self.expiry_s < u32::MAX && lost.after_seconds(self.expiry_s) <= now;
        self.ended || self.lost.is_some_and(is_late)
    }
}

/// The checker's knowledge, and the first fault that it found.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) options: Options,
    /// None when everyone may do everything.
    pub(super) rights: Option<Rights>,
    /// The broker has a journal.
    pub(super) is_durable: bool,
    pub(super) now: Time,
    /// The times from which and to which a worker stood still, in order.
    pub(super) late_turns: Vec<(Time, Time)>,
    /// The number of events so far.
    pub(super) event: u64,
    pub(super) messages: Vec<Message>,
    by_name: BTreeMap<(u32, u32), usize>,
    pub(super) sessions: Vec<Session>,
    /// Client → the session that it has or had last.
    pub(super) current: BTreeMap<usize, usize>,
    pub(super) wills: Vec<Will>,
    pub(super) will_of_message: BTreeMap<usize, usize>,
    /// The intervals in which nothing was under way between workers: (first, last) event.
    quiet: Vec<(u64, u64)>,
    pub(super) deliveries: u64,
    pub(super) violation: Option<String>,
}

impl Model {
    pub(super) const fn new(options: Options, rights: Option<Rights>, is_durable: bool) -> Self {
        Self {
            options,
            rights,
            is_durable,
            now: Time::ZERO,
            late_turns: Vec::new(),
            event: 0,
            messages: Vec::new(),
            by_name: BTreeMap::new(),
            sessions: Vec::new(),
            current: BTreeMap::new(),
            wills: Vec::new(),
            will_of_message: BTreeMap::new(),
            quiet: Vec::new(),
            deliveries: 0,
            violation: None,
        }
    }

    /// Something does not hold; the first finding stands.
    pub(super) fn fail(&mut self, invariant: &str, text: String) {
        let event = self.event;
        self.violation.get_or_insert_with(|| format!("{invariant}: {text} (event {event})"));
    }

    pub(super) const fn advance(&mut self, now: Time) {
        self.now = now;
        self.event += 1;
    }

    /// The latest that what is due at `due` may happen, where it may take as long as `most`.
    pub(super) fn latest(&self, due: Time, most: Duration) -> Time {
        self.late_turns.iter().fold(due.after(most), |latest, (from, until)| {
            if *from > latest { latest } else { latest.max(until.after(most)) }
        })
    }

    /// Nothing is under way between workers at the end of this event.
    pub(super) fn note_quiet(&mut self) {
        match self.quiet.last_mut() {
            Some((_, last)) if *last + 1 >= self.event => *last = self.event,
            _ => self.quiet.push((self.event, self.event)),
        }
    }

    /// The event by which everything is done that the message set going.
    pub(super) fn settled(&self, message: &Message) -> u64 {
        if message.is_in_doubt() {
            return NEVER;
        }
        let place = self.quiet.partition_point(|&(_, last)| last < message.last);
        self.quiet.get(place).map_or(NEVER, |&(first, _)| first.max(message.last))
    }

    /// Doubts all that was sent to the session's client.
    pub(super) fn doubt(&mut self, session: usize) {
        self.sessions[session].is_in_doubt = true;
        self.sessions[session].first_sent.clear();
    }

    /// The event from which on the message is retained, as far as it is, so that whatever is handed
    /// over later replaces it.
    pub(super) fn retained_from(&self, message: &Message) -> u64 {
        let settled = self.settled(message);
        if message.handed == 1 { settled.min(message.acknowledged) } else { settled }
    }

    pub(super) fn add_message(&mut self, message: Message) -> usize {
        let index = self.messages.len();
        self.by_name.insert((message.publisher, message.sequence), index);
        self.messages.push(message);
        index
    }

    /// The message that a payload names.
    pub(super) fn find_message(&self, payload: &[u8]) -> Option<usize> {
        let publisher = u32::from_be_bytes(payload.get(..4)?.try_into().ok()?);
        let sequence = u32::from_be_bytes(payload.get(4..8)?.try_into().ok()?);
        self.by_name.get(&(publisher, sequence)).copied()
    }

    /// The shard gets a packet whole.
    pub(super) fn handed(&mut self, wire: &mut Wire, item: Item) -> Handed {
        let is_permitted = self.is_permitted(wire, &item);
        let ends = self.ended_by(wire, &item);
        let early = wire.session.is_none().then_some((self.event, self.now));
        Handed { item, ends, is_permitted, early }
    }

    /// CONNACK has come out: what was handed over before it is of this session, and counts from
    /// the time at which it was.
    pub(super) fn place_early(&mut self, wire: &mut Wire, handed: &mut Handed) {
        let Some((event, time)) = handed.early.take() else { return };
        if let Item::Publish(index) = handed.item {
            self.messages[index].session = wire.session;
            return;
        }
        let now = (self.event, self.now);
        (self.event, self.now) = (event, time);
        handed.ends = self.ended_by(wire, &handed.item);
        (self.event, self.now) = now;
    }

    /// The subscriptions of the session that a packet will end.
    fn ended_by(&mut self, wire: &mut Wire, item: &Item) -> Vec<usize> {
        let mut ends = Vec::new();
        match item {
            Item::Publish(index) => {
                let message = &mut self.messages[*index];
                message.handed += 1;
                if message.first == NEVER {
                    message.first = self.event;
                    message.first_time = self.now;
                    message.session = wire.session;
                }
            }
            Item::Subscribe { packet_id, id, filters } => {
                let Some(session) = wire.session else { return ends };
                let mut places = Vec::new();
                for (filter, options) in filters {
                    let replaces = self.call_off(session, filter);
                    let place = self.subscribe(session, filter, *options, *id);
                    let subscription = &mut self.sessions[session].subscriptions[place];
                    if subscription.judgement.1 {
                        subscription.replaces = replaces;
                    } else {
                        ends.extend(replaces);
                    }
                    places.push(place);
                }
                wire.subscribing.insert(*packet_id, places);
            }
            Item::Unsubscribe(filters) => {
                let Some(session) = wire.session else { return ends };
                for filter in filters {
                    for place in self.call_off(session, filter) {
                        self.sessions[session].subscriptions[place].is_unsubscribed = true;
                        ends.push(place);
                    }
                }
            }
            Item::Disconnect { .. } | Item::Other => {}
        }
        ends
    }

    fn subscribe(
        &mut self,
        session: usize,
        filter: &str,
        options: SubscriptionOptions,
        id: Option<u32>,
    ) -> usize {
        let judgement = self.judge(session, filter);
        let subscriptions = &mut self.sessions[session].subscriptions;
        subscriptions.push(Subscription {
            filter: filter.into(),
            options,
            id,
            from_possible: self.event,
            from_certain: NEVER,
            until_certain: NEVER,
            until_possible: NEVER,
            is_unsubscribed: false,
            judgement,
            is_refused: false,
            replaces: Vec::new(),
        });
        subscriptions.len() - 1
    }

    /// The subscriptions of the filter, which are there for certain only until now.
    fn call_off(&mut self, session: usize, filter: &str) -> Vec<usize> {
        let event = self.event;
        let mut called_off = Vec::new();
        let subscriptions = &mut self.sessions[session].subscriptions;
        for (place, subscription) in subscriptions.iter_mut().enumerate() {
            if subscription.filter == filter && subscription.until_possible == NEVER {
                subscription.until_certain = subscription.until_certain.min(event);
                called_off.push(place);
            }
        }
        called_off
    }

    /// The shard has dealt with a packet, which ended the subscriptions `ends`.
    pub(super) fn handled(&mut self, wire: &Wire, handed: &Handed) {
        if let Item::Publish(index) = handed.item {
            let message = &mut self.messages[index];
            if message.qos != QoS::ExactlyOnce || message.handled == 0 {
                message.handled += 1;
                message.last = self.event;
                message.last_time = self.now;
                message.note_passage(handed.is_permitted);
            }
        }
        let Some(session) = wire.session else { return };
        for &place in &handed.ends {
            let until = &mut self.sessions[session].subscriptions[place].until_possible;
            *until = (*until).min(self.event);
        }
    }

    /// An accepting CONNACK came out of a shard.
    pub(super) fn accept(&mut self, index: usize, wire: &mut Wire, present: bool, who: Who) {
        let client = wire.client;
        let known = self.current.get(&client).copied();
        let is_anothers = known.is_some_and(|known| self.is_of_another(known, &who));
        self.check_present(client, known, wire.terms.clean_start || is_anothers, present);
        let session = match known.filter(|_| present) {
            Some(session) => {
                if *self.sessions[session].who() != who {
                    self.sessions[session].owners.push((self.event, who));
                }
                session
            }
            None => self.add_session(client, known, who, wire.worker),
        };
        self.resume_will(known, present);
        let state = &mut self.sessions[session];
        state.wire = Some(index);
        state.credential = wire.credential;
        state.connections += 1;
        state.resent = 0;
        state.lost = None;
        state.expiry_s = wire.terms.expiry_s.min(self.options.max_session_expiry);
        state.packet_bytes_max =
            state.packet_bytes_max.min(wire.terms.packet_bytes_max.unwrap_or(u32::MAX));
        wire.session = Some(session);
        self.arm_will(session, wire);
    }

    fn add_session(
        &mut self,
        client: usize,
        before: Option<usize>,
        who: Who,
        worker: usize,
    ) -> usize {
        if let Some(before) = before {
            self.sessions[before].ended = true;
        }
        self.sessions.push(Session {
            owners: vec![(self.event, who)],
            worker,
            credential: Credential::Nothing,
            wire: None,
            connections: 0,
            expiry_s: 0,
            lost: None,
            left: None,
            ended: false,
            subscriptions: Vec::new(),
            seen: BTreeMap::new(),
            is_in_doubt: false,
            first_sent: BTreeMap::new(),
            sent: 0,
            resent: 0,
            order: BTreeMap::new(),
            live: BTreeMap::new(),
            will: None,
            packet_bytes_max: u32::MAX,
        });
        self.current.insert(client, self.sessions.len() - 1);
        self.sessions.len() - 1
    }

    /// I7: Session Present says whether the state was kept, and it is kept as long as it should.
    fn check_present(
        &mut self,
        client: usize,
        known: Option<usize>,
        clean_start: bool,
        present: bool,
    ) {
        let must = known.filter(|_| !clean_start).map_or(Some(false), |known| self.is_kept(known));
        // A connection that went before its CONNACK left the disk has made a session all the same.
        let may_be_unknown = self.is_durable && present && !clean_start;
        if must.is_some_and(|must| must != present) && !may_be_unknown {
            let text =
                format!("client {client}: session present is {present}, clean {clean_start}");
            self.fail("I7", text);
        }
    }

    /// Whether the session is kept after the end of its connection; None when that is not sure.
    pub(super) fn is_kept(&self, session: usize) -> Option<bool> {
        let session = &self.sessions[session];
        match (session.lost, session.expiry_s) {
            _ if session.ended => Some(false),
            (None, 0) => Some(false),
            (None, _) | (_, u32::MAX) => Some(true),
            (Some(lost), expiry_s) => {
                let first = session.left.unwrap_or(lost).after_seconds(expiry_s);
                let last = self.latest(lost.after_seconds(expiry_s), Duration::from_secs(1));
                let is_sure = self.now < first || self.now > last;
                is_sure.then_some(self.now < first)
            }
        }
    }

    /// The shard does not know the connection any more, or is about to be told that it has gone.
    pub(super) fn lose(&mut self, index: usize, wire: &Wire) {
        let Some(session) = wire.session else { return };
        if wire.down.parsed < wire.down.emitted {
            self.doubt(session);
        }
        if self.sessions[session].wire != Some(index) {
            return;
        }
        let expiry_max_s = self.options.max_session_expiry;
        let state = &mut self.sessions[session];
        state.wire = None;
        state.lost = Some(self.now);
        state.left = wire.left;
        if let Some((_, Some(expiry_s))) = wire.goodbye {
            state.expiry_s = expiry_s.min(expiry_max_s);
        }
        state.ended |= state.expiry_s == 0;
        self.release_will(session, wire);
    }

    /// The subscriptions of a session that match, and that were there for certain, or may have
    /// been, while the message went through.
    pub(super) fn wanting(
        &self,
        session: usize,
        message: &Message,
    ) -> (Vec<&Subscription>, Vec<&Subscription>) {
        let settled = self.settled(message);
        let is_own = message.session == Some(session);
        let possible: Vec<_> = self.sessions[session]
            .subscriptions
            .iter()
            .filter(|s| s.matches(&message.topic) && !(is_own && s.options.no_local))
            // A shared message may come late, from a member that was lost.
            .filter(|s| s.from_possible <= settled || s.is_shared())
            .filter(|s| s.until_possible >= message.first)
            .collect();
        let is_certain = |s: &&Subscription| {
            s.from_certain < message.first
                && (s.until_certain > settled || s.until_certain == NEVER)
        };
        let certain = possible.iter().copied().filter(is_certain).collect();
        (certain, possible)
    }
}

/// A payload in a trace.
pub(super) fn name_of(payload: &[u8]) -> String {
    match payload.get(..8) {
        Some(name) => {
            let number = |at: usize| {
                u32::from_be_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]])
            };
            format!("m{}.{}", number(0), number(4))
        }
        None => format!("{payload:02x?}"),
    }
}

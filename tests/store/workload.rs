//! Changes as workers hand them over: every kind of record, messages of which several workers say
//! who gets them, and rewrites that write anew all that lives. A seed makes every choice.

use ringmq::base::ids::{
    DeliveryName, DeliveryNumber, ListenerId, MessageId, PartNumber, RecordName, SessionNumber,
    WorkerId,
};
use ringmq::mqtt::{Properties, QoS};
use ringmq::store::record::{
    Attributes, Body, Owed, Owner, Published, Record, StoredDelivery, StoredWill, Subscription,
};
use ringmq::store::{
    Batch, Commit, CommitBuilder, Entry, Epoch, Message, Part, PublishEntry, Recipients, Stamp,
    State, StoredCopy, Submission, Traits, Way,
};
use ringmq::testing::Prng;
use std::collections::BTreeSet;
use std::sync::Arc;

pub const WORKERS: usize = 3;
const TOPICS: u64 = 5;
const SESSIONS_MAX: usize = 12;

/// The encoded records of a commit.
pub type Payloads = Vec<Vec<u8>>;

pub struct Workload {
    prng: Prng,
    gatherer: CommitBuilder,
    /// What all records so far come to.
    state: State,
    /// What there was before the first commit.
    base: Payloads,
    /// By commit.
    pub commits: Vec<Payloads>,
    number: u64,
    version: u64,
    /// Which workers have a batch that waits for parts.
    waiting: [bool; WORKERS],
    /// Which of these may be about to retain something: nobody else clears a topic meanwhile, for
    /// a journal that is cut between the two would not know which came first.
    retaining: [bool; WORKERS],
    parts: Vec<(usize, Part)>,
    /// Deliveries that went to another session.
    ended: BTreeSet<DeliveryName>,
    /// Sessions that are over.
    over: BTreeSet<SessionNumber>,
    rewrite: u32,
    /// What is still to be written anew, by worker.
    rewrite_left: [Option<Vec<SessionNumber>>; WORKERS],
}

impl Workload {
    pub fn new(seed: u64, base: Payloads) -> Self {
        let mut state = State::new(Epoch(0));
        base.iter().for_each(|payload| state.apply(Record::decode(payload).unwrap()));
        Self {
            prng: Prng::new(seed),
            gatherer: CommitBuilder::new(WORKERS, Epoch(0)),
            number: state.number_max,
            version: state.version_max,
            state,
            base,
            commits: Vec::new(),
            waiting: [false; WORKERS],
            retaining: [false; WORKERS],
            parts: Vec::new(),
            ended: BTreeSet::new(),
            over: BTreeSet::new(),
            rewrite: 1,
            rewrite_left: [const { None }; WORKERS],
        }
    }

    /// Numbers and versions that an earlier process has used are used no more.
    pub fn go_on_after(&mut self, number_max: u64, version_max: u64) {
        self.number = self.number.max(number_max);
        self.version = self.version.max(version_max);
    }

    /// What the first `commits` come to, in one form.
    pub fn canonical(&self, commits: usize) -> Vec<u8> {
        canonical(&self.state_after(commits))
    }

    pub fn state_after(&self, commits: usize) -> State {
        let mut state = State::new(Epoch(0));
        let payloads = self.base.iter().chain(self.commits[..commits].iter().flatten());
        payloads.for_each(|payload| state.apply(Record::decode(payload).unwrap()));
        state.finish();
        state
    }

    pub fn recycle(&mut self, bytes: Vec<u8>) {
        self.gatherer.recycle(bytes);
    }

    pub fn begin_rewrite(&mut self, rewrite: u32) {
        self.rewrite = rewrite;
        for (worker, left) in self.rewrite_left.iter_mut().enumerate() {
            let mut sessions: Vec<SessionNumber> = self.state.sessions.keys().copied().collect();
            sessions.retain(|session| home(session.0) == worker);
            sessions.sort_unstable();
            *left = Some(sessions);
        }
    }

    pub fn has_rewrite(&self) -> bool {
        self.rewrite_left.iter().any(Option::is_some)
    }

    /// The next commit; None when there is nothing to commit in this step.
    pub fn step(&mut self, stamp: Stamp) -> Option<Commit> {
        let idle: Vec<_> = (0..WORKERS).filter(|&worker| !self.waiting[worker]).collect();
        let at_rewrite = idle.iter().copied().find(|&worker| self.rewrite_left[worker].is_some());
        match at_rewrite.filter(|_| self.prng.chance(60)) {
            Some(worker) => self.go_on_with_rewrite(worker),
            None => {
                for worker in idle {
                    if self.prng.chance(60) {
                        self.submit_batch(worker);
                    }
                }
                self.submit_parts(50);
            }
        }
        self.commit(stamp)
    }

    /// What still waits for parts.
    pub fn rest(&mut self, stamp: Stamp) -> Option<Commit> {
        self.submit_parts(100);
        self.commit(stamp)
    }

    fn commit(&mut self, stamp: Stamp) -> Option<Commit> {
        let commit = self.gatherer.next(stamp)?;
        for (worker, heard) in commit.heard.values().enumerate() {
            self.waiting[worker] &= !heard.has_batch;
            self.retaining[worker] &= !heard.has_batch;
        }
        if !commit.bytes.is_empty() {
            let payloads = payloads(&commit.bytes);
            payloads.iter().for_each(|payload| self.state.apply(Record::decode(payload).unwrap()));
            self.commits.push(payloads);
        }
        Some(commit)
    }

    fn submit_batch(&mut self, worker: usize) {
        let mut batch = Batch::default();
        for _ in 0..=self.prng.below(4) {
            let entry = self.entry(worker, &mut batch.done);
            batch.entries.extend(entry);
        }
        self.waiting[worker] = true;
        self.gatherer.take(WorkerId::at(worker), Submission::Batch(batch));
    }

    fn submit_parts(&mut self, percent: u64) {
        for (worker, part) in std::mem::take(&mut self.parts) {
            if self.prng.chance(percent) {
                self.gatherer.take(WorkerId::at(worker), Submission::Parts(vec![part]));
            } else {
                self.parts.push((worker, part));
            }
        }
    }

    fn go_on_with_rewrite(&mut self, worker: usize) {
        let mut left = self.rewrite_left[worker].take().unwrap();
        let mut records: Vec<Record<'static>> = Vec::new();
        for session in left.drain(..left.len().min(2)) {
            let Some(stored) = self.state.sessions.get(&session) else { continue };
            for (message, _) in stored.deliveries() {
                records.extend(self.body(*message, false));
            }
            let is_it = |record: &Record<'_>| match record {
                Record::Whole(whole) => whole.attributes.session == session,
                Record::Sent { session: known, .. } => *known == session,
                _ => false,
            };
            let all = self.state.records().filter(is_it).map(|record| encoded(&record));
            records.extend(all.map(|bytes| owned(&bytes)));
        }
        let mut batch = Batch::default();
        if left.is_empty() {
            let mut retained: Vec<_> = self.state.retained().map(|message| message.id).collect();
            retained.retain(|id| home(id.0) == worker);
            retained.sort_unstable();
            records.extend(retained.into_iter().filter_map(|id| self.body(id, true)));
            batch.finishes_rewrite = Some(self.rewrite);
        } else {
            self.rewrite_left[worker] = Some(left);
        }
        batch.entries = records.into_iter().map(|r| Entry::Record(Box::new(r))).collect();
        self.waiting[worker] = true;
        self.gatherer.take(WorkerId::at(worker), Submission::Batch(batch));
    }

    /// A message written anew, unless that has been done in this rewrite.
    fn body(&self, id: MessageId, is_retained: bool) -> Option<Record<'static>> {
        let message = self.state.messages.get(&id)?;
        let is_new = message.note_stored(self.rewrite);
        let anew = self.state.records().find_map(|record| match record {
            Record::Published(published) if published.message == id => Some(published),
            _ => None,
        })?;
        let published = Published {
            message: id,
            body: is_new.then(|| Body::of(message, Epoch(0)).owned()),
            retained: anew.retained.filter(|_| is_retained),
            received: None,
            taken: None,
            groups: Vec::new(),
            others: Vec::new(),
        };
        (is_new || is_retained).then_some(Record::Published(published))
    }

    fn entry(&mut self, worker: usize, done: &mut Vec<DeliveryName>) -> Option<Entry> {
        let session = self.session_of(worker);
        let Some(session) = session.filter(|_| !self.prng.chance(15)) else {
            return self.new_session(worker);
        };
        let filter = || "sensors/+/temperature".to_owned().into();
        let record = match self.prng.below(14) {
            0 => Record::Session(self.attributes(session)),
            1 if self.prng.chance(30) => {
                self.over.insert(session);
                Record::Ended { session }
            }
            1 | 2 => {
                let filter = format!("a/{}/#", self.prng.below(3)).into();
                let options = self.prng.below(3) as u8;
                let subscription_id = self.prng.below(500) as u32;
                let owed = Owed { number: self.number() as u32, ..Owed::default() };
                let owed = Some(owed).filter(|_| self.prng.chance(50));
                let subscription = Subscription { filter, options, subscription_id, owed };
                Record::Subscribed { session, subscription }
            }
            3 if self.prng.chance(50) => Record::Unsubscribed { session, filter: filter() },
            3 => {
                let filter = format!("a/{}/#", self.prng.below(3)).into();
                Record::Replayed { session, filter }
            }
            4 => Record::Forgotten { session, packet_id: self.prng.below(20) as u16 },
            5 | 6 => {
                let (message, way) = self.delivery_of(session)?;
                let delivery = DeliveryName { session, number: way.number_of(message) };
                if done.contains(&delivery) || self.ended.contains(&delivery) {
                    return None;
                }
                if way.qos == 1 || way.is_released {
                    done.push(delivery);
                    return None;
                }
                Record::Released { session, delivery: delivery.number }
            }
            7 => {
                let (message, way) = self.delivery_of(session)?;
                let delivery = DeliveryName { session, number: way.number_of(message) };
                if !done.contains(&delivery) && !self.ended.contains(&delivery) {
                    done.push(delivery);
                }
                return None;
            }
            8 if self.prng.chance(20) => {
                let deliveries = self.state.sessions.get(&session)?.deliveries();
                let sent = |(id, way): &&StoredCopy| (way.number_of(*id), way.packet_id);
                let deliveries = deliveries.iter().step_by(2).map(sent).collect();
                Record::Sent { session, deliveries }
            }
            8 => return self.hand_over(worker, session, done),
            _ => return Some(self.publish(worker)),
        };
        Some(Entry::Record(Box::new(record)))
    }

    fn sessions_of(&self, worker: usize) -> Vec<SessionNumber> {
        let mut sessions: Vec<SessionNumber> = self.state.sessions.keys().copied().collect();
        sessions.retain(|session| home(session.0) == worker && !self.over.contains(session));
        sessions.sort_unstable();
        sessions
    }

    fn session_of(&mut self, worker: usize) -> Option<SessionNumber> {
        let sessions = self.sessions_of(worker);
        let place = self.prng.below(sessions.len().max(1) as u64) as usize;
        sessions.get(place).copied()
    }

    fn delivery_of(&mut self, session: SessionNumber) -> Option<StoredCopy> {
        let deliveries = self.state.sessions.get(&session)?.deliveries();
        let place = self.prng.below(deliveries.len().max(1) as u64) as usize;
        deliveries.get(place).copied().cloned()
    }

    /// What the session is owed: a message that it gets may overtake that.
    fn owed_to(&self, session: SessionNumber) -> Vec<u32> {
        let subscriptions = self.state.sessions[&session].subscriptions.values();
        subscriptions.filter_map(|s| Some(s.owed.as_ref()?.number)).collect()
    }

    fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn new_session(&mut self, worker: usize) -> Option<Entry> {
        if self.state.sessions.len() >= SESSIONS_MAX {
            return None;
        }
        let mut number = self.number();
        while home(number) != worker {
            number = self.number();
        }
        let attributes = self.attributes(SessionNumber(number));
        Some(Entry::Record(Box::new(Record::Session(attributes))))
    }

    fn attributes(&mut self, session: SessionNumber) -> Attributes<'static> {
        let will = self.prng.chance(30).then(|| StoredWill {
            topic: "gone".into(),
            payload: vec![7; self.prng.below(900) as usize].into(),
            properties: vec![].into(),
            qos: 1,
            retain: true,
            delay_s: 5,
            message_expiry_s: Some(60),
        });
        let user = self.prng.chance(50).then(|| "alice".into());
        Attributes {
            session,
            client_id: format!("client {session}").into(),
            owner: Owner { user, client_id: None, is_superuser: false, listener: ListenerId(1) },
            expiry_s: self.prng.below(1 << 32) as u32,
            is_connected: self.prng.chance(50),
            ends_ms: Some(self.prng.below(1 << 40)),
            will,
            will_due_ms: None,
        }
    }

    fn message(&mut self, worker: usize) -> Arc<Message> {
        let may_clear = (0..WORKERS).all(|other| other == worker || !self.retaining[other]);
        let topic = format!("t/{}", self.prng.below(TOPICS));
        let length = match self.prng.below(10) {
            0..=2 if may_clear => 0,
            0..=7 => 1 + self.prng.below(100),
            _ => 1 + self.prng.below(1500),
        };
        self.version += 1;
        let id = MessageId(self.number());
        let payload = vec![id.0 as u8; length as usize];
        let (qos, publisher) = (QoS::AtLeastOnce, SessionNumber::NONE);
        let traits = Traits {
            qos,
            retain: true,
            expires: None,
            publisher,
            received: ringmq::base::time::Time::ZERO,
            id,
        };
        let message = Message::new(&topic, &Properties::from_bytes(&[]), &payload, traits, None);
        message.set_version(self.version);
        Arc::new(message)
    }

    /// Sessions of a worker that a group gives a message which it has given to others before.
    fn other_members(&mut self, worker: usize) -> Recipients {
        let mut recipients = Recipients::default();
        for session in self.sessions_of(worker) {
            if self.prng.chance(30) {
                let number = DeliveryNumber(self.number());
                let way = StoredDelivery { number, qos: 1, ..Default::default() };
                recipients.add_other(session, way);
            }
        }
        recipients
    }

    fn recipients(&mut self, worker: usize) -> Recipients {
        let mut recipients = Recipients::default();
        for session in self.sessions_of(worker) {
            let qos = 1 + self.prng.below(2) as u8;
            let packet_id = if qos == 2 { 1 + self.prng.below(50) as u16 } else { 0 };
            let retain = self.prng.chance(10);
            match self.prng.below(4) {
                0 | 1 => recipients.add(session, Way { qos, retain, packet_id }),
                2 => {
                    // As an ordinary subscriber, as a member of groups, or both.
                    for copy in 0..1 + self.prng.below(3) {
                        let number = DeliveryNumber(if copy == 0 { 0 } else { self.number() });
                        let share = (copy > 0).then(|| "$share/g/t/#".into());
                        let way = StoredDelivery { qos, retain, packet_id, ..Default::default() };
                        let subscription_ids = vec![1, 300];
                        let overtakes = self.owed_to(session);
                        let way = StoredDelivery { number, subscription_ids, share, ..way };
                        recipients.add_other(session, StoredDelivery { overtakes, ..way });
                    }
                }
                _ => {}
            }
        }
        recipients
    }

    /// A new message, perhaps with parts of one or two other workers.
    fn publish(&mut self, worker: usize) -> Entry {
        let message = self.message(worker);
        let is_retained = self.prng.chance(40);
        self.retaining[worker] |= is_retained;
        let received = self.session_of(worker).filter(|_| self.prng.chance(20));
        let received = received.map(|session| (session, self.prng.below(20) as u16));
        let publish = PublishEntry {
            is_new: message.note_stored(self.rewrite),
            record: message.id.into(),
            message,
            retained: is_retained.then_some(self.version),
            received,
            taken: None,
            recipients: self.recipients(worker),
            parts: 0,
        };
        self.with_parts(worker, publish)
    }

    /// A member's share of a message goes to others, under another name than the message's.
    fn hand_over(
        &mut self,
        worker: usize,
        session: SessionNumber,
        done: &[DeliveryName],
    ) -> Option<Entry> {
        let (message, way) = self.delivery_of(session)?;
        let delivery = DeliveryName { session, number: way.number_of(message) };
        // A delivery ends once.
        if done.contains(&delivery) || !self.ended.insert(delivery) {
            return None;
        }
        let message = self.state.messages.get(&message)?.clone();
        let publish = PublishEntry {
            // It may be in a session by then that has been written anew without it.
            is_new: true,
            record: RecordName(self.number()),
            message,
            retained: None,
            received: None,
            taken: Some(delivery),
            recipients: Recipients::default(),
            parts: 0,
        };
        let mut publish = publish;
        if self.prng.chance(40) {
            // The member gets it back.
            let number = DeliveryNumber(self.number());
            let way = StoredDelivery { number, qos: 1, ..Default::default() };
            publish.recipients.add_other(session, way);
        }
        Some(self.with_parts(worker, publish))
    }

    fn with_parts(&mut self, worker: usize, mut publish: PublishEntry) -> Entry {
        let others = [(worker + 1) % WORKERS, (worker + 2) % WORKERS];
        let (record, count) = (publish.record, self.prng.below(3) as usize);
        // The second may be asked for by the first.
        let more = u32::from(count == 2 && self.prng.chance(50));
        publish.parts = count as u32 - more;
        for (place, &other) in others[..count].iter().enumerate() {
            let mut recipients = Recipients::default();
            if publish.taken.is_some() {
                recipients = self.other_members(other);
            } else if self.prng.chance(70) {
                recipients = self.recipients(other);
            }
            if publish.taken.is_none()
                && self.prng.chance(20)
                && let Some(session) = self.session_of(other)
            {
                recipients = Recipients::default();
                recipients.add(session, Way { qos: 1, retain: false, packet_id: 0 });
            }
            let more = if place == 0 { more } else { 0 };
            let number = PartNumber(record.0);
            let part = Part { number, record, recipients, retained: None, more };
            if self.prng.chance(40) {
                self.gatherer.take(WorkerId::at(other), Submission::Parts(vec![part]));
            } else {
                self.parts.push((other, part));
            }
        }
        Entry::Publish(Box::new(publish))
    }
}

const fn home(number: u64) -> usize {
    (number % WORKERS as u64) as usize
}

/// The records of a whole commit, taken apart in the simplest way.
pub fn payloads(mut commit: &[u8]) -> Payloads {
    let mut payloads = Vec::new();
    commit = &commit[20..];
    while !commit.is_empty() {
        let length = u32::from_le_bytes(commit[..4].try_into().unwrap()) as usize;
        payloads.push(commit[8..8 + length].to_vec());
        commit = &commit[8 + length..];
    }
    payloads
}

pub fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

fn owned(bytes: &[u8]) -> Record<'static> {
    Record::decode(Box::leak(bytes.to_vec().into())).unwrap()
}

/// A state in one form: two are equal when these are.
pub fn canonical(state: &State) -> Vec<u8> {
    state.records().map(|record| encoded(&record)).collect::<Vec<_>>().concat()
}

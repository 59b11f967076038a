//! Batches and parts, which workers hand to the journal.

use super::message::Message;
use super::record::{Body, Numbers, Published, Record, SessionGroup, StoredDelivery};
use crate::base::ids::{DeliveryName, DeliveryNumber, PartNumber, RecordName, SessionNumber};
use crate::base::time::Time;
use std::borrow::Cow;
use std::sync::Arc;

/// The journal's time at the start of the process's clock, in milliseconds. A new journal begins
/// with the wall clock's time; from then on only time that has passed counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The journal's time of a point, in milliseconds.
    #[must_use]
    pub(crate) const fn milliseconds(self, time: Time) -> u64 {
        self.0 + time.nanoseconds() / 1_000_000
    }

    /// The point that a journal's time is; the start of the clock when it is before.
    #[must_use]
    pub(crate) const fn time(self, milliseconds: u64) -> Time {
        let nanoseconds = milliseconds.saturating_sub(self.0).saturating_mul(1_000_000);
        Time::from_nanoseconds(nanoseconds)
    }
}

/// One worker's changes since its last batch, in order: the journal writes all of them or none.
#[derive(Debug, Default)]
pub struct Batch {
    /// The changes.
    pub entries: Vec<Entry>,
    /// Deliveries that are over. They belong behind the entries.
    pub done: Vec<DeliveryName>,
    /// The worker has written all that lives since the rewrite of this number began.
    pub finishes_rewrite: Option<u32>,
}

/// One change.
#[derive(Debug)]
pub enum Entry {
    /// A change that stands in place.
    Record(Box<Record<'static>>),
    /// A message that goes somewhere.
    Publish(Box<PublishEntry>),
}

/// A publish as its worker hands it to the journal, which joins the parts of other workers to it. A
/// [`Published`] borrows its contents from the entry, once all parts are there.
#[derive(Debug)]
pub struct PublishEntry {
    /// The message, which has an id.
    pub message: Arc<Message>,
    /// The message's bytes are still to be written.
    pub is_new: bool,
    /// As [`Published::retained`]; a part may bring it.
    pub retained: Option<u64>,
    /// As [`Published::received`].
    pub received: Option<(SessionNumber, u16)>,
    /// As [`Published::taken`].
    pub taken: Option<DeliveryName>,
    /// The sessions of this worker that get the message.
    pub recipients: Recipients,
    /// Names this record to the other workers.
    pub record: RecordName,
    /// The number of other workers that have to say which of their sessions get the message.
    pub parts: u32,
}

/// A worker's part of another worker's record: the sessions here that get the message.
#[derive(Debug)]
pub struct Part {
    /// Names the part to the worker that hands it over.
    pub number: PartNumber,
    /// Names the record that the part belongs to.
    pub record: RecordName,
    /// The sessions of this worker that get the message.
    pub recipients: Recipients,
    /// The message's version, where the message is retained here.
    pub retained: Option<u64>,
    /// The number of further workers that have to say which of their sessions get the message.
    pub more: u32,
}

/// The sessions that get a message, and how.
#[derive(Debug, Default)]
pub struct Recipients {
    groups: Vec<(Way, Vec<SessionNumber>)>,
    others: Vec<(SessionNumber, StoredDelivery<'static>)>,
    /// Memory for the next group.
    spare: Vec<SessionNumber>,
}

/// The way in which the sessions of a group get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// 1 or 2.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// As [`StoredDelivery::packet_id`].
    pub packet_id: u16,
}

impl Recipients {
    /// One more session.
    #[inline]
    pub fn add(&mut self, session: SessionNumber, way: Way) {
        match self.groups.last_mut() {
            Some((known, sessions)) if *known == way => sessions.push(session),
            _ => {
                let mut sessions = std::mem::take(&mut self.spare);
                sessions.push(session);
                self.groups.push((way, sessions));
            }
        }
    }

    /// One more session, that gets it in a way of its own.
    pub fn add_other(&mut self, session: SessionNumber, delivery: StoredDelivery<'static>) {
        self.others.push((session, delivery));
    }

    /// True when no session gets the message.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.others.is_empty()
    }

    /// Forgets all sessions, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        if let Some((_, sessions)) = self.groups.pop() {
            self.spare = sessions;
            self.spare.clear();
        }
        self.groups.clear();
        self.others.clear();
    }

    /// Leaves out each of the sorted `sessions` whose delivery the message's own id names, and each
    /// delivery with one of the `numbers`.
    pub fn leave_out(&mut self, sessions: &[SessionNumber], numbers: &[DeliveryNumber]) {
        let stays = |session: &SessionNumber| sessions.binary_search(session).is_err();
        for (_, group) in &mut self.groups {
            group.retain(stays);
        }
        self.groups.retain(|(_, group)| !group.is_empty());
        self.leave_out_others(|session, delivery| match delivery.number {
            DeliveryNumber::NONE => !stays(&session),
            number => numbers.contains(&number),
        });
    }

    /// Leaves out all sessions.
    pub(crate) fn leave_out_all(&mut self) {
        self.groups.clear();
        self.leave_out_others(|_, _| true);
    }

    /// Leaves deliveries out that are over, but keeps those that overtake others.
    fn leave_out_others(&mut self, is_over: impl Fn(SessionNumber, &StoredDelivery<'_>) -> bool) {
        for (session, delivery) in &mut self.others {
            if is_over(*session, delivery) {
                delivery.qos = 0;
            }
        }
        self.others.retain(|(_, delivery)| delivery.qos > 0 || !delivery.overtakes.is_empty());
    }

    /// Takes in the recipients of another worker.
    pub(crate) fn append(&mut self, mut more: Self) {
        self.groups.append(&mut more.groups);
        self.others.append(&mut more.others);
    }
}

impl PublishEntry {
    /// True when there is nothing to remember.
    #[must_use]
    pub(crate) const fn is_void(&self) -> bool {
        let is_noted = self.retained.is_some() || self.received.is_some() || self.taken.is_some();
        !is_noted && self.recipients.is_empty()
    }

    /// True when the message's bytes are to be written; otherwise the note that they are is taken
    /// back.
    #[must_use]
    pub(crate) fn settle_body(&self) -> bool {
        let goes = self.retained.is_some() || !self.recipients.is_empty();
        self.is_new && (goes || !self.message.forget_stored())
    }

    /// The record of the publish.
    #[must_use]
    pub fn record(&self, epoch: Epoch, has_body: bool) -> Record<'_> {
        let Recipients { groups, others, .. } = &self.recipients;
        let groups = groups.iter().map(|(way, sessions)| SessionGroup {
            qos: way.qos,
            retain: way.retain,
            packet_id: way.packet_id,
            sessions: Numbers(Cow::Borrowed(sessions)),
        });
        Record::Published(Published {
            message: self.message.id,
            body: has_body.then(|| Body::of(&self.message, epoch)),
            retained: self.retained,
            received: self.received,
            taken: self.taken,
            groups: groups.collect(),
            others: others.clone(),
        })
    }
}

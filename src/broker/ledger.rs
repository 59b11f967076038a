//! The changes for the journal, until they are handed over.
//!
//! ```text
//! deliver, handle_* ──▶ own entries ──▶ batch, one at a time ──▶ journal ──▶ committed
//!                       PUBACK of a message still here takes its recipient out again
//! ```
//!
//! While a batch is with the journal the next one gathers here. A message that all its recipients
//! acknowledge meanwhile needs no record. Where that may still happen the batch lingers a moment.

use super::batch_list::{Acknowledger, Awaited, BatchList, By};
use super::deferred::ResponseId;
use super::delivery::Delivery;
use super::record_ref::{RecordPlace, RecordRef};
use super::will::{Author, WillMessage};
use crate::base::ids::{DeliveryName, LinkId, PartNumber, RecordName, SessionId, SessionNumber};
use crate::base::maps::HashMap;
use crate::base::time::Time;
use crate::limits::{JOURNAL_LAZY, JOURNAL_WAITING_BYTES_MAX};
use crate::mqtt::QoS;
use crate::store::Message;
use crate::store::record::{Record, StoredDelivery};
use crate::store::{Batch, Entry, Epoch, Part, PublishEntry, Recipients, Submission, Way};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The meaning of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The acknowledged change is on disk.
    Commit,
    /// The acknowledged change will be on disk so much later.
    Interval(Duration),
}

/// A delivery that waits for a commit: its session, and its packet identifier.
pub(super) type ParkedDelivery = (SessionId, u16);

/// One worker's ledger for the journal.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) epoch: Epoch,
    promise: Promise,
    /// The memory of needless records, for reuse.
    #[expect(clippy::vec_box, reason = "they are boxed where they go")]
    spare: Vec<Box<Pending>>,
    own: BatchList<Item>,
    parts: BatchList<Pending>,
    done: Vec<DeliveryName>,
    /// Responses, deliveries and wills that wait for the batch that gathers.
    gathering: Waiting,
    /// The batch that the journal has and has not committed.
    outstanding: Option<Outstanding>,
    /// Parts about messages retained here, until they are on disk.
    retained_parts: BTreeSet<PartNumber>,
    /// Changes that wait for a part to be on disk, by its number. A part that still gathers has an
    /// entry only if changes wait for it.
    awaited_parts: HashMap<PartNumber, AwaitedPart>,
    /// The bytes of memory that gather.
    bytes: usize,
    /// The number of the current rewrite: bytes of messages last written before its begin are
    /// written again.
    pub(super) rewrite: u32,
    finishes_rewrite: Option<u32>,
}

/// The number of publishes whose memory is kept.
const SPARE_MAX: usize = 256;

/// A point in the sequence of messages retained on this worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetainedMark {
    own: u64,
    part: PartNumber,
}

/// A batch that the journal has.
#[derive(Debug)]
struct Outstanding {
    /// The number of its first entry.
    first: u64,
    /// The number of changes in the batch.
    changes: usize,
    waiting: Waiting,
}

/// Responses, deliveries and wills that wait for a commit.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Responses.
    pub(super) responses: Vec<(LinkId, ResponseId)>,
    pub(super) parked: Vec<ParkedDelivery>,
    /// Wills whose end is noted.
    pub(super) wills: Vec<(Author, Box<WillMessage>)>,
    /// Messages of [`Ledger::relayed`], each with [`Noted::bytes_with`].
    relayed: Vec<(Arc<Message>, RecordRef)>,
}

/// Changes that wait until a part is on disk, so that they stand behind it in the journal.
#[derive(Debug, Default)]
struct AwaitedPart {
    parked: Vec<ParkedDelivery>,
    /// Ended deliveries, as in [`Ledger::done`].
    done: Vec<DeliveryName>,
    /// Released deliveries, as in [`Record::Released`].
    released: Vec<DeliveryName>,
}

#[derive(Debug)]
enum Item {
    Record(Box<Record<'static>>),
    Publish(Box<Pending>),
}

/// A publish whose record is open: it gathers recipients, and loses those that acknowledge before
/// the hand-over. The remainder becomes a [`PublishEntry`], which may go to another thread.
#[derive(Debug, Default)]
struct Pending {
    /// The record's name for the other workers.
    record: RecordName,
    message: Option<Arc<Message>>,
    noted: Noted,
    recipients: Recipients,
    recipient_count: u32,
    /// The number of other workers that have to add their recipients.
    parts: u32,
    /// Whether a recipient will certainly not acknowledge the message soon.
    is_certain: bool,
    parked: Vec<ParkedDelivery>,
}

/// The record of a message that is being routed, or this worker's part of one.
#[derive(Debug)]
pub(super) struct Recording {
    place: RecordRef,
    pending: Box<Pending>,
}

/// The bytes of memory that a gathering message takes beside its own.
const PENDING_BYTES: usize = size_of::<Pending>() + size_of::<Item>() + size_of::<Awaited>();

/// The facts of a message that its record holds besides the recipients.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Noted {
    /// The version under which the message is retained; another worker's part may bring it.
    pub(super) retained: Option<u64>,
    /// Whether the message is retained, here or by another worker.
    pub(super) is_retained: bool,
    /// The publisher's session, and the packet identifier of its QoS 2 PUBLISH.
    pub(super) received: Option<(SessionNumber, u16)>,
    /// The delivery that ends because a member of its group gets the message instead.
    pub(super) taken: Option<DeliveryName>,
    /// Whether no client waits for the record.
    pub(super) is_lazy: bool,
    /// Another worker's record with the message's bytes, which may not be on disk: without that
    /// record the message does not exist.
    pub(super) bytes_with: RecordRef,
}

impl Noted {
    const fn any(&self) -> bool {
        self.is_retained || self.received.is_some() || self.taken.is_some()
    }
}

/// The fate of a delivery to a stored session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The delivery was dropped.
    Dropped,
    /// The delivery waits for the connection or the window of this session.
    Queued(SessionId),
    /// The delivery was sent.
    Sent,
    /// The delivery has this packet identifier, and is sent when the disk has both.
    Parked(SessionId, u16),
    /// The delivery was sent under this packet identifier, and is sent again only under the same.
    SentAs(u16),
}

/// The number of changes that are not known to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// Changes that are not handed over yet.
    pub gathering: usize,
    /// Changes that the journal has, and may have written meanwhile.
    pub handed_over: usize,
}

impl Ledger {
    pub(super) fn new(epoch: Epoch, promise: Promise) -> Self {
        Self {
            epoch,
            promise,
            spare: Vec::new(),
            own: BatchList::new(),
            parts: BatchList::new(),
            done: Vec::new(),
            gathering: Waiting::default(),
            outstanding: None,
            retained_parts: BTreeSet::new(),
            awaited_parts: HashMap::default(),
            bytes: 0,
            rewrite: 1,
            finishes_rewrite: None,
        }
    }

    /// True when responses wait for the disk.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.promise == Promise::Commit
    }

    /// A mark, which differs from an earlier one when a change was noted meanwhile.
    pub(super) fn mark(&self) -> u64 {
        self.own.next()
    }

    /// Notes a change for which a client may wait.
    pub(super) fn note(&mut self, now: Time, record: Record<'static>) {
        self.push_record(record);
        let due = self.promised(now);
        self.own.hurry(due);
    }

    /// Notes a change for which no client waits.
    pub(super) fn note_lazily(&mut self, now: Time, record: Record<'static>) {
        self.push_record(record);
        self.own.hurry(self.lazily(now));
    }

    fn push_record(&mut self, record: Record<'static>) {
        self.bytes += record.memory() + size_of::<Item>() + size_of::<Awaited>();
        self.own.push(Item::Record(Box::new(record)), Awaited::NOTHING);
    }

    /// Makes a deferred response of the link wait for the last note.
    pub(super) fn wait(&mut self, link: LinkId, response: ResponseId) {
        self.gathering.responses.push((link, response));
    }

    /// Makes a will wait for the last note.
    pub(super) fn wait_to_publish(&mut self, author: Author, will: Box<WillMessage>) {
        self.gathering.wills.push((author, will));
    }

    /// True when wills wait.
    pub(super) fn has_wills(&self) -> bool {
        let outstanding = self.outstanding.as_ref().map(|batch| &batch.waiting);
        outstanding.into_iter().chain([&self.gathering]).any(|waiting| !waiting.wills.is_empty())
    }

    fn promised(&self, now: Time) -> Time {
        match self.promise {
            Promise::Commit => now,
            Promise::Interval(interval) => now.after(interval),
        }
    }

    fn lazily(&self, now: Time) -> Time {
        self.promised(now).max(now.after(JOURNAL_LAZY))
    }

    /// Begins the record of a message that is about to be routed; other workers know it as `name`.
    pub(super) fn begin(&mut self, name: RecordName) -> Recording {
        self.recording(RecordRef::own(self.own.next()), name)
    }

    /// Begins this worker's part of the record that another worker has under `name`.
    pub(super) fn begin_part(&mut self, name: RecordName) -> Recording {
        self.recording(RecordRef::part(PartNumber(self.parts.next())), name)
    }

    fn recording(&mut self, place: RecordRef, name: RecordName) -> Recording {
        let mut pending = self.spare.pop().unwrap_or_default();
        pending.record = name;
        Recording { place, pending }
    }

    /// Ends the record of a routed message; true when its acknowledgement has to wait. `message`
    /// makes the message.
    pub(super) fn end(
        &mut self,
        recording: Recording,
        now: Time,
        noted: Noted,
        message: impl FnOnce() -> Arc<Message>,
    ) -> bool {
        let Recording { place, pending: mut open } = recording;
        open.noted = noted;
        if place.is_part() {
            debug_assert_eq!(place, RecordRef::part(PartNumber(self.parts.next())));
            open.message = Some(message());
            self.end_part(now, *open);
            return false;
        }
        debug_assert_eq!(place, RecordRef::own(self.own.next()));
        if open.recipient_count == 0 && open.parts == 0 && !noted.any() {
            self.recycle(open);
            return false;
        }
        let message = message();
        self.bytes += message.bytes().len() + PENDING_BYTES;
        open.message = Some(message);
        self.gathering.parked.append(&mut open.parked);
        let lingers = open.may_vanish() && self.waits_for_disk();
        let awaited = open.awaited();
        self.own.push(Item::Publish(open), awaited);
        match (lingers, noted.is_lazy) {
            (true, _) => self.own.hope(now),
            (false, true) => self.own.hurry(self.lazily(now)),
            (false, false) => self.own.hurry(self.promised(now)),
        }
        self.waits_for_disk()
    }

    fn end_part(&mut self, now: Time, open: Pending) {
        let lingers = open.may_vanish() && open.recipient_count > 0;
        let awaited = open.awaited();
        if open.noted.is_retained {
            self.retained_parts.insert(PartNumber(self.parts.next()));
        }
        self.parts.push(open, awaited);
        if lingers {
            self.parts.hope(now);
        } else {
            self.parts.hurry(now);
        }
    }

    /// Notes that a session's client has acknowledged a message.
    #[inline]
    pub(super) fn acknowledge(&mut self, now: Time, session: SessionNumber, delivery: &Delivery) {
        let by = match delivery.own_number() {
            None => Acknowledger::Session(session),
            Some(number) => Acknowledger::Delivery(number),
        };
        let is_gathering = match delivery.record.place() {
            RecordPlace::Part(PartNumber(part)) => self.parts.acknowledge(now, part, by),
            RecordPlace::Own(number) => self.own.acknowledge(now, number, by),
            _ => false,
        };
        if !is_gathering {
            self.done_after(now, delivery.record, delivery.name(session));
        }
    }

    /// Notes an ended delivery, as [`Self::done`] does, but behind the record that the delivery
    /// names.
    pub(super) fn done_after(&mut self, now: Time, record: RecordRef, over: DeliveryName) {
        match self.awaited_part(record) {
            Some(part) => part.done.push(over),
            None => self.done(now, over),
        }
    }

    /// Notes a PUBREC for a delivery that this record has brought.
    pub(super) fn release(&mut self, now: Time, record: RecordRef, released: DeliveryName) {
        match self.awaited_part(record) {
            Some(part) => part.released.push(released),
            None => self.note_released(now, released),
        }
    }

    /// The part that a delivery names; None when a new record already comes after that part.
    fn awaited_part(&mut self, record: RecordRef) -> Option<&mut AwaitedPart> {
        let RecordPlace::Part(part) = record.place() else { return None };
        if part.0 >= self.parts.first() {
            return Some(self.awaited_parts.entry(part).or_default());
        }
        self.awaited_parts.get_mut(&part)
    }

    fn note_released(&mut self, now: Time, DeliveryName { session, number }: DeliveryName) {
        self.note(now, Record::Released { session, delivery: number });
    }

    /// Notes an ended delivery, whose record no longer gathers here.
    pub(super) fn done(&mut self, now: Time, over: DeliveryName) {
        self.done.push(over);
        let due = self.lazily(now);
        self.own.hurry(due);
    }

    /// Notes that the whole state has been written since the rewrite began.
    pub(super) fn finish_rewrite(&mut self, now: Time) {
        self.finishes_rewrite = Some(self.rewrite);
        self.own.hurry(now);
    }

    /// Makes all gathered changes due now.
    pub(super) fn hurry(&mut self, now: Time) {
        self.own.due = self.own.due.map(|_| now);
        self.parts.due = self.parts.due.map(|_| now);
    }

    /// True when no change gathers and the journal has no batch.
    pub(super) fn is_empty(&self) -> bool {
        self.own.due.is_none() && self.parts.due.is_none() && self.outstanding.is_none()
    }

    /// The number of changes that are not known to be written.
    pub(super) fn unwritten(&self) -> Unwritten {
        let gathering = self.own.len() + self.parts.len() + self.done.len();
        let handed_over = self.outstanding.as_ref().map_or(0, |batch| batch.changes);
        Unwritten { gathering, handed_over }
    }

    /// True when so many bytes gather that whoever would add to them has to wait.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes > JOURNAL_WAITING_BYTES_MAX
    }

    /// The number of bytes that gather.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when a new record about a delivery would come after the record that the delivery names.
    pub(super) fn is_before_next(&self, record: RecordRef) -> bool {
        let RecordPlace::Part(part) = record.place() else { return true };
        part.0 < self.parts.first() && !self.awaited_parts.contains_key(&part)
    }

    /// True when the record that a delivery names is on disk, or will be before the gathering
    /// batch.
    pub(super) fn has_handed_over(&self, record: RecordRef) -> bool {
        match record.place() {
            RecordPlace::None => false,
            RecordPlace::Restored | RecordPlace::RestoredUnsent => true,
            RecordPlace::Own(entry) => entry < self.own.first(),
            RecordPlace::Part(_) => self.is_before_next(record),
        }
    }

    /// The number of the first entry that is not on disk.
    fn own_committed(&self) -> u64 {
        self.outstanding.as_ref().map_or(self.own.first(), |batch| batch.first)
    }

    /// True when the record that a delivery names is on disk.
    pub(super) fn is_on_disk(&self, record: RecordRef) -> bool {
        match record.place() {
            RecordPlace::Own(entry) => entry < self.own_committed(),
            _ => self.is_before_next(record),
        }
    }

    /// A mark behind all messages retained here that are not on disk; None when all are.
    pub(super) fn mark_retained(&self) -> Option<RetainedMark> {
        let mark = RetainedMark { own: self.own.next(), part: PartNumber(self.parts.next()) };
        (!self.has_committed(mark)).then_some(mark)
    }

    /// True when all messages retained here before the mark are on disk.
    pub(super) fn has_committed(&self, mark: RetainedMark) -> bool {
        self.own_committed() >= mark.own
            && self.retained_parts.first().is_none_or(|&part| part >= mark.part)
    }

    /// Messages that the outstanding batch gives to other workers' sessions without their bytes,
    /// which an earlier record on disk has.
    pub(super) fn relayed(&self) -> Vec<Arc<Message>> {
        let all = self.outstanding.iter().flat_map(|batch| &batch.waiting.relayed);
        let on_disk = all.filter(|(_, bytes_with)| self.is_before_next(*bytes_with));
        on_disk.map(|(message, _)| message.clone()).collect()
    }

    /// The time at which the next submission is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let own = self.own.due.filter(|_| self.outstanding.is_none());
        own.into_iter().chain(self.parts.due).min()
    }

    /// The next submission, if one is due.
    pub(super) fn next_submission(&mut self, now: Time) -> Option<Submission> {
        if self.parts.due.is_some_and(|due| due <= now) {
            return Some(Submission::Parts(self.take_parts()));
        }
        let is_due = self.own.due.is_some_and(|due| due <= now);
        (is_due && self.outstanding.is_none()).then(|| Submission::Batch(self.take_batch()))
    }

    /// Takes the responses, deliveries and wills that wait for a batch without any needed record,
    /// so they need no commit.
    pub(super) fn take_needless(&mut self, now: Time) -> Option<Waiting> {
        let is_due = self.own.due.is_some_and(|due| due <= now) && self.outstanding.is_none();
        let has_more = !self.done.is_empty() || self.finishes_rewrite.is_some();
        if !is_due || has_more || !self.own.all(Item::is_needless) {
            return None;
        }
        for (item, _) in self.own.take() {
            if let Item::Publish(pending) = item {
                self.recycle(pending);
            }
        }
        self.bytes = 0;
        Some(std::mem::take(&mut self.gathering))
    }

    fn take_batch(&mut self) -> Batch {
        let first = self.own.first();
        let mut waiting = std::mem::take(&mut self.gathering);
        self.bytes = 0;
        let mut acknowledged = self.own.take_acknowledged();
        let mut entries = Vec::new();
        for (place, (item, awaited)) in (0..).zip(self.own.take()) {
            match item {
                Item::Record(record) => entries.push(Entry::Record(record)),
                Item::Publish(pending) if pending.is_needless(awaited) => self.recycle(pending),
                Item::Publish(mut pending) => {
                    pending.leave_out(awaited, &acknowledged.of(place));
                    let bytes_with = pending.noted.bytes_with;
                    let has_bytes = !self.is_before_next(bytes_with);
                    let publish = pending.publish(self.rewrite, has_bytes);
                    if publish.parts > 0 && !publish.is_new {
                        waiting.relayed.push((publish.message.clone(), bytes_with));
                    }
                    entries.push(Entry::Publish(Box::new(publish)));
                }
            }
        }
        let changes = entries.len() + self.done.len();
        self.outstanding = Some(Outstanding { first, changes, waiting });
        Batch {
            entries,
            done: std::mem::take(&mut self.done),
            finishes_rewrite: self.finishes_rewrite.take(),
        }
    }

    fn recycle(&mut self, mut pending: Box<Pending>) {
        if self.spare.len() < SPARE_MAX {
            pending.reset();
            self.spare.push(pending);
        }
    }

    fn take_parts(&mut self) -> Vec<Part> {
        let first = self.parts.first();
        let mut acknowledged = self.parts.take_acknowledged();
        let mut parts = Vec::new();
        for (place, (mut pending, awaited)) in (0..).zip(self.parts.take()) {
            let number = PartNumber(first + u64::from(place));
            pending.leave_out(awaited, &acknowledged.of(place));
            if !pending.recipients.is_empty() {
                let parked = std::mem::take(&mut pending.parked);
                self.awaited_parts.entry(number).or_default().parked = parked;
            }
            let Pending { record, recipients, parts: more, noted, .. } = pending;
            parts.push(Part { number, record, recipients, retained: noted.retained, more });
        }
        parts
    }

    /// Takes the responses, deliveries and wills that waited for the committed batch, and for these
    /// parts of other workers' records.
    pub(super) fn committed(
        &mut self,
        now: Time,
        has_batch: bool,
        parts: &[PartNumber],
    ) -> Waiting {
        let mut waiting = match has_batch {
            true => self.outstanding.take().map(|batch| batch.waiting).unwrap_or_default(),
            false => Waiting::default(),
        };
        for part in parts {
            self.retained_parts.remove(part);
            let Some(part) = self.awaited_parts.remove(part) else { continue };
            waiting.parked.extend(part.parked);
            part.released.into_iter().for_each(|released| self.note_released(now, released));
            part.done.into_iter().for_each(|over| self.done(now, over));
        }
        waiting
    }
}

impl Recording {
    /// The place of the record, by which its deliveries name it.
    pub(super) const fn place(&self) -> RecordRef {
        self.place
    }

    /// Counts another worker, which will add its recipients, and returns the record's name for that
    /// worker.
    pub(super) const fn expect_part(&mut self) -> RecordName {
        self.pending.parts += 1;
        self.pending.record
    }

    /// Adds a session as a recipient of the message.
    #[inline]
    pub(super) fn add(&mut self, session: SessionNumber, way: Way, fate: Fate) {
        if let Some(packet_id) = self.count_recipient(fate) {
            self.pending.recipients.add(session, Way { packet_id, ..way });
        }
    }

    /// Adds a session that gets the message in a way of its own.
    pub(super) fn add_other(
        &mut self,
        session: SessionNumber,
        other: StoredDelivery<'static>,
        fate: Fate,
    ) {
        if let Some(packet_id) = self.count_recipient(fate) {
            // A QoS 1 message may go under another identifier the next time.
            let packet_id = if other.qos == 2 { packet_id } else { 0 };
            self.pending.recipients.add_other(session, StoredDelivery { packet_id, ..other });
        }
    }

    /// Counts a recipient with this fate, unless the message was dropped, and returns the packet
    /// identifier for the record.
    #[inline]
    fn count_recipient(&mut self, fate: Fate) -> Option<u16> {
        let packet_id = match fate {
            Fate::Dropped => return None,
            Fate::Queued(_) | Fate::Sent => 0,
            Fate::Parked(_, packet_id) | Fate::SentAs(packet_id) => packet_id,
        };
        let pending = &mut *self.pending;
        pending.recipient_count += 1;
        pending.is_certain |= fate != Fate::Sent;
        match fate {
            Fate::Parked(id, packet_id) => pending.parked.push((id, packet_id)),
            // A queued message may not get a packet identifier before the record is on disk.
            Fate::Queued(id) if self.place.is_part() => pending.parked.push((id, 0)),
            _ => {}
        }
        Some(packet_id)
    }
}

impl Item {
    const fn is_needless(&self, awaited: Awaited) -> bool {
        match self {
            Self::Record(_) => false,
            Self::Publish(pending) => pending.is_needless(awaited),
        }
    }
}

impl Pending {
    /// Empties the record and keeps its memory.
    fn reset(&mut self) {
        let mut recipients = std::mem::take(&mut self.recipients);
        recipients.clear();
        *self = Self { recipients, ..Self::default() };
    }

    /// True when the record is needless once all recipients have acknowledged the message.
    const fn may_vanish(&self) -> bool {
        !self.is_certain && !self.noted.any()
    }

    const fn awaited(&self) -> Awaited {
        Awaited::new(self.recipient_count, self.may_vanish())
    }

    const fn is_needless(&self, awaited: Awaited) -> bool {
        awaited.is_over() && self.parts == 0
    }

    /// Leaves out the recipients that have acknowledged the message: they need no record.
    fn leave_out(&mut self, awaited: Awaited, by: &By<'_>) {
        if awaited.is_from_nobody() {
            self.recipients.leave_out_all();
        } else if !by.is_empty() {
            self.recipients.leave_out(by.sessions, by.deliveries);
        }
    }

    /// Makes the entry. `has_bytes`: another record will have the message's bytes, or the message
    /// will not exist.
    fn publish(self, rewrite: u32, has_bytes: bool) -> PublishEntry {
        let message = self.message.expect("it is routed");
        let needs_bytes = self.noted.is_retained || !self.recipients.is_empty() || self.parts > 0;
        let is_new = needs_bytes && !has_bytes && message.note_stored(rewrite);
        // The first record of a message has its bytes, whoever else is about to write them.
        let is_first = needs_bytes && self.record == message.id.into();
        PublishEntry {
            is_new: is_new || is_first,
            message,
            retained: self.noted.retained,
            received: self.noted.received,
            taken: self.noted.taken,
            recipients: self.recipients,
            record: self.record,
            parts: self.parts,
        }
    }
}

/// Counts another worker that is to deliver a message as well, and returns the name for its part, 0
/// for none.
pub(super) fn expect_part(recording: &mut Option<Recording>, qos: QoS) -> RecordName {
    let recording = recording.as_mut().filter(|_| qos > QoS::AtMostOnce);
    recording.map_or(RecordName::NONE, Recording::expect_part)
}

/// A delivery in the journal's form.
pub(super) fn stored(delivery: &Delivery) -> StoredDelivery<'static> {
    StoredDelivery {
        number: delivery.own_number().unwrap_or_default(),
        qos: delivery.qos as u8,
        retain: delivery.retain,
        subscription_ids: delivery.subscription_ids().to_vec(),
        share: delivery.share().map(|share| share.to_owned().into()),
        ..StoredDelivery::default()
    }
}

/// The way of a delivery that has no packet identifier yet.
pub(super) const fn way(qos: QoS, retain: bool) -> Way {
    Way { qos: qos as u8, retain, packet_id: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{DeliveryNumber, MessageId};
    use crate::store::Traits;

    use crate::mqtt::Properties;

    const NOW: Time = Time::ZERO;
    /// The session to which another worker's record brings the message.
    const MEMBER: SessionNumber = SessionNumber(7);

    /// Makes a ledger with two records, and returns the number of the first. The first is a part of
    /// another worker's record, which has the message's bytes. By the second the message goes on to
    /// another worker's session before that part is on disk.
    fn relayed() -> (Ledger, PartNumber) {
        let traits = Traits {
            qos: QoS::AtLeastOnce,
            retain: false,
            expires: None,
            publisher: SessionNumber::NONE,
            received: Time::ZERO,
            id: MessageId(1),
        };
        let message = Message::new("t", &Properties::from_bytes(&[]), b"", traits, None);
        let message = Arc::new(message);
        message.note_stored(1);
        let mut ledger = Ledger::new(Epoch::default(), Promise::Commit);
        let mut recording = ledger.begin_part(RecordName(1));
        let bytes_with = recording.place();
        let queued = Fate::Queued(SessionId::new(0, 0));
        recording.add(MEMBER, way(QoS::AtLeastOnce, false), queued);
        ledger.end(recording, NOW, Noted::default(), || message.clone());
        let Some(Submission::Parts(parts)) = ledger.next_submission(NOW) else { panic!("a part") };
        let mut recording = ledger.begin(RecordName(2));
        recording.expect_part();
        let noted = Noted {
            taken: Some(DeliveryName { session: MEMBER, number: DeliveryNumber(1) }),
            bytes_with,
            ..Noted::default()
        };
        ledger.end(recording, NOW, noted, || message.clone());
        (ledger, parts[0].number)
    }

    /// Hands over the record by which the message goes on.
    fn hand_over(ledger: &mut Ledger) -> Box<PublishEntry> {
        let Some(Submission::Batch(batch)) = ledger.next_submission(NOW) else { panic!("a batch") };
        let [Entry::Publish(publish)] = <[Entry; 1]>::try_from(batch.entries).unwrap() else {
            panic!("a publish")
        };
        publish
    }

    #[test]
    fn bytes_that_come_with_a_record_that_is_not_on_disk_are_left_to_it() {
        let (mut ledger, _) = relayed();
        ledger.rewrite = 2;
        assert!(!hand_over(&mut ledger).is_new);
        assert!(ledger.relayed().is_empty());
    }

    #[test]
    fn a_rewrite_that_begins_when_that_record_is_on_disk_takes_no_bytes_away() {
        let (mut ledger, part) = relayed();
        ledger.committed(NOW, false, &[part]);
        ledger.rewrite = 2;
        assert!(hand_over(&mut ledger).is_new, "the batch was still gathering");
        let (mut ledger, part) = relayed();
        assert!(!hand_over(&mut ledger).is_new);
        ledger.committed(NOW, false, &[part]);
        assert_eq!(ledger.relayed().len(), 1, "the batch was with the journal");
    }
}

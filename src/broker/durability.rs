//! The shard's side of the journal: its notes, the work that waits for them, and the journal's
//! news.

use super::clients::Clients;
use super::deferred::ResponseId;
use super::delivery::{Delivery, Exchange};
use super::in_flight::Entry;
use super::ledger::{Ledger, Noted, ParkedDelivery, Promise, Recording, Unwritten, Waiting};
use super::publication::Publication;
use super::record_ref::RecordRef;
use super::session::Session;
use super::shard::Shard;
use crate::base::ids::{
    DeliveryName, DeliveryNumber, LinkId, PartNumber, RecordName, SessionId, SessionNumber,
};
use crate::base::time::Time;
use crate::limits::GATHERING_BYTES_MAX;
use crate::mqtt::{
    Ack, AckType, Frame, Packet, PacketType, Publish, QoS, ReasonCode, SubscriptionOptions, Version,
};
use crate::store::record::{Attributes, Owed, Owner, Record, Subscription};
use crate::store::{Epoch, Submission};

/// The topic of the journal's state: whether the journal can be written.
const STATE_TOPIC: &str = "$SYS/broker/journal/state";

impl Shard {
    /// Begins to hand over changes that outlive the process: see [`Self::next_submission`].
    pub fn keep_journal(&mut self, epoch: Epoch, promise: Promise) {
        self.clients.ledger = Some(Box::new(Ledger::new(epoch, promise)));
    }

    /// The next submission to the journal, if one is due. A batch may follow once
    /// [`Input::Committed`](super::Input::Committed) has come for the one before.
    pub fn next_submission(&mut self) -> Option<Submission> {
        let now = self.clients.now;
        self.go_on_with_rewrite();
        let ledger = self.clients.ledger.as_mut()?;
        if let Some(waiting) = ledger.take_needless(now) {
            self.on_committed(waiting);
        }
        let ledger = self.clients.ledger.as_mut()?;
        let submission = ledger.next_submission(now);
        if ledger.bytes() < GATHERING_BYTES_MAX {
            self.clients.note_handed_over();
        }
        submission
    }

    /// Makes all gathered changes due now.
    pub fn hurry_journal(&mut self) {
        let now = self.clients.now;
        if let Some(ledger) = &mut self.clients.ledger {
            ledger.hurry(now);
        }
    }

    /// True while changes are not handed over, or not known to be committed.
    #[must_use]
    pub(crate) fn owes_journal(&self) -> bool {
        self.clients.ledger.as_ref().is_some_and(|ledger| !ledger.is_empty())
    }

    /// The number of changes that are not known to be written.
    #[must_use]
    pub(crate) fn unwritten(&self) -> Unwritten {
        self.clients.ledger.as_ref().map(|ledger| ledger.unwritten()).unwrap_or_default()
    }

    pub(super) fn journal_deadline(&self) -> Option<Time> {
        let ledger = self.clients.ledger.as_ref()?;
        let rewrite = self.rewrite.is_some() && self.can_go_on_with_rewrite();
        if rewrite { Some(Time::ZERO) } else { ledger.deadline() }
    }

    pub(super) fn committed(&mut self, has_batch: bool, parts: &[PartNumber]) {
        let now = self.clients.now;
        let Some(ledger) = &mut self.clients.ledger else { return };
        let waiting = ledger.committed(now, has_batch, parts);
        self.on_committed(waiting);
        self.forget_cleared();
        self.resume_publishers();
    }

    /// Sends the packets that have waited for the disk, which has their records now.
    fn on_committed(&mut self, waiting: Waiting) {
        self.publish_wills(waiting.wills);
        for (session, packet_id) in waiting.parked {
            self.unpark((session, packet_id));
        }
        for (link, response) in waiting.responses {
            self.response_ready(link, response);
        }
    }

    fn unpark(&mut self, (session, packet_id): ParkedDelivery) {
        let Some(ledger) = &self.clients.ledger else { return };
        if let Some(known) = self.clients.sessions.get_mut(session) {
            self.clients.outbox.purse().deliver(1);
            known.in_flight.unpark(packet_id, |record| ledger.is_on_disk(record));
            self.pump(session);
        }
    }

    /// True when the link's next packet has to wait, because too many bytes gather already and the
    /// packet would add to them, or because it is a PUBLISH and the will of the client's last
    /// connection may be still to come.
    pub(super) fn waits_for_journal(&mut self, id: LinkId, frame: &Frame<'_>) -> bool {
        let Some(ledger) = &self.clients.ledger else { return false };
        let (is_full, has_wills) = (ledger.is_full(), ledger.has_wills());
        if !is_full && !has_wills {
            return false;
        }
        let is_publish = frame.kind() == Some(PacketType::Publish);
        let Some(link) = self.clients.link(id) else { return false };
        let is_first = has_wills && is_publish && link.blocked.connack;
        if !(is_first || is_full && self.may_be_noted(id, frame)) {
            return false;
        }
        self.clients.pause(id, |pauses| pauses.journal = true);
        self.journal_waiting.push(id);
        true
    }

    /// True when a packet may tell the journal something. CONNECT is refused rather than kept
    /// waiting, in [`Self::accept`]. Acknowledgements and DISCONNECT do not count: there are no
    /// more of them than of what has waited here.
    fn may_be_noted(&mut self, id: LinkId, frame: &Frame<'_>) -> bool {
        let session = self.clients.link(id).and_then(|link| link.session());
        match frame.kind() {
            // QoS above 0, or retained.
            Some(PacketType::Publish) => frame.first & 0b111 != 0,
            Some(PacketType::Subscribe | PacketType::Unsubscribe) => {
                session.is_some_and(|session| !self.clients.stored(session.slot).is_none())
            }
            _ => false,
        }
    }

    fn resume_publishers(&mut self) {
        if self.clients.ledger.as_ref().is_some_and(|ledger| ledger.is_full()) {
            return;
        }
        for id in std::mem::take(&mut self.journal_waiting) {
            self.clients.resume(id, |pauses| pauses.journal = false);
            self.go_on(id);
        }
    }

    /// Notes that the session has been sent all retained messages for a subscription.
    pub(super) fn note_replayed(&mut self, id: SessionId, filter: &str) {
        let (session, now) = (self.clients.stored(id.slot), self.clients.now);
        if let Some(ledger) = self.clients.ledger.as_mut().filter(|_| !session.is_none()) {
            let filter = filter.to_owned().into();
            ledger.note_lazily(now, Record::Replayed { session, filter });
        }
    }

    /// Notes and publishes whether the journal can be written.
    pub(super) fn tell_journal_state(&mut self, failure: Option<&str>) {
        self.clients.journal_fails = failure.is_some();
        self.publish_own(STATE_TOPIC, failure.unwrap_or("works"));
    }

    /// Publishes what the broker says of itself, on the topic's home.
    pub(super) fn publish_own(&mut self, topic: &str, payload: &str) {
        if self.topic_home(topic) != self.index {
            return;
        }
        let publish = Publish {
            qos: QoS::AtMostOnce,
            retain: true,
            topic,
            payload: payload.as_bytes(),
            ..Publish::default()
        };
        let publication = self.publication(&publish, SessionNumber::NONE, None);
        // The journal does not keep what is said of itself.
        let mut publication = publication.in_memory();
        self.route(&mut publication, &mut None);
        self.store_retained(publication.message().clone());
    }
}

impl Clients {
    /// Begins the record of a message that is about to be routed; None without a name, since then
    /// the journal keeps no part of the message.
    pub(super) fn begin_record(&mut self, name: RecordName) -> Option<Recording> {
        let ledger = self.ledger.as_mut().filter(|_| !name.is_none());
        ledger.map(|ledger| ledger.begin(name))
    }

    /// Begins this worker's part of another worker's record, if the record has a name.
    pub(super) fn begin_part(&mut self, name: RecordName) -> Option<Recording> {
        let ledger = self.ledger.as_mut().filter(|_| !name.is_none());
        ledger.map(|ledger| ledger.begin_part(name))
    }

    /// Ends the record of a routed message; true when the acknowledgement of the message has to
    /// wait for the disk.
    pub(super) fn end_record(
        &mut self,
        recording: Option<Recording>,
        noted: Noted,
        publication: &mut Publication<'_>,
    ) -> bool {
        let now = self.now;
        let Some((ledger, recording)) = self.ledger.as_mut().zip(recording) else { return false };
        ledger.end(recording, now, noted, || publication.message().clone())
    }

    /// A mark in the journal's notes: see [`Self::is_noted_since`].
    pub(super) fn mark(&self) -> u64 {
        self.ledger.as_ref().map_or(0, |ledger| ledger.mark())
    }

    /// True when a change was noted since `mark` and a response has to wait for its commit.
    pub(super) fn is_noted_since(&self, mark: u64) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.waits_for_disk() && ledger.mark() != mark)
    }

    pub(super) fn note(&mut self, record: Record<'static>) {
        let now = self.now;
        if let Some(ledger) = &mut self.ledger {
            ledger.note(now, record);
        }
    }

    /// Notes the present state of a session that outlives the process, or that has a will.
    pub(super) fn note_session(&mut self, id: SessionId) {
        let Some(ledger) = &self.ledger else { return };
        let session = &mut self.sessions[id.slot];
        session.is_recorded |= session.expiry_s > 0 || session.will.is_some();
        if session.is_recorded {
            let attributes = session.attributes(ledger.epoch);
            self.refresh_stored(id);
            self.note(Record::Session(attributes));
        }
    }

    /// Notes that a session is over.
    pub(super) fn note_end(&mut self, session: &Session) {
        if session.is_recorded {
            self.note(Record::Ended { session: session.number });
        }
    }

    pub(super) fn note_subscribed(
        &mut self,
        id: SessionId,
        filter: &str,
        options: SubscriptionOptions,
        subscription_id: u32,
        owed: Option<Owed<'static>>,
    ) {
        let session = self.stored(id.slot);
        if !session.is_none() {
            let filter = filter.to_owned().into();
            let options = options.to_byte(Version::V5);
            let subscription = Subscription { filter, options, subscription_id, owed };
            self.note(Record::Subscribed { session, subscription });
        }
    }

    pub(super) fn note_unsubscribed(&mut self, id: SessionId, filter: &str) {
        let session = self.stored(id.slot);
        if !session.is_none() {
            let filter = filter.to_owned().into();
            self.note(Record::Unsubscribed { session, filter });
        }
    }

    /// True when a new record about a delivery would come after the record that the delivery names.
    pub(super) fn is_before_next(&self, record: RecordRef) -> bool {
        self.ledger.as_ref().is_none_or(|ledger| ledger.is_before_next(record))
    }

    /// Notes that a waiting delivery is dropped.
    pub(super) fn note_done(&mut self, slot: u32, delivery: &Delivery) {
        let (number, now) = (self.stored(slot), self.now);
        if let Some(ledger) =
            self.ledger.as_mut().filter(|_| !number.is_none() && !delivery.record.is_none())
        {
            ledger.acknowledge(now, number, delivery);
        }
    }

    /// Notes that a delivery is taken from the session with this number, before its record is on
    /// disk.
    pub(super) fn note_taken(&mut self, session: SessionNumber, delivery: &Delivery) {
        let now = self.now;
        if let Some(ledger) = &mut self.ledger {
            ledger.done_after(now, delivery.record, delivery.name(session));
        }
    }

    /// Defers a response until `tickets` tickets are done and, if it `waits`, the last note is on
    /// disk.
    pub(super) fn defer_response(
        &mut self,
        id: LinkId,
        tickets: u32,
        waits: bool,
        bytes: Vec<u8>,
    ) -> Option<ResponseId> {
        let response = self.link(id)?.defer(tickets + u32::from(waits), bytes);
        if let Some(ledger) = self.ledger.as_mut().filter(|_| waits) {
            ledger.wait(id, response);
        }
        self.limit_deferred(id);
        Some(response)
    }

    /// Makes a deferred response wait for `tickets` tickets more and, if it `waits`, for the last
    /// note.
    pub(super) fn wait_more(
        &mut self,
        id: LinkId,
        response: ResponseId,
        tickets: u32,
        waits: bool,
    ) {
        let Some(link) = self.link(id) else { return };
        link.deferred_mut().wait_more(response, tickets + u32::from(waits));
        if let Some(ledger) = self.ledger.as_mut().filter(|_| waits) {
            ledger.wait(id, response);
        }
    }

    /// Gives its bytes to a response that was deferred without any.
    pub(super) fn fill_response(&mut self, id: LinkId, response: ResponseId, bytes: Vec<u8>) {
        if let Some(link) = self.link(id) {
            link.deferred_mut().fill(response, bytes);
            self.limit_deferred(id);
        }
    }

    /// Sends the response once all notes since `mark` are on disk.
    pub(super) fn respond_noted(&mut self, id: LinkId, mark: u64, bytes: Vec<u8>) {
        if self.is_noted_since(mark) {
            self.defer_response(id, 0, true, bytes);
        } else {
            self.respond_bytes(id, &bytes);
        }
    }

    /// Goes on with PUBREL in an exchange with the client of `link`, once the disk has the record
    /// that the message is no longer needed.
    // [MQTT-4.3.3-4]
    pub(super) fn release(&mut self, slot: u32, link: LinkId, packet_id: u16) {
        let released = self.sessions[slot].in_flight.release(packet_id);
        let (session, mark, now) = (self.stored(slot), self.mark(), self.now);
        let ledger = self.ledger.as_mut().filter(|_| !session.is_none());
        if let (Some(ledger), Some((record, delivery))) = (ledger, released) {
            ledger.release(now, record, DeliveryName { session, number: delivery });
        }
        let pubrel = Ack::new(AckType::PubRel, packet_id, ReasonCode::Success);
        let bytes = self.encode(link, &Packet::Ack(pubrel));
        self.respond_noted(link, mark, bytes);
    }

    /// Ends an exchange whose message may no longer go to the client of `link`. At QoS 2 a client
    /// that was sent the message keeps the packet identifier until PUBREL, and would take another
    /// message under that identifier for the same one.
    pub(super) fn give_up(&mut self, slot: u32, link: LinkId, packet_id: u16, was_sent: bool) {
        let entry = self.sessions[slot].in_flight.get_mut(packet_id).filter(|_| was_sent);
        let is_begun = |entry: &&mut Entry| {
            entry.delivery().is_some_and(|delivery| delivery.qos == QoS::ExactlyOnce)
        };
        match entry.filter(is_begun) {
            Some(_) => self.release(slot, link, packet_id),
            None => self.complete(slot, packet_id),
        }
    }

    /// Ends the exchange under `packet_id` of the session in `slot`.
    pub(super) fn complete(&mut self, slot: u32, packet_id: u16) {
        let session = &mut self.sessions[slot];
        let Some(entry) = session.in_flight.complete(packet_id) else { return };
        let (number, now) = (self.stored(slot), self.now);
        let Some(ledger) = self.ledger.as_mut().filter(|_| !number.is_none()) else { return };
        match entry.exchange {
            Exchange::Message(delivery) if delivery.record.is_none() => {}
            Exchange::Message(delivery) => ledger.acknowledge(now, number, &delivery),
            Exchange::Released { stored: DeliveryNumber::NONE, .. } => {}
            Exchange::Released { stored, record } => {
                let over = DeliveryName { session: number, number: stored };
                ledger.done_after(now, record, over);
            }
        }
    }
}

impl Session {
    /// The attributes that the journal keeps of the session, without subscriptions and deliveries.
    pub(super) fn attributes(&self, epoch: Epoch) -> Attributes<'static> {
        let milliseconds = |time: Option<Time>| time.map(|time| epoch.milliseconds(time));
        let owner = self.identity.as_ref().map(|identity| Owner::of(identity, self.listener));
        let nobody =
            Owner { user: None, client_id: None, is_superuser: false, listener: self.listener };
        Attributes {
            session: self.number,
            client_id: self.client_id.to_string().into(),
            owner: owner.map_or(nobody, Owner::owned),
            expiry_s: self.expiry_s,
            is_connected: self.link.is_some(),
            ends_ms: milliseconds(self.ends),
            will: self.will.as_ref().map(|will| will.stored()),
            will_due_ms: milliseconds(self.will_due()),
        }
    }
}

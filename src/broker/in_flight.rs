//! The exchanges of one session: the packet identifiers that are taken, their exchanges, and the
//! order in which they were first sent.
//!
//! ```text
//! sent     │ 7 │ 9 │ – │ 4 │ 12 │      in the order of sending; – is over
//!              └ resent up to here
//! waiting  │ 13 │ 5 │                  have an identifier, and are still to be sent
//! ```
//!
//! An index finds an identifier once there are many, so that the cost of a packet does not grow
//! with the number of exchanges.

use super::delivery::{Delivery, Exchange, topic_hash};
use super::publication::packet_id;
use super::record_ref::RecordRef;
use crate::base::ids::{DeliveryNumber, Serial};
use crate::base::maps::HashMap;
use crate::base::visits::{Planted, is_planted, moved, visit};
use crate::store::Message;
use smallvec::SmallVec;
use std::collections::{BTreeSet, VecDeque};

/// A packet identifier that is taken.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) exchange: Exchange,
    pub(super) packet_id: u16,
    /// Whether the entry waits until its packet identifier is on disk.
    is_parked: bool,
    /// Whether the message is a retained one for a new subscription.
    is_replay: bool,
    /// Whether the journal had the delivery before it became an exchange.
    is_known: bool,
}

// Many are in flight at a time; how fast a turn is depends on how many caches hold.
const _: () = assert!(size_of::<Option<Entry>>() <= 40);

/// The reason for which a delivery waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The deliveries before it.
    Turn,
    /// The disk: [`InFlight::unpark`] ends it.
    Disk,
    /// The disk, which has the delivery and lacks only the packet identifier.
    DiskForId,
    /// The disk; the message is a retained one for a new subscription, which a newer one of its
    /// topic may overtake.
    DiskAsReplay,
}

/// The next packet of an exchange.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) packet_id: u16,
    /// The message of a PUBLISH; None for a PUBREL.
    pub(super) delivery: Option<Delivery>,
    pub(super) dup: bool,
    /// The exchange began before: on an earlier connection, or in an earlier process.
    pub(super) is_retry: bool,
}

/// All exchanges of a session.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    sent: List,
    /// The exchanges not sent yet; few sessions have any.
    waiting: Option<Box<Waiting>>,
    /// The number of parked entries in `waiting`.
    parked: u32,
    /// The number of `sent` entries still to be resent: those from the place `resent` on and before
    /// the place `fresh`.
    unsent: u32,
    resent: u64,
    fresh: u64,
    /// The serial of the first publish among the present exchanges, and the greatest serial since.
    since: Serial,
    latest: Serial,
    /// The number of exchanges whose identifier differs from that of their publish.
    odd: u32,
    /// The bytes of the messages of all exchanges, each in full, in [`CHUNK_BYTES`].
    chunks: u32,
    /// The identifiers that are taken; kept only where a search for a free one would be long.
    taken: Option<Box<Bits>>,
}

/// Bytes of messages in flight are counted in pieces of this size, the last one as a whole, so that
/// the count is short.
const CHUNK_BYTES: usize = 64;

/// One bit for each identifier, 64 in a word.
type Bits = [u64; 1024];

/// Entries in order, found by packet identifier.
#[derive(Debug, Default)]
struct List {
    entries: VecDeque<Option<Entry>>,
    /// The place of the first of `entries`; places count up.
    first: u64,
    /// The number of present entries.
    len: u32,
    /// The place of each packet identifier, from [`INDEX_FROM`] entries on.
    places: Option<Box<HashMap<u16, u64>>>,
}

/// The exchanges that are still to be sent.
#[derive(Debug, Default)]
struct Waiting {
    list: List,
    /// The packet identifiers of retained messages for new subscriptions, by [`topic_hash`].
    replays: BTreeSet<(u64, u16)>,
}

/// The number of entries up to which a walk through the list is as fast as a look-up.
const INDEX_FROM: u32 = 32;

impl InFlight {
    /// The number of exchanges whose message has been sent, in this process or an earlier one.
    pub(super) const fn sent_len(&self) -> u32 {
        self.sent.len
    }

    pub(super) fn len(&self) -> usize {
        self.sent.len as usize + self.waiting_len() as usize
    }

    /// The bytes of the messages in flight, though a message may be in flight to others as well.
    pub(super) const fn bytes(&self) -> usize {
        self.chunks as usize * CHUNK_BYTES
    }

    /// The bytes that the exchanges take, besides [`Self::bytes`] and what stands in a session.
    pub(super) fn memory(&self) -> usize {
        let waiting = self.waiting.as_ref();
        let waiting = waiting.map_or(0, |waiting| size_of::<Waiting>() + waiting.list.memory());
        let taken = self.taken.as_ref().map_or(0, |_| size_of::<Bits>());
        self.sent.memory() + waiting + taken
    }

    /// The number of exchanges whose message is still to be sent for the first time.
    pub(super) fn waiting_len(&self) -> u32 {
        self.waiting.as_ref().map_or(0, |waiting| waiting.list.len)
    }

    /// True when a new message may be sent before the waiting entries, since all of them wait for
    /// the disk.
    pub(super) fn is_clear(&self) -> bool {
        self.unsent == 0 && self.waiting_len() == self.parked
    }

    /// True when an entry waits to be sent for the first time.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting_len() > 0
    }

    /// True when an entry can be sent without waiting for the disk.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent > 0 || self.waiting.as_ref().is_some_and(|waiting| waiting.list.is_ready())
    }

    /// The identifier for a delivery of the publish `serial`: the publish's own, unless it is
    /// taken.
    // [MQTT-2.2.1-3], [MQTT-2.2.1-4]
    pub(super) fn packet_id(&mut self, serial: Serial) -> u16 {
        let own = packet_id(serial);
        // One publish may come several times: by several groups.
        let is_new = serial > self.latest && serial.0 - self.since.0 < 65_535;
        let is_certain = self.odd == 0 && is_new;
        if is_certain || self.len() == 0 || !self.is_taken(own) {
            return own;
        }
        self.free_id(own)
    }

    /// The first identifier behind `from` that is not taken. No window takes all of them, so one is
    /// free.
    pub(super) fn free_id(&mut self, from: u16) -> u16 {
        if self.taken.is_none() && self.len() > INDEX_FROM as usize {
            moved(size_of::<Bits>());
            let mut bits = Box::new([0; 1024]);
            self.iter().for_each(|entry| set(&mut bits, entry.packet_id, true));
            self.taken = Some(bits);
        }
        let Some(bits) = &self.taken else {
            let mut ids = (1..=u16::MAX).cycle().skip(usize::from(from)).take(65_535);
            return ids.find(|id| !self.is_taken(*id)).expect("few are taken");
        };
        let start = usize::from(from) / 64;
        let words = (start..1024).chain(0..=start);
        let mut free = words.filter_map(|word| {
            // Eight of them are moved at once.
            visit(usize::from(word % 8 == 0));
            // There is no identifier 0.
            let taken = bits[word] | u64::from(word == 0);
            (taken != u64::MAX).then(|| (word * 64) as u16 + taken.trailing_ones() as u16)
        });
        free.next().expect("not all are taken")
    }

    fn is_taken(&self, packet_id: u16) -> bool {
        match &self.taken {
            Some(bits) => bits[usize::from(packet_id) / 64] >> (packet_id % 64) & 1 == 1,
            None => {
                let waiting = || self.waiting.as_ref().and_then(|w| w.list.place(packet_id));
                self.sent.place(packet_id).or_else(waiting).is_some()
            }
        }
    }

    /// Begins an exchange for a delivery that is sent now, with the identifier of
    /// [`Self::packet_id`].
    pub(super) fn send(&mut self, packet_id: u16, serial: Serial, delivery: Delivery) {
        self.begin(packet_id, serial, chunks(&delivery));
        self.sent.push(Entry::new(packet_id, Exchange::Message(delivery)));
    }

    /// Begins an exchange for a delivery that waits, behind those that wait already.
    pub(super) fn wait(&mut self, packet_id: u16, serial: Serial, delivery: Delivery, wait: Wait) {
        self.begin(packet_id, serial, chunks(&delivery));
        let entry = Entry {
            is_parked: wait != Wait::Turn,
            is_replay: wait == Wait::DiskAsReplay,
            is_known: wait == Wait::DiskForId,
            ..Entry::new(packet_id, Exchange::Message(delivery))
        };
        self.parked += u32::from(entry.is_parked);
        self.waiting.get_or_insert_default().push(entry);
    }

    /// Restores an exchange that an earlier process may have begun.
    pub(super) fn resume(&mut self, packet_id: u16, exchange: Exchange) {
        let entry = Entry::new(packet_id, exchange);
        // Not one that belongs to a publish of this process.
        self.begin(packet_id, Serial(u64::from(packet_id)), entry.chunks());
        self.sent.push(entry);
        self.forget_sent();
    }

    fn begin(&mut self, packet_id: u16, serial: Serial, chunks: u32) {
        self.chunks += chunks;
        if self.len() == 0 {
            self.since = serial;
            self.odd = 0;
        }
        self.latest = self.latest.max(serial);
        self.odd += u32::from(packet_id != self::packet_id(serial));
        if let Some(bits) = &mut self.taken {
            set(bits, packet_id, true);
        }
    }

    /// Makes all sent exchanges to be resent, on a new connection.
    // [MQTT-4.4.0-1]
    pub(super) fn forget_sent(&mut self) {
        self.unsent = self.sent.len;
        self.resent = self.sent.first;
        self.fresh = self.sent.end();
    }

    /// The next packet to send, if the window allows one: first of the exchanges that were sent
    /// before, in their order, then of those that wait for their turn.
    // [MQTT-3.3.4-9], [MQTT-4.6.0-1]
    pub(super) fn next_outgoing(&mut self, window: usize) -> Option<Outgoing> {
        if (self.sent.len - self.unsent) as usize >= window {
            return None;
        }
        self.resent = self.resent.max(self.sent.first);
        while self.unsent > 0 {
            visit(1);
            let place = (self.resent - self.sent.first) as usize;
            self.resent += 1;
            if let Some(entry) = self.sent.entries.get(place).and_then(Option::as_ref) {
                self.unsent -= 1;
                return Some(entry.outgoing(true, true));
            }
        }
        let waiting = self.waiting.as_mut().filter(|waiting| waiting.list.is_ready())?;
        let entry = waiting.take(waiting.list.first)?;
        if waiting.list.len == 0 {
            self.waiting = None;
        }
        let dup = entry.delivery().is_some_and(Delivery::may_have_been_sent);
        let outgoing = entry.outgoing(dup, false);
        self.sent.push(entry);
        Some(outgoing)
    }

    /// Lets the delivery parked under this packet identifier be sent in its turn, if its record
    /// `is_on_disk`. The check is needed since the identifier may belong to another delivery by
    /// now.
    pub(super) fn unpark(&mut self, packet_id: u16, is_on_disk: impl FnOnce(RecordRef) -> bool) {
        let entry = self.waiting.as_mut().and_then(|w| w.list.get_mut(packet_id));
        if let Some(entry) = entry.filter(|entry| entry.is_parked && is_on_disk(entry.record())) {
            entry.is_parked = false;
            self.parked -= 1;
        }
    }

    /// True when a retained message for a new subscription waits.
    pub(super) fn has_waiting_replay(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| !waiting.replays.is_empty())
    }

    /// The identifiers of waiting exchanges whose messages are retained ones of `topic`, and `old`.
    pub(super) fn waiting_replays(
        &self,
        topic: &str,
        old: impl Fn(&Message) -> bool,
    ) -> SmallVec<[u16; 1]> {
        let Some(waiting) = &self.waiting else { return SmallVec::new() };
        if waiting.replays.is_empty() {
            return SmallVec::new();
        }
        let hash = topic_hash(topic);
        let of_topic = waiting.replays.range((hash, 0)..=(hash, u16::MAX));
        let is_old = |packet_id: &u16| {
            let delivery = waiting.list.get(*packet_id).and_then(Entry::delivery);
            delivery.is_some_and(|delivery| old(&delivery.message))
        };
        of_topic.map(|(_, packet_id)| *packet_id).filter(is_old).collect()
    }

    /// Goes on from the message under `packet_id` to the wait for PUBCOMP, and returns what the
    /// journal knows the delivery by.
    pub(super) fn release(&mut self, packet_id: u16) -> Option<(RecordRef, DeliveryNumber)> {
        let entry = self.sent.get_mut(packet_id)?;
        self.chunks -= entry.chunks();
        entry.release()
    }

    /// The last exchange that waits for the disk.
    pub(super) fn last_parked(&self) -> Option<&Entry> {
        if self.parked == 0 {
            return None;
        }
        let waiting = self.waiting.as_ref()?.list.entries.iter().rev().inspect(|_| visit(1));
        waiting.flatten().find(|entry| entry.is_parked)
    }

    /// The entries in flight, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.sent.iter().chain(self.waiting())
    }

    /// The entries that were sent, in order.
    pub(super) fn sent(&self) -> impl Iterator<Item = &Entry> {
        self.sent.iter()
    }

    /// The entries that wait to be sent, in order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.iter().flat_map(|waiting| waiting.list.iter())
    }

    /// The sent exchange under `packet_id`.
    pub(super) fn get_mut(&mut self, packet_id: u16) -> Option<&mut Entry> {
        self.sent.get_mut(packet_id)
    }

    /// Ends the exchange under `packet_id`.
    pub(super) fn complete(&mut self, packet_id: u16) -> Option<Entry> {
        let entry = match self.sent.place(packet_id) {
            Some(place) => {
                self.unsent -= u32::from((self.resent..self.fresh).contains(&place));
                self.sent.remove(place)
            }
            None => self.complete_waiting(packet_id),
        }?;
        self.chunks -= entry.chunks();
        if let Some(bits) = &mut self.taken {
            set(bits, packet_id, false);
        }
        if self.len() == 0 {
            self.taken = None;
        }
        self.sent.shrink();
        if self.sent.has_gaps() {
            self.close_gaps();
        }
        Some(entry)
    }

    fn complete_waiting(&mut self, packet_id: u16) -> Option<Entry> {
        let waiting = self.waiting.as_mut()?;
        let entry = waiting.list.place(packet_id).and_then(|place| waiting.take(place))?;
        self.parked -= u32::from(entry.is_parked);
        if waiting.list.len == 0 {
            self.waiting = None;
        } else if waiting.list.has_gaps() {
            waiting.list.close_gaps();
        }
        Some(entry)
    }

    /// Closes the gaps that ended exchanges have left.
    fn close_gaps(&mut self) {
        let before = |place: u64| self.sent.len_before(place);
        let (resent, fresh) = (before(self.resent), before(self.fresh));
        self.sent.close_gaps();
        (self.resent, self.fresh) = (self.sent.first + resent, self.sent.first + fresh);
    }
}

const fn set(bits: &mut Bits, packet_id: u16, is_taken: bool) {
    let (word, bit) = (packet_id as usize / 64, 1 << (packet_id % 64));
    if is_taken {
        bits[word] |= bit;
    } else {
        bits[word] &= !bit;
    }
}

fn chunks(delivery: &Delivery) -> u32 {
    delivery.message.bytes().len().div_ceil(CHUNK_BYTES) as u32
}

impl Waiting {
    fn push(&mut self, entry: Entry) {
        self.replays.extend(entry.replay_key());
        self.list.push(entry);
    }

    fn take(&mut self, place: u64) -> Option<Entry> {
        let entry = self.list.remove(place)?;
        if let Some(key) = entry.replay_key() {
            self.replays.remove(&key);
        }
        Some(entry)
    }
}

impl List {
    fn memory(&self) -> usize {
        let places = self.places.as_ref();
        let places = places.map_or(0, |places| places.capacity() * 3 / 2 * size_of::<(u16, u64)>());
        self.entries.capacity() * size_of::<Option<Entry>>() + places
    }

    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().inspect(|_| visit(1)).flatten()
    }

    fn push(&mut self, entry: Entry) {
        visit(1);
        let (packet_id, place) = (entry.packet_id, self.end());
        self.entries.push_back(Some(entry));
        self.len += 1;
        if let Some(places) = &mut self.places {
            places.insert(packet_id, place);
        } else if self.len == INDEX_FROM {
            self.index();
        }
    }

    fn index(&mut self) {
        let places = self.entries.iter().inspect(|_| visit(1)).zip(self.first..);
        let places = places.filter_map(|(entry, place)| Some((entry.as_ref()?.packet_id, place)));
        self.places = Some(Box::new(places.collect()));
    }

    fn place(&self, packet_id: u16) -> Option<u64> {
        let is_it = |entry: &Option<Entry>| {
            visit(1);
            entry.as_ref().is_some_and(|entry| entry.packet_id == packet_id)
        };
        if self.entries.front().is_some_and(is_it) {
            return Some(self.first);
        }
        match &self.places {
            Some(places) if !is_planted(Planted::InFlightScan) => {
                visit(1);
                places.get(&packet_id).copied()
            }
            _ => self.entries.iter().position(is_it).map(|at| self.first + at as u64),
        }
    }

    fn get(&self, packet_id: u16) -> Option<&Entry> {
        self.entries.get((self.place(packet_id)? - self.first) as usize)?.as_ref()
    }

    fn get_mut(&mut self, packet_id: u16) -> Option<&mut Entry> {
        let at = (self.place(packet_id)? - self.first) as usize;
        self.entries.get_mut(at)?.as_mut()
    }

    /// Removes the entry at a place; the first of `entries` is never a gap.
    fn remove(&mut self, place: u64) -> Option<Entry> {
        let entry = self.entries.get_mut((place - self.first) as usize)?.take()?;
        self.len -= 1;
        if let Some(places) = &mut self.places {
            places.remove(&entry.packet_id);
        }
        while self.entries.front().is_some_and(Option::is_none) {
            visit(1);
            self.entries.pop_front();
            self.first += 1;
        }
        Some(entry)
    }

    /// True when the first entry need not wait for the disk.
    fn is_ready(&self) -> bool {
        self.iter().next().is_some_and(|entry| !entry.is_parked)
    }

    fn has_gaps(&self) -> bool {
        self.entries.len() > 2 * self.len as usize + 64
    }

    /// The number of entries before a place.
    fn len_before(&self, place: u64) -> u64 {
        let count = place.saturating_sub(self.first) as usize;
        self.entries.iter().take(count).inspect(|_| visit(1)).flatten().count() as u64
    }

    fn close_gaps(&mut self) {
        visit(self.entries.len());
        self.entries.retain(Option::is_some);
        if self.places.is_some() {
            self.index();
        }
    }

    /// Frees the memory of a list that was long.
    fn shrink(&mut self) {
        if self.len == 0 && self.entries.capacity() > 64 {
            *self = Self { first: self.end(), ..Self::default() };
        }
    }
}

impl Entry {
    const fn new(packet_id: u16, exchange: Exchange) -> Self {
        Self { exchange, packet_id, is_parked: false, is_replay: false, is_known: false }
    }

    /// True when the journal had the delivery before the record that it names.
    pub(super) const fn is_known(&self) -> bool {
        self.is_known
    }

    /// The message, while its PUBACK or PUBREC is awaited.
    pub(super) const fn delivery(&self) -> Option<&Delivery> {
        match &self.exchange {
            Exchange::Message(delivery) => Some(delivery),
            Exchange::Released { .. } => None,
        }
    }

    /// The entry's place in [`Waiting::replays`].
    fn replay_key(&self) -> Option<(u64, u16)> {
        let delivery = self.delivery().filter(|_| self.is_replay)?;
        Some((topic_hash(delivery.message.topic()), self.packet_id))
    }

    fn outgoing(&self, dup: bool, is_retry: bool) -> Outgoing {
        Outgoing { packet_id: self.packet_id, delivery: self.delivery().cloned(), dup, is_retry }
    }

    /// The delivery's number in the journal; 0 for a delivery that the journal does not have.
    pub(super) fn stored(&self) -> DeliveryNumber {
        match &self.exchange {
            Exchange::Message(delivery) => delivery.stored(),
            Exchange::Released { stored, .. } => *stored,
        }
    }

    /// The record, as in [`Delivery::record`].
    pub(super) const fn record(&self) -> RecordRef {
        match &self.exchange {
            Exchange::Message(delivery) => delivery.record,
            Exchange::Released { record, .. } => *record,
        }
    }

    /// The entry's part of [`InFlight::chunks`]: its message, while the acknowledgement is awaited.
    fn chunks(&self) -> u32 {
        self.delivery().map_or(0, chunks)
    }

    /// Notes PUBREC. Returns the record and the delivery's number, for a delivery in the journal.
    fn release(&mut self) -> Option<(RecordRef, DeliveryNumber)> {
        let Exchange::Message(delivery) = &self.exchange else { return None };
        let (record, stored) = (delivery.record, delivery.stored());
        self.exchange = Exchange::Released { stored, record };
        (!stored.is_none()).then_some((record, stored))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{MessageId, SessionNumber};
    use crate::base::prng::Prng;
    use crate::base::time::Time;
    use crate::mqtt::{Properties, QoS};
    use crate::store::Traits;
    use std::cell::Cell;
    use std::sync::Arc;

    fn delivery(message: &Arc<Message>) -> Delivery {
        let message = message.clone();
        let (qos, retain) = (QoS::AtLeastOnce, false);
        Delivery {
            message,
            record: RecordRef::own(RecordRef::FIRST),
            more: None,
            subscription_id: 0,
            qos,
            retain,
        }
    }

    fn message() -> Arc<Message> {
        let qos = QoS::AtLeastOnce;
        let traits = Traits {
            qos,
            retain: false,
            expires: None,
            publisher: SessionNumber::NONE,
            received: Time::ZERO,
            id: MessageId(1),
        };
        Arc::new(Message::new("t", &Properties::from_bytes(&[]), b"", traits, None))
    }

    /// A model of the exchanges, in the plainest way.
    #[derive(Default)]
    struct Plain {
        /// Packet identifier, and whether it is sent on the present connection.
        sent: Vec<(u16, bool)>,
        /// Packet identifier, whether it is parked, and whether it is a retained message.
        waiting: Vec<(u16, bool, bool)>,
    }

    impl Plain {
        fn next_outgoing(&mut self, window: usize) -> Option<(u16, bool)> {
            if self.sent.iter().filter(|(_, is_sent)| *is_sent).count() >= window {
                return None;
            }
            if let Some((id, is_sent)) = self.sent.iter_mut().find(|(_, is_sent)| !*is_sent) {
                *is_sent = true;
                return Some((*id, true));
            }
            let first = self.waiting.first().filter(|(_, is_parked, _)| !*is_parked)?.0;
            self.waiting.remove(0);
            self.sent.push((first, true));
            Some((first, false))
        }

        fn waiting_replays(&self) -> Vec<u16> {
            let replays = self.waiting.iter().filter(|(.., is_replay)| *is_replay);
            let mut replays: Vec<u16> = replays.map(|(id, ..)| *id).collect();
            replays.sort_unstable();
            replays
        }

        fn ids(&self) -> Vec<u16> {
            let waiting = self.waiting.iter().map(|(id, ..)| *id);
            self.sent.iter().map(|(id, _)| *id).chain(waiting).collect()
        }
    }

    #[test]
    fn it_is_what_plain_lists_are() {
        for seed in 0..40 {
            let mut prng = Prng::new(seed);
            let message = message();
            let (mut in_flight, mut plain) = (InFlight::default(), Plain::default());
            let most = 1 + prng.below(120) as usize;
            let mut serial = Serial::NONE;
            for _ in 0..3_000 {
                serial.0 += match prng.below(100) {
                    0 => prng.below(100_000),
                    // Another copy of the same publish.
                    1..15 => 0,
                    _ => 1,
                };
                let is_full = plain.ids().len() >= most;
                match prng.below(100) {
                    0..45 if !is_full => {
                        let packet_id = in_flight.packet_id(serial);
                        assert!(packet_id > 0 && !plain.ids().contains(&packet_id));
                        let wait = [Wait::Turn, Wait::Disk, Wait::DiskAsReplay].map(Some);
                        match wait.get(prng.below(4) as usize).copied().flatten() {
                            None => {
                                in_flight.send(packet_id, serial, delivery(&message));
                                plain.sent.push((packet_id, true));
                            }
                            Some(wait) => {
                                in_flight.wait(packet_id, serial, delivery(&message), wait);
                                let is_replay = wait == Wait::DiskAsReplay;
                                plain.waiting.push((packet_id, wait != Wait::Turn, is_replay));
                            }
                        }
                    }
                    45..60 => {
                        let window = prng.below(150) as usize;
                        let outgoing = in_flight.next_outgoing(window);
                        let outgoing = outgoing.map(|packet| (packet.packet_id, packet.dup));
                        assert_eq!(outgoing, plain.next_outgoing(window));
                    }
                    60..62 => {
                        in_flight.forget_sent();
                        plain.sent.iter_mut().for_each(|(_, is_sent)| *is_sent = false);
                    }
                    62..75 => {
                        let place = prng.below(plain.waiting.len().max(1) as u64) as usize;
                        if let Some((id, is_parked, _)) = plain.waiting.get_mut(place) {
                            in_flight.unpark(*id, |record| record == delivery(&message).record);
                            *is_parked = false;
                        }
                    }
                    _ => {
                        let ids = plain.ids();
                        // Most acknowledgements come in order.
                        let among = if prng.chance(70) { 1 } else { ids.len().max(1) };
                        let Some(&id) = ids.get(prng.below(among as u64) as usize) else {
                            continue;
                        };
                        assert_eq!(in_flight.complete(id).map(|entry| entry.packet_id), Some(id));
                        plain.sent.retain(|(known, _)| *known != id);
                        plain.waiting.retain(|(known, ..)| *known != id);
                    }
                }
                let ids: Vec<u16> = in_flight.iter().map(|entry| entry.packet_id).collect();
                assert_eq!(ids, plain.ids(), "seed {seed}");
                assert_eq!(in_flight.len(), ids.len());
                let has_unsent = plain.sent.iter().any(|(_, is_sent)| !*is_sent)
                    || plain.waiting.first().is_some_and(|(_, is_parked, _)| !*is_parked);
                assert_eq!(in_flight.has_unsent(), has_unsent);
                assert!(in_flight.sent.entries.len() <= 2 * most + 64);
                let replays = in_flight.waiting_replays("t", |_| true);
                assert_eq!(replays.as_slice(), plain.waiting_replays());
                assert_eq!(in_flight.has_waiting_replay(), !replays.is_empty());
            }
        }
    }

    /// Only retained messages of the topic are looked at, however much else waits.
    #[test]
    fn a_look_for_waiting_replays_looks_at_no_others() {
        let message = message();
        let mut in_flight = InFlight::default();
        for packet_id in 1..10_000 {
            let wait = if packet_id % 1000 == 0 { Wait::DiskAsReplay } else { Wait::Disk };
            in_flight.wait(packet_id, Serial(packet_id.into()), delivery(&message), wait);
        }
        let looks = Cell::new(0);
        let look = |_: &Message| {
            looks.set(looks.get() + 1);
            true
        };
        assert_eq!(in_flight.waiting_replays("t", look).len(), 9);
        assert_eq!(looks.get(), 9);
        assert!(in_flight.waiting_replays("u", look).is_empty());
        assert_eq!(looks.get(), 9);
    }

    #[test]
    fn the_last_free_identifier_is_found() {
        let message = message();
        let mut in_flight = InFlight::default();
        for serial in (0..65_534).map(Serial) {
            let packet_id = in_flight.packet_id(serial);
            in_flight.send(packet_id, serial, delivery(&message));
        }
        assert_eq!(in_flight.packet_id(Serial(65_534)), 65_535);
        in_flight.send(65_535, Serial(65_534), delivery(&message));
        for serial in (65_535..67_535).map(Serial) {
            let gone = (serial.0 * 7919 % 65_535 + 1) as u16;
            assert!(in_flight.complete(gone).is_some());
            assert_eq!(in_flight.packet_id(serial), gone, "the only one that is free");
            in_flight.send(gone, serial, delivery(&message));
        }
    }
}

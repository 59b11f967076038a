//! A client's session: what outlives its connection.

use super::boundary::LinkId;
use super::message::{Message, Source};
use super::publication::{packet_id, serials_until};
use super::replay::Replay;
use super::restore::RESTORED;
use super::will::Will;
use crate::access::{Grants, Identity};
use crate::base::queue::Queue;
use crate::base::slots;
use crate::base::time::Time;
use crate::mqtt::QoS;
use crate::topics::Place;
use smallvec::SmallVec;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// A message for one session.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) message: Arc<Message>,
    /// Names what the journal is told of it; 0 when that is nothing.
    pub(super) record: u64,
    /// What few deliveries have.
    pub(super) more: Option<Box<Particulars>>,
    /// The Subscription Identifier when there is one; 0 when there is none.
    pub(super) subscription_id: u32,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

/// What few deliveries have.
#[derive(Debug, Clone)]
pub(super) struct Particulars {
    /// The Subscription Identifiers when there are several.
    pub(super) subscription_ids: SmallVec<[u32; 4]>,
    /// The whole filter of the shared group that the session got it as a member of.
    pub(super) share: Option<Arc<str>>,
}

/// A packet identifier that is taken.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The publish that gave the identifier.
    serial: u64,
    pub(super) exchange: Exchange,
    pub(super) packet_id: u16,
    /// It is still to be sent on the present connection.
    is_unsent: bool,
    /// That waits until its packet identifier is on disk.
    is_held: bool,
    /// It may have been sent before.
    was_sent: bool,
    /// It is a retained message for a new subscription.
    is_replay: bool,
}

// Many are in flight at a time; how fast a turn is depends on how many caches hold.
const _: () = assert!(size_of::<InFlight>() <= 48);

/// What a packet identifier stands for.
#[derive(Debug)]
pub(super) enum Exchange {
    /// A message whose PUBACK or PUBREC is awaited.
    Message(Delivery),
    /// PUBREC came, and PUBCOMP is awaited.
    Released {
        /// The message's id in the journal; 0 when it is not there.
        stored: u64,
        /// As [`Delivery::record`].
        record: u64,
    },
}

/// An exchange to be sent: its packet identifier, the message or None for PUBREL, and DUP.
pub(super) type Unsent = (u16, Option<Delivery>, bool);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client_id: Box<str>,
    /// Unlike that of any other session of this process.
    pub(super) number: u64,
    /// The listener by which its client came last.
    pub(super) listener: u16,
    /// Who its client is; None when there is nothing to tell clients by.
    pub(super) identity: Option<Arc<Identity>>,
    /// What its client may do; None for everything.
    pub(super) grants: Option<Arc<Grants>>,
    /// The connection that owns it now.
    pub(super) link: Option<LinkId>,
    /// How long it outlives its connection; `u32::MAX` is for ever.
    pub(super) expiry_s: u32,
    /// How many messages may be in flight on the present connection.
    pub(super) window: u16,
    /// In the order in which they were first sent.
    in_flight: VecDeque<InFlight>,
    /// The serial of the first of `in_flight`; anything when there is none.
    oldest_serial: u64,
    /// How many of `in_flight` are still to be sent.
    unsent: u32,
    /// How many of those wait for the disk.
    held: u32,
    /// How many of `in_flight` could not take the identifier that belongs to their serial.
    odd_ids: u32,
    /// It is among those that have more to be sent than one turn should take.
    pub(super) is_unfinished: bool,
    /// The journal knows it.
    pub(super) is_recorded: bool,
    rare: Option<Box<Rare>>,
    /// Sorted.
    pub(super) subscriptions: Vec<Place>,
    pub(super) will: Option<Box<Will>>,
    /// When the will is due, after the connection failed.
    pub(super) will_due: Option<Time>,
    /// When it ends, while there is no connection.
    pub(super) ends: Option<Time>,
    /// What the shard's timers hold of it.
    pub(super) timer: Option<Time>,
}

/// What most sessions do without.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// QoS 1 and 2 messages that wait for the connection or the window.
    queue: Queue<Delivery>,
    queue_bytes: usize,
    /// The queue was full, and has not been empty since.
    pub(super) is_dropping: bool,
    /// QoS 2 identifiers received and not released.
    pub(super) received: BTreeSet<u16>,
    /// Retained messages still to be sent for its subscriptions, oldest first.
    pub(super) replays: Vec<Replay>,
    pub(super) replays_begun: u32,
}

/// What became of a message for a queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Enqueued {
    /// False when the queue is full.
    pub(super) is_queued: bool,
    /// How many messages had expired and made room.
    pub(super) expired: usize,
}

impl Session {
    pub(super) fn new(client_id: &str, number: u64) -> Self {
        Self {
            client_id: client_id.into(),
            number,
            listener: 0,
            identity: None,
            grants: None,
            link: None,
            expiry_s: 0,
            window: 0,
            in_flight: VecDeque::new(),
            oldest_serial: 0,
            unsent: 0,
            held: 0,
            odd_ids: 0,
            is_unfinished: false,
            is_recorded: false,
            rare: None,
            subscriptions: Vec::new(),
            will: None,
            will_due: None,
            ends: None,
            timer: None,
        }
    }

    /// The verified name of its client.
    pub(super) fn user(&self) -> Option<&str> {
        self.identity.as_ref().and_then(|identity| identity.user.as_deref())
    }

    /// Who publishes what its client publishes, if there is anything to tell clients by.
    pub(super) fn source(&self) -> Option<Source> {
        let identity = self.identity.clone()?;
        Some(Source { identity, listener: self.listener })
    }

    /// True when a QoS 1 or 2 message may be sent now, with nothing waiting before it but what
    /// waits for the disk.
    pub(super) fn has_window(&self) -> bool {
        self.unsent == self.held && self.in_flight.len() < self.window as usize
    }

    /// On a new connection everything in flight is to be sent again.
    // [MQTT-4.4.0-1]
    pub(super) fn forget_sent(&mut self) {
        self.unsent = self.in_flight.len() as u32;
        self.in_flight.iter_mut().for_each(|entry| entry.is_unsent = true);
    }

    /// True when something in flight is still to be sent, and may be.
    pub(super) const fn has_unsent(&self) -> bool {
        self.unsent > self.held
    }

    /// The next exchange to send, in order, if the window allows.
    // [MQTT-3.3.4-9]
    pub(super) fn next_unsent(&mut self) -> Option<Unsent> {
        if self.in_flight.len() - self.unsent as usize >= self.window as usize {
            return None;
        }
        // What is held holds up what came after it at the same QoS.
        let mut is_held_up = false;
        let entry = self.in_flight.iter_mut().filter(|entry| entry.is_unsent).find(|entry| {
            is_held_up |= entry.is_held;
            let is_exact = entry.delivery().is_some_and(|d| d.qos == QoS::ExactlyOnce);
            !(entry.is_held || is_held_up && is_exact)
        })?;
        entry.is_unsent = false;
        self.unsent -= 1;
        let dup = std::mem::replace(&mut entry.was_sent, true);
        Some((entry.packet_id, entry.delivery().cloned(), dup))
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn is_queue_empty(&self) -> bool {
        self.rare.as_ref().is_none_or(|rare| rare.queue.is_empty())
    }

    /// Retained messages still to be sent for its subscriptions, oldest first.
    pub(super) fn replays(&mut self) -> &mut [Replay] {
        self.rare.as_mut().map_or(&mut [], |rare| &mut rare.replays)
    }

    pub(super) fn is_replaying(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.replays.is_empty())
    }

    /// The identifier for a delivery of the publish `serial`: the one that belongs to it, unless
    /// that is still in flight from long ago.
    // [MQTT-2.2.1-3], [MQTT-2.2.1-4]
    pub(super) fn packet_id(&self, serial: u64) -> u16 {
        let mut id = packet_id(serial);
        let age = serial.wrapping_sub(self.oldest_serial);
        if self.odd_ids > 0 || (age >= 65_535 && !self.in_flight.is_empty()) {
            while self.in_flight.iter().any(|entry| entry.packet_id == id) {
                id = id % 65_535 + 1;
            }
        }
        id
    }

    /// Notes that a delivery of the publish `serial` is sent now, as [`Self::packet_id`] said.
    pub(super) fn send(&mut self, packet_id: u16, serial: u64, delivery: Delivery) {
        self.begin_exchange(InFlight::new(packet_id, serial, delivery));
    }

    /// As [`Self::send`], but the message waits for [`Self::unhold`].
    /// `is_replay`: it is a retained message, and a newer one of its topic may overtake it.
    pub(super) fn hold(
        &mut self,
        packet_id: u16,
        serial: u64,
        delivery: Delivery,
        is_replay: bool,
    ) {
        let entry = InFlight::new(packet_id, serial, delivery);
        self.unsent += 1;
        self.held += 1;
        let (is_unsent, is_held, was_sent) = (true, true, false);
        self.begin_exchange(InFlight { is_unsent, is_held, was_sent, is_replay, ..entry });
    }

    /// The packet identifier is on disk: what was held may be sent.
    pub(super) fn unhold(&mut self, packet_id: u16) {
        if let Some(entry) = self.in_flight(packet_id)
            && std::mem::replace(&mut entry.is_held, false)
        {
            self.held -= 1;
        }
    }

    /// Which of the exchanges whose message was never sent are with retained messages that are
    /// `old`.
    pub(super) fn waiting_replays(&self, old: impl Fn(&Message) -> bool) -> SmallVec<[u16; 1]> {
        if self.unsent == 0 {
            return SmallVec::new();
        }
        let is_it = |entry: &&InFlight| {
            let delivery = entry.delivery().filter(|_| entry.is_replay && !entry.was_sent);
            delivery.is_some_and(|delivery| old(&delivery.message))
        };
        self.in_flight.iter().filter(is_it).map(|entry| entry.packet_id).collect()
    }

    /// True when the last exchange that waits for the disk waits for a record of this worker's own.
    pub(super) fn holds_own(&self) -> bool {
        let last = self.in_flight.iter().rev().find(|entry| self.held > 0 && entry.is_held);
        last.is_some_and(|entry| entry.record() & 1 == 0)
    }

    /// An exchange that the process before had begun; None for the message once PUBREC came.
    pub(super) fn resume(&mut self, packet_id: u16, exchange: Exchange) {
        // Not one that this identifier belongs to: those of this process begin anew.
        let serial = u64::from(packet_id);
        let (is_unsent, is_held, was_sent) = (true, false, true);
        self.unsent += 1;
        let is_replay = false;
        let entry =
            InFlight { serial, exchange, packet_id, is_unsent, is_held, was_sent, is_replay };
        self.begin_exchange(entry);
    }

    fn begin_exchange(&mut self, entry: InFlight) {
        self.odd_ids += u32::from(entry.is_odd());
        if self.in_flight.is_empty() {
            self.oldest_serial = entry.serial;
        }
        self.in_flight.push_back(entry);
    }

    /// What is in flight, in order.
    pub(super) fn exchanges(&self) -> impl Iterator<Item = &InFlight> {
        self.in_flight.iter()
    }

    /// What waits for the connection or the window, in order.
    pub(super) fn queued(&self) -> impl Iterator<Item = &Delivery> {
        self.rare.iter().flat_map(|rare| rare.queue.iter())
    }

    /// Packet identifiers of QoS 2 messages received and not released.
    pub(super) fn received(&self) -> impl Iterator<Item = u16> {
        self.rare.iter().flat_map(|rare| rare.received.iter().copied())
    }

    /// True when retained messages are still to be sent for its subscription to `filter`.
    pub(super) fn is_owed(&self, filter: &str) -> bool {
        let mut replays = self.rare.iter().flat_map(|rare| &rare.replays);
        replays.any(|replay| replay.filter() == filter)
    }

    fn position(&self, packet_id: u16) -> Option<usize> {
        let is_it = |entry: &InFlight| entry.packet_id == packet_id;
        let is_front = self.in_flight.front().is_some_and(is_it);
        if is_front {
            return Some(0);
        }
        // Identifiers follow from serials, which are in order, but for odd ones.
        let serial = self.oldest_serial + serials_until(self.oldest_serial, packet_id);
        let place = self.in_flight.partition_point(|entry| entry.serial < serial);
        match self.in_flight.get(place).is_some_and(is_it) {
            true => Some(place),
            false => self.in_flight.iter().position(is_it),
        }
    }

    /// The exchange that `packet_id` stands for.
    pub(super) fn in_flight(&mut self, packet_id: u16) -> Option<&mut InFlight> {
        let position = self.position(packet_id)?;
        self.in_flight.get_mut(position)
    }

    /// Ends the exchange that `packet_id` stands for.
    pub(super) fn complete(&mut self, packet_id: u16) -> Option<InFlight> {
        let position = self.position(packet_id)?;
        let entry = if position == 0 {
            self.in_flight.pop_front()
        } else {
            self.in_flight.remove(position)
        }?;
        self.odd_ids -= u32::from(entry.is_odd());
        self.unsent -= u32::from(entry.is_unsent);
        self.held -= u32::from(entry.is_held);
        if let Some(oldest) = self.in_flight.front() {
            self.oldest_serial = oldest.serial;
        } else if self.in_flight.capacity() > 64 {
            self.in_flight = VecDeque::new();
        }
        Some(entry)
    }

    /// Queues a message behind the others; what has expired makes room.
    pub(super) fn enqueue(
        &mut self,
        delivery: Delivery,
        now: Time,
        messages_max: usize,
        bytes_max: usize,
    ) -> Enqueued {
        let rare = self.rare();
        let before = rare.queue.len();
        let size = delivery.message.bytes().len();
        let is_full = |rare: &Rare| {
            rare.queue.len() >= messages_max || rare.queue_bytes.saturating_add(size) > bytes_max
        };
        if is_full(rare) {
            rare.keep_queued(|queued| !queued.message.is_expired(now));
        }
        let expired = before - rare.queue.len();
        let is_queued = !is_full(rare);
        if is_queued {
            rare.queue_bytes += size;
            rare.queue.push_back(delivery);
        }
        Enqueued { is_queued, expired }
    }

    /// Queues a message that was there before; limits are for new ones.
    pub(super) fn requeue(&mut self, delivery: Delivery) {
        let rare = self.rare();
        rare.queue_bytes += delivery.message.bytes().len();
        rare.queue.push_back(delivery);
    }

    /// The message that [`Self::dequeue`] would give.
    pub(super) fn first_queued(&self) -> Option<&Delivery> {
        self.rare.as_ref()?.queue.front()
    }

    /// The next queued message.
    pub(super) fn dequeue(&mut self) -> Option<Delivery> {
        let rare = self.rare.as_mut()?;
        let delivery = rare.queue.pop_front()?;
        rare.queue_bytes -= delivery.message.bytes().len();
        if rare.queue.is_empty() {
            rare.queue = Queue::default();
            rare.is_dropping = false;
        }
        Some(delivery)
    }

    /// Takes out the queued messages that another member of their group may get instead. Unless the
    /// session ends, those stay that the process before may have sent to its client.
    pub(super) fn take_shared_queue(&mut self, ends: bool) -> Vec<Delivery> {
        let Some(rare) = &mut self.rare else { return Vec::new() };
        let may_go = |delivery: &Delivery| ends || !delivery.may_have_been_sent();
        let is_shared = |delivery: &Delivery| delivery.share().is_some() && may_go(delivery);
        let shared = rare.queue.iter().filter(|delivery| is_shared(delivery)).cloned().collect();
        rare.keep_queued(|delivery| !is_shared(delivery));
        shared
    }

    /// Takes out the shared QoS 1 messages in flight; a QoS 2 exchange once begun goes to nobody
    /// else. For a session that ends.
    // [MQTT-4.8.2-5]
    pub(super) fn take_shared_in_flight(&mut self) -> Vec<Delivery> {
        (self.unsent, self.held) = (0, 0);
        let deliveries = self.in_flight.drain(..).filter_map(|entry| match entry.exchange {
            Exchange::Message(delivery) => Some(delivery),
            Exchange::Released { .. } => None,
        });
        deliveries.filter(|d| d.share().is_some() && d.qos == QoS::AtLeastOnce).collect()
    }
}

impl Rare {
    /// Drops queued messages that are not to be kept.
    fn keep_queued(&mut self, keep: impl FnMut(&Delivery) -> bool) {
        self.queue.retain(keep);
        self.queue_bytes = self.queue.iter().map(|queued| queued.message.bytes().len()).sum();
    }
}

impl Delivery {
    /// True of a queued message when the process before may have sent it: at QoS 2 that would have
    /// a packet identifier.
    pub(super) fn may_have_been_sent(&self) -> bool {
        self.record == RESTORED && self.qos == QoS::AtLeastOnce
    }

    /// The Subscription Identifiers that it carries.
    pub(super) fn subscription_ids(&self) -> &[u32] {
        match &self.more {
            Some(more) if !more.subscription_ids.is_empty() => &more.subscription_ids,
            _ if self.subscription_id != 0 => std::slice::from_ref(&self.subscription_id),
            _ => &[],
        }
    }

    /// The whole filter of the shared group that the session got it as a member of.
    pub(super) fn share(&self) -> Option<&str> {
        self.more.as_ref()?.share.as_deref()
    }

    /// The message's id in the journal; 0 when it is not there.
    pub(super) fn stored(&self) -> u64 {
        if self.record == 0 { 0 } else { self.message.id }
    }
}

impl Particulars {
    /// None when there are none.
    pub(super) fn new(subscription_ids: &[u32], share: Option<Arc<str>>) -> Option<Box<Self>> {
        let several = if subscription_ids.len() < 2 { &[] } else { subscription_ids };
        let is_any = share.is_some() || !several.is_empty();
        is_any.then(|| Box::new(Self { subscription_ids: several.into(), share }))
    }
}

impl InFlight {
    fn new(packet_id: u16, serial: u64, delivery: Delivery) -> Self {
        let exchange = Exchange::Message(delivery);
        let (is_unsent, is_held, was_sent, is_replay) = (false, false, true, false);
        Self { serial, exchange, packet_id, is_unsent, is_held, was_sent, is_replay }
    }

    /// The message, while its PUBACK or PUBREC is awaited.
    pub(super) const fn delivery(&self) -> Option<&Delivery> {
        match &self.exchange {
            Exchange::Message(delivery) => Some(delivery),
            Exchange::Released { .. } => None,
        }
    }

    /// The message's id in the journal; 0 when it is not there.
    pub(super) fn stored(&self) -> u64 {
        match &self.exchange {
            Exchange::Message(delivery) => delivery.stored(),
            Exchange::Released { stored, .. } => *stored,
        }
    }

    /// As [`Delivery::record`].
    pub(super) const fn record(&self) -> u64 {
        match &self.exchange {
            Exchange::Message(delivery) => delivery.record,
            Exchange::Released { record, .. } => *record,
        }
    }

    /// PUBREC came; of what is in the journal: the record that says so, and the message's id.
    pub(super) fn release(&mut self) -> Option<(u64, u64)> {
        let Exchange::Message(delivery) = &self.exchange else { return None };
        let (record, stored) = (delivery.record, delivery.stored());
        self.exchange = Exchange::Released { stored, record };
        (stored != 0).then_some((record, stored))
    }

    const fn is_odd(&self) -> bool {
        self.packet_id != packet_id(self.serial)
    }
}

/// Names a session while it exists.
pub(super) type SessionId = slots::Id;

//! A client's session, which outlives its connection.

use super::delivery::Delivery;
use super::delivery_queue::{DeliveryQueue, Enqueued, QueueLimits};
use super::in_flight::{Entry, InFlight, Outgoing};
use super::quotas::Quota;
use super::replay::Replay;
use super::replays::Replays;
use super::subscription_set::SubscriptionSet;
use super::will::{Author, WillMessage};
use crate::access::{Grants, Identity};
use crate::base::ids::{LinkId, ListenerId, SessionNumber};
use crate::base::time::Time;
use crate::metrics::{Departed, Dropped};
use crate::mqtt::QoS;
use crate::store::{Message, Source};
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client_id: Box<str>,
    /// The number of the session, unlike that of any other session of this process.
    pub(super) number: SessionNumber,
    /// The listener by which the session's client came last.
    pub(super) listener: ListenerId,
    /// The highest QoS at which the client publishes and is subscribed, as CONNACK has told it.
    pub(super) max_qos: QoS,
    /// The identity of the client; None when there is nothing to tell clients by.
    pub(super) identity: Option<Arc<Identity>>,
    /// The permissions of the client; None for everything.
    pub(super) grants: Option<Arc<Grants>>,
    /// The connection that owns the session now.
    pub(super) link: Option<LinkId>,
    /// The quota of the client's user; None before a client was let in.
    pub(super) quota: Option<Arc<Quota>>,
    /// The session is among those of `quota`.
    pub(super) is_counted: bool,
    /// Seconds for which the session outlives its connection; `u32::MAX` is for ever.
    pub(super) expiry_s: u32,
    /// The number of messages that may be in flight on the present connection.
    pub(super) window: u16,
    /// The bytes of messages in flight from which no further one is sent.
    pub(super) window_bytes: u32,
    /// Exchanges that have a packet identifier.
    pub(super) in_flight: InFlight,
    /// The session is among those that have more to be sent than one turn should take.
    pub(super) is_unfinished: bool,
    /// The session is among those that have more to be sent than the journal should be told at
    /// once.
    pub(super) waits_for_hand_over: bool,
    /// The journal knows the session.
    pub(super) is_recorded: bool,
    /// The session is over, but for some of its subscriptions.
    pub(super) is_over: bool,
    /// The reason for which the last connection ended; None while there is one, and for a session
    /// of an earlier process.
    pub(super) departed: Option<Departed>,
    pub(super) rare: Option<Box<Rare>>,
    pub(super) subscriptions: SubscriptionSet,
    pub(super) will: Option<Box<WillMessage>>,
    /// The time at which the session ends, while there is no connection.
    pub(super) ends: Option<Time>,
}

// A session of its own allocation fits what allocators give for that.
const _: () = assert!(size_of::<Session>() <= 256);

/// State of a session that most sessions do without.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// QoS 1 and 2 messages that wait for the connection or the window.
    queue: DeliveryQueue,
    /// QoS 2 identifiers received and not released.
    pub(super) received: BTreeSet<u16>,
    /// Retained messages still to be sent for the session's subscriptions, oldest first.
    pub(super) replays: Replays,
    /// The greatest number of a replay.
    pub(super) replays_begun: u32,
    /// The messages that did not reach the client, by reason; None for none so far.
    pub(super) drops: Option<Box<Drops>>,
}

/// Numbers of messages, by [`Dropped`].
pub(super) type Drops = [u64; Dropped::COUNT];

impl Session {
    pub(super) fn new(client_id: &str, number: SessionNumber) -> Self {
        Self {
            client_id: client_id.into(),
            number,
            listener: ListenerId(0),
            max_qos: QoS::ExactlyOnce,
            identity: None,
            grants: None,
            quota: None,
            is_counted: false,
            link: None,
            expiry_s: 0,
            window: 0,
            window_bytes: 0,
            in_flight: InFlight::default(),
            is_unfinished: false,
            waits_for_hand_over: false,
            is_recorded: false,
            is_over: false,
            departed: None,
            rare: None,
            subscriptions: SubscriptionSet::new(),
            will: None,
            ends: None,
        }
    }

    /// The verified name of the session's client.
    pub(super) fn user(&self) -> Option<&str> {
        self.identity.as_ref().and_then(|identity| identity.user.as_deref())
    }

    /// Counts the session for its user, or not any more: it does when it outlives its connection.
    pub(super) fn count(&mut self, quota: Option<Arc<Quota>>) {
        if let Some(quota) = self.quota.take().filter(|_| self.is_counted) {
            quota.take_session();
        }
        self.is_counted = quota.is_some() && self.expiry_s > 0;
        if let Some(quota) = quota.as_ref().filter(|_| self.is_counted) {
            quota.add_session();
        }
        self.quota = quota;
    }

    /// The time at which the will is due, after the connection failed.
    pub(super) fn will_due(&self) -> Option<Time> {
        self.will.as_ref()?.due
    }

    /// The author of the session's will.
    pub(super) fn author(&self) -> Author {
        let (source, grants) = (self.source(), self.grants.clone());
        Author::new(self.number, self.is_recorded, source, grants)
    }

    /// The source of the messages that the client publishes; None when there is nothing to tell
    /// clients by.
    pub(super) fn source(&self) -> Option<Source> {
        let identity = self.identity.clone()?;
        Some(Source { identity, listener: self.listener })
    }

    /// True when a QoS 1 or 2 message may be sent now, before messages that wait for the disk.
    pub(super) fn has_window(&self) -> bool {
        self.in_flight.is_clear() && self.has_room()
    }

    /// True when the window takes one more message, whatever the size of the first one.
    pub(super) fn has_room(&self) -> bool {
        let len = self.in_flight.len();
        let is_light = len == 0 || self.in_flight.bytes() < self.window_bytes as usize;
        len < self.window as usize && is_light
    }

    /// The bytes of messages that wait for the client or are in flight to it.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.queue_bytes() + self.in_flight.bytes()
    }

    /// The next packet of an exchange to send, if the window allows one.
    pub(super) fn next_outgoing(&mut self) -> Option<Outgoing> {
        self.in_flight.next_outgoing(self.window as usize)
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn is_queue_empty(&self) -> bool {
        self.rare.as_ref().is_none_or(|rare| rare.queue.is_empty())
    }

    /// The oldest replay of retained messages that are still to be sent, if it has begun.
    pub(super) fn first_replay(&mut self) -> Option<&mut Replay> {
        self.rare.as_mut()?.replays.first_mut()
    }

    /// The number of the replay that came last, while the session has any.
    pub(super) fn last_replay(&self) -> Option<u32> {
        self.rare.as_ref()?.replays.last_number()
    }

    pub(super) fn is_replaying(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.replays.is_empty())
    }

    /// True when the last exchange that waits for the disk waits for a record of this worker's own.
    pub(super) fn parks_own(&self) -> bool {
        self.in_flight.last_parked().is_some_and(|entry| !entry.record().is_part())
    }

    /// The deliveries that wait for the connection or the window, in order.
    pub(super) fn queued(&self) -> impl Iterator<Item = &Delivery> {
        self.rare.iter().flat_map(|rare| rare.queue.iter())
    }

    /// Packet identifiers of QoS 2 messages received and not released.
    pub(super) fn received(&self) -> impl Iterator<Item = u16> {
        self.rare.iter().flat_map(|rare| rare.received.iter().copied())
    }

    /// Queues a message behind the others; expired messages make room.
    pub(super) fn enqueue(
        &mut self,
        delivery: Delivery,
        now: Time,
        limits: QueueLimits,
    ) -> Enqueued {
        self.rare().queue.push(delivery, now, limits)
    }

    /// Queues a message that was there before; limits are for new ones.
    pub(super) fn requeue(&mut self, delivery: Delivery) {
        self.rare().queue.add(delivery);
    }

    /// True when a retained message for a new subscription waits: for the disk, or since an earlier
    /// process.
    pub(super) fn has_waiting_replay(&self) -> bool {
        let is_queued = |rare: &Rare| rare.queue.has_replay();
        self.in_flight.has_waiting_replay() || self.rare.as_deref().is_some_and(is_queued)
    }

    /// Takes out the queued retained messages of `topic` that an earlier process took for a new
    /// subscription, and that are `old`.
    pub(super) fn take_queued_replays(
        &mut self,
        topic: &str,
        old: impl Fn(&Message) -> bool,
    ) -> Vec<Delivery> {
        self.rare.as_mut().map_or_else(Vec::new, |rare| rare.queue.take_replays(topic, old))
    }

    /// The number of messages that are still to be sent for the first time.
    pub(super) fn waiting_len(&self) -> usize {
        self.in_flight.waiting_len() as usize + self.queued_size().0
    }

    /// The number of messages in the queue, and their bytes.
    pub(super) fn queued_size(&self) -> (usize, usize) {
        self.rare.as_ref().map_or((0, 0), |rare| rare.queue.size())
    }

    /// The bytes of the messages in the queue.
    pub(super) fn queue_bytes(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.queue.bytes())
    }

    /// The bytes that the session takes, without replays and without messages.
    pub(super) fn memory(&self) -> usize {
        let rare = |rare: &Rare| {
            let drops = rare.drops.as_ref().map_or(0, |_| size_of::<Drops>());
            size_of::<Rare>() + rare.queue.memory() + 4 * rare.received.len() + drops
        };
        let will = self.will.as_deref().map_or(0, WillMessage::memory);
        let rare = self.rare.as_deref().map_or(0, rare);
        let lists = self.in_flight.memory() + self.subscriptions.memory();
        size_of::<Self>() + self.client_id.len() + lists + rare + will
    }

    /// The time at which the oldest message came that is in flight or waits.
    pub(super) fn oldest(&self) -> Option<Time> {
        let in_flight = self.in_flight.iter().take(1).filter_map(|entry| entry.delivery());
        in_flight.chain(self.first_queued()).map(|delivery| delivery.message.received).min()
    }

    /// The messages that did not reach the client, by reason.
    pub(super) fn drops(&self) -> Drops {
        self.rare.as_ref().and_then(|rare| rare.drops.as_deref()).copied().unwrap_or_default()
    }

    /// The bytes that the session's replays take.
    pub(super) fn replays_memory(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.replays.memory())
    }

    /// The message that [`Self::dequeue`] would give.
    pub(super) fn first_queued(&self) -> Option<&Delivery> {
        self.rare.as_ref()?.queue.first()
    }

    /// The next queued message.
    pub(super) fn dequeue(&mut self) -> Option<Delivery> {
        self.rare.as_mut()?.queue.pop()
    }

    /// The number of exchanges and of deliveries that wait.
    pub(super) fn held(&self) -> usize {
        self.in_flight.len() + self.rare.as_ref().map_or(0, |rare| rare.queue.len())
    }

    /// True when a queued message is one for a shared group.
    pub(super) fn has_shared_queue(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.queue.has_shared())
    }

    /// Takes out the queued messages that another member of their group may get instead. Unless the
    /// session ends, those stay that the process before may have sent to its client.
    pub(super) fn take_shared_queue(&mut self, ends: bool) -> Vec<Delivery> {
        let Some(rare) = &mut self.rare else { return Vec::new() };
        rare.queue.take_shared(|delivery| ends || !delivery.may_have_been_sent())
    }

    /// Takes out the shared QoS 1 messages in flight; a QoS 2 exchange once begun goes to nobody
    /// else. For a session that ends. Returns as well how many of them were still to be sent.
    // [MQTT-4.8.2-5]
    pub(super) fn take_shared_in_flight(&mut self) -> (Vec<Delivery>, u64) {
        let in_flight = std::mem::take(&mut self.in_flight);
        let is_to_go = |d: &&Delivery| d.share().is_some() && d.qos == QoS::AtLeastOnce;
        let waiting = in_flight.waiting().filter_map(Entry::delivery).filter(is_to_go).count();
        let all = in_flight.iter().filter_map(Entry::delivery).filter(is_to_go);
        (all.cloned().collect(), waiting as u64)
    }
}

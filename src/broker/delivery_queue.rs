//! The deliveries that wait for one client, within limits; those that have expired make room.

use super::delivery::{Delivery, topic_hash};
use crate::base::queue::Queue;
use crate::base::time::Time;
use crate::base::visits::{Planted, is_planted, visit};
use crate::store::Message;
use std::collections::BTreeSet;

/// A queue of deliveries, and the bytes that they take.
#[derive(Debug, Default)]
pub(super) struct DeliveryQueue {
    queue: Queue<Delivery>,
    /// The bytes of all deliveries, as [`Delivery::queued_bytes`] counts them.
    bytes: usize,
    /// The deliveries that expire, by time, with their places.
    deadlines: BTreeSet<(Time, u64)>,
    /// The number of deliveries to members of shared groups.
    shared: usize,
    /// The deliveries that an earlier process took from the retained store, by [`topic_hash`], with
    /// their places.
    replays: BTreeSet<(u64, u64)>,
}

/// The limits of a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    pub(super) messages_max: usize,
    pub(super) bytes_max: usize,
}

/// The outcome of queueing a message.
#[derive(Debug)]
pub(super) struct Enqueued {
    /// The message, when the queue is full.
    pub(super) refused: Option<Delivery>,
    /// The number of messages that had expired and made room.
    pub(super) expired: usize,
}

impl DeliveryQueue {
    pub(super) const fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.queue.len()
    }

    /// True when a delivery is one to a member of a shared group.
    pub(super) const fn has_shared(&self) -> bool {
        self.shared > 0
    }

    /// The bytes that the deliveries take.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of deliveries, and their bytes.
    pub(super) const fn size(&self) -> (usize, usize) {
        (self.queue.len(), self.bytes)
    }

    /// The bytes that the queue takes, without the messages.
    pub(super) fn memory(&self) -> usize {
        // Pieces are three quarters full, and nodes of trees two thirds.
        let deliveries = self.queue.len() * size_of::<Delivery>() * 4 / 3;
        deliveries + self.deadlines.len() * size_of::<(Time, u64)>() * 3 / 2
    }

    /// The deliveries, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.queue.iter().map(|(_, delivery)| delivery)
    }

    /// The delivery that [`Self::pop`] would give.
    pub(super) fn first(&self) -> Option<&Delivery> {
        self.queue.front()
    }

    /// Queues a delivery behind the others, if the limits allow that once as many expired ones as
    /// necessary have made room.
    pub(super) fn push(&mut self, delivery: Delivery, now: Time, limits: QueueLimits) -> Enqueued {
        let bytes = delivery.queued_bytes();
        let mut expired = 0;
        while self.is_full(bytes, limits) {
            if !self.drop_expired(now) {
                return Enqueued { refused: Some(delivery), expired };
            }
            expired += 1;
        }
        self.add(delivery);
        Enqueued { refused: None, expired }
    }

    /// Queues a delivery whatever the limits are.
    pub(super) fn add(&mut self, delivery: Delivery) {
        self.bytes += delivery.queued_bytes();
        self.shared += usize::from(delivery.share().is_some());
        let expires = delivery.message.expires;
        let replay = delivery.restored_replay();
        let place = self.queue.push_back(delivery);
        visit(usize::from(expires.is_some()) + usize::from(replay.is_some()));
        self.deadlines.extend(expires.map(|expires| (expires.at, place)));
        self.replays.extend(replay.map(|hash| (hash, place)));
    }

    /// True when a delivery is left that an earlier process took from the retained store.
    pub(super) fn has_replay(&self) -> bool {
        !self.replays.is_empty()
    }

    /// Takes out the deliveries from the retained store whose messages are of `topic`, and `old`.
    pub(super) fn take_replays(
        &mut self,
        topic: &str,
        old: impl Fn(&Message) -> bool,
    ) -> Vec<Delivery> {
        if self.replays.is_empty() {
            return Vec::new();
        }
        let hash = topic_hash(topic);
        let of_topic = self.replays.range((hash, 0)..=(hash, u64::MAX));
        visit(1);
        let is_old = |place: &u64| self.queue.get(*place).is_some_and(|d| old(&d.message));
        let places: Vec<u64> = of_topic.map(|(_, place)| *place).filter(is_old).collect();
        places.into_iter().filter_map(|place| self.take(place)).collect()
    }

    /// Takes the delivery that has waited longest.
    pub(super) fn pop(&mut self) -> Option<Delivery> {
        let (place, delivery) = self.queue.pop_front()?;
        self.note_gone(place, &delivery);
        Some(delivery)
    }

    /// Takes out the deliveries to members of shared groups that `may_go`, in order.
    pub(super) fn take_shared(&mut self, may_go: impl Fn(&Delivery) -> bool) -> Vec<Delivery> {
        if !self.has_shared() {
            return Vec::new();
        }
        let goes = |delivery: &Delivery| delivery.share().is_some() && may_go(delivery);
        let going = self.queue.iter().filter(|(_, delivery)| goes(delivery));
        let places: Vec<u64> = going.map(|(place, _)| place).collect();
        places.into_iter().filter_map(|place| self.take(place)).collect()
    }

    const fn is_full(&self, more: usize, limits: QueueLimits) -> bool {
        self.queue.len() >= limits.messages_max
            || self.bytes.saturating_add(more) > limits.bytes_max
    }

    /// Drops the delivery that expired first; false when none has expired.
    fn drop_expired(&mut self, now: Time) -> bool {
        visit(1);
        let first = match is_planted(Planted::ExpiredScan) {
            true => self.first_deadline(),
            false => self.deadlines.first().copied(),
        };
        let expired = first.filter(|(expires, _)| *expires <= now);
        expired.and_then(|(_, place)| self.take(place)).is_some()
    }

    /// As the first of [`Self::deadlines`], by a look at every delivery.
    fn first_deadline(&self) -> Option<(Time, u64)> {
        let expires = |delivery: &Delivery| delivery.message.expires.map(|expires| expires.at);
        self.queue.iter().filter_map(|(place, d)| Some((expires(d)?, place))).min()
    }

    fn take(&mut self, place: u64) -> Option<Delivery> {
        let delivery = self.queue.take(place)?;
        self.note_gone(place, &delivery);
        Some(delivery)
    }

    fn note_gone(&mut self, place: u64, delivery: &Delivery) {
        self.bytes -= delivery.queued_bytes();
        self.shared -= usize::from(delivery.share().is_some());
        if let Some(expires) = delivery.message.expires {
            visit(1);
            self.deadlines.remove(&(expires.at, place));
        }
        if let Some(hash) = delivery.restored_replay() {
            visit(1);
            self.replays.remove(&(hash, place));
        }
        if self.queue.is_empty() {
            // The memory of a queue that was long goes with it.
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{DeliveryNumber, MessageId, SessionNumber};
    use crate::base::prng::Prng;
    use crate::base::visits::taken;
    use crate::broker::delivery::Particulars;
    use crate::broker::merged::SubscriptionIds;
    use crate::broker::record_ref::RecordRef;
    use crate::mqtt::{Properties, QoS};
    use crate::store::{Expiry, Message, Traits};
    use std::sync::Arc;
    use std::time::Duration;

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    fn delivery(payload: &[u8], expires_s: Option<u64>, share: Option<&str>) -> Delivery {
        let traits = Traits {
            qos: QoS::AtLeastOnce,
            retain: false,
            expires: expires_s.map(|seconds| Expiry { at: at(seconds), interval_s: 1 }),
            publisher: SessionNumber::NONE,
            received: Time::ZERO,
            id: MessageId(1),
        };
        Delivery {
            message: Arc::new(Message::new(
                "t",
                &Properties::from_bytes(&[]),
                payload,
                traits,
                None,
            )),
            record: RecordRef::NONE,
            more: Particulars::new(
                DeliveryNumber::NONE,
                SubscriptionIds::new(),
                share.map(Arc::from),
            ),
            subscription_id: 0,
            qos: QoS::AtLeastOnce,
            retain: false,
        }
    }

    fn payloads(queue: &DeliveryQueue) -> Vec<Vec<u8>> {
        queue.iter().map(|delivery| delivery.message.payload().to_vec()).collect()
    }

    /// A queue that looks at each delivery at each step takes and drops the same ones.
    #[test]
    fn it_is_what_a_plain_queue_is() {
        for seed in 0..40 {
            let mut prng = Prng::new(seed);
            let limits = QueueLimits {
                messages_max: 1 + prng.below(200) as usize,
                bytes_max: 2_000 + prng.below(20_000) as usize,
            };
            let (mut queue, mut plain) = (DeliveryQueue::default(), Vec::<Delivery>::new());
            for step in 0..2_000_u64 {
                let now = step / 10;
                if prng.chance(40) {
                    let first = (!plain.is_empty()).then(|| plain.remove(0));
                    let popped = queue.pop();
                    let payload = |d: Option<Delivery>| d.map(|d| d.message.payload().to_vec());
                    assert_eq!(payload(popped), payload(first));
                } else if prng.chance(2) {
                    let taken = queue.take_shared(|_| true).len();
                    let before = plain.len();
                    plain.retain(|delivery| delivery.share().is_none());
                    assert_eq!(taken, before - plain.len());
                } else {
                    let expires = prng.chance(50).then(|| now + prng.below(30));
                    let share = prng.chance(20).then_some("$share/g/t");
                    let payload = vec![step as u8; prng.below(300) as usize];
                    let new = delivery(&payload, expires, share);
                    let full = |plain: &Vec<Delivery>| {
                        let bytes: usize = plain.iter().map(Delivery::queued_bytes).sum();
                        plain.len() >= limits.messages_max
                            || bytes + new.queued_bytes() > limits.bytes_max
                    };
                    let mut expired = 0;
                    while full(&plain) {
                        let due = |d: &Delivery| d.message.expires.map(|expires| expires.at);
                        let old = plain.iter().filter(|d| d.message.is_expired(at(now)));
                        let Some(first) = old.filter_map(due).min() else { break };
                        let place = plain.iter().position(|d| due(d) == Some(first)).unwrap();
                        plain.remove(place);
                        expired += 1;
                    }
                    let is_refused = full(&plain);
                    let enqueued = queue.push(new.clone(), at(now), limits);
                    assert_eq!(
                        (enqueued.refused.is_some(), enqueued.expired),
                        (is_refused, expired)
                    );
                    if !is_refused {
                        plain.push(new);
                    }
                }
                let expected: Vec<_> = plain.iter().map(|d| d.message.payload().to_vec()).collect();
                assert_eq!(payloads(&queue), expected, "seed {seed}");
                let bytes: usize = plain.iter().map(Delivery::queued_bytes).sum();
                let expiring = plain.iter().filter(|d| d.message.expires.is_some()).count();
                let shared = plain.iter().filter(|d| d.share().is_some()).count();
                assert_eq!((queue.bytes, queue.shared), (bytes, shared));
                assert_eq!(queue.deadlines.len(), expiring);
            }
        }
    }

    /// Only expired deliveries are looked at: those in front of them, however many, are not.
    #[test]
    fn a_full_queue_looks_at_none_that_have_not_expired() {
        let limits = QueueLimits { messages_max: 20_000, bytes_max: usize::MAX };
        let mut queue = DeliveryQueue::default();
        for number in 0..20_000_u64 {
            let expires = (number % 2 == 1).then_some(number);
            assert!(queue.push(delivery(b"", expires, None), at(0), limits).refused.is_none());
        }
        assert_eq!(queue.deadlines.len(), 10_000);
        let visits = taken();
        for _ in 0..1000 {
            let enqueued = queue.push(delivery(b"", None, None), at(0), limits);
            assert!(enqueued.refused.is_some() && enqueued.expired == 0);
        }
        let enqueued = queue.push(delivery(b"new", None, None), at(9), limits);
        assert!(enqueued.refused.is_none());
        assert_eq!(enqueued.expired, 1, "no more go than have to");
        // A deadline for each of 1,001; then one delivery goes, with its deadline, and one comes.
        assert_eq!(taken() - visits, 1001 + 2 + 1, "no delivery was looked at to find it");
        assert_eq!(queue.deadlines.first().map(|(expires, _)| *expires), Some(at(3)));
        assert_eq!(queue.iter().last().map(|last| last.message.payload()), Some(&b"new"[..]));
    }

    #[test]
    fn a_queue_is_full_by_what_its_deliveries_take_not_by_their_messages_bytes() {
        let limits = QueueLimits { messages_max: usize::MAX, bytes_max: 65_536 };
        let mut queue = DeliveryQueue::default();
        while queue.push(delivery(b"", None, Some("$share/g/t")), at(0), limits).refused.is_none() {
        }
        let entry = size_of::<Delivery>() + size_of::<Particulars>() + size_of::<Message>();
        let held = queue.queue.len() * entry;
        assert!((55_000..=65_536).contains(&held), "{held} bytes are held");
    }
}

//! The restore of an earlier process's state from the journal.

use super::delivery::{Delivery, Exchange, Particulars};
use super::homes::Homes;
use super::permission::{policy, worth_keeping};
use super::record_ref::RecordRef;
use super::replay::Terms;
use super::session::Session;
use super::shard::Shard;
use super::will::WillMessage;
use crate::base::ids::{ByWorker, DeliveryNumber, ListenerId, MessageId, SessionId, WorkerId};
use crate::base::maps::{HashMap, HashSet};
use crate::mqtt::{SubscriptionOptions, TopicFilter, Version};
use crate::store::Message;
use crate::store::record::{StoredDelivery, Subscription};
use crate::store::{Epoch, State, StoredCopy, StoredSession, VERSION_MIN, qos};
use crate::topics::{Interest, Subscriber};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One worker's share of an earlier process's state.
#[derive(Debug, Default)]
pub struct Past {
    sessions: Vec<StoredSession>,
    retained: Vec<Arc<Message>>,
    /// Every message that the sessions refer to.
    messages: Arc<HashMap<MessageId, Arc<Message>>>,
    /// The interest of the other workers: worker, whole filter, number of subscribers.
    interest: Vec<(WorkerId, Box<str>, u32)>,
    number_max: u64,
    version_max: u64,
}

impl Past {
    /// Divides a state among workers.
    #[must_use]
    pub fn divide(state: State, homes: &Homes) -> ByWorker<Self> {
        let workers = homes.workers();
        let (number_max, version_max) = (state.number_max, state.version_max);
        let past = || Self { number_max, version_max, ..Self::default() };
        let mut pasts = ByWorker::new(workers, |_| past());
        for message in state.retained() {
            pasts[homes.of(message.topic())].retained.push(message.clone());
        }
        let mut counts: ByWorker<BTreeMap<Box<str>, u32>> =
            ByWorker::new(workers, |_| BTreeMap::new());
        let messages = Arc::new(state.messages);
        for mut session in state.sessions.into_values() {
            let home = homes.of(&session.attributes.client_id);
            // The only place where filters from the disk are checked.
            session.subscriptions.retain(|text, _| TopicFilter::parse(text, usize::MAX).is_ok());
            for filter in session.subscriptions.keys().filter(|_| workers > 1) {
                *counts[home].entry(filter.clone()).or_default() += 1;
            }
            pasts[home].sessions.push(session);
        }
        for (worker, past) in pasts.iter_mut() {
            past.messages = Arc::clone(&messages);
            for (other, counts) in counts.iter().filter(|(other, _)| *other != worker) {
                let interest = counts.iter().map(|(filter, &count)| (other, filter.clone(), count));
                past.interest.extend(interest);
            }
        }
        pasts
    }
}

impl Shard {
    /// Restores an earlier process's state, before any other input. Its sessions exist at once, and
    /// messages for them wait for their clients.
    pub fn restore(&mut self, past: Past, epoch: Epoch) {
        self.clients.go_on_after(past.number_max);
        self.version = past.version_max.max(VERSION_MIN);
        for message in past.retained {
            message.note_stored(1);
            self.keep_retained(message);
        }
        let mut sessions = past.sessions;
        sessions.sort_unstable_by_key(|session| session.attributes.session);
        for stored in sessions {
            self.restore_session(&stored, &past.messages, epoch);
        }
        for (worker, filter, members) in past.interest {
            let interest = Interest { worker, members, online: 0 };
            self.subscriptions.learn(TopicFilter::parsed(&filter), interest);
        }
        // No turn pays for a start.
        self.subscriptions.take_moved_bytes();
    }

    fn restore_session(
        &mut self,
        stored: &StoredSession,
        messages: &HashMap<MessageId, Arc<Message>>,
        epoch: Epoch,
    ) {
        let now = self.clients.now;
        let attributes = &stored.attributes;
        let mut session = Session::new(&attributes.client_id, attributes.session);
        session.is_recorded = true;
        session.expiry_s = attributes.expiry_s;
        // A listener that is not there any more has nothing to say against anybody.
        let listener = attributes.owner.listener;
        session.listener =
            if listener.index() < self.policies.len() { listener } else { ListenerId(0) };
        let policy = policy(&self.policies, session.listener);
        let identity = Arc::new(attributes.owner.identity(&attributes.client_id));
        session.grants = policy.grants(&identity);
        session.identity = worth_keeping(identity, policy, session.grants.as_ref());
        session.will = attributes.will.as_ref().map(|will| Box::new(WillMessage::restored(will)));
        // A client that was connected is not any more.
        let ends = attributes.ends_ms.map(|ends| epoch.time(ends));
        let ends = ends.unwrap_or_else(|| now.after_seconds(attributes.expiry_s));
        session.ends = (attributes.expiry_s != u32::MAX).then_some(ends);
        if let Some(will) = &mut session.will {
            let due = attributes.will_due_ms.map(|due| epoch.time(due));
            will.due = Some(due.unwrap_or_else(|| now.after_seconds(will.delay_s)));
        }
        if stored.replays_begun > 0 {
            session.rare().replays_begun = stored.replays_begun;
        }
        for packet_id in &stored.received {
            session.rare().received.insert(*packet_id);
        }
        // A session that ends with its connection has nothing to come back to.
        if attributes.expiry_s > 0 {
            session.restore_deliveries(stored, messages);
            self.clients.counters.messages_owed += session.waiting_len() as u64;
        }
        let quota = self.quotas.of(session.user());
        session.count(Some(quota));
        let id = self.clients.insert_session(session);
        for subscription in stored.subscriptions.values() {
            self.restore_subscription(id, subscription, messages);
        }
        self.clients.refresh_stored(id);
        self.clients.refresh_session_timer(id);
    }

    fn restore_subscription(
        &mut self,
        id: SessionId,
        subscription: &Subscription<'_>,
        messages: &HashMap<MessageId, Arc<Message>>,
    ) {
        let filter = TopicFilter::parsed(&subscription.filter);
        let Ok(options) = SubscriptionOptions::decode(subscription.options, Version::V5) else {
            return;
        };
        let extras = self.restored_extras(id, filter.filter, subscription.subscription_id);
        let subscriber = Subscriber { session: id.slot, extras, options };
        let subscribed = self.subscriptions.subscribe(filter, subscriber);
        if let Some(group) = subscribed.place.group() {
            self.subscriptions.set_online(id.slot, group, false);
        }
        self.remember(id, subscribed.place, filter.text);
        if let Some(owed) = &subscription.owed {
            let terms = Terms {
                place: subscribed.place,
                qos: options.qos,
                subscription_id: subscription.subscription_id,
                is_restored: true,
            };
            let live = owed.overtaken.iter().filter_map(|id| messages.get(id).cloned());
            self.owe_replay(id, terms, owed, live);
        }
    }
}

impl Session {
    /// Restores the deliveries that were on their way at the end of the earlier process, in order.
    fn restore_deliveries(
        &mut self,
        stored: &StoredSession,
        messages: &HashMap<MessageId, Arc<Message>>,
    ) {
        let copies = stored.deliveries();
        match &stored.sent {
            Some(sent) => self.restore_sent(&copies, sent, messages),
            None => self.restore_perhaps_sent(&copies, messages),
        }
    }

    /// Restores deliveries of which the earlier process knew which ones were sent: only those go as
    /// duplicates.
    // [MQTT-3.3.1-1], [MQTT-3.3.1-3]
    fn restore_sent(
        &mut self,
        copies: &[&StoredCopy],
        sent: &[(DeliveryNumber, u16)],
        messages: &HashMap<MessageId, Arc<Message>>,
    ) {
        let by_number = copies.iter().map(|copy| (copy.1.number_of(copy.0), *copy));
        let by_number: HashMap<DeliveryNumber, &StoredCopy> = by_number.collect();
        // By number: the packet identifier, or 0 when it is not known and may have been sent.
        let sent_as: HashMap<DeliveryNumber, u16> = sent.iter().copied().collect();
        for (number, packet_id) in sent.iter().filter(|(_, packet_id)| *packet_id != 0) {
            let copy = by_number.get(number);
            let exchange = copy.and_then(|copy| restored_exchange(copy, messages));
            exchange.into_iter().for_each(|exchange| self.in_flight.resume(*packet_id, exchange));
        }
        for copy in copies {
            let record = match sent_as.get(&copy.1.number_of(copy.0)) {
                Some(0) => RecordRef::RESTORED,
                Some(_) => continue,
                None => RecordRef::RESTORED_UNSENT,
            };
            let delivery = restored_delivery(copy, record, messages);
            delivery.into_iter().for_each(|delivery| self.requeue(delivery));
        }
    }

    /// Restores deliveries that may have been sent or not, except that QoS 2 messages without a
    /// packet identifier were not. All others go as duplicates. A delivery before the last one with
    /// an identifier may have been sent, and keeps its place.
    // [MQTT-4.6.0-1]
    fn restore_perhaps_sent(
        &mut self,
        copies: &[&StoredCopy],
        messages: &HashMap<MessageId, Arc<Message>>,
    ) {
        let taken: HashSet<u16> = copies.iter().map(|copy| copy.1.packet_id).collect();
        let mut free = (1..=u16::MAX).rev().filter(|packet_id| !taken.contains(packet_id));
        let begun = copies.iter().rposition(|copy| copy.1.packet_id != 0).map_or(0, |at| at + 1);
        for (place, copy) in copies.iter().enumerate() {
            let packet_id = match copy.1 {
                StoredDelivery { packet_id: 0, qos: 1, .. } if place < begun => free.next(),
                StoredDelivery { packet_id, .. } => Some(packet_id).filter(|id| *id != 0),
            };
            match packet_id {
                Some(packet_id) => {
                    if let Some(exchange) = restored_exchange(copy, messages) {
                        self.in_flight.resume(packet_id, exchange);
                    }
                }
                None => {
                    let delivery = restored_delivery(copy, RecordRef::RESTORED, messages);
                    delivery.into_iter().for_each(|delivery| self.requeue(delivery));
                }
            }
        }
    }
}

fn restored_exchange(
    copy: &StoredCopy,
    messages: &HashMap<MessageId, Arc<Message>>,
) -> Option<Exchange> {
    let (id, way) = copy;
    if way.is_released {
        return Some(Exchange::Released {
            stored: way.number_of(*id),
            record: RecordRef::RESTORED,
        });
    }
    restored_delivery(copy, RecordRef::RESTORED, messages).map(Exchange::Message)
}

fn restored_delivery(
    (id, way): &StoredCopy,
    record: RecordRef,
    messages: &HashMap<MessageId, Arc<Message>>,
) -> Option<Delivery> {
    let message = messages.get(id).filter(|_| !way.is_released)?;
    message.note_stored(1);
    let ids = &*way.subscription_ids;
    Some(Delivery {
        message: message.clone(),
        record,
        more: Particulars::new(way.number, ids.into(), way.share.as_deref().map(Arc::from)),
        subscription_id: ids.first().copied().unwrap_or(0),
        qos: qos(way.qos),
        retain: way.retain,
    })
}

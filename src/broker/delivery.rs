//! A message on its way to one session.

use super::merged::SubscriptionIds;
use super::record_ref::RecordRef;
use crate::base::ids::{DeliveryName, DeliveryNumber, SessionNumber};
use crate::mqtt::QoS;
use crate::store::Message;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::sync::Arc;

/// A message for one session.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) message: Arc<Message>,
    /// The record in the journal that brought the delivery.
    pub(super) record: RecordRef,
    /// The particulars, which few deliveries have.
    pub(super) more: Option<Box<Particulars>>,
    /// The only Subscription Identifier; 0 for none or for several.
    pub(super) subscription_id: u32,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

/// The facts of a delivery that few deliveries have.
#[derive(Debug, Clone, Default)]
pub(super) struct Particulars {
    /// The delivery's number in the journal, where the message's id is the number of another copy;
    /// otherwise 0.
    pub(super) number: DeliveryNumber,
    /// The Subscription Identifiers when there are several.
    pub(super) subscription_ids: SubscriptionIds,
    /// The whole filter of the shared group for which the session got the message.
    pub(super) share: Option<Arc<str>>,
}

/// Names a topic among those of one session's replays that wait. Topics that a peer has made for
/// the same hash cost a look at each other, no more.
pub(super) fn topic_hash(topic: &str) -> u64 {
    FixedState::default().hash_one(topic)
}

/// The state of a packet identifier that is taken.
#[derive(Debug)]
pub(super) enum Exchange {
    /// A message whose PUBACK or PUBREC is awaited.
    Message(Delivery),
    /// PUBREC came, and PUBCOMP is awaited.
    Released {
        /// The delivery's number in the journal; 0 for a delivery that the journal does not have.
        stored: DeliveryNumber,
        /// The record, as in [`Delivery::record`].
        record: RecordRef,
    },
}

impl Delivery {
    /// Whether an earlier process may have sent this queued message. A QoS 2 message that was sent
    /// would have a packet identifier.
    pub(super) fn may_have_been_sent(&self) -> bool {
        self.record == RecordRef::RESTORED && self.qos == QoS::AtLeastOnce
    }

    /// The [`topic_hash`] of a delivery that an earlier process took from the retained store for a
    /// new subscription: such a delivery has a number of its own.
    pub(super) fn restored_replay(&self) -> Option<u64> {
        let is_restored = matches!(self.record, RecordRef::RESTORED | RecordRef::RESTORED_UNSENT);
        let is_replay = self.retain && self.own_number().is_some() && self.share().is_none();
        (is_restored && is_replay).then(|| topic_hash(self.message.topic()))
    }

    /// The Subscription Identifiers of the delivery.
    pub(super) fn subscription_ids(&self) -> &[u32] {
        match &self.more {
            Some(more) if !more.subscription_ids.is_empty() => &more.subscription_ids,
            _ if self.subscription_id != 0 => std::slice::from_ref(&self.subscription_id),
            _ => &[],
        }
    }

    /// The bytes that the delivery takes while it is queued: its own, and those of its message,
    /// though the message may be in other queues as well.
    pub(super) fn queued_bytes(&self) -> usize {
        let more = self.more.as_ref().map_or(0, |more| {
            size_of::<Particulars>() + size_of_val(more.subscription_ids.as_slice())
        });
        size_of::<Self>() + self.message.memory() + more
    }

    /// The whole filter of the shared group for which the session got the message.
    pub(super) fn share(&self) -> Option<&str> {
        self.more.as_ref()?.share.as_deref()
    }

    /// The name of the delivery, which belongs to `session`.
    pub(super) fn name(&self, session: SessionNumber) -> DeliveryName {
        DeliveryName { session, number: self.number() }
    }

    /// The number of the delivery among the session's.
    pub(super) fn number(&self) -> DeliveryNumber {
        self.own_number().unwrap_or(self.message.id.into())
    }

    /// The delivery's number, where it differs from the message's id.
    pub(super) fn own_number(&self) -> Option<DeliveryNumber> {
        self.more.as_ref().map(|more| more.number).filter(|number| !number.is_none())
    }

    /// The delivery's number in the journal; 0 for a delivery that the journal does not have.
    pub(super) fn stored(&self) -> DeliveryNumber {
        if self.record.is_none() { DeliveryNumber::NONE } else { self.number() }
    }
}

impl Particulars {
    /// Makes particulars; None when all of them are absent.
    pub(super) fn new(
        number: DeliveryNumber,
        mut subscription_ids: SubscriptionIds,
        share: Option<Arc<str>>,
    ) -> Option<Box<Self>> {
        if subscription_ids.len() < 2 {
            subscription_ids.clear();
        }
        let is_any = !number.is_none() || share.is_some() || !subscription_ids.is_empty();
        is_any.then(|| Box::new(Self { number, subscription_ids, share }))
    }
}

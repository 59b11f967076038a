//! A message on its way to one session.

use super::record_ref::RecordRef;
use crate::base::ids::{DeliveryName, DeliveryNumber, SessionNumber};
use crate::mqtt::QoS;
use crate::store::Message;
use smallvec::SmallVec;
use std::sync::Arc;

/// A message for one session.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) message: Arc<Message>,
    /// The record in the journal that brought the delivery.
    pub(super) record: RecordRef,
    /// What few deliveries have.
    pub(super) more: Option<Box<Particulars>>,
    /// The Subscription Identifier when there is one; 0 when there is none.
    pub(super) subscription_id: u32,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

/// What few deliveries have.
#[derive(Debug, Clone, Default)]
pub(super) struct Particulars {
    /// Names the delivery in the journal, where the message's id names another copy; 0 otherwise.
    pub(super) number: DeliveryNumber,
    /// The Subscription Identifiers when there are several.
    pub(super) subscription_ids: SmallVec<[u32; 4]>,
    /// The whole filter of the shared group that the session got it as a member of.
    pub(super) share: Option<Arc<str>>,
}

/// What a packet identifier stands for.
#[derive(Debug)]
pub(super) enum Exchange {
    /// A message whose PUBACK or PUBREC is awaited.
    Message(Delivery),
    /// PUBREC came, and PUBCOMP is awaited.
    Released {
        /// The delivery's number in the journal; 0 when it is not there.
        stored: DeliveryNumber,
        /// As [`Delivery::record`].
        record: RecordRef,
    },
}

impl Delivery {
    /// True of a queued message when the process before may have sent it: at QoS 2 that would have
    /// a packet identifier.
    pub(super) fn may_have_been_sent(&self) -> bool {
        self.record == RecordRef::RESTORED && self.qos == QoS::AtLeastOnce
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

    /// Names the delivery, one of this session's.
    pub(super) fn name(&self, session: SessionNumber) -> DeliveryName {
        DeliveryName { session, number: self.number() }
    }

    /// Names the delivery among the session's.
    pub(super) fn number(&self) -> DeliveryNumber {
        self.own_number().unwrap_or(self.message.id.into())
    }

    /// Its number, where that is not the message's id.
    pub(super) fn own_number(&self) -> Option<DeliveryNumber> {
        self.more.as_ref().map(|more| more.number).filter(|number| !number.is_none())
    }

    /// Its number in the journal; 0 when it is not there.
    pub(super) fn stored(&self) -> DeliveryNumber {
        if self.record.is_none() { DeliveryNumber::NONE } else { self.number() }
    }
}

impl Particulars {
    /// None when there are none.
    pub(super) fn new(
        number: DeliveryNumber,
        subscription_ids: &[u32],
        share: Option<Arc<str>>,
    ) -> Option<Box<Self>> {
        let several = if subscription_ids.len() < 2 { &[] } else { subscription_ids };
        let is_any = !number.is_none() || share.is_some() || !several.is_empty();
        is_any.then(|| Box::new(Self { number, subscription_ids: several.into(), share }))
    }
}

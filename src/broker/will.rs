//! The will: a message that a client leaves with the broker, to be published when the client is
//! lost.

use crate::access::Grants;
use crate::base::ids::SessionNumber;
use crate::base::time::Time;
use crate::mqtt::{self, QoS};
use crate::store::Source;
use crate::store::qos;
use crate::store::record::StoredWill;
use std::sync::Arc;

/// A will from CONNECT.
#[derive(Debug)]
pub(super) struct WillMessage {
    pub(super) topic: Box<str>,
    pub(super) payload: Box<[u8]>,
    pub(super) properties: Box<[u8]>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Seconds between the loss and the publish.
    pub(super) delay_s: u32,
    /// The time of the publish, after the connection failed.
    pub(super) due: Option<Time>,
    pub(super) message_expiry_s: Option<u32>,
}

impl WillMessage {
    /// The will from the journal.
    pub(super) fn restored(will: &StoredWill<'_>) -> Self {
        Self {
            topic: (*will.topic).into(),
            payload: (*will.payload).into(),
            properties: (*will.properties).into(),
            qos: qos(will.qos),
            retain: will.retain,
            delay_s: will.delay_s,
            due: None,
            message_expiry_s: will.message_expiry_s,
        }
    }

    /// The bytes that the will takes.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.topic.len() + self.payload.len() + self.properties.len()
    }

    /// The will in the journal's form.
    pub(super) fn stored(&self) -> StoredWill<'static> {
        StoredWill {
            topic: self.topic.to_string().into(),
            payload: self.payload.to_vec().into(),
            properties: self.properties.to_vec().into(),
            qos: self.qos as u8,
            retain: self.retain,
            delay_s: self.delay_s,
            message_expiry_s: self.message_expiry_s,
        }
    }

    pub(super) fn new(will: &mqtt::Will<'_>) -> Self {
        let mut properties = Vec::with_capacity(will.properties.len());
        will.properties.append_to(&mut properties);
        Self {
            topic: will.topic.into(),
            payload: will.payload.into(),
            properties: properties.into(),
            qos: will.qos,
            retain: will.retain,
            delay_s: will.delay_s,
            due: None,
            message_expiry_s: will.message_expiry_s,
        }
    }
}

/// The author of a will.
#[derive(Debug)]
pub(super) struct Author {
    pub(super) number: SessionNumber,
    /// Whether the journal has the will, or will have it.
    pub(super) is_recorded: bool,
    pub(super) source: Option<Source>,
    grants: Option<Arc<Grants>>,
}

impl Author {
    pub(super) const fn new(
        number: SessionNumber,
        is_recorded: bool,
        source: Option<Source>,
        grants: Option<Arc<Grants>>,
    ) -> Self {
        Self { number, is_recorded, source, grants }
    }

    pub(super) fn may_write(&self, topic: &str) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.may_write(topic))
    }
}

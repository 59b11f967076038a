//! The lines of an export, each a JSON object; see `docs/STORAGE.md`.

use super::values::{
    Bytes, Clock, Expires, PropertyValue, Publisher, Will, check_qos, check_text, check_time,
    check_topic, is_default,
};
use crate::base::ids::{DeliveryNumber, MessageId, SessionNumber};
use crate::limits::{IMPORT_NUMBER_MAX, PACKET_BYTES_MAX};
use crate::mqtt::{QoS, RetainHandling, SubscriptionOptions, TopicFilter, Version};
use crate::store::record::{Attributes, Body, Owed, Published, StoredDelivery, Subscription};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The format of the lines. Another one has another number.
pub(super) const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    Export(ExportLine<'a>),
    Message(MessageLine<'a>),
    Session(SessionLine<'a>),
    Subscription(SubscriptionLine<'a>),
    Delivery(DeliveryLine<'a>),
    Received(ReceivedLine),
    Sent(SentLine),
    End(EndLine),
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportLine<'a> {
    pub(super) format: u32,
    /// The version that wrote the lines.
    pub(super) ringmq: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clock: Option<Clock>,
}

/// A message that is retained or on its way to sessions.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageLine<'a> {
    pub(super) id: MessageId,
    topic: Cow<'a, str>,
    qos: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    retain: bool,
    /// The version of the retained message, where the message is retained on its topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retained: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Expires>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    publisher: Option<Publisher<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    properties: Vec<PropertyValue<'a>>,
    payload: Bytes<'a>,
}

/// A session, without what hangs on it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionLine<'a> {
    pub(super) session: SessionNumber,
    pub(super) client_id: Cow<'a, str>,
    #[serde(default)]
    owner: Publisher<'a>,
    expiry_s: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    is_connected: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) will: Option<Will<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    will_due_ms: Option<u64>,
}

/// A subscription of the session that a line before this one is about.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionLine<'a> {
    pub(super) session: SessionNumber,
    pub(super) filter: Cow<'a, str>,
    qos: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    no_local: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    retain_as_published: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    retain_handling: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    identifier: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owed: Option<OwedValue<'a>>,
}

/// The progress of sending retained messages.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwedValue<'a> {
    number: u32,
    after: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    overtaken: Vec<MessageId>,
}

/// A message on its way to a session. Their order is that of the lines.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryLine<'a> {
    pub(super) session: SessionNumber,
    pub(super) message: MessageId,
    #[serde(default, skip_serializing_if = "is_default")]
    number: DeliveryNumber,
    qos: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    retain: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    packet_id: u16,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) is_released: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subscription_identifiers: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_default")]
    replay: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    overtakes: Vec<u32>,
}

/// QoS 2 messages that the session's client has sent and not released.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceivedLine {
    pub(super) session: SessionNumber,
    pub(super) packet_ids: Vec<u16>,
}

/// The deliveries of a session that may have been sent, in order: number and packet identifier.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentLine {
    pub(super) session: SessionNumber,
    pub(super) deliveries: Vec<(DeliveryNumber, u16)>,
}

/// The last line: without it the file is not whole.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndLine {
    /// The number of lines before this one.
    pub(super) lines: u64,
}

impl<'a> MessageLine<'a> {
    /// The line of a message; None for a record that has none.
    pub(super) fn of(published: &'a Published<'_>) -> Option<Self> {
        let body = published.body.as_ref()?;
        let (topic, properties) = (body.lengths.0 as usize, body.lengths.1 as usize);
        let (topic, rest) = body.bytes.split_at_checked(topic)?;
        let (properties, payload) = rest.split_at_checked(properties)?;
        Some(Self {
            id: published.message,
            topic: std::str::from_utf8(topic).ok()?.into(),
            qos: body.qos,
            retain: body.retain,
            retained: published.retained,
            expires: body.expires.map(Expires::of),
            publisher: body.owner.as_ref().map(Publisher::of),
            properties: PropertyValue::list(properties),
            payload: Bytes(payload.into()),
        })
    }

    /// The message's body, or the fault of the line.
    pub(super) fn body(self) -> Result<Body<'a>, String> {
        check_number("id", self.id.0)?;
        check_topic("topic", &self.topic)?;
        check_qos(self.qos)?;
        if self.retained.is_some_and(|version| version > IMPORT_NUMBER_MAX) {
            return Err("retained: the version is too great".to_owned());
        }
        let properties = PropertyValue::encode(&self.properties)?;
        let bytes = [self.topic.as_bytes(), &properties, &self.payload.0].concat();
        if bytes.len() > PACKET_BYTES_MAX - 16 {
            return Err(format!("{} bytes are more than a packet can have", bytes.len()));
        }
        Ok(Body {
            qos: self.qos,
            retain: self.retain,
            expires: self.expires.map(|expires| expires.stored()).transpose()?,
            owner: self.publisher.map(Publisher::owner),
            lengths: (self.topic.len() as u32, properties.len() as u32),
            bytes: bytes.into(),
        })
    }
}

impl<'a> SessionLine<'a> {
    pub(super) fn of(attributes: &'a Attributes<'_>) -> Self {
        Self {
            session: attributes.session,
            client_id: (*attributes.client_id).into(),
            owner: Publisher::of(&attributes.owner),
            expiry_s: attributes.expiry_s,
            is_connected: attributes.is_connected,
            ends_ms: attributes.ends_ms,
            will: attributes.will.as_ref().map(Will::of),
            will_due_ms: attributes.will_due_ms,
        }
    }

    /// The session's attributes, or the fault of the line.
    pub(super) fn attributes(self) -> Result<Attributes<'a>, String> {
        check_number("session", self.session.0)?;
        check_text("client_id", &self.client_id)?;
        check_time(self.ends_ms.max(self.will_due_ms))?;
        Ok(Attributes {
            session: self.session,
            client_id: self.client_id,
            owner: self.owner.owner(),
            expiry_s: self.expiry_s,
            is_connected: self.is_connected,
            ends_ms: self.ends_ms,
            will: self.will.map(Will::stored).transpose()?,
            will_due_ms: self.will_due_ms,
        })
    }
}

impl<'a> SubscriptionLine<'a> {
    /// The line of a subscription; None for one that no broker would take.
    pub(super) fn of(session: SessionNumber, subscription: &'a Subscription<'_>) -> Option<Self> {
        let options = SubscriptionOptions::decode(subscription.options, Version::V5).ok()?;
        Some(Self {
            session,
            filter: (*subscription.filter).into(),
            qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: options.retain_handling as u8,
            identifier: subscription.subscription_id,
            owed: subscription.owed.as_ref().map(|owed| OwedValue {
                number: owed.number,
                after: (*owed.after).into(),
                overtaken: owed.overtaken.clone(),
            }),
        })
    }

    /// The subscription, or the fault of the line.
    pub(super) fn subscription(self) -> Result<Subscription<'a>, String> {
        check_text("filter", &self.filter)?;
        let filter = TopicFilter::parse(&self.filter, usize::MAX);
        let filter = filter.map_err(|error| format!("filter: {error}"))?;
        if self.no_local && filter.share_name.is_some() {
            return Err("no_local: a shared subscription cannot have it".to_owned());
        }
        if self.identifier > super::mosquitto::SUBSCRIPTION_ID_MAX {
            return Err(format!("identifier: {} is too great", self.identifier));
        }
        let handling = RetainHandling::from_bits(self.retain_handling);
        let options = SubscriptionOptions {
            qos: QoS::from_bits(self.qos).ok_or("qos: it is not 0, 1 or 2")?,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: handling.ok_or("retain_handling: it is not 0, 1 or 2")?,
        };
        Ok(Subscription {
            filter: self.filter,
            options: options.to_byte(Version::V5),
            subscription_id: self.identifier,
            owed: self.owed.map(|owed| Owed {
                number: owed.number,
                after: owed.after,
                overtaken: owed.overtaken,
            }),
        })
    }
}

impl<'a> DeliveryLine<'a> {
    pub(super) fn of(
        session: SessionNumber,
        message: MessageId,
        way: &'a StoredDelivery<'_>,
    ) -> Self {
        Self {
            session,
            message,
            number: way.number,
            qos: way.qos,
            retain: way.retain,
            packet_id: way.packet_id,
            is_released: way.is_released,
            subscription_identifiers: way.subscription_ids.clone(),
            share: way.share.as_deref().map(Cow::Borrowed),
            replay: way.replay,
            overtakes: way.overtakes.clone(),
        }
    }

    /// The delivery, or the fault of the line.
    pub(super) fn delivery(self) -> Result<StoredDelivery<'a>, String> {
        check_qos(self.qos)?;
        check_number("message", self.message.0)?;
        if !self.number.is_none() {
            check_number("number", self.number.0)?;
        }
        if let Some(share) = &self.share {
            let filter = TopicFilter::parse(share, usize::MAX);
            filter.map_err(|error| format!("share: {error}"))?;
        }
        Ok(StoredDelivery {
            number: self.number,
            qos: self.qos,
            retain: self.retain,
            packet_id: self.packet_id,
            is_released: self.is_released,
            subscription_ids: self.subscription_identifiers,
            share: self.share,
            replay: self.replay,
            overtakes: self.overtakes,
        })
    }
}

/// Checks that a number names something, and leaves room for later ones.
fn check_number(name: &str, number: u64) -> Result<(), String> {
    match number {
        1..=IMPORT_NUMBER_MAX => Ok(()),
        _ => Err(format!("{name}: {number} is not between 1 and {IMPORT_NUMBER_MAX}")),
    }
}

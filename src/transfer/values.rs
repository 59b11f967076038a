//! Values of an export's lines: bytes, properties, clocks, publishers, wills.

use crate::mqtt::{Properties, Property};
use crate::store::record::{ClockNote, Owner, StoredExpiry, StoredWill};
use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// Milliseconds of the journal's time that nanoseconds can count.
const TIME_MS_MAX: u64 = u64::MAX / 1_000_000;

/// Bytes, in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bytes<'a>(pub(super) Cow<'a, [u8]>);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(&self.0, &STANDARD))
    }
}

impl<'de> Deserialize<'de> for Bytes<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes());
        bytes.map(|bytes| Self(bytes.into())).map_err(|_| D::Error::custom("no base64"))
    }
}

/// A property that goes on with a message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PropertyValue<'a> {
    PayloadFormatIndicator(bool),
    ContentType(Cow<'a, str>),
    ResponseTopic(Cow<'a, str>),
    CorrelationData(Bytes<'a>),
    UserProperty(Cow<'a, str>, Cow<'a, str>),
}

impl<'a> PropertyValue<'a> {
    /// The encoded properties one by one, in order. Others than those that go on are left out:
    /// nothing writes them.
    pub(super) fn list(encoded: &'a [u8]) -> Vec<Self> {
        Properties::from_bytes(encoded).iter().filter_map(Self::of).collect()
    }

    fn of(property: Property<'a>) -> Option<Self> {
        Some(match property {
            Property::PayloadFormatIndicator(is_text) => Self::PayloadFormatIndicator(is_text),
            Property::ContentType(text) => Self::ContentType(text.into()),
            Property::ResponseTopic(text) => Self::ResponseTopic(text.into()),
            Property::CorrelationData(bytes) => Self::CorrelationData(Bytes(bytes.into())),
            Property::UserProperty((name, value)) => Self::UserProperty(name.into(), value.into()),
            _ => return None,
        })
    }

    /// The properties encoded, or the fault of one of them.
    pub(super) fn encode(list: &[Self]) -> Result<Vec<u8>, String> {
        let mut encoded = Vec::new();
        for property in list {
            property.check()?;
            property.property().encode(&mut encoded);
        }
        Ok(encoded)
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::PayloadFormatIndicator(_) => Ok(()),
            Self::ContentType(text) | Self::ResponseTopic(text) => check_text("property", text),
            Self::CorrelationData(Bytes(bytes)) => check_length("correlation_data", bytes.len()),
            Self::UserProperty(name, value) => {
                check_text("property", name).and_then(|()| check_text("property", value))
            }
        }
    }

    fn property(&self) -> Property<'_> {
        match self {
            Self::PayloadFormatIndicator(is_text) => Property::PayloadFormatIndicator(*is_text),
            Self::ContentType(text) => Property::ContentType(text),
            Self::ResponseTopic(text) => Property::ResponseTopic(text),
            Self::CorrelationData(Bytes(bytes)) => Property::CorrelationData(bytes),
            Self::UserProperty(name, value) => Property::UserProperty((name, value)),
        }
    }
}

/// Checks that a packet can have the text.
pub(super) fn check_text(name: &str, text: &str) -> Result<(), String> {
    match text.contains('\0') {
        true => Err(format!("{name}: the character U+0000 is not allowed")),
        false => check_length(name, text.len()),
    }
}

fn check_length(name: &str, length: usize) -> Result<(), String> {
    match u16::try_from(length) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{name}: {length} bytes are more than 65,535")),
    }
}

/// The journal's time, and the machine's clocks at that moment.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clock {
    journal_ms: u64,
    wall_ms: u64,
    /// 32 hexadecimal digits.
    boot: String,
    boot_ms: u64,
}

impl Clock {
    pub(super) fn of(note: ClockNote) -> Self {
        let ClockNote { journal_ms, wall_ms, boot, boot_ms } = note;
        Self { journal_ms, wall_ms, boot: format!("{:032x}", u128::from_be_bytes(boot)), boot_ms }
    }

    pub(super) fn note(&self) -> Result<ClockNote, String> {
        let Self { journal_ms, wall_ms, boot, boot_ms } = self;
        let number = u128::from_str_radix(boot, 16).map_err(|error| format!("boot: {error}"))?;
        check_time(Some(*journal_ms))?;
        Ok(ClockNote {
            journal_ms: *journal_ms,
            wall_ms: *wall_ms,
            boot: number.to_be_bytes(),
            boot_ms: *boot_ms,
        })
    }
}

/// Checks that the process's clock can show a time.
pub(super) fn check_time(time_ms: Option<u64>) -> Result<(), String> {
    match time_ms.filter(|time_ms| *time_ms > TIME_MS_MAX) {
        Some(time_ms) => Err(format!("{time_ms} ms are beyond all time")),
        None => Ok(()),
    }
}

/// The end of the time in which a message is worth delivering.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expires {
    at_ms: u64,
    interval_s: u32,
}

impl Expires {
    pub(super) const fn of(StoredExpiry { at_ms, interval_s }: StoredExpiry) -> Self {
        Self { at_ms, interval_s }
    }

    pub(super) fn stored(&self) -> Result<StoredExpiry, String> {
        let Self { at_ms, interval_s } = *self;
        check_time(Some(at_ms)).map(|()| StoredExpiry { at_ms, interval_s })
    }
}

/// A client, as far as it outlives its connection.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publisher<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_default")]
    is_superuser: bool,
    /// The place of its listener in the list of listeners, from 0.
    #[serde(default, skip_serializing_if = "is_default")]
    listener: u16,
}

impl<'a> Publisher<'a> {
    pub(super) fn of(owner: &Owner<'a>) -> Self {
        Self {
            user: owner.user.clone(),
            client_id: owner.client_id.clone(),
            is_superuser: owner.is_superuser,
            listener: owner.listener.0,
        }
    }

    pub(super) fn owner(self) -> Owner<'a> {
        Owner {
            user: self.user,
            client_id: self.client_id,
            is_superuser: self.is_superuser,
            listener: crate::base::ids::ListenerId(self.listener),
        }
    }
}

/// A will that is still to be published or discarded.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Will<'a> {
    pub(super) topic: Cow<'a, str>,
    qos: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    retain: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    properties: Vec<PropertyValue<'a>>,
    payload: Bytes<'a>,
    #[serde(default, skip_serializing_if = "is_default")]
    delay_s: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_expiry_s: Option<u32>,
}

impl<'a> Will<'a> {
    pub(super) fn of(will: &'a StoredWill<'_>) -> Self {
        Self {
            topic: (*will.topic).into(),
            qos: will.qos,
            retain: will.retain,
            properties: PropertyValue::list(&will.properties),
            payload: Bytes((*will.payload).into()),
            delay_s: will.delay_s,
            message_expiry_s: will.message_expiry_s,
        }
    }

    pub(super) fn stored(self) -> Result<StoredWill<'a>, String> {
        check_topic("will", &self.topic)?;
        check_qos(self.qos)?;
        check_length("will", self.payload.0.len())?;
        Ok(StoredWill {
            topic: self.topic,
            payload: self.payload.0,
            properties: PropertyValue::encode(&self.properties)?.into(),
            qos: self.qos,
            retain: self.retain,
            delay_s: self.delay_s,
            message_expiry_s: self.message_expiry_s,
        })
    }
}

/// Checks that a message can be published to a topic.
pub(super) fn check_topic(name: &str, topic: &str) -> Result<(), String> {
    check_text(name, topic)?;
    crate::mqtt::check_topic_name(topic).map_err(|error| format!("{name}: {error}"))
}

/// Checks a quality of service.
pub(super) fn check_qos(qos: u8) -> Result<(), String> {
    if qos > 2 { Err(format!("qos: {qos} is not 0, 1 or 2")) } else { Ok(()) }
}

/// True for values that a line leaves out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

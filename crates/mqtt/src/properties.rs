//! Properties that are kept as the bytes they came in.

use super::error::ProtocolError;
use super::packet_type::PacketSet;
use super::property::{Pair, Property, PropertyReader};
use super::reader::Reader;
use super::topic::check_topic_name;

/// Runs of encoded properties, in order; none of them empty.
///
/// Runs rather than one slice, because properties that are not kept may stand between them:
///
/// ```text
/// │ format │ expiry │ content type │ user │ user │ alias │ user │
///  └ run ─┘          └────────── run ───────────┘         └ run ┘
/// ```
///
/// No `SmallVec`: it would make every packet invariant over the lifetime of its bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs<'a> {
    /// The first runs; empty where there is none. More are rare: they are for one expiry
    /// interval or alias between the others.
    head: [&'a [u8]; 2],
    /// The runs behind those.
    rest: Vec<&'a [u8]>,
}

impl<'a> Runs<'a> {
    /// One run, or none when `bytes` is empty.
    const fn one(bytes: &'a [u8]) -> Self {
        Self { head: [bytes, &[]], rest: Vec::new() }
    }

    const fn is_empty(&self) -> bool {
        self.head[0].is_empty()
    }

    /// Adds `run`, which is not empty, behind the others.
    pub(crate) fn push(&mut self, run: &'a [u8]) {
        match self.head.iter_mut().find(|slot| slot.is_empty()) {
            Some(slot) => *slot = run,
            None => self.rest.push(run),
        }
    }

    /// Puts `run`, which starts where the last run does, in its place; with no run it is the
    /// first.
    pub(crate) fn replace_last(&mut self, run: &'a [u8]) {
        let [first, second] = &mut self.head;
        let of_head = if second.is_empty() { first } else { second };
        *self.rest.last_mut().unwrap_or(of_head) = run;
    }

    pub(crate) fn slices(&self) -> impl Iterator<Item = &'a [u8]> {
        self.head.iter().chain(&self.rest).copied()
    }

    fn len(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        for run in self.slices() {
            out.extend_from_slice(run);
        }
    }

    fn iter(&self) -> impl Iterator<Item = Property<'a>> {
        self.slices().flat_map(|run| {
            let mut reader = Reader::new(run);
            // What was decoded once decodes again; the end of the run is the only error.
            std::iter::from_fn(move || Property::decode(&mut reader).ok())
        })
    }
}

/// Equal bytes are equal properties, however they are cut into runs.
impl PartialEq for Runs<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.slices().flatten().eq(other.slices().flatten())
    }
}

impl Eq for Runs<'_> {}

/// The properties of a message that go on to subscribers unaltered and in order.
///
/// The properties are payload format, content type, response topic, correlation data and user
/// properties: [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18]
/// [MQTT-3.3.2-20].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    runs: Runs<'a>,
}

impl<'a> Properties<'a> {
    /// Takes `bytes` for encoded properties that [`Self::append_to`] wrote, without a check.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self { runs: Runs::one(bytes) }
    }

    /// Bytes that the properties take.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether there are no properties.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Writes the encoded properties, without a length, at the end of `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        self.runs.append_to(out);
    }

    /// The properties one by one, in order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> {
        self.runs.iter()
    }

    /// Whether the sender says that the payload is UTF-8; none when it says nothing.
    #[must_use]
    pub fn payload_format(&self) -> Option<bool> {
        self.iter().find_map(|property| match property {
            Property::PayloadFormatIndicator(is_text) => Some(is_text),
            _ => None,
        })
    }

    /// The MIME type, or another description of the payload.
    #[must_use]
    pub fn content_type(&self) -> Option<&'a str> {
        self.iter().find_map(|property| match property {
            Property::ContentType(content_type) => Some(content_type),
            _ => None,
        })
    }

    /// The topic that a response is to go to; it contains no wildcards.
    #[must_use]
    pub fn response_topic(&self) -> Option<&'a str> {
        self.iter().find_map(|property| match property {
            Property::ResponseTopic(topic) => Some(topic),
            _ => None,
        })
    }

    /// The bytes by which the requester knows its request.
    #[must_use]
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        self.iter().find_map(|property| match property {
            Property::CorrelationData(data) => Some(data),
            _ => None,
        })
    }

    /// Names and values that the sender chose, in order.
    pub fn user_properties(&self) -> impl Iterator<Item = Pair<'a>> {
        self.runs.iter().filter_map(pair)
    }

    /// Keeps `property`, which `reader` has just read, if it goes on.
    pub(crate) fn accept(
        &mut self,
        property: Property<'a>,
        reader: &mut PropertyReader<'a>,
    ) -> Result<(), ProtocolError> {
        if let Property::ResponseTopic(topic) = property {
            check_response_topic(topic)?;
        }
        if property.goes_on() {
            reader.keep(&mut self.runs);
        }
        Ok(())
    }
}

fn check_response_topic(topic: &str) -> Result<(), ProtocolError> {
    // [MQTT-3.3.2-14]
    check_topic_name(topic)
        .map_err(|_| ProtocolError::protocol("response topic that is no topic name"))
}

/// The user properties of a packet, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserProperties<'a> {
    runs: Runs<'a>,
}

impl<'a> UserProperties<'a> {
    /// Takes `bytes` for the output of [`encode_user_property`], without a check.
    #[must_use]
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self { runs: Runs::one(bytes) }
    }

    /// Whether there are no user properties.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = Pair<'a>> {
        self.runs.iter().filter_map(pair)
    }

    /// Keeps the user property that `reader` has just read.
    pub(crate) fn accept(&mut self, reader: &mut PropertyReader<'a>) {
        reader.keep(&mut self.runs);
    }

    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        self.runs.append_to(out);
    }
}

/// Writes one user property at the end of `out`, for [`UserProperties::from_bytes`].
///
/// # Panics
///
/// When the name or the value is longer than 65,535 bytes.
pub fn encode_user_property(name: &str, value: &str, out: &mut Vec<u8>) {
    Property::UserProperty((name, value)).encode(out);
}

fn pair(property: Property<'_>) -> Option<Pair<'_>> {
    match property {
        Property::UserProperty(pair) => Some(pair),
        _ => None,
    }
}

/// The remarks that an answer may carry besides its codes.
#[derive(Debug, Default)]
pub(crate) struct Remarks<'a> {
    pub(crate) reason: Option<&'a str>,
    pub(crate) user_properties: UserProperties<'a>,
}

impl<'a> Remarks<'a> {
    /// Reads the properties of a packet that has no others.
    pub(crate) fn decode(
        reader: &mut Reader<'a>,
        packet: PacketSet,
    ) -> Result<Self, ProtocolError> {
        let mut remarks = Self::default();
        let mut properties = PropertyReader::open(reader, packet)?;
        while let Some(property) = properties.next()? {
            remarks.accept(property, &mut properties);
        }
        Ok(remarks)
    }

    /// Keeps `property`, which `reader` has just read, if it is a remark.
    pub(crate) fn accept(&mut self, property: Property<'a>, reader: &mut PropertyReader<'a>) {
        match property {
            Property::ReasonString(reason) => self.reason = Some(reason),
            Property::UserProperty(_) => self.user_properties.accept(reader),
            _ => {}
        }
    }
}

/// Writes the properties that [`Remarks`] reads, without a length.
pub(crate) fn put_remarks<'a>(
    reason: Option<&'a str>,
    user_properties: &UserProperties<'a>,
    out: &mut Vec<u8>,
) {
    Property::put(reason, Property::ReasonString, out);
    user_properties.append_to(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_3_3_2_18_user_properties_keep_their_order() {
        let mut bytes = Vec::new();
        encode_user_property("b", "1", &mut bytes);
        encode_user_property("a", "2", &mut bytes);
        encode_user_property("b", "", &mut bytes);
        let pairs: Vec<_> = UserProperties::from_bytes(&bytes).iter().collect();
        assert_eq!(pairs, [("b", "1"), ("a", "2"), ("b", "")]);
    }

    #[test]
    fn properties_are_found_by_name() {
        let mut bytes = Vec::new();
        Property::ContentType("text").encode(&mut bytes);
        Property::ResponseTopic("a/b").encode(&mut bytes);
        Property::CorrelationData(&[0]).encode(&mut bytes);
        Property::PayloadFormatIndicator(true).encode(&mut bytes);
        let properties = Properties::from_bytes(&bytes);
        assert_eq!(properties.content_type(), Some("text"));
        assert_eq!(properties.response_topic(), Some("a/b"));
        assert_eq!(properties.correlation_data(), Some(&[0][..]));
        assert_eq!(properties.payload_format(), Some(true));
        assert_eq!(properties.user_properties().count(), 0);
        assert_eq!(properties.len(), bytes.len());
    }

    #[test]
    fn equal_however_cut() {
        let mut cut = Runs::default();
        cut.push(&[1]);
        cut.push(&[0, 3]);
        assert_eq!(cut, Runs::one(&[1, 0, 3]));
        assert_ne!(cut, Runs::one(&[1, 0]));
    }
}

//! A publish on its way to many subscribers: decided and encoded once for all of them.

use super::outbox::{Outbox, PRIVATE, Run};
use crate::base::ids::{MessageId, Serial};
use crate::base::time::Time;
use crate::limits::PAYLOAD_COPIED_MAX;
use crate::metrics::Counters;
use crate::mqtt::{Properties, Publish, QoS, Version};
use crate::store::{Message, Source, Traits};
use smallvec::SmallVec;
use std::sync::Arc;

/// A message, perhaps still in the receive buffer.
#[derive(Debug)]
pub(super) struct Publication<'a> {
    topic: &'a str,
    properties: Properties<'a>,
    payload: &'a [u8],
    traits: Traits,
    expiry_s: Option<u32>,
    source: Option<Source>,
    message: Option<Arc<Message>>,
    frames: [Option<Run>; 12],
    /// The number of subscribers that are sent each of the frames.
    uses: [u32; 12],
    /// The publish's serial within the shard; its packet identifier follows from it.
    pub(super) serial: Serial,
}

/// The part of a packet in which one subscriber's copy differs from others.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Head<'a> {
    pub(super) dup: bool,
    pub(super) packet_id: u16,
    /// An alias, and whether the subscriber knows it already.
    pub(super) alias: Option<(u16, bool)>,
    pub(super) subscription_ids: &'a [u32],
}

impl<'a> Publication<'a> {
    /// A publication of a PUBLISH that is still in the receive buffer.
    pub(super) fn received(
        publish: &Publish<'a>,
        traits: Traits,
        source: Option<Source>,
        serial: Serial,
    ) -> Self {
        Self {
            topic: publish.topic,
            properties: publish.properties.clone(),
            payload: publish.payload,
            traits,
            expiry_s: publish.message_expiry_s,
            source,
            message: None,
            frames: [None; 12],
            uses: [0; 12],
            serial,
        }
    }

    /// A publication of a message that was kept.
    pub(super) fn kept(message: &'a Arc<Message>, now: Time, serial: Serial) -> Self {
        Self {
            topic: message.topic(),
            properties: message.properties(),
            payload: message.payload(),
            traits: message.traits(),
            expiry_s: message.expires.map(|expires| expires.left_s(now)),
            source: None,
            message: Some(message.clone()),
            frames: [None; 12],
            uses: [0; 12],
            serial,
        }
    }

    /// The publication without an id for the journal, so no record holds any of it.
    pub(super) fn in_memory(self) -> Self {
        Self { traits: Traits { id: MessageId::NONE, ..self.traits }, ..self }
    }

    pub(super) const fn topic(&self) -> &'a str {
        self.topic
    }

    pub(super) const fn traits(&self) -> &Traits {
        &self.traits
    }

    /// The message, made on its first use.
    pub(super) fn message(&mut self) -> &Arc<Message> {
        self.message.get_or_insert_with(|| {
            let source = self.source.take();
            Arc::new(Message::new(self.topic, &self.properties, self.payload, self.traits, source))
        })
    }

    /// The payload, when it is too large to be copied behind each head.
    #[inline]
    pub(super) fn large_payload(&mut self) -> Option<Arc<Message>> {
        self.is_large().then(|| self.message().clone())
    }

    pub(super) const fn payload_len(&self) -> usize {
        self.payload.len()
    }

    #[inline]
    pub(super) const fn is_large(&self) -> bool {
        self.payload.len() >= PAYLOAD_COPIED_MAX
    }

    /// The length of a packet with `head` bytes before the payload; 0 for a head of no bytes, which
    /// stands for a packet that cannot exist.
    #[inline]
    pub(super) const fn packet_length(&self, head: Run) -> usize {
        head.len() + if self.is_large() && head.len() > 0 { self.payload.len() } else { 0 }
    }

    /// The packet that all subscribers of this kind share, encoded once. QoS 1 and 2 have the
    /// packet identifier of [`packet_id`]. A large payload is not part of it.
    #[inline]
    pub(super) fn frame(
        &mut self,
        outbox: &mut Outbox,
        is_v5: bool,
        qos: QoS,
        retain: bool,
    ) -> Run {
        let arena = u8::from(is_v5) * 6 + qos as u8 * 2 + u8::from(retain);
        self.uses[arena as usize] += 1;
        match self.frames[arena as usize] {
            Some(run) => run,
            None => self.encode_shared(outbox, arena, is_v5, qos, retain),
        }
    }

    /// Notes that a subscriber is not sent the shared packet that was made for it.
    #[cold]
    pub(super) const fn note_unused(&mut self, run: Run) {
        self.uses[run.arena() as usize] -= 1;
    }

    /// Counts the shared packets that were sent since the last call.
    pub(super) fn count_uses(&mut self, counters: &mut Counters) {
        for arena in 0..self.frames.len() {
            let Some(run) = self.frames[arena] else { continue };
            let uses = u64::from(std::mem::take(&mut self.uses[arena]));
            let length = self.packet_length(run);
            counters.publishes_sent[arena % 6 / 2] += uses;
            counters.sent_bytes += uses * length as u64;
            counters.sent_payload_bytes += uses * self.payload.len() as u64;
        }
    }

    #[cold]
    fn encode_shared(
        &mut self,
        outbox: &mut Outbox,
        arena: u8,
        is_v5: bool,
        qos: QoS,
        retain: bool,
    ) -> Run {
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { packet_id(self.serial) };
        let head = Head { packet_id, ..Head::default() };
        let run = self.encode(outbox, arena, is_v5, qos, retain, head);
        self.frames[arena as usize] = Some(run);
        run
    }

    /// A packet for one subscriber alone.
    pub(super) fn private_frame(
        &self,
        outbox: &mut Outbox,
        is_v5: bool,
        qos: QoS,
        retain: bool,
        head: Head<'_>,
    ) -> Run {
        self.encode(outbox, PRIVATE, is_v5, qos, retain, head)
    }

    fn encode(
        &self,
        outbox: &mut Outbox,
        arena: u8,
        is_v5: bool,
        qos: QoS,
        retain: bool,
        head: Head<'_>,
    ) -> Run {
        let topic = if matches!(head.alias, Some((_, true))) { "" } else { self.topic };
        let publish = Publish {
            dup: head.dup,
            qos,
            retain,
            topic,
            packet_id: head.packet_id,
            topic_alias: head.alias.map(|(alias, _)| alias),
            message_expiry_s: self.expiry_s,
            subscription_ids: SmallVec::from_slice(head.subscription_ids),
            properties: self.properties.clone(),
            payload: self.payload,
        };
        let version = if is_v5 { Version::V5 } else { Version::V311 };
        if !publish.is_encodable(version) {
            return Run::empty(arena);
        }
        outbox.encode(arena, |bytes| {
            if self.is_large() {
                publish.encode_head(version, self.payload.len(), bytes);
            } else {
                publish.encode(version, bytes);
            }
        })
    }
}

/// The packet identifier that subscribers share for the publish `serial`: never 0, and repeated
/// only after 65,535 others.
pub(super) const fn packet_id(serial: Serial) -> u16 {
    (serial.0 % 65_535) as u16 + 1
}

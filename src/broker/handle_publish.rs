//! PUBLISH from a client: everything is decided here, once, for all recipients.

use super::deferred::ResponseId;
use super::ledger::Noted;
use super::mesh_message::Ticket;
use super::peer::Peer;
use super::pressure::Pressure;
use super::publication::Publication;
use super::purse::PUBLISH_STEPS;
use super::route::{Retention, is_reserved};
use super::shard::Shard;
use super::told;
use crate::base::ids::{LinkId, MessageId, RecordName, SessionId, SessionNumber, WorkerId};
use crate::mqtt::{
    Ack, AckType, Frame, Packet, PacketType, ProtocolError, Publish, QoS, ReasonCode, Sender,
    Version, level_count,
};
use crate::store::{Expiry, Source, Traits};

/// The outcome of a publish.
#[derive(Debug)]
pub(super) struct Routed {
    /// At least one client wants the message.
    pub(super) is_wanted: bool,
    /// The worker that is still to be told to retain the message: see [`Shard::retain_there`].
    pub(super) home: Option<(WorkerId, RecordName)>,
    /// The acknowledgement of the message waits for the disk.
    pub(super) is_noted: bool,
}

impl Shard {
    pub(super) fn handle_publish(
        &mut self,
        peer: Peer,
        frame: &Frame<'_>,
    ) -> Result<(), ProtocolError> {
        let Peer { link: id, session, version } = peer;
        let known;
        let mut publish = Publish::decode(frame, version, Sender::Client)?;
        self.clients.counters.publishes_received[publish.qos as usize] += 1;
        self.clients.counters.received_payload_bytes += publish.payload.len() as u64;
        self.clients.outbox.purse().spend(PUBLISH_STEPS);
        if let Some(alias) = publish.topic_alias {
            known = self.resolve_alias(id, alias, publish.topic)?;
            publish.topic = &known;
        }
        self.check_publish(session, &publish)?;
        self.check_rate(id, frame.length)?;
        if publish.qos == QoS::ExactlyOnce && !self.note_received(session, publish.packet_id)? {
            // What it waits for may still be on its way to the disk.
            self.acknowledge(id, &publish, ReasonCode::Success);
            return Ok(());
        }
        if let Some(code) = self.denies_publish(session, &publish) {
            self.reject(peer, &publish, code);
            return Ok(());
        }
        let author = &self.clients.sessions[session.slot];
        let may_refuse = author.quota.as_ref().is_some_and(|q| self.may_be_refused(&publish, q));
        if may_refuse && self.topic_home(publish.topic) == self.index {
            let user = author.user().map(Into::into);
            let refusal = self.refuses_to_retain(publish.topic, publish.payload, author.user());
            if let Some(error) = refusal {
                self.note_not_retained(error, user);
                if publish.qos > QoS::AtMostOnce {
                    return self.refuse_to_retain(peer, &publish, error);
                }
                // Nobody waits for an answer: the message goes to those who are here.
                publish.retain = false;
            }
        }
        self.clients.audit_if_cleared(session, &publish);
        let author = &self.clients.sessions[session.slot];
        let source = author.source().filter(|_| publish.retain);
        let stored = self.clients.stored(session.slot);
        let is_once = publish.qos == QoS::ExactlyOnce && !stored.is_none();
        let received = is_once.then_some((stored, publish.packet_id));
        let mut publication = self.publication(&publish, author.number, source);
        let is_lazy = publish.qos == QoS::AtMostOnce;
        let noted = Noted { received, is_lazy, ..Noted::default() };
        let (sent, queued) = self.clients.counters.ways();
        let Routed { is_wanted, home, is_noted } = self.distribute(noted, &mut publication);
        if self.clients.pressure > Pressure::None {
            let (sent_after, queued_after) = self.clients.counters.ways();
            if let Some(link) = self.clients.link(id) {
                link.fills_queues = sent == sent_after && queued < queued_after;
            }
        }
        let code = success(is_wanted, version);
        let waits = is_noted && !is_lazy;
        // What is on disk is with its topic's home as well.
        let waits_for_home = home.is_some() && !is_lazy && (!waits || may_refuse);
        let mut ticket = None;
        if waits || waits_for_home {
            let ack = Packet::Ack(Ack::new(ack_type(publish.qos), publish.packet_id, code));
            let bytes = self.clients.encode(id, &ack);
            let response = self.clients.defer_response(id, u32::from(waits_for_home), waits, bytes);
            let named = |response| Ticket { link: id, response, is_interest: false };
            ticket = response.filter(|_| waits_for_home).map(named);
        } else {
            self.acknowledge(id, &publish, code);
        }
        if let Some(home) = home {
            // What its client takes for retained is not refused.
            let may_refuse = may_refuse && (is_lazy || ticket.is_some());
            self.retain_there(home, &mut publication, ticket, may_refuse);
        }
        Ok(())
    }

    /// Sends a publish to everyone who wants it, retains it if it asks for that, and notes both in
    /// the journal. `noted` says what else of it is to be noted.
    pub(super) fn distribute(&mut self, noted: Noted, publication: &mut Publication<'_>) -> Routed {
        let is_retained = publication.traits().retain;
        let mut recording = self.clients.begin_record(publication.traits().id.into());
        let is_wanted = self.route(publication, &mut recording);
        let (retained, home) = match is_retained.then(|| self.retain(publication, &mut recording)) {
            None => (None, None),
            Some(Retention::Here(version)) => (Some(version), None),
            Some(Retention::There { to, record }) => (None, Some((to, record))),
        };
        let noted = Noted { retained, is_retained, ..noted };
        let is_noted = self.clients.end_record(recording, noted, publication);
        Routed { is_wanted, home, is_noted }
    }

    /// The id of the message in the journal; 0 when no part of the message can get there.
    fn message_id(&mut self, publish: &Publish<'_>) -> MessageId {
        let may_be_stored = publish.qos > QoS::AtMostOnce || publish.retain;
        let is_stored = self.clients.ledger.is_some() && may_be_stored;
        if is_stored { MessageId(self.clients.next_number()) } else { MessageId::NONE }
    }

    /// The decisions about a PUBLISH that came just now from the session numbered `publisher`.
    pub(super) fn publication<'a>(
        &mut self,
        publish: &Publish<'a>,
        publisher: SessionNumber,
        source: Option<Source>,
    ) -> Publication<'a> {
        let now = self.clients.now;
        let traits = Traits {
            qos: publish.qos,
            retain: publish.retain,
            expires: publish
                .message_expiry_s
                .map(|interval_s| Expiry { at: now.after_seconds(interval_s), interval_s }),
            publisher,
            received: now,
            id: self.message_id(publish),
        };
        Publication::received(publish, traits, source, self.clients.next_serial())
    }

    /// The code for a message that its client may not publish.
    fn denies_publish(&mut self, id: SessionId, publish: &Publish<'_>) -> Option<ReasonCode> {
        let (session, topic) = (&self.clients.sessions[id.slot], publish.topic);
        let (code, cause) = if self.clients.options.has_too_large(publish.payload) {
            (ReasonCode::PacketTooLarge, "the payload is larger than --max-payload-size")
        } else if is_reserved(topic) || !session.may_write(topic) {
            (ReasonCode::NotAuthorized, "not authorised")
        } else {
            return None;
        };
        told::publish_denied(&session.client_id, topic, cause);
        self.clients.counters.publishes_denied += 1;
        self.clients.audit_publish_denied(id, topic, cause);
        Some(code)
    }

    /// Refuses a message that is not to be retained. A client that cannot be told otherwise is
    /// closed, so that it does not take the message for stored.
    fn refuse_to_retain(
        &mut self,
        peer: Peer,
        publish: &Publish<'_>,
        error: ProtocolError,
    ) -> Result<(), ProtocolError> {
        let client_id = &self.clients.sessions[peer.session.slot].client_id;
        told::publish_denied(client_id, publish.topic, error.cause);
        self.clients.audit_publish_denied(peer.session, publish.topic, error.cause);
        if !peer.version.is_v5() {
            return Err(error);
        }
        self.reject(peer, publish, error.code);
        Ok(())
    }

    /// The topic's home does not retain a message whose acknowledgement waits: the acknowledgement
    /// becomes a refusal.
    pub(super) fn refuse_response(
        &mut self,
        id: LinkId,
        response: ResponseId,
        error: ProtocolError,
    ) {
        let Some(link) = self.clients.link(id) else { return };
        let (version, session) = (link.version, link.session());
        // PUBACK or PUBREC of this broker's own making.
        let bytes = link.deferred_mut().bytes_of(response);
        let (&[head, _, high, low, ..], length) = (bytes, bytes.len()) else { return };
        let kind =
            if head >> 4 == PacketType::PubRec as u8 { AckType::PubRec } else { AckType::PubAck };
        let packet_id = u16::from_be_bytes([high, low]);
        if !version.is_v5() {
            return self.refuse(id, error);
        }
        if let Some(session) = session.filter(|_| kind == AckType::PubRec) {
            // [MQTT-4.3.3-9]: a PUBREC with an error frees the identifier.
            self.forget_received(session, packet_id);
        }
        let refusal = Ack::new(kind, packet_id, error.code);
        let refusal = self.clients.encode_uncounted(id, &Packet::Ack(refusal));
        // What it takes the place of was counted.
        let sent = &mut self.clients.counters.sent_bytes;
        *sent = *sent - length as u64 + refusal.len() as u64;
        self.clients.fill_response(id, response, refusal);
    }

    /// Counts a PUBLISH of `length` bytes against what one client may publish.
    fn check_rate(&mut self, id: LinkId, length: usize) -> Result<(), ProtocolError> {
        let options = &self.clients.options;
        let (messages, bytes) = (u64::from(options.max_publish_rate), options.max_publish_bytes);
        if messages == 0 && bytes == 0 {
            return Ok(());
        }
        let now = self.clients.now;
        let Some(link) = self.clients.link(id) else { return Ok(()) };
        if link.publish_rate_mut().count(now, length, (messages, bytes)) {
            return Ok(());
        }
        self.clients.counters.rates_exceeded += 1;
        let code = ReasonCode::MessageRateTooHigh;
        Err(ProtocolError::new(code, "the client publishes more than it may"))
    }

    /// The topic that a PUBLISH with an alias is for; an alias with a topic is set.
    // [MQTT-3.3.2-9], [MQTT-3.3.2-12]
    fn resolve_alias(
        &mut self,
        id: LinkId,
        alias: u16,
        topic: &str,
    ) -> Result<Box<str>, ProtocolError> {
        let invalid = |cause| ProtocolError::new(ReasonCode::TopicAliasInvalid, cause);
        if alias > self.clients.options.max_topic_alias {
            return Err(invalid("a topic alias above the maximum"));
        }
        let unknown = || ProtocolError::protocol("a topic alias that was never set");
        let link = self.clients.link(id).ok_or_else(unknown)?;
        if topic.is_empty() {
            let known = link.aliases().and_then(|aliases| aliases.topic(alias));
            return known.map(Into::into).ok_or_else(unknown);
        }
        link.aliases_mut().set_topic(alias, topic);
        Ok(topic.into())
    }

    fn check_publish(
        &self,
        session: SessionId,
        publish: &Publish<'_>,
    ) -> Result<(), ProtocolError> {
        let options = &self.clients.options;
        if publish.qos > self.clients.sessions[session.slot].max_qos {
            // [MQTT-3.2.2-11]
            let code = ReasonCode::QoSNotSupported;
            return Err(ProtocolError::new(code, "the QoS is above the maximum"));
        }
        if level_count(publish.topic) > options.max_topic_levels as usize {
            let code = ReasonCode::TopicNameInvalid;
            return Err(ProtocolError::new(code, "the topic has too many levels"));
        }
        if publish.retain && !options.retain_available {
            // [MQTT-3.2.2-14]
            let code = ReasonCode::RetainNotSupported;
            return Err(ProtocolError::new(code, "retained messages are turned off"));
        }
        Ok(())
    }

    /// True when the QoS 2 message is new; false when it is known and not yet released.
    // [MQTT-4.3.3-10], [MQTT-3.3.4-7]
    fn note_received(&mut self, session: SessionId, packet_id: u16) -> Result<bool, ProtocolError> {
        let max = self.clients.options.receive_maximum as usize;
        let received = &mut self.clients.sessions[session.slot].rare().received;
        if received.contains(&packet_id) {
            return Ok(false);
        }
        if received.len() >= max {
            let code = ReasonCode::ReceiveMaximumExceeded;
            return Err(ProtocolError::new(code, "more QoS 2 messages in flight than allowed"));
        }
        received.insert(packet_id);
        Ok(true)
    }

    fn acknowledge(&mut self, id: LinkId, publish: &Publish<'_>, code: ReasonCode) {
        if publish.qos > QoS::AtMostOnce {
            let kind = ack_type(publish.qos);
            let ack = Ack::new(kind, publish.packet_id, code);
            self.clients.respond(id, &Packet::Ack(ack));
        }
    }

    /// The message goes nowhere, and a 5.0 client is told so; its exchange is over.
    fn reject(&mut self, peer: Peer, publish: &Publish<'_>, code: ReasonCode) {
        if peer.version.is_v5() {
            // [MQTT-4.3.3-9]: a PUBREC with an error frees the identifier.
            self.clients.sessions[peer.session.slot].rare().received.remove(&publish.packet_id);
            self.acknowledge(peer.link, publish, code);
        } else {
            self.acknowledge(peer.link, publish, ReasonCode::Success);
        }
    }
}

/// The code for a message that is taken.
const fn success(is_wanted: bool, version: Version) -> ReasonCode {
    match is_wanted || !version.is_v5() {
        true => ReasonCode::Success,
        false => ReasonCode::NoMatchingSubscribers,
    }
}

const fn ack_type(qos: QoS) -> AckType {
    match qos {
        QoS::ExactlyOnce => AckType::PubRec,
        QoS::AtLeastOnce | QoS::AtMostOnce => AckType::PubAck,
    }
}

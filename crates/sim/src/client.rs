//! A client's side of the protocol: it parses, answers, remembers and sends again.

use super::checker::Delivered;
use super::wire::{Item, Terms, Wire};
use super::world::{Event, World};
use ringmq::base::time::Time;
use ringmq_mqtt::{
    Ack, AckType, Connect, Framed, Packet, Properties, Publish, QoS, ReasonCode, Sender, Version,
    Will, encode_ack, next_frame,
};
use std::collections::{BTreeMap, VecDeque};

/// The purpose of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Subscribes to everything at QoS 0, reads fast and stays.
    Observer,
    /// Publishes, subscribes, leaves and comes back.
    Normal,
    /// Does as a normal client, but subscribes only to this shared filter.
    Member(usize),
    /// Lets the broker choose its identifier, every time.
    Anonymous,
    /// Breaks the protocol.
    Hostile,
}

/// When a client acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    AtOnce,
    /// Within this many microseconds.
    Later(u64),
    /// Not before the client changes its mind.
    Never,
}

/// A QoS 1 or 2 message that the client has sent and that is not done with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    /// The connection on which it was sent last.
    pub(super) wire: usize,
    pub(super) packet_id: u16,
    pub(super) message: usize,
    /// PUBREC has come.
    pub(super) is_released: bool,
}

/// One client, with all its connections.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: String,
    /// The user name with which the client connects next; None without a name.
    pub(super) user: Option<&'static str>,
    pub(super) kind: Kind,
    pub(super) version: Version,
    /// The connection in use.
    pub(super) wire: Option<usize>,
    /// The connection whose CONNACK is awaited.
    pub(super) opening: Option<usize>,
    pub(super) sequence: u32,
    pub(super) last_packet_id: u16,
    /// The messages that are not done with, in the order in which they were first sent.
    pub(super) outgoing: Vec<Outgoing>,
    /// QoS 2 identifiers received and not released, and the payloads they stand for.
    pub(super) received: BTreeMap<u16, Vec<u8>>,
    pub(super) owed: VecDeque<(usize, AckType, u16)>,
    pub(super) patience: Patience,
    /// The number of messages that the server takes at a time.
    pub(super) quota: usize,
    /// The client has asked to forget its session, and does not know yet that the broker did.
    pub(super) must_clean: bool,
    /// The messages that the client found retained: only asked of the last client.
    pub(super) retained: BTreeMap<String, usize>,
    /// The offence of a hostile client, and the answer that it expects.
    pub(super) grudge: Option<super::hostile::Grudge>,
}

impl Client {
    pub(super) fn new(id: &str, kind: Kind, version: Version) -> Self {
        Self {
            id: id.into(),
            user: None,
            kind,
            version,
            wire: None,
            opening: None,
            sequence: 0,
            last_packet_id: 0,
            outgoing: Vec::new(),
            received: BTreeMap::new(),
            owed: VecDeque::new(),
            patience: Patience::AtOnce,
            quota: usize::from(u16::MAX),
            must_clean: false,
            retained: BTreeMap::new(),
            grudge: None,
        }
    }

    /// A packet identifier that is not in use.
    pub(super) fn packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id % 200 + 1;
            let id = self.last_packet_id;
            if self.outgoing.iter().all(|outgoing| outgoing.packet_id != id) {
                return id;
            }
        }
    }
}

impl World {
    /// Opens a connection and sends CONNECT.
    pub(super) fn connect(&mut self, client: usize, terms: Terms) -> usize {
        let version = self.clients[client].version;
        let worker = self.prng.below(self.scenario.workers as u64) as usize;
        let index = self.wires.len();
        self.wires.push(Wire::new(client, worker, version, self.now));
        let credential = self.credential(client);
        self.wires[index].credential = credential;
        if terms.clean_start {
            self.forget_session(client);
        }
        self.clients[client].opening = Some(index);
        if let Some((message, delay_s)) = terms.will {
            self.model.offer_will(message, delay_s);
        }
        let will = terms.will.map(|(message, delay_s)| (&self.model.messages[message], delay_s));
        let password = credential.password();
        let connect = Connect {
            user_name: password.as_ref().and(credential.user()),
            password: password.as_deref().map(str::as_bytes),
            clean_start: terms.clean_start,
            session_expiry_s: terms.expiry_s,
            receive_maximum: terms.receive_maximum,
            packet_bytes_max: terms.packet_bytes_max,
            topic_alias_max: terms.alias_max,
            keep_alive_s: terms.keep_alive_s,
            will: will.map(|(message, delay_s)| Will {
                qos: message.qos,
                retain: message.retain,
                topic: &message.topic,
                payload: &message.payload,
                delay_s,
                message_expiry_s: message.expiry_s,
                properties: Properties::from_bytes(&message.properties),
            }),
            ..Connect::new(version, &self.clients[client].id)
        };
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        self.trace(|| {
            format!(
                "client {client} connects as wire {index}, {version:?}, {credential:?}, {terms:?}"
            )
        });
        self.wires[index].terms = terms;
        self.open(index);
        self.send(index, &bytes, Item::Other);
        self.ping_in_time(index);
        index
    }

    /// The client starts anew: exchanges under way do not count any more.
    fn forget_session(&mut self, client: usize) {
        let state = &mut self.clients[client];
        state.must_clean = true;
        state.outgoing.clear();
        state.received.clear();
        state.owed.clear();
        if let Some(old) = state.wire.take() {
            self.hang_up(old, true);
        }
        self.forsake(client, None);
    }

    /// The client does not read any more on the connections that it is leaving.
    fn forsake(&mut self, client: usize, but: Option<usize>) {
        for wire in (0..self.wires.len()).filter(|wire| but != Some(*wire)) {
            let state = &self.wires[wire];
            if state.client == client && state.is_leaving && state.hung_up.is_none() {
                self.hang_up(wire, true);
            }
        }
    }

    /// Parses the bytes that the client has read.
    pub(super) fn read(&mut self, wire: usize) {
        let buffer = std::mem::take(&mut self.wires[wire].down.buffer);
        let mut at = 0;
        while self.wires[wire].hung_up.is_none() && self.model.violation.is_none() {
            match next_frame(&buffer[at..], usize::MAX) {
                Ok(Framed::Whole(frame)) => {
                    let version = self.wires[wire].version;
                    at += frame.length;
                    self.wires[wire].down.parsed += frame.length as u64;
                    let end = self.wires[wire].down.parsed;
                    let emitted = self.wires[wire].emitted_at(end);
                    match Packet::decode(&frame, version, Sender::Server) {
                        Ok(packet) => self.receive(wire, packet, emitted, frame.length),
                        Err(error) => {
                            let text = format!("wire {wire} got {error:?}: {:02x?}", frame.body);
                            self.model.fail("I4", text);
                        }
                    }
                }
                Ok(Framed::Partial { .. }) => break,
                Err(error) => {
                    let text = format!("wire {wire} got no packet: {error:?}");
                    return self.model.fail("I4", text);
                }
            }
        }
        self.wires[wire].down.buffer = buffer[at..].to_vec();
    }

    fn receive(&mut self, wire: usize, packet: Packet<'_>, emitted: (u64, Time), length: usize) {
        let client = self.wires[wire].client;
        self.trace(|| format!("wire {wire} of client {client} ← {}", brief(&packet)));
        if self.wires[wire].terms.packet_bytes_max.is_some_and(|max| length > max as usize) {
            let text = format!("wire {wire} got {length} bytes at once: {packet:?}");
            return self.model.fail("I18", text);
        }
        if self.clients[client].kind == Kind::Hostile {
            return self.receive_hostile(wire, &packet);
        }
        self.note_answer(wire, &packet);
        match packet {
            Packet::ConnAck(connack) => {
                let max = connack.receive_maximum.unwrap_or(u16::MAX);
                self.clients[client].quota =
                    usize::from(max.min(self.model.options.receive_maximum));
                let alias_max = connack.topic_alias_max.unwrap_or(0);
                self.wires[wire].alias_out_max = alias_max;
                self.accepted(wire, connack.session_present, connack.code);
            }
            Packet::Publish(publish) => self.receive_publish(wire, &publish, emitted),
            // What is not known to be done when the client leaves, it sends again.
            Packet::Ack(_) if self.wires[wire].is_leaving => {}
            Packet::Ack(ack) => self.receive_ack(wire, &ack),
            Packet::SubAck(suback) => self.subscribed(wire, suback.packet_id, suback.codes),
            Packet::UnsubAck(_) | Packet::PingResp | Packet::Disconnect(_) => {}
            _ => self.model.fail("I4", format!("wire {wire} got {packet:?}")),
        }
    }

    /// CONNACK has come: the connection is the one in use.
    fn accepted(&mut self, wire: usize, session_present: bool, code: ReasonCode) {
        let client = self.wires[wire].client;
        if self.wires[wire].is_refused {
            let opening = &mut self.clients[client].opening;
            *opening = opening.filter(|known| *known != wire);
            return;
        }
        if code != ReasonCode::Success {
            return self.model.fail("I17", format!("wire {wire} was refused: {code}"));
        }
        self.wires[wire].is_accepted = true;
        let state = &mut self.clients[client];
        state.opening = None;
        state.must_clean = false;
        if !session_present {
            state.outgoing.retain(|outgoing| outgoing.wire == wire);
            state.received.clear();
        }
        if let Some(old) = state.wire.take().filter(|old| *old != wire) {
            self.hang_up(old, true);
        }
        self.forsake(client, Some(wire));
        if self.wires[wire].is_leaving {
            return;
        }
        let state = &mut self.clients[client];
        state.wire = Some(wire);
        state.owed.clear();
        for place in 0..self.clients[client].outgoing.len() {
            let outgoing = &mut self.clients[client].outgoing[place];
            // What was sent right behind CONNECT is on its way.
            if std::mem::replace(&mut outgoing.wire, wire) != wire {
                let outgoing = *outgoing;
                self.send_outgoing(wire, outgoing, true);
            }
        }
    }

    fn subscribed(&mut self, wire: usize, packet_id: u16, codes: &[u8]) {
        let Some(places) = self.wires[wire].subscribing.remove(&packet_id) else {
            return self.model.fail("I8", format!("wire {wire}: SUBACK {packet_id} for nothing"));
        };
        let Some(session) = self.wires[wire].session else { return };
        let is_v5 = self.wires[wire].version.is_v5();
        for (place, code) in places.into_iter().zip(codes) {
            self.model.granted(session, place, *code, is_v5);
        }
    }

    fn receive_publish(&mut self, wire: usize, publish: &Publish<'_>, emitted: (u64, Time)) {
        let Some(topic) = self.resolve(wire, publish) else {
            let text = format!("wire {wire} got alias {:?} for nothing", publish.topic_alias);
            return self.model.fail("I4", text);
        };
        let client = self.wires[wire].client;
        let Some(is_repeated) = self.note_packet_id(wire, publish) else { return };
        let Some(session) = self.wires[wire].session else { return };
        if !self.model.could_read(session, &topic, emitted.0, emitted.0).0 {
            let who = self.who(wire);
            let text = format!("wire {wire} of {who:?} may not read {topic}, sent at {emitted:?}");
            return self.model.fail("I5", text);
        }
        if topic.starts_with("hostile/") {
            return;
        }
        let is_v5 = self.wires[wire].version.is_v5();
        let index = self.model.find_message(publish.payload);
        if let Some(index) = index.filter(|_| self.is_observer(client)) {
            self.model.observe_will(index, emitted.1);
        }
        if let Some(index) = index.filter(|_| publish.retain) {
            self.clients[client].retained.insert(topic.clone(), index);
        }
        let topic = &*topic;
        self.model.delivered(Delivered { session, publish, topic, is_v5, is_repeated, emitted });
    }

    fn resolve(&mut self, wire: usize, publish: &Publish<'_>) -> Option<String> {
        let state = &mut self.wires[wire];
        let Some(alias) = publish.topic_alias else { return Some(publish.topic.into()) };
        if alias > state.terms.alias_max {
            return None;
        }
        if publish.topic.is_empty() {
            return state.aliases_in.get(&alias).cloned();
        }
        state.aliases_in.insert(alias, publish.topic.into());
        Some(publish.topic.into())
    }

    /// I8; whether the packet repeats one that the client has, or None upon a violation.
    fn note_packet_id(&mut self, wire: usize, publish: &Publish<'_>) -> Option<bool> {
        if publish.qos == QoS::AtMostOnce {
            return Some(false);
        }
        let id = publish.packet_id;
        let state = &mut self.wires[wire];
        if state.outstanding.insert(id, publish.qos).is_some() {
            self.model.fail("I8", format!("wire {wire}: packet identifier {id} is in use"));
            return None;
        }
        let (count, max) = (state.outstanding.len(), state.terms.receive_maximum);
        if count > usize::from(max) {
            let text = format!("wire {wire}: {count} in flight, Receive Maximum is {max}");
            self.model.fail("I8", text);
            return None;
        }
        let client = state.client;
        let kind = match publish.qos {
            QoS::ExactlyOnce => AckType::PubRec,
            _ => AckType::PubAck,
        };
        self.owe(client, wire, kind, id);
        if publish.qos != QoS::ExactlyOnce {
            return Some(false);
        }
        let before = self.clients[client].received.insert(id, publish.payload.to_vec());
        // What has become too large for its client is over for the broker.
        let session = self.wires[wire].session.map(|session| &self.model.sessions[session]);
        let is_known = |before: &Vec<u8>| before == publish.payload && publish.dup;
        let is_dropped = session.is_some_and(|session| session.packet_bytes_max < u32::MAX);
        if !is_dropped && before.as_ref().is_some_and(|before| !is_known(before)) {
            self.model.fail("I8", format!("wire {wire}: identifier {id} stands for two messages"));
            return None;
        }
        Some(before.is_some())
    }

    fn owe(&mut self, client: usize, wire: usize, kind: AckType, packet_id: u16) {
        self.clients[client].owed.push_back((wire, kind, packet_id));
        match self.clients[client].patience {
            Patience::AtOnce => self.acknowledge(client),
            Patience::Later(us) => self.schedule_us(Event::Acknowledge(client), us),
            Patience::Never => {}
        }
    }

    /// Sends the acknowledgements that are owed, in order.
    pub(super) fn acknowledge(&mut self, client: usize) {
        if self.clients[client].patience == Patience::Never {
            return;
        }
        while let Some((wire, kind, packet_id)) = self.clients[client].owed.pop_front() {
            let mut bytes = Vec::new();
            encode_ack(kind, self.wires[wire].version, packet_id, ReasonCode::Success, &mut bytes);
            if matches!(kind, AckType::PubAck | AckType::PubComp) {
                self.wires[wire].outstanding.remove(&packet_id);
            }
            self.trace(|| format!("client {client} → {kind:?} {packet_id} on wire {wire}"));
            self.send(wire, &bytes, Item::Other);
        }
    }

    /// An answer to the client's packet, or the release of a message that it received.
    fn receive_ack(&mut self, wire: usize, ack: &Ack<'_>) {
        let client = self.wires[wire].client;
        let id = ack.packet_id;
        if ack.kind == AckType::PubRel {
            self.clients[client].received.remove(&id);
            return self.owe(client, wire, AckType::PubComp, id);
        }
        let outgoing = &mut self.clients[client].outgoing;
        let place = outgoing.iter().position(|outgoing| outgoing.packet_id == id);
        let qos = place.map(|place| self.model.messages[outgoing[place].message].qos);
        // A PUBREL sent twice finds nothing the second time.
        let is_v5 = self.wires[wire].version.is_v5();
        let index = place.map(|place| outgoing[place].message);
        let is_right = ack.kind == AckType::PubComp
            || index.is_some_and(|index| self.model.acknowledged(index, ack.code, is_v5));
        let is_expected = is_right
            && match (ack.kind, place) {
                (AckType::PubAck, Some(_)) => qos == Some(QoS::AtLeastOnce),
                (AckType::PubRec, Some(place)) => {
                    qos == Some(QoS::ExactlyOnce) && !outgoing[place].is_released
                }
                (AckType::PubComp, Some(place)) => outgoing[place].is_released,
                _ => false,
            };
        let Some(place) = place.filter(|_| is_expected) else {
            return self.model.fail("I8", format!("wire {wire} got {ack:?} for nothing"));
        };
        if ack.kind == AckType::PubRec && !ack.code.is_error() {
            outgoing[place].is_released = true;
            let outgoing = outgoing[place];
            self.send_outgoing(wire, outgoing, false);
        } else {
            outgoing.remove(place);
        }
    }

    /// Sends a PUBLISH, or the PUBREL of one whose PUBREC has come.
    pub(super) fn send_outgoing(&mut self, wire: usize, outgoing: Outgoing, dup: bool) {
        let version = self.wires[wire].version;
        if !outgoing.is_released {
            return self.send_publish(wire, outgoing.message, outgoing.packet_id, dup);
        }
        let mut bytes = Vec::new();
        let code = ReasonCode::Success;
        encode_ack(AckType::PubRel, version, outgoing.packet_id, code, &mut bytes);
        self.send(wire, &bytes, Item::Other);
    }

    pub(super) fn send_publish(&mut self, wire: usize, index: usize, packet_id: u16, dup: bool) {
        let alias = self.alias_for(wire, index);
        let message = &self.model.messages[index];
        let topic = if matches!(alias, Some((_, true))) { "" } else { &*message.topic };
        let publish = Publish {
            dup,
            qos: message.qos,
            retain: message.retain,
            topic,
            packet_id,
            topic_alias: alias.map(|(alias, _)| alias),
            message_expiry_s: message.expiry_s,
            properties: Properties::from_bytes(&message.properties),
            payload: &message.payload,
            ..Publish::default()
        };
        let mut bytes = Vec::new();
        publish.encode(self.wires[wire].version, &mut bytes);
        let line = brief(&Packet::Publish(publish));
        self.trace(|| format!("wire {wire} → {line}"));
        self.send(wire, &bytes, Item::Publish(index));
    }

    /// An alias for the topic, and whether the broker knows it.
    fn alias_for(&mut self, wire: usize, message: usize) -> Option<(u16, bool)> {
        let max = self.wires[wire].alias_out_max;
        if max == 0 || self.prng.chance(50) {
            return None;
        }
        let topic = &self.model.messages[message].topic;
        let aliases = &mut self.wires[wire].aliases_out;
        if let Some(&alias) = aliases.get(topic) {
            return Some((alias, true));
        }
        // Any alias may be given to another topic.
        let alias = 1 + self.prng.below(u64::from(max.min(4))) as u16;
        aliases.retain(|_, known| *known != alias);
        aliases.insert(topic.clone(), alias);
        Some((alias, false))
    }

    /// The answer to CONNECT will not be heard. Where a session may have ended and another begun
    /// unheard, the client has to begin anew.
    pub(super) fn miss_answer(&mut self, wire: usize) {
        let client = self.wires[wire].client;
        let before = self.wires[..wire].iter().rev();
        let before = before.filter(|known| known.client == client).find(|known| known.is_accepted);
        let user = self.wires[wire].credential.user();
        let has_gone = |known: &Wire| known.hung_up == Some(false) || known.is_leaving;
        let lasts = |known: &Wire| known.terms.expiry_s >= 1000 && !has_gone(known);
        let is_certain = self.model.options.max_session_expiry >= 1000
            && before.is_none_or(lasts)
            && self.wires[wire].terms.expiry_s >= 1000
            && before.is_none_or(|known| known.credential.user() == user)
            && !self.wires[wire].terms.clean_start;
        let state = &mut self.clients[client];
        state.opening = None;
        state.must_clean |= !is_certain;
    }

    /// The broker has closed its end, and everything that came was read.
    pub(super) fn closed_by_broker(&mut self, wire: usize) {
        let client = self.wires[wire].client;
        if self.clients[client].opening == Some(wire) {
            self.miss_answer(wire);
        }
        let state = &mut self.clients[client];
        state.wire = state.wire.filter(|&known| known != wire);
        if state.kind == Kind::Hostile {
            self.hostile_closed(wire);
        }
        self.check_answered(wire);
    }
}

/// A packet on one line.
pub(super) fn brief(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Publish(publish) => format!(
            "PUBLISH {} {} {:?} id {} dup {} retain {} expiry {:?} ids {:?} {} bytes",
            publish.topic,
            super::model::name_of(publish.payload),
            publish.qos,
            publish.packet_id,
            publish.dup,
            publish.retain,
            publish.message_expiry_s,
            publish.subscription_ids,
            publish.payload.len(),
        ),
        Packet::Ack(ack) => format!("{:?} {} {}", ack.kind, ack.packet_id, ack.code),
        Packet::SubAck(suback) => format!("SUBACK {} {:?}", suback.packet_id, suback.codes),
        Packet::ConnAck(connack) => {
            format!("CONNACK {} present {}", connack.code, connack.session_present)
        }
        other => format!("{other:?}"),
    }
}

//! The next actions of clients: all of them by chance.

use super::client::{Client, Kind, Outgoing, Patience};
use super::late::KEEP_ALIVE_S;
use super::model::{Message, NAME_BYTES, NEVER};
use super::permission::Passage;
use super::rights::{USERS, filter_with_name, topic_with_name};
use super::scenario::{FILTERS, SHARES, TOPICS, pick};
use super::wire::{Item, Phase, Terms, Wire};
use super::world::{Event, World};
use ringmq::base::time::Time;
use ringmq_mqtt::{
    Disconnect, PINGREQ, Property, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter,
    SubscriptionOptions, Unsubscribe, Version,
};

/// Wills have publishers of their own, from here on, and so has each connection of a client that
/// the broker names.
const WILLS_FROM: u32 = 1_000;
const ANONYMOUS_FROM: u32 = 1_000_000;

impl World {
    pub(super) fn add_clients(&mut self) {
        self.clients.push(Client::new("observer", Kind::Observer, Version::V5));
        for index in 0..self.scenario.clients {
            let members = self.scenario.members;
            let kind = match self.prng.below(100) {
                place if place < members => {
                    Kind::Member(self.prng.below(SHARES.len() as u64) as usize)
                }
                place if place < members + 8 => Kind::Anonymous,
                place if place < members + 16 => Kind::Hostile,
                _ => Kind::Normal,
            };
            let version = if self.prng.chance(60) { Version::V5 } else { Version::V311 };
            let id = match kind {
                Kind::Anonymous => String::new(),
                _ => format!("c{index}"),
            };
            let mut client = Client::new(&id, kind, version);
            client.user = self.user_for(kind);
            self.clients.push(client);
        }
    }

    fn user_for(&mut self, kind: Kind) -> Option<&'static str> {
        let is_user = self.scenario.is_restricted && kind != Kind::Anonymous;
        let has_name = is_user && self.prng.chance(90);
        has_name.then(|| pick(&mut self.prng, &USERS))
    }

    /// The observer comes first.
    pub(super) fn connect_observer(&mut self) {
        let receive_maximum = u16::MAX;
        let terms = Terms { clean_start: true, receive_maximum, ..Terms::default() };
        let wire = self.connect(0, terms);
        self.settle();
        let all = SubscriptionOptions {
            retain_handling: RetainHandling::DoNotSend,
            ..SubscriptionOptions::default()
        };
        self.send_subscribe(wire, vec![("#".into(), all)], None);
    }

    /// A client does something, and will again.
    pub(super) fn act(&mut self, client: usize) {
        if self.is_ending {
            return self.resting.push(client);
        }
        self.steps_left = self.steps_left.saturating_sub(1);
        let most_us = match self.prng.below(100) {
            0..4 => 3_500_000,
            4..30 => 100_000,
            _ => 10_000,
        };
        self.schedule_us(Event::Act(client), most_us);
        if self.scenario.is_restricted && self.prng.chance(self.scenario.reloads) {
            self.change_rights();
        }
        if self.clients[client].kind == Kind::Hostile {
            return self.act_hostile(client);
        }
        self.check_owed(client);
        self.stand_still_perhaps();
        match self.clients[client].wire {
            Some(wire) if self.wires[wire].hung_up.is_none() => self.act_connected(client, wire),
            _ => self.act_disconnected(client),
        }
    }

    fn act_disconnected(&mut self, client: usize) {
        if self.clients[client].opening.is_some() || self.prng.chance(30) {
            return;
        }
        self.connect_somehow(client);
    }

    fn connect_somehow(&mut self, client: usize) {
        // A connection given up before its answer may still take over the next one.
        let is_unheard = |w: &Wire| w.client == client && w.phase == Phase::Open && !w.is_accepted;
        if self.wires.iter().any(is_unheard) {
            return;
        }
        let terms = self.terms(client);
        let wire = self.connect(client, terms);
        if self.prng.chance(15) {
            self.wires[wire].capacity = 1 + self.prng.below(300) as usize;
        }
        if self.prng.chance(if self.scenario.is_restricted { 12 } else { 3 }) {
            // Gone before the answer.
            self.hang_up(wire, true);
            self.miss_answer(wire);
        } else if !self.scenario.is_restricted && self.prng.chance(40) {
            self.pipeline(client, wire);
        }
    }

    /// Sends packets right behind CONNECT, whose answer is not awaited.
    fn pipeline(&mut self, client: usize, wire: usize) {
        self.clients[client].quota = usize::from(self.model.options.receive_maximum);
        for _ in 0..=self.prng.below(4) {
            let state = &self.clients[client];
            // What is under way on an earlier connection comes first, perhaps once more.
            let is_alone = state.wire.is_none() && state.outgoing.iter().all(|o| o.wire == wire);
            match self.prng.below(4) {
                0 if is_alone => self.publish_something(client, wire),
                0 | 1 => self.subscribe_something(client, wire),
                2 => self.unsubscribe_something(client, wire),
                _ => self.send(wire, &PINGREQ, Item::Other),
            }
        }
        match self.prng.below(20) {
            0 => self.say_goodbye(client, wire),
            1 => self.half_close(client, wire),
            _ => {}
        }
    }

    fn terms(&mut self, client: usize) -> Terms {
        let (version, kind) = (self.clients[client].version, self.clients[client].kind);
        let is_anonymous = kind == Kind::Anonymous;
        let will = self.prng.chance(40).then(|| self.new_will(version));
        let must_clean = is_anonymous || self.clients[client].must_clean;
        let clean_start = must_clean || self.prng.chance(25);
        let keep_alive_s = if self.scenario.has_late_turns { KEEP_ALIVE_S } else { 0 };
        if !version.is_v5() {
            let expiry_s = if clean_start { 0 } else { u32::MAX };
            let receive_maximum = u16::MAX;
            let terms = Terms { clean_start, expiry_s, receive_maximum, will, ..Terms::default() };
            return Terms { keep_alive_s, ..terms };
        }
        let expiry_s = pick(&mut self.prng, &[0, 1, 2, 5, 1000, u32::MAX]);
        Terms {
            clean_start,
            expiry_s: if is_anonymous { 0 } else { expiry_s },
            receive_maximum: pick(&mut self.prng, &[1, 2, 5, 100, u16::MAX]),
            packet_bytes_max: self.prng.chance(15).then(|| 60 + self.prng.below(200) as u32),
            alias_max: pick(&mut self.prng, &[0, 0, 1, 2, 10]),
            keep_alive_s,
            will,
        }
    }

    fn new_will(&mut self, version: Version) -> (usize, u32) {
        let publisher = WILLS_FROM + self.wires.len() as u32;
        let topic = format!("w/{}", self.prng.below(3));
        let mut message = self.new_message(publisher, 0, topic, version);
        message.is_will = true;
        let delay_s = match version {
            Version::V5 => pick(&mut self.prng, &[0, 0, 1, 2, 4]),
            _ => 0,
        };
        (self.model.add_message(message), delay_s)
    }

    fn new_message(
        &mut self,
        publisher: u32,
        sequence: u32,
        topic: String,
        version: Version,
    ) -> Message {
        let length = if self.prng.chance(self.scenario.large) {
            12_000 + self.prng.below(8_000)
        } else if self.prng.chance(20) {
            self.prng.below(300)
        } else {
            self.prng.below(8)
        };
        let mut payload = Vec::with_capacity(NAME_BYTES + length as usize);
        payload.extend_from_slice(&publisher.to_be_bytes());
        payload.extend_from_slice(&sequence.to_be_bytes());
        payload.extend_from_slice(&self.prng.next().to_be_bytes());
        let filler = self.prng.next();
        payload.extend((0..length).map(|at| (filler.wrapping_mul(at | 1) >> 32) as u8));
        let is_v5 = version.is_v5();
        Message {
            publisher,
            sequence,
            session: None,
            topic,
            qos: QoS::from_bits(self.prng.below(3) as u8).expect("below 3"),
            retain: self.scenario.options.retain_available && self.prng.chance(25),
            payload,
            properties: if is_v5 { self.new_properties() } else { Vec::new() },
            expiry_s: (is_v5 && self.prng.chance(20)).then(|| 1 + self.prng.below(3) as u32),
            is_will: false,
            passage: Passage::default(),
            handed: 0,
            handled: 0,
            first: NEVER,
            first_time: Time::ZERO,
            last: 0,
            last_time: Time::ZERO,
            acknowledged: u64::MAX,
        }
    }

    fn new_properties(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut add = |percent, property: Property<'_>| {
            if self.prng.chance(percent) {
                property.encode(&mut bytes);
            }
        };
        add(10, Property::PayloadFormatIndicator(false));
        add(20, Property::ContentType("text/plain"));
        add(10, Property::UserProperty(("name", "value")));
        add(10, Property::ResponseTopic("answer"));
        add(10, Property::CorrelationData(b"\0\x01"));
        add(10, Property::UserProperty(("name", "")));
        bytes
    }

    fn act_connected(&mut self, client: usize, wire: usize) {
        match self.prng.below(100) {
            0..45 => {
                for _ in 0..=self.prng.below(4) {
                    self.publish_something(client, wire);
                }
            }
            45..63 => self.subscribe_something(client, wire),
            63..69 => self.unsubscribe_something(client, wire),
            69..72 => self.send(wire, &PINGREQ, Item::Other),
            72..78 => self.change_patience(client),
            78..84 => self.change_reading(wire),
            84..89 => self.say_goodbye(client, wire),
            89..94 => match self.prng.below(10) {
                0..5 => self.leave(client, wire, true),
                5..8 => self.leave(client, wire, false),
                _ => self.half_close(client, wire),
            },
            _ => {
                let is_named = self.clients[client].kind != Kind::Anonymous;
                if is_named && self.clients[client].opening.is_none() {
                    self.connect_somehow(client);
                }
            }
        }
    }

    fn publish_something(&mut self, client: usize, wire: usize) {
        let is_unique = self.prng.chance(self.scenario.unique);
        let topic = TOPICS[self.prng.below(self.scenario.topics as u64) as usize];
        let version = self.clients[client].version;
        self.clients[client].sequence += 1;
        let sequence = self.clients[client].sequence;
        let publisher = match self.clients[client].kind {
            Kind::Anonymous => ANONYMOUS_FROM + wire as u32,
            _ => client as u32,
        };
        let topic = match is_unique {
            true => format!("r/{}/{sequence}", self.directory(client)),
            false if self.scenario.is_restricted && self.prng.chance(25) => {
                topic_with_name(&mut self.prng)
            }
            false => topic.to_string(),
        };
        let mut message = self.new_message(publisher, sequence, topic, version);
        if is_unique {
            message.retain = self.scenario.options.retain_available;
        } else if message.retain && self.prng.chance(15) {
            message.payload.clear();
        }
        self.publish(client, wire, message);
    }

    /// Where the topics lie that are the client's own.
    fn directory(&self, client: usize) -> String {
        match self.scenario.is_restricted {
            true => self.clients[client].id.clone(),
            false => client.to_string(),
        }
    }

    /// Sends a message, unless the server's Receive Maximum is reached.
    pub(super) fn publish(&mut self, client: usize, wire: usize, message: Message) {
        let state = &self.clients[client];
        let qos = message.qos;
        if qos > QoS::AtMostOnce && state.outgoing.len() >= state.quota {
            return;
        }
        let index = self.model.add_message(message);
        if qos == QoS::AtMostOnce {
            return self.send_publish(wire, index, 0, false);
        }
        let packet_id = self.clients[client].packet_id();
        let outgoing = Outgoing { wire, packet_id, message: index, is_released: false };
        self.clients[client].outgoing.push(outgoing);
        self.send_outgoing(wire, outgoing, false);
    }

    fn subscribe_something(&mut self, client: usize, wire: usize) {
        if let Kind::Member(share) = self.clients[client].kind {
            let (filter, qos) = SHARES[share];
            let qos = QoS::from_bits(qos).expect("a valid one");
            let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
            return self.send_subscribe(wire, vec![(filter.into(), options)], None);
        }
        let is_v5 = self.clients[client].version.is_v5();
        let mut filters: Vec<(String, SubscriptionOptions)> = Vec::new();
        for _ in 0..=self.prng.below(3) {
            let filter = self.new_filter();
            if filters.iter().all(|(known, _)| known != filter) {
                filters.push((filter.into(), self.new_options(is_v5)));
            }
        }
        let id = (is_v5 && self.prng.chance(40)).then(|| 1 + self.prng.below(300) as u32);
        self.send_subscribe(wire, filters, id);
    }

    fn new_filter(&mut self) -> &'static str {
        match self.scenario.is_restricted && self.prng.chance(20) {
            true => filter_with_name(&mut self.prng),
            false => pick(&mut self.prng, &FILTERS),
        }
    }

    fn new_options(&mut self, is_v5: bool) -> SubscriptionOptions {
        let qos = QoS::from_bits(self.prng.below(3) as u8).expect("below 3");
        if !is_v5 {
            return SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        }
        let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
        SubscriptionOptions {
            qos,
            no_local: self.prng.chance(15),
            retain_as_published: self.prng.chance(30),
            retain_handling: pick(&mut self.prng, &handling),
        }
    }

    pub(super) fn send_subscribe(
        &mut self,
        wire: usize,
        filters: Vec<(String, SubscriptionOptions)>,
        id: Option<u32>,
    ) {
        let (client, version) = (self.wires[wire].client, self.wires[wire].version);
        let packet_id = self.clients[client].packet_id();
        let entries =
            filters.iter().map(|(filter, options)| SubscribeFilter { filter, options: *options });
        let subscribe = Subscribe {
            packet_id,
            subscription_id: id,
            filters: entries.collect(),
            ..Subscribe::default()
        };
        let mut bytes = Vec::new();
        subscribe.encode(version, &mut bytes);
        drop(subscribe);
        self.trace(|| format!("wire {wire} → SUBSCRIBE {packet_id} {filters:?} {id:?}"));
        self.send(wire, &bytes, Item::Subscribe { packet_id, id, filters });
    }

    fn unsubscribe_something(&mut self, client: usize, wire: usize) {
        let version = self.clients[client].version;
        let packet_id = self.clients[client].packet_id();
        let filter = match self.clients[client].kind {
            Kind::Member(share) => SHARES[share].0,
            _ => self.new_filter(),
        };
        let unsubscribe = Unsubscribe {
            packet_id,
            filters: [filter].into_iter().collect(),
            ..Default::default()
        };
        let mut bytes = Vec::new();
        unsubscribe.encode(version, &mut bytes);
        self.trace(|| format!("wire {wire} → UNSUBSCRIBE {packet_id} {filter}"));
        self.send(wire, &bytes, Item::Unsubscribe(vec![filter.into()]));
    }

    fn change_patience(&mut self, client: usize) {
        let choices =
            [Patience::AtOnce, Patience::Later(5_000), Patience::Later(500_000), Patience::Never];
        self.clients[client].patience = pick(&mut self.prng, &choices);
        self.acknowledge(client);
    }

    fn change_reading(&mut self, wire: usize) {
        self.wires[wire].is_stalled = !self.wires[wire].is_stalled;
        self.wires[wire].capacity = pick(&mut self.prng, &[10, 200, 5_000, 1 << 20]);
        self.schedule_down(wire);
    }

    /// DISCONNECT, one way or the other.
    fn say_goodbye(&mut self, client: usize, wire: usize) {
        let is_v5 = self.clients[client].version.is_v5();
        let code = match is_v5 && self.prng.chance(30) {
            true => ReasonCode::DisconnectWithWill,
            false => ReasonCode::Success,
        };
        let may_change = is_v5
            && self.wires[wire].terms.expiry_s > 0
            && self.model.options.max_session_expiry > 0;
        let changes = may_change && self.prng.chance(30);
        let expiry_s = changes.then(|| pick(&mut self.prng, &[0, 1, 30]));
        self.send_disconnect(client, wire, code, expiry_s);
    }

    pub(super) fn send_disconnect(
        &mut self,
        client: usize,
        wire: usize,
        code: ReasonCode,
        expiry_s: Option<u32>,
    ) {
        let packet = Disconnect { code, session_expiry_s: expiry_s, ..Disconnect::default() };
        let mut bytes = Vec::new();
        packet.encode(self.wires[wire].version, &mut bytes);
        self.trace(|| format!("wire {wire} → DISCONNECT {code} {expiry_s:?}"));
        self.send(wire, &bytes, Item::Disconnect { code, expiry_s });
        match self.clients[client].opening != Some(wire) && self.prng.chance(50) {
            true => self.leave(client, wire, false),
            false => self.stop_sending(client, wire),
        }
    }

    /// The client sends nothing more, and waits until the broker closes.
    fn stop_sending(&mut self, client: usize, wire: usize) {
        let state = &mut self.clients[client];
        state.wire = state.wire.filter(|&known| known != wire);
        self.wires[wire].is_leaving = true;
    }

    /// The client closes its end of the connection, but for what is still to come.
    fn half_close(&mut self, client: usize, wire: usize) {
        self.stop_sending(client, wire);
        self.wires[wire].is_half_closed = true;
        self.schedule_up(wire);
    }

    /// The client closes its connection.
    pub(super) fn leave(&mut self, client: usize, wire: usize, lossy: bool) {
        let state = &mut self.clients[client];
        state.wire = state.wire.filter(|&known| known != wire);
        self.hang_up(wire, lossy);
    }
}

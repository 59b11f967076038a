//! The end of a run: all clients come back, everything arrives, and then nothing is left.

use super::client::{Client, Kind, Patience};
use super::model::Message;
use super::permission::Passage;
use super::rights::STAFF;
use super::scenario::TOPICS;
use super::wire::Terms;
use super::world::World;
use ringmq::base::time::Time;
use ringmq::testing::census;
use ringmq_mqtt::{QoS, ReasonCode, SubscriptionOptions, Version};
use std::collections::BTreeSet;
use std::time::Duration;

impl World {
    /// Brings the world to rest and checks the rules that must hold then.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
        self.let_everyone_in();
        self.be_kind();
        self.settle();
        self.check_nothing_is_owed();
        self.check_journal();
        self.restart();
        self.settle();
        for _ in 0..3 {
            self.bring_back();
            self.settle();
        }
        if self.model.violation.is_some() {
            return;
        }
        let counters = self.counters();
        self.check_journal();
        self.check_all_back();
        self.model.check_completeness(&counters);
        self.model.check_denied();
        self.lift_limits();
        self.check_retained();
        self.wait(Duration::from_secs(14));
        self.model.check_wills();
        self.send_all_away();
        self.settle();
        self.wait(Duration::from_secs(2));
        self.settle();
        self.check_nothing_is_left();
    }

    /// Rights stay as they are, but no client is kept from coming back.
    fn let_everyone_in(&mut self) {
        if let Some(rights) = &self.model.rights {
            let edition = rights.newest().with_everyone();
            self.begin_reload(|_| edition);
            self.settle();
        }
    }

    /// Nothing is withheld any more.
    fn lift_limits(&mut self) {
        if let Some(rights) = &self.model.rights {
            let edition = rights.newest().without_limits();
            self.begin_reload(|_| edition);
            self.settle();
        }
    }

    /// Makes every client read and answer, and every client be read from.
    fn be_kind(&mut self) {
        for client in 0..self.clients.len() {
            self.clients[client].patience = Patience::AtOnce;
            self.acknowledge(client);
        }
        for wire in 0..self.wires.len() {
            self.wires[wire].capacity = 1 << 20;
            if std::mem::take(&mut self.wires[wire].is_stalled) {
                self.schedule_down(wire);
            }
        }
    }

    /// Connects each client that is not connected, to the session that it has.
    fn bring_back(&mut self) {
        for client in 1..self.clients.len() {
            let state = &self.clients[client];
            let is_fit = matches!(state.kind, Kind::Normal | Kind::Member(_));
            if is_fit && state.wire.is_none() && state.opening.is_none() {
                let clean_start = state.must_clean;
                let is_short = clean_start && !state.version.is_v5();
                let terms = Terms {
                    clean_start,
                    expiry_s: if is_short { 0 } else { u32::MAX },
                    receive_maximum: u16::MAX,
                    packet_bytes_max: self.usual_packet_bytes_max(client),
                    ..Terms::default()
                };
                self.connect(client, terms);
            }
        }
    }

    /// A client that took only small packets goes on with that, so that its session is alike.
    fn usual_packet_bytes_max(&self, client: usize) -> Option<u32> {
        let wires = self.wires.iter().rev();
        wires.filter(|w| w.client == client).find_map(|w| w.terms.packet_bytes_max)
    }

    fn check_all_back(&mut self) {
        for client in 0..self.clients.len() {
            let state = &self.clients[client];
            let is_fit = matches!(state.kind, Kind::Normal | Kind::Member(_) | Kind::Observer);
            let text = format!("client {client}: {state:?}");
            if is_fit && state.wire.is_none() {
                return self.model.fail("I17", format!("not connected: {text}"));
            }
            if is_fit && !state.outgoing.is_empty() {
                return self.model.fail("I1", format!("never acknowledged: {text}"));
            }
        }
    }

    /// Checks that the retained messages are those published last; then clears all of them.
    fn check_retained(&mut self) {
        let client = self.clients.len();
        self.clients.push(Client::new("checker", Kind::Normal, Version::V5));
        self.clients[client].user = Some(STAFF);
        let terms = Terms { clean_start: true, receive_maximum: 10, ..Terms::default() };
        let wire = self.connect(client, terms);
        self.settle();
        let qos = QoS::AtLeastOnce;
        let all = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        self.send_subscribe(wire, vec![("#".into(), all)], None);
        self.settle();
        let found = std::mem::take(&mut self.clients[client].retained);
        self.model.check_retained(&found);
        let stored: usize = self.workers.iter().map(|w| census(&w.shard).2).sum();
        let hidden = TOPICS.iter().filter(|topic| topic.starts_with('$')).count();
        if stored > found.len() + hidden {
            self.model.fail("I9", format!("{stored} are stored, {} were sent", found.len()));
        }
        if self.scenario.options.retain_available {
            let sent = self.model.messages.iter().filter(|message| message.retain);
            let topics: BTreeSet<_> = sent.map(|message| message.topic.clone()).collect();
            for topic in topics {
                if self.model.violation.is_some() {
                    return;
                }
                self.clear(client, wire, topic);
                self.settle();
            }
        }
    }

    fn clear(&mut self, client: usize, wire: usize, topic: String) {
        self.clients[client].sequence += 1;
        let message = Message {
            publisher: client as u32,
            sequence: self.clients[client].sequence,
            session: None,
            topic,
            qos: QoS::AtLeastOnce,
            retain: true,
            payload: Vec::new(),
            properties: Vec::new(),
            expiry_s: None,
            is_will: false,
            passage: Passage::default(),
            handed: 0,
            handled: 0,
            first: super::model::NEVER,
            first_time: Time::ZERO,
            last: 0,
            last_time: Time::ZERO,
            acknowledged: u64::MAX,
        };
        self.publish(client, wire, message);
    }

    /// Every session ends.
    fn send_all_away(&mut self) {
        for client in 0..self.clients.len() {
            let Some(mut wire) = self.clients[client].wire else { continue };
            if self.clients[client].kind == Kind::Hostile {
                self.hang_up(wire, true);
                continue;
            }
            let keeps = self.wires[wire].terms.expiry_s > 0;
            let is_v5 = self.clients[client].version.is_v5();
            if keeps && !is_v5 {
                // A takeover would publish the will.
                self.send_disconnect(client, wire, ReasonCode::Success, None);
                self.settle();
                let receive_maximum = u16::MAX;
                let terms = Terms { clean_start: true, receive_maximum, ..Terms::default() };
                wire = self.connect(client, terms);
                self.settle();
            }
            let expiry_s = (keeps && is_v5).then_some(0);
            self.send_disconnect(client, wire, ReasonCode::Success, expiry_s);
        }
        for wire in 0..self.wires.len() {
            if self.clients[self.wires[wire].client].kind == Kind::Hostile {
                self.hang_up(wire, true);
            }
        }
    }

    // I20
    fn check_nothing_is_left(&mut self) {
        for (index, worker) in self.workers.iter().enumerate() {
            let census = census(&worker.shard);
            if census != (0, 0, 0) || !worker.links.is_empty() {
                let text = format!(
                    "worker {index} still has (sessions, nodes, retained) {census:?}, {} links",
                    worker.links.len(),
                );
                self.model.fail("I20", text);
            }
        }
        if !self.mesh.is_quiet() {
            self.model.fail("I20", "something is still on its way between workers".into());
        }
    }
}

//! A client whose session stays, of version 5 or 3.1.1, and what comes to it.

use crate::support::peer::{Peer, packet, text};
use ringmq::mqtt::{Frame, Publish, Sender, Version};

pub struct Client {
    pub peer: Peer,
    version: Version,
    packet_id: u16,
    /// The packet identifiers of QoS 2 messages that came, and were not released.
    begun: Vec<u16>,
}

/// Something that came, in words. The packet identifier counts only where the client has seen it
/// before.
pub type Came = String;

impl Client {
    /// A client of version 5, whose session stays for an hour.
    pub fn new(port: u16, id: &str) -> Self {
        Self::taking(port, id, 100)
    }

    /// The same, which takes so many messages at a time.
    pub fn taking(port: u16, id: &str, receive_maximum: u16) -> Self {
        let maximum = receive_maximum.to_be_bytes();
        let properties = [8, 0x11, 0, 0, 0x0e, 0x10, 0x21, maximum[0], maximum[1]];
        let body = [&text("MQTT")[..], &[5, 0, 0, 60], &properties, &text(id)].concat();
        Self::connect(port, &body, Version::V5)
    }

    /// A client of version 3.1.1, whose session stays for ever.
    pub fn old(port: u16, id: &str) -> Self {
        let body = [&text("MQTT")[..], &[4, 0, 0, 60], &text(id)].concat();
        Self::connect(port, &body, Version::V311)
    }

    fn connect(port: u16, body: &[u8], version: Version) -> Self {
        let mut peer = Peer::plain(port);
        assert_eq!(peer.connect(&packet(0x10, body)), Some(0));
        Self { peer, version, packet_id: 100, begun: Vec::new() }
    }

    fn none(&self) -> &'static [u8] {
        if self.version.is_v5() { &[0] } else { &[] }
    }

    pub fn subscribe(&mut self, filter: &str, options: u8) {
        self.subscribe_as(filter, options, None);
    }

    /// Subscribes with a subscription identifier.
    pub fn subscribe_as(&mut self, filter: &str, options: u8, identifier: Option<u8>) {
        let properties = match identifier {
            Some(identifier) => vec![2, 0x0b, identifier],
            None => self.none().to_vec(),
        };
        let body = [&[0, 9][..], &properties, &text(filter), &[options]].concat();
        self.peer.send(&packet(0x82, &body));
        let answer = self.until(0x90);
        assert_eq!(answer.last().map(|code| code & 3), Some(options & 3));
    }

    /// Publishes with these encoded properties, and waits until that is done.
    pub fn publish(&mut self, topic: &str, payload: &str, qos: u8, retain: bool, with: &[u8]) {
        self.packet_id += 1;
        let id = self.packet_id;
        self.send_publish(topic, payload, qos, (retain, false), id, with);
        if qos == 1 {
            self.until(0x40);
        }
        if qos == 2 {
            self.until(0x50);
            self.release(id);
        }
    }

    pub fn send_publish(
        &mut self,
        topic: &str,
        payload: &str,
        qos: u8,
        (retain, dup): (bool, bool),
        packet_id: u16,
        with: &[u8],
    ) {
        let id = packet_id.to_be_bytes();
        let id = if qos == 0 { &[][..] } else { &id };
        let mut properties = self.none().to_vec();
        if let Some(length) = properties.first_mut() {
            *length = with.len() as u8;
            properties.extend_from_slice(with);
        }
        let body = [&text(topic)[..], id, &properties, payload.as_bytes()].concat();
        let flags = u8::from(dup) << 3 | qos << 1 | u8::from(retain);
        self.peer.send(&packet(0x30 | flags, &body));
    }

    /// PUBREL, and its answer.
    pub fn release(&mut self, packet_id: u16) {
        self.answer(0x62, packet_id);
        self.until(0x70);
    }

    pub fn answer(&mut self, kind: u8, packet_id: u16) {
        let id = packet_id.to_be_bytes();
        self.peer.send(&[kind, 2, id[0], id[1]]);
    }

    /// The next packet of this type.
    pub fn until(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let (head, body) = self.peer.packet().expect("it comes");
            if head & 0xf0 == kind {
                return body;
            }
        }
    }

    /// The next PUBLISH: its packet identifier.
    pub fn next_id(&mut self) -> u16 {
        let body = self.until(0x30);
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        u16::from_be_bytes([body[2 + length], body[3 + length]])
    }

    /// Goes without a word.
    pub fn vanish(self) {}

    /// Goes with DISCONNECT.
    pub fn leave(mut self) {
        self.peer.send(&[0xe0, 0]);
        assert!(self.peer.closes());
    }

    /// Goes when all exchanges that have begun are over.
    pub fn finish(mut self) {
        while !self.begun.is_empty() {
            let (head, body) = self.peer.packet().expect("PUBREL comes");
            if head & 0xf0 == 0x60 {
                self.complete(u16::from_be_bytes([body[0], body[1]]));
            }
        }
        self.leave();
    }

    /// PUBCOMP.
    fn complete(&mut self, packet_id: u16) {
        self.answer(0x70, packet_id);
        self.begun.retain(|begun| *begun != packet_id);
    }

    /// Everything that comes before a message with the payload `end`, acknowledged.
    pub fn collect(&mut self) -> Vec<Came> {
        self.collect_until("end")
    }

    /// The same with another payload.
    pub fn collect_until(&mut self, end: &str) -> Vec<Came> {
        self.collect_while(|_, payload| payload != end.as_bytes())
    }

    /// The first that come.
    pub fn collect_some(&mut self, count: usize) -> Vec<Came> {
        self.collect_while(|before, _| before + 1 < count)
    }

    /// Everything that comes while this holds of the number that came before and the payload, and
    /// the last one as well unless it is at the topic `end`.
    fn collect_while(&mut self, goes_on: impl Fn(usize, &[u8]) -> bool) -> Vec<Came> {
        let mut came = Vec::new();
        let mut ids = Vec::new();
        loop {
            let (head, body) = self.peer.packet().unwrap_or_else(|| panic!("no end: {came:?}"));
            let kind = head & 0xf0;
            if kind == 0x60 {
                let id = u16::from_be_bytes([body[0], body[1]]);
                self.complete(id);
                if !ids.contains(&id) {
                    came.push(format!("PUBREL {id}"));
                }
            }
            if kind != 0x30 {
                continue;
            }
            let frame = Frame { first: head, body: &body, length: body.len() + 2 };
            let publish = Publish::decode(&frame, self.version, Sender::Server).unwrap();
            match publish.qos as u8 {
                1 => self.answer(0x40, publish.packet_id),
                2 => {
                    self.answer(0x50, publish.packet_id);
                    self.begun.push(publish.packet_id);
                }
                _ => {}
            }
            ids.push(publish.packet_id);
            let goes_on = goes_on(came.len(), publish.payload);
            if publish.topic != "end" {
                came.push(shown(&publish));
            }
            if !goes_on {
                return came;
            }
        }
    }
}

fn shown(publish: &Publish<'_>) -> Came {
    let mut ids = publish.subscription_ids.to_vec();
    ids.sort_unstable();
    let id = if publish.dup { publish.packet_id } else { 0 };
    let properties: Vec<String> = publish.properties.iter().map(|p| format!("{p:?}")).collect();
    format!(
        "{} {:?} qos {} dup {} ({id}) retain {} for {ids:?} expires {} {properties:?}",
        publish.topic,
        String::from_utf8_lossy(publish.payload),
        publish.qos as u8,
        publish.dup,
        publish.retain,
        publish.message_expiry_s.is_some(),
    )
}

//! What clients see across restarts of a broker with a data directory, packet by packet: each
//! delivery has an end of its own, and nothing is lost, doubled or called a duplicate wrongly.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock and name its folders")]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use support::folder::Folder;
use support::peer::{Peer, packet, text};
use support::server::{Server, eventually};

const SIGNALS: [i32; 2] = [libc::SIGTERM, libc::SIGKILL];

fn start(folder: &Folder) -> Server {
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    Server::start(&["--listen", "127.0.0.1:0", "--data-dir", data])
}

/// Ends the broker, and starts another one on its data.
fn restart(server: Server, folder: &Folder, signal: i32) -> Server {
    server.signal(signal);
    assert!(eventually(|| !server.is_alive()));
    drop(server);
    start(folder)
}

/// A client of version 5 whose session stays, and takes so many messages at a time.
struct Client(Peer);

/// A PUBLISH that came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Came {
    topic: String,
    payload: String,
    qos: u8,
    dup: bool,
    retain: bool,
    packet_id: [u8; 2],
    /// The Message Expiry Interval.
    expiry_s: Option<u32>,
}

impl Client {
    fn connect(server: &Server, id: &str, clean_start: bool, receive_maximum: u16) -> Self {
        let mut peer = Peer::plain(server.port(0));
        let maximum = receive_maximum.to_be_bytes();
        let properties = [8, 0x11, 0, 0, 0x0e, 0x10, 0x21, maximum[0], maximum[1]];
        let head = [5, if clean_start { 2 } else { 0 }, 0, 60];
        let body = [&text("MQTT")[..], &head, &properties, &text(id)].concat();
        assert_eq!(peer.connect(&packet(0x10, &body)), Some(0));
        Self(peer)
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        self.0.send(&packet(0x82, &[&[0, 9, 0][..], &text(filter), &[qos]].concat()));
        assert_eq!(self.until(0x90).1.last(), Some(&qos));
    }

    fn until(&mut self, kind: u8) -> (u8, Vec<u8>) {
        loop {
            let packet = self.0.packet().expect("it comes");
            if packet.0 & 0xf0 == kind {
                return packet;
            }
        }
    }

    /// Publishes, and waits until that is acknowledged.
    fn publish(&mut self, topic: &str, payload: &str, qos: u8, retain: bool) {
        let flags = qos << 1 | u8::from(retain);
        let body = [&text(topic)[..], &[0, 7, 0], payload.as_bytes()].concat();
        self.0.send(&packet(0x30 | flags, &body));
        if qos == 1 {
            self.until(0x40);
        } else {
            self.until(0x50);
            self.0.send(&[0x62, 2, 0, 7]);
            self.until(0x70);
        }
    }

    /// What comes until nothing does for a while; acknowledged if `takes` is true.
    fn receive(&mut self, takes: bool) -> Vec<Came> {
        self.0.set_timeout(Duration::from_millis(1500));
        let mut came = Vec::new();
        while let Some((head, body)) = self.0.packet() {
            let packet_id = |at: usize| [body[at], body[at + 1]];
            match head & 0xf0 {
                0x30 => {
                    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    let (topic, rest) = (body[2..2 + length].to_vec(), 4 + length);
                    let payload = rest + 1 + usize::from(body[rest]);
                    let message = Came {
                        topic: String::from_utf8(topic).unwrap(),
                        payload: String::from_utf8(body[payload..].to_vec()).unwrap(),
                        qos: head >> 1 & 3,
                        dup: head & 8 != 0,
                        retain: head & 1 != 0,
                        packet_id: packet_id(2 + length),
                        expiry_s: match body[rest + 1..payload] {
                            [2, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
                            _ => None,
                        },
                    };
                    if takes {
                        let kind = if message.qos == 1 { 0x40 } else { 0x50 };
                        self.0.send(&[&[kind, 2][..], &message.packet_id].concat());
                    }
                    came.push(message);
                }
                0x60 if takes => self.0.send(&[&[0x70, 2][..], &packet_id(0)].concat()),
                _ => {}
            }
        }
        self.0.set_timeout(Duration::from_secs(5));
        came
    }

    fn receive_payloads(&mut self) -> Vec<String> {
        self.receive(true).into_iter().map(|message| message.payload).collect()
    }
}

/// Waits until the broker knows that a client has gone.
fn settle() {
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_groups_messages_outlive_a_stop_and_a_kill_whoever_had_them() {
    for signal in SIGNALS {
        for qos in [1, 2] {
            let folder = Folder::new();
            let server = start(&folder);
            let name = |member: usize| format!("member {member}");
            let mut members: Vec<Client> =
                (0..3).map(|m| Client::connect(&server, &name(m), true, 1)).collect();
            members.iter_mut().for_each(|member| member.subscribe("$share/g/s/#", 2));
            let mut publisher = Client::connect(&server, "publisher", true, 100);
            for number in 0..30 {
                publisher.publish("s/1", &format!("{number}"), qos, false);
            }
            // One goes and leaves what it has to the others, and comes back.
            drop(members.remove(0));
            settle();
            let server = restart(server, &folder, signal);
            let mut came = Vec::new();
            for member in 0..3 {
                let mut member = Client::connect(&server, &name(member), false, 100);
                came.extend(member.receive_payloads());
            }
            let all: BTreeSet<String> = (0..30).map(|number| number.to_string()).collect();
            let different: BTreeSet<String> = came.iter().cloned().collect();
            assert_eq!(different, all, "QoS {qos}, signal {signal}");
            assert!(qos == 1 || came.len() == 30, "QoS {qos}, signal {signal}: {came:?}");
        }
    }
}

#[test]
fn a_retained_publish_replaces_the_one_before_it_also_after_a_restart() {
    for signal in SIGNALS {
        let folder = Folder::new();
        let server = start(&folder);
        // What an earlier process has retained is later than anything its clock says.
        std::thread::sleep(Duration::from_secs(2));
        Client::connect(&server, "first", true, 9).publish("first", "x", 1, true);
        let server = restart(server, &folder, signal);
        for number in 0..12 {
            let topic = format!("t/{number}");
            let mut one = Client::connect(&server, &format!("one {number}"), true, 9);
            let mut other = Client::connect(&server, &format!("other {number}"), true, 9);
            for ahead in 0..5 {
                one.publish(&format!("x/{ahead}"), "x", 1, true);
            }
            one.publish(&topic, "old", 1, true);
            let payload = if number % 3 == 0 { "" } else { "new" };
            other.publish(&topic, payload, 1, true);
        }
        let read = |server: &Server| {
            let mut reader = Client::connect(server, "reader", true, 100);
            reader.subscribe("t/#", 1);
            let came = reader.receive(true);
            assert!(came.iter().all(|message| message.payload == "new"), "{came:?}");
            assert_eq!(came.len(), 8, "signal {signal}: {came:?}");
        };
        read(&server);
        read(&restart(server, &folder, signal));
    }
}

#[test]
fn every_copy_of_a_message_for_one_session_outlives_a_restart() {
    for signal in SIGNALS {
        for qos in [1, 2] {
            let folder = Folder::new();
            let server = start(&folder);
            let mut subscriber = Client::connect(&server, "subscriber", true, 100);
            for filter in ["s/#", "$share/g/s/#", "$share/h/s/#"] {
                subscriber.subscribe(filter, 2);
            }
            let mut publisher = Client::connect(&server, "publisher", true, 100);
            publisher.publish("s/1", "one", qos, false);
            // One of the copies is acknowledged; the others are not ended by that.
            let copies = subscriber.receive(false);
            assert_eq!(copies.len(), 3, "{copies:?}");
            let identifiers: BTreeSet<_> = copies.iter().map(|copy| copy.packet_id).collect();
            assert_eq!(identifiers.len(), 3, "{copies:?}");
            let done = copies[1].packet_id;
            if qos == 1 {
                subscriber.0.send(&[&[0x40, 2][..], &done].concat());
            } else {
                subscriber.0.send(&[&[0x50, 2][..], &done].concat());
                subscriber.until(0x60);
                subscriber.0.send(&[&[0x70, 2][..], &done].concat());
            }
            drop(subscriber);
            settle();
            publisher.publish("s/1", "two", qos, false);
            let server = restart(server, &folder, signal);
            let mut subscriber = Client::connect(&server, "subscriber", false, 100);
            let came = subscriber.receive_payloads();
            let count = |payload| came.iter().filter(|came| *came == payload).count();
            assert_eq!((count("one"), count("two")), (2, 3), "QoS {qos}, signal {signal}");
        }
    }
}

#[test]
fn a_replay_goes_on_after_a_restart_where_it_stood() {
    for signal in SIGNALS {
        for qos in [1, 2] {
            let folder = Folder::new();
            let server = start(&folder);
            let mut publisher = Client::connect(&server, "publisher", true, 100);
            for number in 1..6 {
                publisher.publish(&format!("r/{number}"), &format!("old {number}"), qos, true);
            }
            let mut subscriber = Client::connect(&server, "subscriber", true, 1);
            subscriber.subscribe("r/#", qos);
            // The first is acknowledged, the second in flight, and the others are still owed.
            let (head, body) = subscriber.until(0x30);
            assert_eq!(head & 7, qos << 1 | 1);
            let first = [body[5], body[6]];
            subscriber.0.send(&[&[if qos == 1 { 0x40 } else { 0x50 }, 2][..], &first].concat());
            if qos == 2 {
                subscriber.until(0x60);
                subscriber.0.send(&[&[0x70, 2][..], &first].concat());
            }
            subscriber.until(0x30);
            drop(subscriber);
            settle();
            // Live from now on: one replaces what was owed, one is new.
            publisher.publish("r/4", "new 4", qos, true);
            publisher.publish("r/9", "new 9", qos, true);
            let server = restart(server, &folder, signal);
            let mut subscriber = Client::connect(&server, "subscriber", false, 100);
            let mut came = subscriber.receive(true);
            came.sort_by(|a, b| a.topic.cmp(&b.topic));
            let seen: Vec<_> = came.iter().map(|m| (m.payload.as_str(), m.retain, m.dup)).collect();
            let expected = [
                ("old 2", true, true),
                ("old 3", true, false),
                ("new 4", false, signal == libc::SIGKILL && qos == 1),
                ("old 5", true, false),
                ("new 9", false, signal == libc::SIGKILL && qos == 1),
            ];
            assert_eq!(seen, expected, "QoS {qos}, signal {signal}");
        }
    }
}

#[test]
fn after_a_stop_only_what_was_sent_is_a_duplicate_and_it_comes_first() {
    for qos in [1, 2] {
        let folder = Folder::new();
        let server = start(&folder);
        Client::connect(&server, "subscriber", true, 2).subscribe("a", qos);
        settle();
        let mut publisher = Client::connect(&server, "publisher", true, 100);
        for number in 0..4 {
            publisher.publish("a", &number.to_string(), qos, false);
        }
        let mut subscriber = Client::connect(&server, "subscriber", false, 2);
        let sent = subscriber.receive(false);
        let sent: Vec<_> = sent.iter().map(|m| (m.payload.as_str(), m.packet_id)).collect();
        assert_eq!(sent.len(), 2, "{sent:?}");
        // Stops may follow each other.
        let mut server = restart(server, &folder, libc::SIGTERM);
        server = restart(server, &folder, libc::SIGTERM);
        let came = Client::connect(&server, "subscriber", false, 100).receive(true);
        let seen: Vec<_> = came.iter().map(|m| (m.payload.as_str(), m.dup)).collect();
        assert_eq!(seen, [("0", true), ("1", true), ("2", false), ("3", false)], "QoS {qos}");
        let again: Vec<_> = came[..2].iter().map(|m| (m.payload.as_str(), m.packet_id)).collect();
        assert_eq!(again, sent, "under their identifiers");
    }
}

#[test]
fn an_absent_subscriber_gets_messages_in_the_order_of_publishing_whatever_their_qos() {
    let folder = Folder::new();
    let server = start(&folder);
    Client::connect(&server, "subscriber", true, 100).subscribe("a", 2);
    settle();
    let mut publisher = Client::connect(&server, "publisher", true, 100);
    for number in 1..7 {
        publisher.publish("a", &number.to_string(), 1 + number % 2, false);
    }
    let in_order: Vec<String> = (1..7).map(|number| number.to_string()).collect();
    let mut subscriber = Client::connect(&server, "subscriber", false, 100);
    let payloads = |came: Vec<Came>| came.into_iter().map(|m| m.payload).collect::<Vec<_>>();
    assert_eq!(payloads(subscriber.receive(false)), in_order);
    drop(subscriber);
    settle();
    let mut again = Client::connect(&server, "subscriber", false, 100);
    assert_eq!(payloads(again.receive(false)), in_order, "after a new connection");
    let mut server = server;
    for signal in SIGNALS {
        server = restart(server, &folder, signal);
        let mut again = Client::connect(&server, "subscriber", false, 100);
        assert_eq!(payloads(again.receive(false)), in_order, "signal {signal}");
    }
}

/// The time before a restart counts as well as the time after it.
// [MQTT-3.3.2-5], [MQTT-3.3.2-6]
#[test]
fn a_message_goes_on_expiring_across_a_restart() {
    for signal in SIGNALS {
        let folder = Folder::new();
        let server = start(&folder);
        let mut subscriber = Client::connect(&server, "subscriber", true, 100);
        subscriber.subscribe("e/#", 2);
        drop(subscriber);
        settle();
        let mut publisher = Client::connect(&server, "publisher", true, 100);
        let mut publish = |topic: &str, expiry_s: u32, kind: u8| {
            let properties = [&[5, 2][..], &expiry_s.to_be_bytes()].concat();
            let body = [&text(topic)[..], &[0, 7], &properties, topic.as_bytes()].concat();
            publisher.0.send(&packet(kind, &body));
            publisher.until(if kind & 6 == 2 { 0x40 } else { 0x50 });
            publisher.0.send(&[0x62, 2, 0, 7]);
            publisher.until(0x70);
        };
        let before = Instant::now();
        for (qos, kind) in [(1, 0x32), (2, 0x34)] {
            publish(&format!("e/{qos}/short"), 2, kind);
            publish(&format!("e/{qos}/long"), 1000, kind);
        }
        publish("e/retained", 1000, 0x33);
        std::thread::sleep(Duration::from_millis(1300));
        let server = restart(server, &folder, signal);
        std::thread::sleep(Duration::from_millis(1000));
        let waited_s = before.elapsed().as_secs() as u32;
        let mut subscriber = Client::connect(&server, "subscriber", false, 100);
        let came = subscriber.receive(true);
        let mut other = Client::connect(&server, "other", true, 100);
        other.subscribe("e/retained", 1);
        let retained = other.receive(true);
        let payloads: Vec<_> = came.iter().map(|message| message.payload.as_str()).collect();
        assert_eq!(payloads, ["e/1/long", "e/2/long", "e/retained"], "signal {signal}");
        assert_eq!(retained.len(), 1, "signal {signal}");
        for message in came.iter().chain(&retained) {
            let left_s = message.expiry_s.expect("it has one");
            assert!(left_s <= 1000 - waited_s, "signal {signal}, {waited_s} s: {message:?}");
            assert!(left_s > 900, "signal {signal}, {waited_s} s: {message:?}");
        }
    }
}

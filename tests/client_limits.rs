//! What one client or one user may keep in the broker: as much as its limit, and not one more; what
//! it has already may be replaced and goes on.

mod support;

use ringmq::broker::LinkId;
use ringmq::options::Options;
use std::collections::BTreeSet;
use std::time::Duration;
use support::bare::Bare;
use support::folder::Folder;
use support::peer::{Peer, connect, connect_stored, connect_v3, packet, text};
use support::server::Server;

const QUOTA_EXCEEDED: u8 = 0x97;
/// No matching subscribers.
const NONE: u8 = 0x10;
const DAY_S: u32 = 86_400;

/// PUBLISH of version 5 at QoS 1 with RETAIN and packet identifier 1.
fn retain(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x33, &[&text(topic)[..], &[0, 1, 0], payload].concat())
}

fn subscribe(filters: &[&str]) -> Vec<u8> {
    let filters: Vec<u8> = filters.iter().flat_map(|f| [&text(f)[..], &[1]].concat()).collect();
    packet(0x82, &[&[0, 2, 0], &filters[..]].concat())
}

fn unsubscribe(filter: &str) -> Vec<u8> {
    packet(0xA2, &[&[0, 3, 0], &text(filter)[..]].concat())
}

/// The reason codes of the SUBACK that a client of version 5 has got.
fn suback(broker: &mut Bare, link: LinkId) -> Vec<u8> {
    let bytes = broker.take(link);
    assert_eq!(bytes[0], 0x90, "{bytes:02x?}");
    bytes[5..].to_vec()
}

/// The reason code of the PUBACK that a client has got; 0 without one.
fn puback(broker: &mut Bare, link: LinkId) -> u8 {
    let bytes = broker.take(link);
    assert_eq!(bytes[0], 0x40, "{bytes:02x?}");
    if bytes[1] > 2 { bytes[4] } else { 0 }
}

#[test]
fn a_session_has_as_many_subscriptions_as_it_may() {
    let options = Options { max_subscriptions: 3, ..Options::default() };
    let mut broker = Bare::with(options);
    let link = broker.connected(&connect("a", None));
    broker.send(link, &subscribe(&["1", "2", "3", "4", "2"]));
    assert_eq!(suback(&mut broker, link), [1, 1, 1, QUOTA_EXCEEDED, 1]);
    assert_eq!(broker.shard.counters().refused_quota, 1);
    broker.send(link, &unsubscribe("1"));
    broker.take(link);
    broker.send(link, &subscribe(&["4", "5"]));
    assert_eq!(suback(&mut broker, link), [1, QUOTA_EXCEEDED]);
    // The next client's are its own.
    let other = broker.connected(&connect("b", None));
    broker.send(other, &subscribe(&["5", "6", "7"]));
    assert_eq!(suback(&mut broker, other), [1, 1, 1]);
}

#[test]
fn older_versions_hear_of_a_refusal_what_they_can() {
    let options = Options { max_subscriptions: 1, ..Options::default() };
    let mut broker = Bare::with(options);
    let link = broker.connected(&connect_v3("old", None));
    let filters = [&text("1")[..], &[1], &text("2"), &[1]].concat();
    broker.send(link, &packet(0x82, &[&[0, 2], &filters[..]].concat()));
    assert_eq!(broker.take(link), [0x90, 4, 0, 2, 1, 0x80]);
}

/// PUBLISH on topic `t` with packet identifier 7.
fn publish(version: u8, qos: u8, payload: &[u8]) -> Vec<u8> {
    let id: &[u8] = if qos > 0 { &[0, 7] } else { &[] };
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    packet(0x30 | qos << 1, &[&text("t")[..], id, properties, payload].concat())
}

#[test]
fn a_message_with_a_larger_payload_goes_nowhere() {
    let mut broker = Bare::with(Options { max_payload_size: 3, ..Options::default() });
    let subscriber = broker.connected(&connect("s", None));
    broker.send(subscriber, &subscribe(&["t"]));
    broker.take(subscriber);
    let new = broker.connected(&connect("new", None));
    let old = broker.connected(&connect_v3("old", None));
    let answers: [(_, _, [&[u8]; 3]); 2] = [
        (new, 5, [&[], &[0x40, 4, 0, 7, 0x95, 0], &[0x50, 4, 0, 7, 0x95, 0]]),
        (old, 4, [&[], &[0x40, 2, 0, 7], &[0x50, 2, 0, 7]]),
    ];
    for (link, version, answers) in answers {
        for (qos, answer) in (0..).zip(answers) {
            broker.send(link, &publish(version, qos, b"1234"));
            let sent = broker.take(link);
            assert!(
                sent == answer || sent == [&[answer[0], 3], &answer[2..5]].concat(),
                "{sent:02x?}"
            );
            assert!(!broker.is_closed(link));
        }
        assert_eq!(broker.take(subscriber), [0; 0], "version {version}");
    }
    assert_eq!(broker.shard.counters().publishes_denied, 6);
    // The refused exchange of version 5 is over, so the identifier is free.
    for qos in 0..=2 {
        broker.send(new, &publish(5, qos, b"123"));
        assert!(broker.take(subscriber).ends_with(b"123"), "QoS {qos}");
    }
    assert_eq!(broker.shard.counters().publishes_denied, 6);
}

#[test]
fn a_will_with_a_larger_payload_is_refused() {
    let mut broker = Bare::with(Options { max_payload_size: 3, ..Options::default() });
    let with_will = |version: u8, payload: &str| {
        let properties: &[u8] = if version == 5 { &[0] } else { &[] };
        let head = [&text("MQTT")[..], &[version, 6, 0, 60], properties].concat();
        packet(0x10, &[&head[..], &text("c"), properties, &text("w"), &text(payload)].concat())
    };
    for (version, payload, code) in
        [(5, "123", 0), (5, "1234", 0x95), (4, "123", 0), (4, "1234", 5)]
    {
        let link = broker.open();
        broker.send(link, &with_will(version, payload));
        assert_eq!(broker.take(link)[3], code, "{version} {payload}");
        assert_eq!(broker.is_closed(link), code > 0);
        broker.drop_link(link);
    }
}

#[test]
fn packets_may_be_as_short_as_twenty_bytes() {
    let mut broker = Bare::with(Options { max_packet_size: 20, ..Options::default() });
    let long = broker.open();
    broker.send(long, &connect("12345678", None));
    assert!(broker.is_closed(long), "its CONNECT has 23 bytes");
    for (version, code) in [(5, Some(0x95)), (4, None)] {
        let connect =
            if version == 5 { connect("12345", None) } else { connect_v3("123456", None) };
        let link = broker.connected(&connect);
        let room = if version == 5 { 14 } else { 15 };
        broker.send(link, &publish(version, 0, &vec![b'x'; room]));
        assert!(!broker.is_closed(link), "20 bytes");
        broker.send(link, &publish(version, 0, &vec![b'x'; room + 1]));
        assert!(broker.is_closed(link), "21 bytes");
        assert_eq!(broker.take(link).get(2).copied(), code);
    }
}

#[test]
fn shared_subscriptions_have_a_limit_of_their_own() {
    let options = Options { max_shared_subscriptions: 1, ..Options::default() };
    let mut broker = Bare::with(options);
    let link = broker.connected(&connect("a", None));
    broker.send(link, &subscribe(&["$share/g/1", "$share/g/2", "2", "$share/g/1"]));
    assert_eq!(suback(&mut broker, link), [1, QUOTA_EXCEEDED, 1, 1]);
    let mut broker = Bare::with(Options { max_shared_subscriptions: 0, ..Options::default() });
    let link = broker.connected(&connect("a", None));
    broker.send(link, &subscribe(&["$share/g/1", "1"]));
    assert_eq!(suback(&mut broker, link), [QUOTA_EXCEEDED, 1]);
}

#[test]
fn the_filters_of_a_session_have_so_many_bytes_in_all() {
    let mut broker = Bare::with(Options { max_filter_bytes: 65_536, ..Options::default() });
    let link = broker.connected(&connect("a", None));
    let long = |letter: &str| letter.repeat(40_000);
    broker.send(link, &subscribe(&[&long("a"), &long("b"), &long("a"), "c"]));
    assert_eq!(suback(&mut broker, link), [1, QUOTA_EXCEEDED, 1, 1]);
    broker.send(link, &unsubscribe(&long("a")));
    broker.take(link);
    broker.send(link, &subscribe(&[&long("b")]));
    assert_eq!(suback(&mut broker, link), [1]);
}

#[test]
fn a_user_has_as_many_sessions_as_it_may_however_they_come_about() {
    let mut broker = Bare::with(Options { max_sessions: 2, ..Options::default() });
    let refused = |broker: &mut Bare, connect: &[u8]| {
        let link = broker.open();
        broker.send(link, connect);
        assert_eq!(broker.take(link)[3], QUOTA_EXCEEDED);
        assert!(broker.is_closed(link));
    };
    for name in ["a", "b"] {
        let link = broker.connected(&connect_stored(name, DAY_S, 0));
        broker.drop_link(link);
    }
    refused(&mut broker, &connect_stored("c", DAY_S, 0));
    // One that ends with its connection does not count, nor does a second CONNECT change that.
    broker.connected(&connect("c", None));
    refused(&mut broker, &connect_stored("c", DAY_S, 0));
    // Known ones come back.
    broker.connected(&connect_stored("a", DAY_S, 0));
    // One ends, another takes its place.
    let b = broker.connected(&connect_stored("b", 0, 0));
    broker.drop_link(b);
    let c = broker.connected(&connect_stored("d", DAY_S, 0));
    refused(&mut broker, &connect_stored("b", DAY_S, 0));
    broker.drop_link(c);
    broker.wait(Duration::from_secs(u64::from(DAY_S) + 1));
    broker.connected(&connect_stored("b", DAY_S, 0));
}

#[test]
fn a_user_has_retained_messages_on_as_many_topics_as_it_may() {
    let mut broker = Bare::with(Options { max_retained: 2, ..Options::default() });
    let link = broker.connected(&connect("a", None));
    for (topic, payload, code) in [
        ("1", &b"x"[..], NONE),
        ("2", b"x", NONE),
        ("3", b"x", QUOTA_EXCEEDED),
        ("2", b"longer", NONE),
        ("3", b"", NONE),
        ("1", b"", NONE),
        ("3", b"x", NONE),
        ("1", b"x", QUOTA_EXCEEDED),
    ] {
        broker.send(link, &retain(topic, payload));
        assert_eq!(puback(&mut broker, link), code, "{topic} {payload:?}");
    }
    assert_eq!(broker.shard.counters().refused_quota, 2);
    // What expires makes room.
    broker.send(link, &retain("3", b""));
    broker.take(link);
    let body = [&text("4")[..], &[0, 1, 5, 2, 0, 0, 0, 9], b"x"].concat();
    broker.send(link, &packet(0x33, &body));
    assert_eq!(puback(&mut broker, link), NONE);
    broker.send(link, &retain("3", b"x"));
    assert_eq!(puback(&mut broker, link), QUOTA_EXCEEDED);
    broker.wait(Duration::from_secs(10));
    broker.send(link, &retain("3", b"x"));
    assert_eq!(puback(&mut broker, link), NONE);
}

#[test]
fn sessions_of_clients_without_a_name_expire_at_last() {
    let mut broker = Bare::with(Options { max_anonymous_expiry: DAY_S, ..Options::default() });
    let link = broker.open();
    broker.send(link, &connect_stored("a", u32::MAX, 0));
    let connack = broker.take(link);
    let told = [&[0x11][..], &DAY_S.to_be_bytes()].concat();
    assert!(connack.windows(5).any(|five| five == told), "{connack:02x?}");
    broker.drop_link(link);
    broker.wait(Duration::from_secs(u64::from(DAY_S) - 1));
    assert_eq!(broker.shard.census().0, 1);
    broker.wait(Duration::from_secs(2));
    assert_eq!(broker.shard.census().0, 0);
}

#[test]
fn a_delivery_names_as_many_subscriptions_as_it_may() {
    let mut broker = Bare::with(Options { max_subscription_ids: 2, ..Options::default() });
    let link = broker.connected(&connect("a", None));
    for (id, filter) in [(7, "t"), (5, "+"), (6, "#")] {
        let body = [&[0, 1, 2, 0x0B, id], &text(filter)[..], &[0]].concat();
        broker.send(link, &packet(0x82, &body));
    }
    broker.take(link);
    broker.send(link, &packet(0x30, &[&text("t")[..], &[0]].concat()));
    assert_eq!(broker.take(link), [0x30, 8, 0, 1, b't', 4, 0x0B, 5, 0x0B, 6]);
}

/// A client of a broker process with two workers, most of whose topics live elsewhere.
fn publisher(server: &Server, connect: &[u8]) -> Peer {
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(connect), Some(0));
    peer
}

/// Publishes at a QoS, and ends the exchange; the reason code.
fn publish_live(peer: &mut Peer, topic: &str, qos: u8, payload: &[u8]) -> u8 {
    peer.send(&packet(0x31 | qos << 1, &[&text(topic)[..], &[0, 9, 0], payload].concat()));
    let (_, body) = peer.packet().expect("an answer");
    let code = body.get(2).copied().unwrap_or(0);
    if qos == 2 && code < 0x80 {
        peer.send(&[0x62, 2, 0, 9]);
        assert_eq!(peer.packet().expect("PUBCOMP").0, 0x70);
    }
    code
}

/// Whatever worker a topic lives on, what is acknowledged is retained, also by the next process,
/// and what is refused is not.
#[test]
fn the_limit_of_retained_topics_holds_on_all_workers_and_after_a_restart() {
    for qos in [1, 2] {
        let folder = Folder::new();
        let data = folder.path().join("data");
        let flags = |durable: bool| {
            let mut flags = vec!["--listen", "127.0.0.1:0", "--max-retained", "6"];
            if durable {
                flags.extend(["--data-dir", data.to_str().unwrap()]);
            }
            flags
        };
        for durable in [false, true] {
            let server = Server::start(&flags(durable));
            let mut peer = publisher(&server, &connect("p", None));
            let mut kept = BTreeSet::new();
            for topic in (0..20).map(|number| format!("t/{number}")) {
                match publish_live(&mut peer, &topic, qos, b"x") {
                    QUOTA_EXCEEDED => {}
                    NONE => assert!(kept.insert(topic)),
                    code => panic!("{code:02x}"),
                }
            }
            assert_eq!(kept.len(), 6);
            for topic in &kept {
                assert_eq!(publish_live(&mut peer, topic, qos, b"again"), NONE);
            }
            let server = if durable {
                server.signal(libc::SIGKILL);
                drop(server);
                Server::start(&flags(durable))
            } else {
                server
            };
            let mut reader = publisher(&server, &connect("r", None));
            reader.send(&packet(0x82, &[&[0, 2, 0], &text("#")[..], &[0]].concat()));
            let mut came = BTreeSet::new();
            while came.len() < kept.len() {
                let (kind, body) = reader.packet().expect("all that is kept");
                if kind & 0xf0 == 0x30 && !body[2..].starts_with(b"$") {
                    let length = usize::from(body[1]);
                    came.insert(String::from_utf8(body[2..2 + length].to_vec()).unwrap());
                    assert!(body.ends_with(b"again"));
                }
            }
            assert_eq!(came, kept);
            let mut peer = publisher(&server, &connect("q", None));
            assert_eq!(publish_live(&mut peer, "t/new", qos, b"x"), QUOTA_EXCEEDED);
            let gone = kept.first().unwrap();
            assert!(publish_live(&mut peer, gone, qos, b"") < 0x80);
            assert!(publish_live(&mut peer, "t/new", qos, b"x") < 0x80);
            // Who has no words for a refusal is not left in the belief that all is well.
            for topic in ["t/a", "t/b", "t/c", "t/d"] {
                let mut old = publisher(&server, &connect_v3("old", None));
                old.send(&packet(0x33, &[&text(topic)[..], &[0, 9], b"x"].concat()));
                assert!(old.closes(), "{topic}");
            }
        }
    }
}

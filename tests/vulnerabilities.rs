//! The vulnerability classes of MQTT brokers, one named test each, against a bare shard. Rows that
//! count memory are in `memory.rs`, those that need sockets in `attacks.rs`.

mod support;

use proptest::prelude::*;
use ringmq::broker::LinkId;
use ringmq::mqtt::{
    Auth, Connect, Framed, Packet, Publish, QoS, ReasonCode, Sender, Subscribe, SubscribeFilter,
    SubscriptionOptions, Version, Will, next_frame,
};
use ringmq::options::{Given, OPTIONS, Options, Value};
use ringmq::testing::census;
use ringmq::topics::FilterTree;
use std::time::Duration;
use support::bare::Bare;

fn connect(bare: &mut Bare, connect: &Connect<'_>) -> LinkId {
    let link = bare.open();
    let mut bytes = Vec::new();
    connect.encode(&mut bytes);
    bare.send(link, &bytes);
    link
}

fn client(bare: &mut Bare, version: Version, client_id: &str) -> LinkId {
    let clean_start = true;
    let link = connect(bare, &Connect { clean_start, ..Connect::new(version, client_id) });
    let connack = bare.take(link);
    assert_eq!((connack[0], connack[3]), (0x20, 0), "{client_id:?} is connected");
    link
}

fn subscribe(bare: &mut Bare, version: Version, link: LinkId, filter: &str) -> u8 {
    let filters =
        std::iter::once(SubscribeFilter { filter, options: SubscriptionOptions::default() });
    let mut bytes = Vec::new();
    let packet = Subscribe { packet_id: 1, filters: filters.collect(), ..Subscribe::default() };
    packet.encode(version, &mut bytes);
    bare.send(link, &bytes);
    *bare.take(link).last().expect("SUBACK or DISCONNECT")
}

fn publish(bare: &mut Bare, version: Version, link: LinkId, publish: &Publish<'_>) {
    let mut bytes = Vec::new();
    publish.encode(version, &mut bytes);
    bare.send(link, &bytes);
}

/// The reason code of the DISCONNECT that a 5.0 client was sent last.
fn disconnect_code(bare: &mut Bare, link: LinkId) -> Option<u8> {
    let sent = bare.take(link);
    let mut rest = &sent[..];
    while let Ok(Framed::Whole(frame)) = next_frame(rest, usize::MAX) {
        if let Ok(Packet::Disconnect(packet)) = Packet::decode(&frame, Version::V5, Sender::Server)
        {
            return Some(packet.code as u8);
        }
        rest = &rest[frame.length..];
    }
    None
}

/// The client is still served.
fn is_served(bare: &mut Bare, link: LinkId) -> bool {
    bare.take(link);
    bare.send(link, &[0xc0, 0]);
    bare.take(link) == [0xd0, 0]
}

#[test]
fn v01_the_deepest_topics_need_no_stack() {
    let deep = "/".repeat(65_535);
    let run = move || {
        for max_topic_levels in [200, u16::MAX] {
            let options = Options { max_topic_levels, ..Options::default() };
            let mut bare = Bare::with(options);
            let watcher = client(&mut bare, Version::V5, "watcher");
            subscribe(&mut bare, Version::V5, watcher, "#");
            let link = client(&mut bare, Version::V5, "deep");
            let code = subscribe(&mut bare, Version::V5, link, &deep);
            assert_eq!(code, ReasonCode::TopicFilterInvalid as u8);
            for topic in [&deep[..], &deep[..65_534]] {
                let link = client(&mut bare, Version::V5, "deep");
                let message = Publish { topic, retain: true, payload: b"x", ..Publish::default() };
                publish(&mut bare, Version::V5, link, &message);
                let fits = topic.len() < usize::from(max_topic_levels);
                assert_eq!(bare.is_closed(link), !fits);
                let code = (!fits).then_some(ReasonCode::TopicNameInvalid as u8);
                assert_eq!(disconnect_code(&mut bare, link), code);
            }
            let will = Some(Will { topic: &deep, ..Will::default() });
            let refused =
                connect(&mut bare, &Connect { will, ..Connect::new(Version::V5, "will") });
            assert!(bare.is_closed(refused));
            assert!(is_served(&mut bare, watcher));
        }
    };
    let thread = std::thread::Builder::new().stack_size(128 * 1024).spawn(run);
    thread.unwrap().join().expect("128 KiB of stack are enough");
}

/// One of each packet that a 5.0 client may send.
fn valid_packets() -> Vec<Vec<u8>> {
    let encode = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        bytes
    };
    let message = Publish {
        topic: "a/b",
        qos: QoS::AtLeastOnce,
        packet_id: 9,
        payload: b"payload",
        message_expiry_s: Some(60),
        ..Publish::default()
    };
    vec![
        encode(&|out| Connect::new(Version::V5, "other").encode(out)),
        encode(&|out| message.encode(Version::V5, out)),
        vec![0x40, 2, 0, 1],
        vec![0x50, 2, 0, 1],
        vec![0x62, 2, 0, 1],
        vec![0x70, 2, 0, 1],
        vec![0x82, 7, 0, 1, 0, 0, 1, b't', 0],
        vec![0xa2, 6, 0, 1, 0, 0, 1, b't'],
        vec![0xc0, 0],
        vec![0xe0, 0],
        encode(&|out| Auth::default().encode(out)),
    ]
}

#[test]
fn v02_every_cut_and_every_wrong_length_harms_only_its_sender() {
    let mut bare = Bare::default();
    let watcher = client(&mut bare, Version::V5, "watcher");
    for packet in valid_packets() {
        for cut in 0..packet.len() {
            let link = client(&mut bare, Version::V5, "sender");
            bare.send(link, &packet[..cut]);
            bare.drop_link(link);
        }
        let length = usize::from(packet[1]);
        for wrong in [length.wrapping_sub(1), length + 1, length * 2, 268_435_455] {
            for is_first in [true, false] {
                let link = match is_first {
                    true => bare.open(),
                    false => client(&mut bare, Version::V5, "sender"),
                };
                let mut bytes = vec![packet[0]];
                let mut rest = wrong.min(268_435_455);
                loop {
                    bytes.push((rest % 128) as u8 | if rest > 127 { 128 } else { 0 });
                    rest /= 128;
                    if rest == 0 {
                        break;
                    }
                }
                bytes.extend_from_slice(&packet[2..]);
                bytes.resize(bytes.len() + 64, 0);
                bare.send(link, &bytes);
                bare.drop_link(link);
            }
        }
    }
    assert!(is_served(&mut bare, watcher));
}

proptest! {
    #![proptest_config(support::cases(256))]

    #[test]
    fn v02_random_bytes_harm_only_their_sender(
        bytes in proptest::collection::vec(any::<u8>(), 0..512),
        is_connected: bool,
    ) {
        let mut bare = Bare::default();
        let watcher = client(&mut bare, Version::V5, "watcher");
        let link = if is_connected { client(&mut bare, Version::V5, "x") } else { bare.open() };
        bare.send(link, &bytes);
        prop_assert!(is_served(&mut bare, watcher));
    }
}

/// What a client may send in a state: everything else closes it. MQTT 3.1 does not use the flags of
/// what is not PUBLISH.
fn is_allowed(version: Version, is_connected: bool, kind: u8, flags: u8) -> bool {
    let usual = match kind {
        6 | 8 | 10 => 2,
        _ => 0,
    };
    let is_unused = version == Version::V31 && kind != 3;
    match (kind, if is_unused { usual } else { flags }) {
        (1, 0) => !is_connected,
        (3, flags) => is_connected && flags & 6 != 6 && (flags & 8 == 0 || flags & 6 != 0),
        (4 | 5 | 7, 0) | (6 | 8 | 10, 2) | (12, 0) => is_connected,
        // Among the rest DISCONNECT, which closes the connection by intent.
        _ => false,
    }
}

fn body(version: Version, kind: u8, flags: u8) -> Vec<u8> {
    let is_5 = version == Version::V5;
    let mut bytes = Vec::new();
    match kind {
        1 => {
            Connect { clean_start: true, ..Connect::new(version, "first") }.encode(&mut bytes);
            return bytes[2..].to_vec();
        }
        3 => {
            bytes.extend_from_slice(&[0, 1, b't']);
            if flags & 6 != 0 {
                bytes.extend_from_slice(&[0, 1]);
            }
            bytes.extend_from_slice(if is_5 { &[0, b'x'] } else { b"x" });
        }
        4..=7 => bytes.extend_from_slice(&[0, 1]),
        8 | 10 => {
            bytes.extend_from_slice(if is_5 {
                &[0, 1, 0, 0, 1, b't']
            } else {
                &[0, 1, 0, 1, b't']
            });
            if kind == 8 {
                bytes.push(0);
            }
        }
        2 => bytes.extend_from_slice(if is_5 { &[0, 0, 0] } else { &[0, 0] }),
        _ => {}
    }
    bytes
}

#[test]
fn v09_the_matrix_of_states_types_and_flags() {
    for version in [Version::V31, Version::V311, Version::V5] {
        for is_connected in [false, true] {
            for first in 0..=255u8 {
                let (kind, flags) = (first >> 4, first & 15);
                let mut bare = Bare::default();
                let watcher = client(&mut bare, Version::V5, "watcher");
                let link = match is_connected {
                    true => client(&mut bare, version, "client"),
                    false => bare.open(),
                };
                let body = body(version, kind, flags);
                bare.send(link, &[&[first, body.len() as u8], &body[..]].concat());
                let expected = is_allowed(version, is_connected, kind, flags);
                assert_eq!(
                    !bare.is_closed(link),
                    expected,
                    "{version:?} connected={is_connected} first byte {first:02x}"
                );
                let is_error = !expected && is_connected && first != 0xe0;
                if version == Version::V5 && is_error {
                    let code = disconnect_code(&mut bare, link).expect("it is told why");
                    assert!(code == 0x81 || code == 0x82, "{first:02x}: {code:02x}");
                }
                assert!(is_served(&mut bare, watcher));
            }
        }
    }
}

#[test]
fn v10_auth_in_every_state() {
    let mut bare = Bare::default();
    let packets: [&[u8]; 4] = [
        &[0xf0, 0],
        &[0xf0, 2, 0x18, 0],
        &[0xf0, 6, 0x19, 4, 0x15, 0, 1, b'X'],
        &[0xf0, 2, 0x99, 0],
    ];
    for packet in packets {
        let fresh = bare.open();
        bare.send(fresh, packet);
        assert!(bare.is_closed(fresh), "before CONNECT");
        for version in [Version::V311, Version::V5] {
            let link = client(&mut bare, version, "client");
            bare.send(link, packet);
            assert!(bare.is_closed(link), "connected without a method");
        }
        let refused = connect(
            &mut bare,
            &Connect {
                authentication_method: Some("SCRAM-SHA-1"),
                ..Connect::new(Version::V5, "client")
            },
        );
        assert_eq!(bare.take(refused)[3], ReasonCode::BadAuthenticationMethod as u8);
        bare.send(refused, packet);
        assert!(bare.is_closed(refused) && bare.take(refused).is_empty());
    }
}

#[test]
fn v11_empty_and_dollar_topics() {
    let mut bare = Bare::default();
    let watcher = client(&mut bare, Version::V5, "watcher");
    assert_eq!(subscribe(&mut bare, Version::V5, watcher, ""), 0x8f);
    for filter in ["$", "$x", "$/x", "$SYS", "#"] {
        assert_eq!(subscribe(&mut bare, Version::V5, watcher, filter), 0, "{filter}");
    }
    for (topic, is_delivered) in [("$", true), ("$x", true), ("$/x", true), ("$SYS", false)] {
        for retain in [false, true] {
            let link = client(&mut bare, Version::V5, "publisher");
            let message = Publish { topic, retain, payload: b"x", ..Publish::default() };
            publish(&mut bare, Version::V5, link, &message);
            assert!(!bare.is_closed(link));
            assert_eq!(!bare.take(watcher).is_empty(), is_delivered, "{topic}");
        }
    }
    let link = client(&mut bare, Version::V5, "publisher");
    bare.send(link, &[0x30, 3, 0, 0, 0]);
    assert!(bare.is_closed(link));
    assert!(is_served(&mut bare, watcher));
}

/// Every numeric setting at 0, at 1 and at each end of its range is refused in words, or works.
#[test]
fn v11_settings_at_their_limits() {
    let numbers = ["0", "1", "16384", "65535", "4294967295", "18446744073709551615"];
    let mut accepted = 0;
    for option in OPTIONS {
        for number in numbers {
            let mut given = Given::default();
            given.add(option, [Value::new(number, option.name)]);
            match Options::build(&given) {
                Err(wrong) => assert!(!wrong.to_string().is_empty()),
                // Neither reaches a shard; and a client that exceeds its rate is to be closed.
                Ok(_) if option.name == "workers" || option.name.contains("-publish-") => {}
                // The client is to be refused.
                Ok(_) if matches!(option.name, "max-qos" | "client-id-prefix") => {}
                Ok(options) => {
                    accepted += 1;
                    works_with(options, &format!("--{} {number}", option.name));
                }
            }
        }
    }
    assert!(accepted > 20, "{accepted} settings were accepted");
}

fn works_with(options: Options, what: &str) {
    let mut bare = Bare::with(options.clone());
    let link = client(&mut bare, Version::V5, "c");
    assert_eq!(subscribe(&mut bare, Version::V5, link, "t"), 0, "{what}");
    for (qos, packet_id) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
        let message = Publish { topic: "t", qos, packet_id, payload: b"x", ..Publish::default() };
        publish(&mut bare, Version::V5, link, &message);
        assert!(!bare.is_closed(link), "{what}");
        assert!(!bare.take(link).is_empty(), "{what}");
    }
    if options.retain_available {
        let message = Publish { topic: "t", retain: true, payload: b"x", ..Publish::default() };
        publish(&mut bare, Version::V5, link, &message);
    }
    bare.send(link, &[0x62, 2, 0, 2]);
    assert!(is_served(&mut bare, link), "{what}");
    bare.wait(Duration::from_secs(1));
    bare.drop_link(link);
    bare.wait(Duration::from_secs(1));
}

#[test]
fn v12_ill_formed_strings_are_malformed_wherever_they_stand() {
    let ill_formed: [&[u8]; 5] =
        [b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"a\x00b", b"\xff"];
    for text in ill_formed {
        let string = [&(text.len() as u16).to_be_bytes()[..], text].concat();
        let packet = |first: u8, parts: &[&[u8]]| {
            let body = parts.concat();
            [&[first, body.len() as u8][..], &body].concat()
        };
        let property = |id: u8| {
            let property = [&[id][..], &string].concat();
            packet(0x30, &[b"\0\x01t", &[property.len() as u8], &property, b"x"])
        };
        let packets = [
            packet(0x30, &[&string, b"\0x"]),
            packet(0x82, &[b"\0\x01\0", &string, b"\0"]),
            packet(0xa2, &[b"\0\x01\0", &string]),
            property(0x03),
            property(0x08),
            packet(0x30, &[b"\0\x01t", &[string.len() as u8 + 4, 0x26], b"\0\x01k", &string]),
            packet(0xe0, &[&[4, string.len() as u8 + 1, 0x1f], &string]),
        ];
        for bytes in packets {
            let mut bare = Bare::default();
            let link = client(&mut bare, Version::V5, "client");
            bare.send(link, &bytes);
            assert!(bare.is_closed(link), "{bytes:02x?}");
            let code = disconnect_code(&mut bare, link);
            assert!(matches!(code, Some(0x81 | 0x82 | 0x90)), "{bytes:02x?}: {code:?}");
        }
    }
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn v12_log_lines_escape_what_peers_say() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    // For the whole process: a subscriber of one thread may not be asked by another's call sites.
    tracing::subscriber::set_global_default(subscriber).expect("no other test sets one");
    let mut bare = Bare::default();
    let nasty = "id\r\nNew client connected from 1.2.3.4 as root \u{1b}[31m";
    let user_name = Some(nasty);
    let link = connect(&mut bare, &Connect { user_name, ..Connect::new(Version::V5, nasty) });
    bare.send(link, &[0, 0]);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("New client connected from 192.0.2.1:1024 as id"), "{text}");
    assert!(!text.contains('\r') && !text.contains("\u{1b}[31m"), "{text:?}");
    assert!(text.lines().all(|line| !line.starts_with("New client")), "{text}");
}

#[test]
fn v13_malformed_shares_match_nothing() {
    let mut bare = Bare::default();
    let link = client(&mut bare, Version::V5, "member");
    for filter in [
        "$share",
        "$share/",
        "$share//",
        "$share//t",
        "$share/g",
        "$share/g/",
        "$share/g+/t",
        "$share/+/t",
        "$share/#/t",
        "$share/g#/t",
        "$share/g/a/#/b",
        "$share/g/a+",
    ] {
        assert_eq!(subscribe(&mut bare, Version::V5, link, filter), 0x8f, "{filter}");
    }
    let message = Publish { topic: "t", payload: b"x", ..Publish::default() };
    for topic in ["t", "g", "share", "a/b"] {
        publish(&mut bare, Version::V5, link, &Publish { topic, ..message.clone() });
    }
    assert!(bare.take(link).is_empty());
    assert_eq!(census(&bare.shard).1, 0, "no filter was kept");
}

#[test]
fn v14_takeovers_between_subscribe_and_unsubscribe_leave_one_owner() {
    let mut bare = Bare::default();
    let mut owner = client(&mut bare, Version::V311, "same");
    for round in 0..2000 {
        let filter = format!("t/{}", round % 7);
        subscribe(&mut bare, Version::V311, owner, &filter);
        if round % 3 == 0 {
            bare.send(owner, &[0xa2, 7, 0, 1, 0, 3, b't', b'/', b'0' + (round % 7) as u8]);
        }
        let clean_start = round % 5 == 0;
        let version = Version::V311;
        let next = connect(&mut bare, &Connect { clean_start, ..Connect::new(version, "same") });
        assert!(bare.is_closed(owner) && !bare.is_closed(next));
        bare.take(owner);
        owner = next;
        assert!(is_served(&mut bare, owner));
        let message = Publish { topic: &filter, payload: b"x", ..Publish::default() };
        publish(&mut bare, version, owner, &message);
        let sent = bare.take(owner);
        let copy = [&[0x30, 6, 0, 3][..], filter.as_bytes(), b"x"].concat();
        assert!(sent.is_empty() || sent == copy, "{sent:02x?}");
        assert_eq!(census(&bare.shard).0, 1);
    }
    let last =
        connect(&mut bare, &Connect { clean_start: true, ..Connect::new(Version::V311, "same") });
    bare.drop_link(last);
    assert_eq!(census(&bare.shard), (0, 0, 0));
}

#[test]
fn v21_properties_illegal_for_publish_close_only_the_sender() {
    let mut bare = Bare::default();
    let watcher = client(&mut bare, Version::V5, "watcher");
    subscribe(&mut bare, Version::V5, watcher, "#");
    for id in 0..=0x7fu8 {
        if [0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26].contains(&id) {
            continue;
        }
        for value in [&[1][..], &[0, 1], &[0, 0, 0, 1], &[0, 1, b'x']] {
            let link = client(&mut bare, Version::V5, "sender");
            bare.take(watcher);
            let properties = [&[id][..], value].concat();
            let body = [&[0, 1, b't', properties.len() as u8][..], &properties, b"x"].concat();
            bare.send(link, &[&[0x30, body.len() as u8][..], &body].concat());
            assert!(bare.is_closed(link), "property {id:02x}");
            assert!(matches!(disconnect_code(&mut bare, link), Some(0x81 | 0x82)));
            assert!(bare.take(watcher).is_empty() && is_served(&mut bare, watcher));
        }
    }
}

#[test]
fn v22_matching_visits_each_node_once() {
    let mut tree: FilterTree<u32> = FilterTree::new(1);
    let depth = 12;
    for bits in 0..1u32 << depth {
        let levels: Vec<&str> =
            (0..depth).map(|level| if bits >> level & 1 == 1 { "+" } else { "a" }).collect();
        let node = tree.insert(&levels.join("/"));
        tree[node] += 1;
        let node = tree.insert(&format!("{}/#", levels.join("/")));
        tree[node] += 1;
    }
    let mut found = std::collections::BTreeMap::new();
    tree.matching(&["a"; 12].join("/"), |node, value| {
        *found.entry(node).or_insert(0) += 1;
        assert!(*value == 1);
    });
    assert_eq!(found.len(), 2 << depth, "every filter matches");
    assert!(found.values().all(|&visits| visits == 1));
}

#[test]
fn v22_ten_thousand_filters_in_one_subscribe() {
    let mut bare = Bare::default();
    let link = client(&mut bare, Version::V5, "client");
    let filters: Vec<String> = (0..10_000).map(|i| format!("+/{i}/#")).collect();
    let options = SubscriptionOptions::default();
    let packet = Subscribe {
        packet_id: 1,
        filters: filters.iter().map(|filter| SubscribeFilter { filter, options }).collect(),
        ..Subscribe::default()
    };
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes);
    bare.send(link, &bytes);
    // The packet takes some turns, and so does the end of the session.
    bare.wait(Duration::ZERO);
    let suback = bare.take(link);
    assert!(suback[0] == 0x90 && suback.iter().filter(|&&code| code == 0).count() >= 10_000);
    let message = Publish { topic: "x/9999/y", payload: b"x", ..Publish::default() };
    publish(&mut bare, Version::V5, link, &message);
    assert_eq!(bare.take(link)[0], 0x30);
    bare.drop_link(link);
    bare.wait(Duration::ZERO);
    assert_eq!(census(&bare.shard), (0, 0, 0));
}

#[test]
fn v23_client_identifiers_are_only_compared() {
    let ids = ["a/b", "a", "A", "../a", "..", "a\u{301}", "á", "a ", " a", "$SYS", "#", "+", "%c"];
    let mut bare = Bare::default();
    let links: Vec<LinkId> = ids.iter().map(|id| client(&mut bare, Version::V5, id)).collect();
    for (id, &link) in ids.iter().zip(&links) {
        assert!(is_served(&mut bare, link), "{id:?} has a session of its own");
        assert_eq!(subscribe(&mut bare, Version::V5, link, "t"), 0);
    }
    assert_eq!(census(&bare.shard).0, ids.len());
    let again = client(&mut bare, Version::V5, "a/b");
    assert!(bare.is_closed(links[0]) && !bare.is_closed(again));
    assert!(links[1..].iter().all(|&link| !bare.is_closed(link)));
    let nul = bare.open();
    bare.send(nul, b"\x10\x10\0\x04MQTT\x05\x02\0\0\0\0\x03a\0b");
    assert!(bare.is_closed(nul));
}

/// When the will comes, in seconds after the loss, if it does: the rules of 3.1.3.2.2, plainly.
fn will_due(delay: u32, expiry: u32, back: Option<(u32, bool)>) -> Option<u32> {
    let due = delay.min(expiry);
    match back {
        Some((at, _)) if at >= due => Some(due),
        Some((at, true)) => Some(at),
        Some((_, false)) => None,
        None => Some(due),
    }
}

#[test]
fn v25_wills_follow_delay_expiry_and_return() {
    let backs = [None, Some((1, false)), Some((1, true)), Some((4, false)), Some((4, true))];
    for delay in [0, 2, 6] {
        for expiry in [0, 3, 8] {
            for back in backs {
                let mut bare = Bare::default();
                let watcher = client(&mut bare, Version::V5, "watcher");
                subscribe(&mut bare, Version::V5, watcher, "will");
                let will = Some(Will { topic: "will", delay_s: delay, ..Will::default() });
                let packet = Connect {
                    will,
                    session_expiry_s: expiry,
                    ..Connect::new(Version::V5, "client")
                };
                let link = connect(&mut bare, &packet);
                bare.drop_link(link);
                let mut came = Vec::new();
                for second in 0..12 {
                    if !bare.take(watcher).is_empty() {
                        came.push(second);
                    }
                    if let Some((at, clean_start)) = back
                        && at == second
                    {
                        let packet = Connect {
                            clean_start,
                            session_expiry_s: expiry,
                            ..Connect::new(Version::V5, "client")
                        };
                        connect(&mut bare, &packet);
                        if !bare.take(watcher).is_empty() {
                            came.push(second);
                        }
                    }
                    bare.wait(Duration::from_secs(1));
                }
                let expected: Vec<u32> = will_due(delay, expiry, back).into_iter().collect();
                assert_eq!(came, expected, "delay {delay}, expiry {expiry}, back {back:?}");
            }
        }
    }
}

#[test]
fn v28_every_refusal_closes() {
    let will = |topic| Some(Will { topic, ..Will::default() });
    let refused = [
        Connect { authentication_method: Some("X"), ..Connect::new(Version::V5, "c") },
        Connect { clean_start: false, ..Connect::new(Version::V311, "") },
        Connect { will: will("$SYS/x"), ..Connect::new(Version::V5, "c") },
    ];
    for packet in &refused {
        let mut bare = Bare::default();
        let link = connect(&mut bare, packet);
        assert!(bare.is_closed(link), "{packet:?}");
        assert_ne!(bare.take(link)[3], 0);
        bare.send(link, &[0xc0, 0]);
        assert!(bare.take(link).is_empty());
        assert_eq!(census(&bare.shard).0, 0);
    }
    let mut bare = Bare::default();
    let silent = bare.open();
    bare.wait(Duration::from_secs(29));
    assert!(!bare.is_closed(silent));
    bare.wait(Duration::from_millis(1100));
    assert!(bare.is_closed(silent), "CONNECT must come within 30 s");
}

#[test]
fn large_connects_wait_in_the_kernel() {
    use ringmq::broker::{Input, Output};
    let mut bare = Bare::default();
    let link = bare.open();
    let payload = vec![b'w'; 60_000];
    let will = Some(Will { topic: "will", payload: &payload, ..Will::default() });
    let mut bytes = Vec::new();
    Connect { will, ..Connect::new(Version::V311, "client") }.encode(&mut bytes);
    bare.shard.handle(bare.now, Input::Received { link, bytes: &bytes[..4096] });
    let output = bare.shard.next_output();
    let count = bytes.len() - 4096;
    assert!(matches!(output, Some(Output::AwaitBytes { count: c, .. }) if c == count));
    for chunk in bytes[4096..].chunks(4096) {
        bare.send(link, chunk);
    }
    assert_eq!(bare.take(link), [0x20, 2, 0, 0]);
}

//! Who may do what, on every path that a message can take. Rules are Mosquitto's, users are shown
//! by certificates, so that nothing is hashed.

mod support;

use jsonwebtoken::{EncodingKey, Header};
use proptest::prelude::*;
use ringmq::access::{Algorithm, JwtSource, Policy, Sources};
use ringmq::broker::{Input, LinkId};
use ringmq::limits::LARGE_LOGINS_MAX;
use ringmq::mqtt::{
    AckType, Auth, ConnAck, Connect, Framed, Packet, Publish, QoS, ReasonCode, Sender, SubAck,
    Subscribe, SubscribeFilter, SubscriptionOptions, Version, Will, encode_ack, next_frame,
};
use ringmq::options::Options;
use ringmq::testing::{self, open_policy};
use std::sync::Arc;
use std::time::Duration;
use support::bare::Bare;

const V5: Version = Version::V5;

/// A policy with these rules.
fn policy(rules: &str) -> Policy {
    testing::policy(true, None, Some(rules)).unwrap()
}

struct Broker(Bare);

impl Broker {
    fn new(rules: &str) -> Self {
        Self::with(rules, Options::default())
    }

    fn with(rules: &str, options: Options) -> Self {
        Self(Bare::with_policies(options, Arc::new([policy(rules)])))
    }

    /// The rules become these.
    fn reload(&mut self, rules: &str) {
        self.0.reload(Options::default(), Arc::new([policy(rules)]));
    }

    fn connect(&mut self, user: &str, connect: &Connect<'_>) -> LinkId {
        let link = self.0.open();
        let (peer, user) = (None, Some(user).filter(|user| !user.is_empty()));
        let certificate_user = user.map(Into::into);
        self.0.input(Input::Identified { link, peer, certificate_user, excess: None });
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        self.0.send(link, &bytes);
        link
    }

    /// Connects `user` under its own name, with a session that stays; Session Present.
    fn join(&mut self, user: &str) -> (LinkId, bool) {
        let mut connect = Connect::new(V5, user);
        (connect.clean_start, connect.session_expiry_s) = (false, 1000);
        let link = self.connect(user, &connect);
        let mut packets = self.packets(link);
        let connack = packets.remove(0);
        self.0.put_back(link, &packets.concat());
        let Packet::ConnAck(ConnAck { code, session_present, .. }) = decode(&connack) else {
            panic!("{connack:?}")
        };
        assert_eq!(code, ReasonCode::Success);
        (link, session_present)
    }

    fn packets(&mut self, link: LinkId) -> Vec<Vec<u8>> {
        let sent = self.0.take(link);
        let (mut rest, mut packets) = (&sent[..], Vec::new());
        while let Ok(Framed::Whole(frame)) = next_frame(rest, usize::MAX) {
            packets.push(rest[..frame.length].to_vec());
            rest = &rest[frame.length..];
        }
        packets
    }

    /// The code of SUBACK.
    fn subscribe(&mut self, link: LinkId, filter: &str, qos: QoS) -> u8 {
        let options = SubscriptionOptions { qos, ..Default::default() };
        let filters = std::iter::once(SubscribeFilter { filter, options }).collect();
        let mut bytes = Vec::new();
        Subscribe { packet_id: 1, filters, ..Subscribe::default() }.encode(V5, &mut bytes);
        self.0.send(link, &bytes);
        let sent = self.0.take(link);
        let Ok(Framed::Whole(frame)) = next_frame(&sent, usize::MAX) else { panic!("no SUBACK") };
        let code = SubAck::decode(&frame, V5).unwrap().codes[0];
        // Retained messages came with it.
        self.0.put_back(link, &sent[frame.length..]);
        code
    }

    /// The code of PUBACK or PUBREC.
    fn publish(&mut self, link: LinkId, topic: &str, qos: QoS, retain: bool) -> u8 {
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { 7 };
        let publish =
            Publish { topic, qos, packet_id, retain, payload: b"x", ..Publish::default() };
        let mut bytes = Vec::new();
        publish.encode(V5, &mut bytes);
        self.0.send(link, &bytes);
        let answers = self.packets(link);
        if qos == QoS::ExactlyOnce {
            self.acknowledge(link, AckType::PubRel, 7);
            self.packets(link);
        }
        answers.last().map_or(0, |ack| if ack[1] > 2 { ack[4] } else { 0 })
    }

    fn acknowledge(&mut self, link: LinkId, kind: AckType, packet_id: u16) {
        let mut bytes = Vec::new();
        encode_ack(kind, V5, packet_id, ReasonCode::Success, &mut bytes);
        self.0.send(link, &bytes);
    }

    /// The topics of what was sent since the last look; acknowledged when `acknowledges`.
    fn topics(&mut self, link: LinkId, acknowledges: bool) -> Vec<String> {
        let mut topics = Vec::new();
        loop {
            let packets = self.packets(link);
            if packets.is_empty() {
                return topics;
            }
            for packet in packets {
                let Packet::Publish(publish) = decode(&packet) else { continue };
                topics.push(publish.topic.to_owned());
                let (id, qos) = (publish.packet_id, publish.qos);
                if acknowledges && qos == QoS::AtLeastOnce {
                    self.acknowledge(link, AckType::PubAck, id);
                } else if acknowledges && qos == QoS::ExactlyOnce {
                    self.acknowledge(link, AckType::PubRec, id);
                    self.acknowledge(link, AckType::PubComp, id);
                }
            }
        }
    }
}

fn decode(packet: &[u8]) -> Packet<'_> {
    let Ok(Framed::Whole(frame)) = next_frame(packet, usize::MAX) else { panic!("no packet") };
    Packet::decode(&frame, V5, Sender::Server).expect("the broker sends what is right")
}

const WRITER: &str = "user writer\ntopic write t/#\n";

/// What the reader may read, and whether a message on `t/x` may reach it.
const RIGHTS: [(&str, &str, bool); 4] = [
    ("granted", "user reader\ntopic read t/#\n", true),
    ("granted in part", "user reader\ntopic read t/x\n", true),
    ("denied in part", "user reader\ntopic read t/#\ntopic deny t/x\n", false),
    ("not granted", "user reader\ntopic read other\n", false),
];

fn rules(reader: &str) -> String {
    format!("{WRITER}{reader}")
}

/// How a message gets to the reader.
#[derive(Debug, Clone, Copy)]
enum Path {
    Live,
    Retained,
    Queued,
    Replayed,
    Shared,
    Will,
    Resumed,
}

const PATHS: [Path; 7] = [
    Path::Live,
    Path::Retained,
    Path::Queued,
    Path::Replayed,
    Path::Shared,
    Path::Will,
    Path::Resumed,
];

/// Sends one message on `t/x` along the path, under `before`; at the last moment the rules become
/// `after`. What the reader got.
fn travel(path: Path, qos: QoS, before: &str, after: &str) -> Vec<String> {
    let mut broker = Broker::new(before);
    let (writer, _) = broker.join("writer");
    let (reader, _) = broker.join("reader");
    let filter = if matches!(path, Path::Shared) { "$share/g/t/#" } else { "t/#" };
    if !matches!(path, Path::Retained | Path::Replayed) {
        broker.subscribe(reader, filter, qos);
    }
    match path {
        Path::Live | Path::Shared => {
            broker.reload(after);
            broker.publish(writer, "t/x", qos, false);
            broker.topics(reader, true)
        }
        Path::Retained => {
            broker.publish(writer, "t/x", qos, true);
            broker.reload(after);
            broker.subscribe(reader, filter, qos);
            broker.topics(reader, true)
        }
        Path::Replayed => {
            // The replay waits for the reader's window, or for its socket.
            broker.publish(writer, "t/x", qos, true);
            broker.0.input(Input::Blocked { link: reader });
            broker.subscribe_blocked(reader, filter, qos);
            broker.reload(after);
            broker.0.input(Input::Writable { link: reader });
            broker.topics(reader, true)
        }
        Path::Queued => {
            broker.0.input(Input::Blocked { link: reader });
            broker.publish(writer, "t/x", qos, false);
            broker.reload(after);
            broker.0.input(Input::Writable { link: reader });
            broker.topics(reader, true)
        }
        Path::Will => {
            let will = Some(Will { topic: "t/x", qos, payload: b"x", ..Will::default() });
            let leaver = broker.connect("writer", &Connect { will, ..Connect::new(V5, "leaver") });
            broker.reload(after);
            broker.0.drop_link(leaver);
            broker.topics(reader, true)
        }
        Path::Resumed => {
            broker.publish(writer, "t/x", qos, false);
            // Under way, and not acknowledged; or queued, since nobody is connected.
            broker.topics(reader, false);
            broker.0.drop_link(reader);
            broker.reload(after);
            let (reader, present) = broker.join("reader");
            assert!(present);
            broker.topics(reader, true)
        }
    }
}

impl Broker {
    fn subscribe_blocked(&mut self, link: LinkId, filter: &str, qos: QoS) {
        let options = SubscriptionOptions { qos, ..Default::default() };
        let filters = std::iter::once(SubscribeFilter { filter, options }).collect();
        let mut bytes = Vec::new();
        Subscribe { packet_id: 1, filters, ..Subscribe::default() }.encode(V5, &mut bytes);
        self.0.send(link, &bytes);
    }
}

#[test]
fn v17_every_path_asks_what_the_reader_may_read() {
    for path in PATHS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (what, reader, reaches) in RIGHTS {
                let rules = rules(reader);
                let got = travel(path, qos, &rules, &rules);
                let resent = matches!(path, Path::Resumed) && qos == QoS::AtMostOnce;
                let expected: &[&str] = if reaches && !resent { &["t/x"] } else { &[] };
                assert_eq!(got, expected, "{path:?} {qos:?} {what}");
            }
        }
    }
}

#[test]
fn v17_a_right_that_is_revoked_stops_what_is_still_to_come_on_every_path() {
    for path in PATHS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (what, after, reaches) in RIGHTS {
                let got = travel(path, qos, &rules(RIGHTS[0].1), &rules(after));
                let resent = matches!(path, Path::Resumed) && qos == QoS::AtMostOnce;
                let expected: &[&str] = if reaches && !resent { &["t/x"] } else { &[] };
                assert_eq!(got, expected, "{path:?} {qos:?} {what}");
            }
        }
    }
}

#[test]
fn v17_a_writer_that_loses_its_right_reaches_nobody() {
    let no_writer = "user reader\ntopic read t/#\nuser writer\ntopic write other\n";
    // What was accepted before is on its way; what lies retained, and what comes, is withheld.
    for (path, reaches) in [
        (Path::Live, false),
        (Path::Shared, false),
        (Path::Retained, false),
        (Path::Replayed, false),
        (Path::Will, false),
        (Path::Queued, true),
        (Path::Resumed, true),
    ] {
        let got = travel(path, QoS::AtLeastOnce, &rules(RIGHTS[0].1), no_writer);
        assert_eq!(!got.is_empty(), reaches, "{path:?}");
    }
}

/// What is retained is fetched in parts; a part that waits for the reader is judged anew, too.
#[test]
fn v17_a_writer_that_loses_its_right_has_nothing_replayed_that_was_fetched_before() {
    let mut broker = Broker::new(&rules(RIGHTS[0].1));
    let (writer, _) = broker.join("writer");
    for number in 0..10 {
        broker.publish(writer, &format!("t/{number}"), QoS::AtLeastOnce, true);
    }
    let mut connect = Connect::new(V5, "reader");
    connect.receive_maximum = 1;
    let reader = broker.connect("reader", &connect);
    broker.packets(reader);
    broker.subscribe(reader, "t/#", QoS::AtLeastOnce);
    broker.reload("user reader\ntopic read t/#\nuser writer\ntopic write other\n");
    assert_eq!(broker.topics(reader, true), ["t/0"], "only what was under way before");
}

#[test]
fn v17_a_right_that_is_given_back_works_without_a_new_subscription() {
    let mut broker = Broker::new(&rules(RIGHTS[0].1));
    let (writer, _) = broker.join("writer");
    let (reader, _) = broker.join("reader");
    assert_eq!(broker.subscribe(reader, "t/#", QoS::AtLeastOnce), 1);
    for (_, reader_rules, reaches) in RIGHTS.into_iter().cycle().take(8) {
        broker.reload(&rules(reader_rules));
        broker.publish(writer, "t/x", QoS::AtLeastOnce, false);
        assert_eq!(!broker.topics(reader, true).is_empty(), reaches, "{reader_rules}");
    }
}

/// What a member must leave behind goes to nobody by rights that end with the same reload.
#[test]
fn v17_a_reload_judges_everyone_before_it_sends_anyone_away() {
    let before = format!("topic read t/#\n{}", rules(RIGHTS[0].1));
    let mut broker = Broker::new(&before);
    let (writer, _) = broker.join("writer");
    let leaver = broker.connect("", &Connect::new(V5, "leaver"));
    broker.packets(leaver);
    broker.subscribe(leaver, "$share/g/t/#", QoS::AtLeastOnce);
    broker.publish(writer, "t/x", QoS::AtLeastOnce, false);
    assert_eq!(broker.topics(leaver, false), ["t/x"]);
    let (reader, _) = broker.join("reader");
    broker.subscribe(reader, "$share/g/t/#", QoS::AtLeastOnce);
    let after = testing::policy(false, None, Some(&rules("user reader\ntopic read other\n")));
    broker.0.reload(Options::default(), Arc::new([after.unwrap()]));
    assert!(broker.0.is_closed(leaver));
    assert_eq!(broker.topics(reader, true), [""; 0]);
}

#[test]
fn a_denied_publish_is_told_and_a_denied_subscription_is_refused() {
    let mut broker = Broker::new(&rules("user reader\ntopic read t/x\n"));
    let (writer, _) = broker.join("writer");
    let (reader, _) = broker.join("reader");
    let denied = ReasonCode::NotAuthorized as u8;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        assert_eq!(broker.publish(writer, "other", qos, false), denied);
        assert_eq!(broker.publish(writer, "$SYS/x", qos, false), denied);
        assert_ne!(broker.publish(writer, "t/x", qos, false), denied);
    }
    assert_eq!(broker.subscribe(reader, "u/#", QoS::AtLeastOnce), denied);
    assert_eq!(broker.subscribe(reader, "$share/g/u/#", QoS::AtLeastOnce), denied);
    assert_eq!(broker.subscribe(reader, "t/#", QoS::AtLeastOnce), 1);
    // `#` does not cover `$SYS`, and a grant of `#` does not either.
    let mut broker = Broker::new("user reader\ntopic read #\n");
    let (reader, _) = broker.join("reader");
    assert_eq!(broker.subscribe(reader, "$SYS/#", QoS::AtLeastOnce), denied);
    assert_eq!(broker.subscribe(reader, "#", QoS::AtLeastOnce), 1);
}

#[test]
fn an_old_client_that_is_denied_is_acknowledged_and_gets_0x80() {
    let mut broker = Broker::new(&rules(RIGHTS[0].1));
    let link = broker.connect("writer", &Connect::new(Version::V311, "old"));
    broker.0.take(link);
    broker.0.send(link, &[0x32, 7, 0, 1, b'u', 0, 9, b'x', b'y']);
    assert_eq!(broker.0.take(link), [0x40, 2, 0, 9]);
    broker.0.send(link, &[0x82, 6, 0, 1, 0, 1, b'u', 1]);
    assert_eq!(broker.0.take(link), [0x90, 3, 0, 1, 0x80]);
}

#[test]
fn v16_a_will_is_judged_at_connect() {
    let mut broker = Broker::new(&rules(RIGHTS[0].1));
    for (topic, is_let_in) in [("t/x", true), ("other", false), ("$SYS/x", false)] {
        let will = Some(Will { topic, payload: b"x", ..Will::default() });
        let link = broker.connect("writer", &Connect { will, ..Connect::new(V5, "w") });
        assert_eq!(!broker.0.is_closed(link), is_let_in, "{topic}");
        let connack = broker.packets(link).remove(0);
        let code = if is_let_in { 0 } else { ReasonCode::NotAuthorized as u8 };
        assert_eq!(connack[3], code, "{topic}");
    }
}

#[test]
fn v16_a_will_is_judged_when_it_is_due_also_after_takeover_and_expiry() {
    let no_writer = "user reader\ntopic read t/#\nuser writer\ntopic write other\n";
    for revoked in [false, true] {
        for end in 0..3 {
            let mut broker = Broker::new(&rules(RIGHTS[0].1));
            let (reader, _) = broker.join("reader");
            broker.subscribe(reader, "t/#", QoS::AtMostOnce);
            let will = Will { topic: "t/x", payload: b"x", delay_s: 10, ..Will::default() };
            let mut connect = Connect::new(V5, "w");
            (connect.will, connect.session_expiry_s) = (Some(will), if end == 1 { 5 } else { 60 });
            let link = broker.connect("writer", &connect);
            if end < 2 {
                broker.0.drop_link(link);
            }
            if revoked {
                broker.reload(no_writer);
            }
            if end == 2 {
                broker.connect("writer", &Connect { clean_start: true, ..Connect::new(V5, "w") });
            }
            broker.0.wait(Duration::from_secs(20));
            assert_eq!(broker.topics(reader, true).is_empty(), revoked, "{end}");
        }
    }
}

#[test]
fn a_client_that_would_not_be_let_in_any_more_is_disconnected() {
    let mut broker = Broker::new("topic read t/#\n");
    let link = broker.connect("", &Connect::new(V5, "anybody"));
    broker.0.take(link);
    let closed = testing::policy(false, None, None).unwrap();
    broker.0.reload(Options::default(), Arc::new([closed]));
    assert!(broker.0.is_closed(link));
    let last = broker.packets(link).pop().unwrap();
    assert_eq!((last[0], last[2]), (0xe0, ReasonCode::NotAuthorized as u8));
}

#[test]
fn another_user_does_not_inherit_a_session() {
    let rules = policy("user a\ntopic t/#\nuser b\ntopic t/#\n");
    for policy in [rules, open_policy()] {
        let mut broker = Broker(Bare::with_policies(Options::default(), Arc::new([policy])));
        let mut connect = Connect::new(V5, "shared");
        (connect.clean_start, connect.session_expiry_s) = (false, 1000);
        let first = broker.connect("a", &connect);
        broker.packets(first);
        broker.subscribe(first, "t/#", QoS::AtLeastOnce);
        let refused = broker.connect("b", &connect);
        assert_eq!(broker.packets(refused)[0][3], 0x85, "its owner is connected");
        broker.0.drop_link(first);
        let second = broker.connect("b", &connect);
        assert_eq!(broker.packets(second)[0][2], 0, "no session is present");
        let again = broker.connect("b", &connect);
        assert_eq!(broker.packets(again)[0][2], 1, "its own session is");
    }
}

#[test]
fn a_shared_group_gives_only_to_members_that_may_read() {
    let mut broker = Broker::new(
        "user writer\ntopic write t/#\nuser one\ntopic read t/a\nuser two\ntopic read t/b\n",
    );
    let (writer, _) = broker.join("writer");
    let links = ["one", "two"].map(|user| broker.join(user).0);
    for link in links {
        broker.subscribe(link, "$share/g/t/#", QoS::AtLeastOnce);
    }
    for _ in 0..6 {
        for (topic, index) in [("t/a", 0), ("t/b", 1), ("t/b", 1)] {
            broker.publish(writer, topic, QoS::AtLeastOnce, false);
            assert_eq!(broker.topics(links[index], true), [topic]);
            assert!(broker.topics(links[1 - index], true).is_empty());
        }
    }
    assert_ne!(broker.publish(writer, "t/c", QoS::AtLeastOnce, false), 0x80);
    assert!(links.iter().all(|link| broker.topics(*link, true).is_empty()));
}

/// V10: AUTH in every state of a connection that has no authentication method.
#[test]
fn v10_auth_without_a_method_closes() {
    let mut broker = Broker::new("topic t/#\n");
    for code in [ReasonCode::ContinueAuthentication, ReasonCode::ReAuthenticate] {
        let link = broker.connect("", &Connect::new(V5, "c"));
        broker.0.take(link);
        let mut bytes = Vec::new();
        let authentication_method = Some("SCRAM-SHA-256");
        Auth { code, authentication_method, ..Auth::default() }.encode(&mut bytes);
        broker.0.send(link, &bytes);
        assert!(broker.0.is_closed(link));
    }
}

/// A session is gone on with under the rights that the client has shown this time.
#[test]
fn a_token_brings_its_rights_to_the_session_that_is_there() {
    let key = std::env::temp_dir().join(format!("ringmq-jwt-{}.key", std::process::id()));
    std::fs::write(&key, "a secret of more than thirty-two bytes").unwrap();
    let jwt = Some(JwtSource {
        key_file: key.clone(),
        algorithm: Algorithm::Hs256,
        user_claim: None,
        audience: None,
    });
    let policy = Policy::load(&Sources { jwt, ..Sources::default() }).unwrap();
    std::fs::remove_file(key).unwrap();
    let mut broker = Broker(Bare::with_policies(Options::default(), Arc::new([policy])));
    let secret = EncodingKey::from_secret(b"a secret of more than thirty-two bytes");
    let join = |broker: &mut Broker, user: &str, reads: &[&str]| {
        let claims = serde_json::json!({
            "username": user, "exp": 4_000_000_000_u64, "acl": {"pub": ["t/x"], "sub": reads},
        });
        let token = jsonwebtoken::encode(&Header::default(), &claims, &secret).unwrap();
        let mut connect = Connect::new(V5, user);
        (connect.clean_start, connect.session_expiry_s) = (false, 1000);
        (connect.user_name, connect.password) = (Some(user), Some(token.as_bytes()));
        let link = broker.connect("", &connect);
        assert_eq!(broker.packets(link)[0][3], 0, "{user}");
        link
    };
    let writer = join(&mut broker, "writer", &[]);
    for reads in [&["t/#"][..], &["t/y"], &["t/#"], &["t/x"], &[]] {
        let reader = join(&mut broker, "reader", reads);
        if reads == ["t/#"] {
            assert_eq!(broker.subscribe(reader, "t/#", QoS::AtLeastOnce), 1);
        }
        broker.publish(writer, "t/x", QoS::AtLeastOnce, false);
        let reaches = reads.iter().any(|filter| ringmq::mqtt::matches(filter, "t/x"));
        assert_eq!(!broker.topics(reader, true).is_empty(), reaches, "{reads:?}");
    }
}

/// V3: a CONNECT that is kept while its sender shows who it is may be large, but only some may.
#[test]
fn v03_few_large_connects_are_kept_before_the_login_is_over() {
    let user = format!("u:SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0${KEY}:{KEY}\n");
    let policy = testing::policy(false, Some(&user), None).unwrap();
    let mut broker = Broker(Bare::with_policies(Options::default(), Arc::new([policy])));
    let large = [7; 60_000];
    let mut links = Vec::new();
    for number in 0..LARGE_LOGINS_MAX + 10 {
        let name = format!("c{number}");
        let mut connect = Connect::new(V5, &name);
        connect.will = Some(Will { topic: "t", payload: &large, ..Will::default() });
        connect.authentication_method = Some("SCRAM-SHA-256");
        connect.authentication_data = Some(b"n,,n=u,r=abcdefgh");
        let link = broker.connect("", &connect);
        assert_eq!(broker.0.is_closed(link), number >= LARGE_LOGINS_MAX, "{number}");
        let answer = broker.packets(link).remove(0);
        let busy = (number >= LARGE_LOGINS_MAX).then_some(ReasonCode::ServerBusy as u8);
        assert_eq!((answer[0] == 0x20).then(|| answer[3]), busy);
        links.push(link);
    }
    // A small one has no need to wait, and whoever goes makes room.
    let mut small = Connect::new(V5, "small");
    small.authentication_method = Some("SCRAM-SHA-256");
    small.authentication_data = Some(b"n,,n=u,r=abcdefgh");
    let link = broker.connect("", &small);
    assert_eq!(broker.packets(link)[0][0], 0xf0);
    broker.0.drop_link(links[0]);
    small.will = Some(Will { topic: "t", payload: &large, ..Will::default() });
    let link = broker.connect("", &small);
    assert_eq!(broker.packets(link)[0][0], 0xf0);
    broker.0.wait(Duration::from_secs(31));
    assert!(broker.0.is_closed(link), "it has thirty seconds for each step");
}

/// 32 bytes.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn a_client_that_publishes_more_than_it_may_is_told_and_closed() {
    for (rate, bytes) in [(5, 0), (0, 200)] {
        let options =
            Options { max_publish_rate: rate, max_publish_bytes: bytes, ..Options::default() };
        let mut broker = Broker::with("topic t/#\n", options);
        let link = broker.connect("", &Connect::new(V5, "c"));
        broker.0.take(link);
        let mut sent = 0;
        while !broker.0.is_closed(link) && sent < 1000 {
            let publish = Publish { topic: "t/x", payload: &[7; 30], ..Publish::default() };
            let mut bytes = Vec::new();
            publish.encode(V5, &mut bytes);
            broker.0.send(link, &bytes);
            sent += 1;
        }
        assert_eq!(sent, 6, "as many as a second allows, and one");
        let last = broker.packets(link).pop().unwrap();
        assert_eq!((last[0], last[2]), (0xe0, ReasonCode::MessageRateTooHigh as u8));
        assert_eq!(broker.0.shard.counters().rates_exceeded, 1);
    }
}

#[test]
fn a_listener_may_hide_sys_and_nothing_else() {
    let hiding = || {
        let sources = Sources { allow_anonymous: true, hides_sys: true, ..Sources::default() };
        Policy::load(&sources).unwrap()
    };
    let mut broker = Broker(Bare::with_policies(Options::default(), Arc::new([hiding()])));
    let (reader, _) = broker.join("reader");
    let hidden = ["$SYS/#", "$SYS", "$SYS/broker/uptime", "$SYS/+/x", "$share/g/$SYS/#"];
    for filter in hidden {
        let code = broker.subscribe(reader, filter, QoS::AtMostOnce);
        assert_eq!(code, ReasonCode::NotAuthorized as u8, "{filter}");
    }
    for filter in ["#", "+/+", "$other/#", "$SYSTEM/#", "t/x"] {
        assert_eq!(broker.subscribe(reader, filter, QoS::AtMostOnce), 0, "{filter}");
    }
    let (writer, _) = broker.join("writer");
    assert_eq!(broker.publish(writer, "t/x", QoS::AtLeastOnce, false), 0);
    assert_eq!(broker.publish(writer, "$other/x", QoS::AtLeastOnce, false), 0);
    assert_eq!(broker.topics(reader, false), ["t/x", "$other/x"]);
    broker.reload("user reader\ntopic read $SYS/#\n");
    let code = broker.subscribe(reader, "$SYS/#", QoS::AtMostOnce);
    assert_eq!(code, ReasonCode::Success as u8, "an access list has granted it");
    // What was allowed is so no longer.
    broker.0.reload(Options::default(), Arc::new([hiding()]));
    broker.0.input(Input::Own { topic: "$SYS/broker/uptime", payload: "1" });
    assert_eq!(broker.topics(reader, false), [""; 0]);
}

proptest! {
    #![proptest_config(support::cases(300))]

    /// Whatever the rules and the subscriptions, and whenever they change: what arrives may be
    /// read, and what may be read and is subscribed to arrives.
    #[test]
    fn v17_what_arrives_is_what_may_be_read(
        rights in prop::collection::vec(prop::collection::vec((0..3usize, 0..8usize), 0..4), 1..4),
        filters in prop::collection::vec(0..8usize, 1..4),
        topics in prop::collection::vec(0..4usize, 1..6),
    ) {
        let all_filters = ["#", "t/#", "t/+", "t/x", "+/x", "t/x/y", "u/#", "+/+/y"];
        let all_topics = ["t/x", "t/x/y", "t/z", "u/x"];
        let words = ["read", "readwrite", "deny"];
        let text = |rights: &[(usize, usize)]| {
            let lines: String = rights
                .iter()
                .map(|&(word, filter)| format!("topic {} {}\n", words[word], all_filters[filter]))
                .collect();
            format!("user writer\ntopic write #\nuser reader\n{lines}")
        };
        let may_read = |rights: &[(usize, usize)], topic: &str| {
            let matching =
                |&&(_, f): &&(usize, usize)| ringmq::mqtt::matches(all_filters[f], topic);
            let mut matching = rights.iter().filter(matching).map(|right| right.0).peekable();
            matching.peek().is_some() && matching.all(|word| word != 2)
        };
        let mut broker = Broker::new(&text(&rights[0]));
        let (writer, _) = broker.join("writer");
        let (reader, _) = broker.join("reader");
        let mut subscribed = Vec::new();
        for &filter in &filters {
            if broker.subscribe(reader, all_filters[filter], QoS::AtLeastOnce) < 0x80 {
                subscribed.push(all_filters[filter]);
            }
        }
        for rights in &rights {
            broker.reload(&text(rights));
            for &topic in &topics {
                let topic = all_topics[topic];
                broker.publish(writer, topic, QoS::AtLeastOnce, false);
                let wanted = subscribed.iter().any(|f| ringmq::mqtt::matches(f, topic));
                let expected: &[&str] =
                    if wanted && may_read(rights, topic) { &[topic] } else { &[] };
                prop_assert_eq!(broker.topics(reader, true), expected);
            }
        }
    }
}

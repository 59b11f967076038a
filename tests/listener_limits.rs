//! What a listener takes: versions of MQTT, QoS, and client identifiers.

mod support;

use ringmq::options::{ListenerOptions, MqttVersion, Options};
use support::bare::Bare;
use support::peer::{connect, connect_v3, packet, text};

/// A broker whose only listener is changed.
fn broker(change: impl FnOnce(&mut ListenerOptions)) -> Bare {
    let mut options = Options::default();
    change(&mut options.listeners[0]);
    Bare::with(options)
}

/// CONNECT of MQTT 3.1.
fn connect_v31(client_id: &str) -> Vec<u8> {
    packet(0x10, &[&text("MQIsdp")[..], &[3, 2, 0, 60], &text(client_id)].concat())
}

/// CONNECT with a will at this QoS on topic `w`.
fn connect_with_will(version: u8, qos: u8) -> Vec<u8> {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    let head = [&text("MQTT")[..], &[version, 0x06 | qos << 3, 0, 60], properties].concat();
    packet(0x10, &[&head[..], &text("c"), properties, &text("w"), &text("gone")].concat())
}

/// The code of the CONNACK to these bytes, and whether the link is closed then.
fn answer(broker: &mut Bare, connect: &[u8]) -> (u8, bool) {
    let link = broker.open();
    broker.send(link, connect);
    let sent = broker.take(link);
    assert_eq!(sent[0], 0x20, "{sent:02x?}");
    let closed = broker.is_closed(link);
    broker.drop_link(link);
    (sent[3], closed)
}

// [MQTT-3.1.2-2]
#[test]
fn a_version_that_is_not_accepted_is_refused_in_its_own_words() {
    let connects = [connect_v31("a"), connect_v3("a", None), connect("a", None)];
    let refusals = [(1, true), (1, true), (0x84, true)];
    let versions = [MqttVersion::V31, MqttVersion::V311, MqttVersion::V5];
    for (index, version) in versions.into_iter().enumerate() {
        let mut only = broker(|listener| listener.mqtt_versions = vec![version]);
        let mut others = broker(|listener| {
            listener.mqtt_versions = versions.into_iter().filter(|it| *it != version).collect();
        });
        for (place, connect) in connects.iter().enumerate() {
            let is_it = place == index;
            let expected = if is_it { (0, false) } else { refusals[place] };
            assert_eq!(answer(&mut only, connect), expected, "{version:?} {place}");
            let expected = if is_it { refusals[place] } else { (0, false) };
            assert_eq!(answer(&mut others, connect), expected, "all but {version:?} {place}");
        }
    }
}

// [MQTT-3.2.2-11], [MQTT-3.2.2-12]
#[test]
fn a_client_of_version_5_is_told_the_maximum_and_held_to_it() {
    for max in 0..=2 {
        let mut broker = broker(|listener| listener.max_qos = max);
        for qos in 0..=2 {
            let link = broker.open();
            broker.send(link, &connect("a", None));
            let connack = broker.take(link);
            // Maximum QoS stands first, as no other property of a usual CONNACK is as low.
            let told = connack.windows(2).position(|pair| pair == [0x24, max]).is_some();
            assert_eq!(told, max < 2, "{connack:02x?}");
            let filter = [&[0, 2, 0], &text("t")[..], &[qos]].concat();
            broker.send(link, &packet(0x82, &filter));
            assert_eq!(broker.take(link)[5], qos.min(max), "granted");
            let id: &[u8] = if qos > 0 { &[0, 1] } else { &[] };
            let publish = [&text("other")[..], id, &[0], b"x"].concat();
            broker.send(link, &packet(0x30 | qos << 1, &publish));
            let sent = broker.take(link);
            let is_above = qos > max;
            assert_eq!(sent.starts_with(&[0xe0]) && sent[2] == 0x9b, is_above, "{sent:02x?}");
            assert_eq!(broker.is_closed(link), is_above);
            broker.drop_link(link);
            let refused = if is_above { (0x9b, true) } else { (0, false) };
            assert_eq!(answer(&mut broker, &connect_with_will(5, qos)), refused);
        }
    }
}

#[test]
fn an_older_client_above_the_maximum_is_closed() {
    let mut broker = broker(|listener| listener.max_qos = 1);
    for (qos, is_above) in [(0, false), (1, false), (2, true)] {
        let link = broker.connected(&connect_v3("a", None));
        broker.send(link, &packet(0x82, &[&[0, 2], &text("t")[..], &[qos]].concat()));
        assert_eq!(broker.take(link), [0x90, 3, 0, 2, qos.min(1)]);
        let id: &[u8] = if qos > 0 { &[0, 1] } else { &[] };
        broker.send(link, &packet(0x30 | qos << 1, &[&text("other")[..], id, b"x"].concat()));
        assert_eq!(broker.is_closed(link), is_above);
        assert_eq!(broker.take(link).is_empty(), qos != 1);
        broker.drop_link(link);
        let refused = if is_above { (5, true) } else { (0, false) };
        assert_eq!(answer(&mut broker, &connect_with_will(4, qos)), refused);
    }
}

/// The identifier that a client of version 5 is given.
fn assigned(broker: &mut Bare) -> String {
    let link = broker.open();
    broker.send(link, &connect("", None));
    let connack = broker.take(link);
    assert_eq!(connack[3], 0, "{connack:02x?}");
    let at = connack.windows(2).position(|pair| pair == [0x12, 0]).expect("it is told");
    let length = usize::from(connack[at + 2]);
    broker.drop_link(link);
    String::from_utf8(connack[at + 3..][..length].to_vec()).unwrap()
}

// [MQTT-3.1.3-6], [MQTT-3.1.3-8]
#[test]
fn an_empty_client_identifier_is_refused_where_none_are_given_out() {
    let mut open = broker(|_| ());
    assert_eq!(answer(&mut open, &connect_v3("", None)), (0, false));
    assert!(assigned(&mut open).starts_with("ringmq-"));
    let mut broker = broker(|listener| listener.allow_empty_client_id = false);
    for (name, v3, v5) in [("", (2, true), (0x85, true)), ("a", (0, false), (0, false))] {
        assert_eq!(answer(&mut broker, &connect_v3(name, None)), v3, "{name:?}");
        assert_eq!(answer(&mut broker, &connect(name, None)), v5, "{name:?}");
    }
}

#[test]
fn client_identifiers_that_begin_otherwise_are_refused() {
    let prefixes = ["secure-", "old"].map(Into::into);
    let change = |listener: &mut ListenerOptions| {
        listener.client_id_prefixes = prefixes.to_vec();
        listener.assigned_client_id_prefix = "secure-x".into();
    };
    let mut broker = broker(change);
    for name in ["secure-", "secure-1", "old", ""] {
        assert_eq!(answer(&mut broker, &connect_v3(name, None)), (0, false), "{name:?}");
        assert_eq!(answer(&mut broker, &connect(name, None)), (0, false), "{name:?}");
    }
    assert!(assigned(&mut broker).starts_with("secure-x"));
    for name in ["secure", "Secure-1", "1secure-", "ol"] {
        assert_eq!(answer(&mut broker, &connect_v3(name, None)), (5, true), "{name:?}");
        assert_eq!(answer(&mut broker, &connect(name, None)), (0x87, true), "{name:?}");
    }
    let mut others = self::broker(|listener| listener.client_id_prefixes = prefixes.to_vec());
    assert_eq!(answer(&mut others, &connect("", None)), (0x87, true), "it would be ringmq-…");
}

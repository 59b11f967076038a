//! The codec from outside: whatever is encoded decodes to itself, and whatever bytes come in,
//! nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use ringmq_mqtt::{
    Ack, AckType, Auth, ConnAck, Connect, ConnectError, Disconnect, Frame, Framed, Packet,
    Properties, Property, ProtocolError, Publish, QoS, ReasonCode, RetainHandling, Sender, SubAck,
    Subscribe, SubscribeFilter, SubscriptionOptions, UnsubAck, Unsubscribe, UserProperties,
    Version, Will, encode_user_property, next_frame,
};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const PACKET_BYTES_MAX: usize = 1 << 20;
const CASES: u32 = 256;

/// The start of every text in a packet of [`Material::fixed`], and of nothing else.
const MARK: &[u8] = b"~text";

/// The owned pieces that packets are made of.
#[derive(Debug, Clone)]
struct Material {
    /// Topic names: not empty, no wildcards.
    topics: Vec<String>,
    texts: Vec<String>,
    blobs: Vec<Vec<u8>>,
    /// Numbers of four bytes, at least 1.
    numbers: Vec<u32>,
    /// Numbers of two bytes, at least 1.
    shorts: Vec<u16>,
    /// The bits of the fields that are there.
    bits: u64,
    /// The properties of a message, encoded.
    properties: Vec<u8>,
    /// User properties, encoded.
    user_properties: Vec<u8>,
}

impl Material {
    fn strategy() -> impl Strategy<Value = Self> {
        let text = "[^\0]{0,9}";
        let pairs = || vec((text, text), 0..4);
        let blobs = vec(vec(any::<u8>(), 0..40), 3);
        let numbers = (vec(1..=u32::MAX, 4), vec(1..=u16::MAX, 4), any::<u64>());
        let properties = (any::<u8>(), text, pairs(), pairs());
        (vec("[^\0+#]{1,9}", 2), vec(text, 7), blobs, numbers, properties).prop_map(
            |(topics, texts, blobs, (numbers, shorts, bits), (shape, text, message, user))| {
                let properties = encode_message(shape, &text, &topics[0], &blobs[0], &message);
                let user_properties = encode_pairs(&user);
                Self { topics, texts, blobs, numbers, shorts, bits, properties, user_properties }
            },
        )
    }

    /// Material with every field present and a mark in every text.
    fn fixed() -> Self {
        let text = |index: usize| format!("~text{index}");
        let pairs = [(text(0), text(1)), (text(2), text(3))];
        Self {
            topics: (0..2).map(text).collect(),
            texts: (0..7).map(text).collect(),
            blobs: vec![vec![1], vec![2, 3], vec![]],
            numbers: vec![1, 200, 20_000, 3_000_000],
            shorts: vec![1, 2, 3, 4],
            bits: u64::MAX,
            properties: encode_message(0xFF, &text(4), &text(5), &[0], &pairs),
            user_properties: encode_pairs(&pairs),
        }
    }

    fn has(&self, bit: u32) -> bool {
        self.bits >> bit & 1 == 1
    }

    fn text(&self, index: usize) -> Option<&str> {
        self.has(index as u32).then(|| self.texts[index].as_str())
    }

    fn number(&self, index: usize) -> Option<u32> {
        self.has(8 + index as u32).then(|| self.numbers[index])
    }

    fn short(&self, index: usize) -> Option<u16> {
        self.has(12 + index as u32).then(|| self.shorts[index])
    }

    fn flag(&self, index: u32) -> Option<bool> {
        self.has(16 + index).then(|| self.has(20 + index))
    }

    fn qos(&self, index: u32) -> QoS {
        let bits = self.bits >> (24 + 2 * index) & 3;
        QoS::from_bits(bits.min(2) as u8).expect("is at most 2")
    }

    fn user_properties(&self, version: Version) -> UserProperties<'_> {
        UserProperties::from_bytes(if version.is_v5() { &self.user_properties } else { &[] })
    }

    fn message_properties(&self, version: Version) -> Properties<'_> {
        Properties::from_bytes(if version.is_v5() { &self.properties } else { &[] })
    }
}

fn encode_pairs(pairs: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        encode_user_property(name, value, &mut out);
    }
    out
}

fn encode_message(
    shape: u8,
    text: &str,
    topic: &str,
    data: &[u8],
    pairs: &[(String, String)],
) -> Vec<u8> {
    let mut out = Vec::new();
    let some = [
        Property::PayloadFormatIndicator(shape & 16 != 0),
        Property::ContentType(text),
        Property::ResponseTopic(topic),
        Property::CorrelationData(data),
    ];
    for (index, property) in some.iter().enumerate().filter(|(index, _)| shape >> index & 1 == 1) {
        property.encode(&mut out);
        // User properties stand anywhere.
        if let Some((name, value)) = pairs.get(index) {
            encode_user_property(name, value, &mut out);
        }
    }
    out
}

/// One packet of every type that `version` has, with the side that sends it.
fn packets(material: &Material, version: Version) -> Vec<(Packet<'_>, Sender)> {
    let mut packets = vec![
        (Packet::Connect(connect(material, version)), Sender::Client),
        (Packet::ConnAck(connack(material, version)), Sender::Server),
        (Packet::Publish(publish(material, version, Sender::Client)), Sender::Client),
        (Packet::Publish(publish(material, version, Sender::Server)), Sender::Server),
        (Packet::Subscribe(subscribe(material, version)), Sender::Client),
        (Packet::SubAck(suback(material, version)), Sender::Server),
        (Packet::Unsubscribe(unsubscribe(material, version)), Sender::Client),
        (Packet::UnsubAck(unsuback(material, version)), Sender::Server),
        (Packet::PingReq, Sender::Client),
        (Packet::PingResp, Sender::Server),
        (Packet::Disconnect(disconnect(material, version, Sender::Client)), Sender::Client),
        (Packet::Disconnect(disconnect(material, version, Sender::Server)), Sender::Server),
    ];
    for kind in [AckType::PubAck, AckType::PubRec, AckType::PubRel, AckType::PubComp] {
        packets.push((Packet::Ack(ack(material, version, kind)), Sender::Client));
    }
    if version.is_v5() {
        packets.push((Packet::Auth(auth(material)), Sender::Client));
    }
    packets
}

fn connect(material: &Material, version: Version) -> Connect<'_> {
    let mut connect = Connect::new(version, &material.topics[0]);
    connect.clean_start = material.has(40);
    connect.keep_alive_s = material.shorts[0];
    connect.will = material.has(41).then(|| will(material, version));
    connect.user_name = material.text(0);
    connect.password = material.has(42).then_some(&material.blobs[1][..]);
    if !version.is_v5() {
        connect.session_expiry_s = if connect.clean_start { 0 } else { u32::MAX };
        connect.password = connect.password.filter(|_| connect.user_name.is_some());
        return connect;
    }
    connect.session_expiry_s = material.number(0).unwrap_or(0);
    connect.receive_maximum = material.shorts[1];
    connect.packet_bytes_max = material.number(1);
    connect.topic_alias_max = material.short(2).unwrap_or(0);
    connect.request_response_information = material.has(43);
    connect.request_problem_information = material.has(44);
    connect.authentication_method = material.text(1);
    connect.authentication_data = material.text(1).map(|_| &material.blobs[2][..]);
    connect.user_properties = material.user_properties(version);
    connect
}

fn will(material: &Material, version: Version) -> Will<'_> {
    Will {
        qos: material.qos(0),
        retain: material.has(45),
        topic: &material.topics[1],
        payload: &material.blobs[0],
        delay_s: material.number(2).filter(|_| version.is_v5()).unwrap_or(0),
        message_expiry_s: material.number(3).filter(|_| version.is_v5()),
        properties: material.message_properties(version),
    }
}

fn connack(material: &Material, version: Version) -> ConnAck<'_> {
    let code = [ReasonCode::Success, ReasonCode::NotAuthorized][usize::from(material.has(46))];
    let is_success = code == ReasonCode::Success;
    let session_present = is_success && version != Version::V31 && material.has(47);
    let plain = ConnAck { session_present, code, ..ConnAck::default() };
    if !version.is_v5() {
        return plain;
    }
    ConnAck {
        session_expiry_s: material.number(0),
        receive_maximum: material.short(0),
        maximum_qos: material.flag(0).map(u8::from),
        retain_available: material.flag(1),
        packet_bytes_max: material.number(1),
        assigned_client_id: material.text(0),
        topic_alias_max: material.short(1),
        reason: material.text(1),
        user_properties: material.user_properties(version),
        wildcard_available: material.flag(2),
        subscription_ids_available: material.flag(3),
        shared_available: material.flag(1),
        server_keep_alive_s: material.short(2),
        response_information: material.text(2),
        server_reference: material.text(3),
        authentication_method: material.text(4),
        authentication_data: material.text(4).map(|_| &material.blobs[1][..]),
        ..plain
    }
}

fn publish(material: &Material, version: Version, from: Sender) -> Publish<'_> {
    let qos = material.qos(1);
    let above_0 = qos != QoS::AtMostOnce;
    let topic_alias = material.short(0).filter(|_| version.is_v5());
    let is_aliased = topic_alias.is_some() && material.has(48) && material.bits != u64::MAX;
    let ids = material.numbers.iter().map(|id| id & 0x0FFF_FFFF).filter(|id| *id != 0);
    let has_ids = version.is_v5() && from == Sender::Server;
    Publish {
        dup: above_0 && material.has(49),
        qos,
        retain: material.has(50),
        topic: if is_aliased { "" } else { &material.topics[0] },
        packet_id: if above_0 { material.shorts[1] } else { 0 },
        topic_alias,
        message_expiry_s: material.number(0).filter(|_| version.is_v5()),
        subscription_ids: ids.filter(|_| has_ids).collect(),
        properties: material.message_properties(version),
        payload: &material.blobs[0],
    }
}

fn ack(material: &Material, version: Version, kind: AckType) -> Ack<'_> {
    let failure = match kind {
        AckType::PubAck | AckType::PubRec => ReasonCode::QuotaExceeded,
        AckType::PubRel | AckType::PubComp => ReasonCode::PacketIdentifierNotFound,
    };
    let has_failed = version.is_v5() && material.has(51);
    Ack {
        kind,
        packet_id: material.shorts[0],
        code: if has_failed { failure } else { ReasonCode::Success },
        reason: material.text(0).filter(|_| version.is_v5()),
        user_properties: material.user_properties(version),
    }
}

fn subscribe(material: &Material, version: Version) -> Subscribe<'_> {
    let plain = SubscriptionOptions { qos: material.qos(2), ..SubscriptionOptions::default() };
    let handling = RetainHandling::from_bits(material.qos(3) as u8).expect("is at most 2");
    let full = SubscriptionOptions {
        no_local: material.has(52),
        retain_as_published: material.has(53),
        retain_handling: handling,
        ..plain
    };
    let options = if version.is_v5() { full } else { plain };
    let id = material.number(0).map(|id| id & 0x0FFF_FFFF).filter(|id| *id != 0);
    let filters = material.topics.iter().map(|filter| SubscribeFilter { filter, options });
    Subscribe {
        packet_id: material.shorts[0],
        subscription_id: id.filter(|_| version.is_v5()),
        filters: filters.collect(),
        user_properties: material.user_properties(version),
    }
}

fn suback(material: &Material, version: Version) -> SubAck<'_> {
    SubAck {
        packet_id: material.shorts[0],
        codes: if version.is_v5() { &[0, 1, 2, 0x8F] } else { &[0, 1, 2, 0x80] },
        reason: material.text(0).filter(|_| version.is_v5()),
        user_properties: material.user_properties(version),
    }
}

fn unsubscribe(material: &Material, version: Version) -> Unsubscribe<'_> {
    Unsubscribe {
        packet_id: material.shorts[0],
        filters: material.topics.iter().map(String::as_str).collect(),
        user_properties: material.user_properties(version),
    }
}

fn unsuback(material: &Material, version: Version) -> UnsubAck<'_> {
    UnsubAck {
        packet_id: material.shorts[0],
        codes: if version.is_v5() { &[0, 0x11] } else { &[] },
        reason: material.text(0).filter(|_| version.is_v5()),
        user_properties: material.user_properties(version),
    }
}

fn disconnect(material: &Material, version: Version, from: Sender) -> Disconnect<'_> {
    if !version.is_v5() {
        return Disconnect::default();
    }
    let failure = ReasonCode::UnspecifiedError;
    Disconnect {
        code: if material.has(54) { failure } else { ReasonCode::Success },
        session_expiry_s: material.number(0).filter(|_| from == Sender::Client),
        reason: material.text(0),
        server_reference: material.text(1),
        user_properties: material.user_properties(version),
    }
}

fn auth(material: &Material) -> Auth<'_> {
    let code = ReasonCode::ContinueAuthentication;
    Auth {
        code: if material.has(55) { code } else { ReasonCode::Success },
        authentication_method: material.text(0),
        authentication_data: material.text(0).map(|_| &material.blobs[0][..]),
        reason: material.text(1),
        user_properties: material.user_properties(Version::V5),
    }
}

fn encode(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(version, &mut out);
    out
}

/// The frame that `bytes` holds and nothing behind it.
fn whole(bytes: &[u8]) -> Frame<'_> {
    match next_frame(bytes, PACKET_BYTES_MAX) {
        Ok(Framed::Whole(frame)) if frame.length == bytes.len() => frame,
        other => panic!("not one whole packet: {other:?}"),
    }
}

fn decode(bytes: &[u8], version: Version, from: Sender) -> Result<Packet<'_>, ProtocolError> {
    Packet::decode(&whole(bytes), version, from)
}

/// The version that a packet is to be encoded in: a CONNECT decides for itself.
fn version_of(packet: &Packet<'_>, version: Version) -> Version {
    match packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    }
}

/// Decodes `frame` in every way; what decodes must encode to bytes that decode to the same.
fn check_stable(frame: &Frame<'_>) {
    for version in VERSIONS {
        for from in [Sender::Client, Sender::Server] {
            let Ok(packet) = Packet::decode(frame, version, from) else { continue };
            let version = version_of(&packet, version);
            let bytes = encode(&packet, version);
            // Once more, because a packet cannot be compared with one that lives less long.
            let packet = Packet::decode(frame, version, from);
            assert_eq!(decode(&bytes, version, from), packet);
        }
    }
}

fn check_stream(bytes: &[u8]) {
    if let Ok(Framed::Whole(frame)) = next_frame(bytes, PACKET_BYTES_MAX) {
        check_stable(&frame);
    }
}

/// Calls `check` on the bytes of every packet made of `material`, in every version.
fn for_every_packet(
    material: &Material,
    check: impl for<'a> Fn(&'a [u8], &Packet<'a>, Version, Sender),
) {
    for version in VERSIONS {
        let packets = || packets(material, version);
        let encoded: Vec<_> = packets().iter().map(|(packet, _)| encode(packet, version)).collect();
        for (bytes, (packet, from)) in encoded.iter().zip(packets()) {
            check(bytes, &packet, version, from);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn what_is_encoded_decodes_to_itself(material in Material::strategy()) {
        for_every_packet(&material, |bytes, packet, version, from| {
            assert_eq!(decode(bytes, version, from).as_ref(), Ok(packet));
            if let Packet::Publish(publish) = packet {
                assert_eq!(publish.encoded_length(version), bytes.len());
            }
        });
    }

    #[test]
    fn cut_streams_are_partial(material in Material::strategy()) {
        for_every_packet(&material, |bytes, _, _, _| {
            for end in 0..bytes.len() {
                let Ok(Framed::Partial { needed }) = next_frame(&bytes[..end], PACKET_BYTES_MAX)
                else {
                    panic!("{end} of {} bytes are no partial packet", bytes.len());
                };
                assert!(needed.is_none_or(|needed| needed == bytes.len()));
            }
        });
    }

    #[test]
    fn cut_bodies_never_panic(material in Material::strategy()) {
        for_every_packet(&material, |bytes, packet, version, from| {
            let Frame { first, body, .. } = whole(bytes);
            for end in 0..body.len() {
                let frame = Frame { first, body: &body[..end], length: 2 + end };
                // Some short forms are packets too, but never the same one.
                assert_ne!(Packet::decode(&frame, version, from).as_ref(), Ok(packet));
                check_stable(&frame);
            }
        });
    }

    #[test]
    fn changed_bytes_never_panic(material in Material::strategy()) {
        for_every_packet(&material, |bytes, _, _, _| {
            let mut changed = bytes.to_vec();
            // Every length is among the bytes: one more, one less, doubled, the greatest.
            for (index, byte) in bytes.iter().copied().enumerate() {
                let doubled = byte.wrapping_mul(2);
                for value in [byte.wrapping_add(1), byte.wrapping_sub(1), doubled, 0x7F, 0xFF, 0] {
                    changed[index] = value;
                    check_stream(&changed);
                }
                changed[index] = byte;
            }
        });
    }

    #[test]
    fn random_streams_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        check_stream(&bytes);
    }

    #[test]
    fn random_bodies_never_panic(first in any::<u8>(), body in vec(any::<u8>(), 0..60)) {
        check_stable(&Frame { first, body: &body, length: 2 + body.len() });
    }

    #[test]
    fn random_property_blocks_never_panic(block in vec(0u8..0x2C, 0..60)) {
        let length = [block.len() as u8];
        let bodies = [
            (0x10, [b"\0\x04MQTT\x05\x02\0\0", &length[..], &block, b"\0\x01a"].concat()),
            (0x20, [b"\0\0", &length[..], &block].concat()),
            (0x30, [b"\0\x01a", &length[..], &block].concat()),
            (0x82, [b"\0\x01", &length[..], &block, b"\0\x01a\0"].concat()),
            (0xE0, [b"\0", &length[..], &block].concat()),
        ];
        for (first, body) in bodies {
            check_stable(&Frame { first, body: &body, length: 2 + body.len() });
        }
    }
}

#[test]
fn v5_bodies_cut_anywhere_but_before_optional_parts_are_errors() {
    let material = Material::fixed();
    for_every_packet(&material, |bytes, packet, version, from| {
        let Frame { first, body, .. } = whole(bytes);
        // Short forms, lists that may end early, and payloads are checked for panics elsewhere.
        let is_rigid = matches!(packet, Packet::Connect(_)) && version != Version::V31
            || matches!(packet, Packet::ConnAck(_));
        for end in (0..body.len()).filter(|_| is_rigid) {
            let frame = Frame { first, body: &body[..end], length: 2 + end };
            assert!(Packet::decode(&frame, version, from).is_err(), "{packet:?} cut at {end}");
        }
    });
}

// [MQTT-1.5.4-1] [MQTT-1.5.4-2]
#[test]
fn bad_strings_are_refused_in_every_position() {
    let overlong = [0xC0, 0x80, b'a', b'b', b'c'];
    let surrogate = [0xED, 0xA0, 0x80, b'a', b'b'];
    let nul = [b'a', b'b', 0, b'c', b'd'];
    let beyond = [0xF4, 0x90, 0x80, 0x80, b'a'];
    let lone = [b'a', b'b', b'c', b'd', 0x80];
    let material = Material::fixed();
    for_every_packet(&material, |bytes, packet, version, from| {
        let starts = (0..bytes.len()).filter(|start| bytes[*start..].starts_with(MARK));
        let starts: Vec<_> = starts.collect();
        assert_eq!(starts.is_empty(), has_no_text(packet, version), "{packet:?}");
        for start in starts {
            for bad in [overlong, surrogate, nul, beyond, lone] {
                let mut changed = bytes.to_vec();
                changed[start..start + bad.len()].copy_from_slice(&bad);
                let error = decode(&changed, version, from).expect_err("string must be refused");
                assert_eq!(error.code, ReasonCode::MalformedPacket, "{packet:?} at {start}");
            }
        }
    });
}

fn has_no_text(packet: &Packet<'_>, version: Version) -> bool {
    match packet {
        Packet::PingReq | Packet::PingResp => true,
        Packet::Connect(_) | Packet::Publish(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) => {
            false
        }
        _ => !version.is_v5(),
    }
}

// [MQTT-1.5.4-3]
#[test]
fn byte_order_mark_is_kept() {
    let publish = Publish { topic: "\u{FEFF}a", ..Publish::default() };
    for version in VERSIONS {
        let mut bytes = Vec::new();
        publish.encode(version, &mut bytes);
        let read = Publish::decode(&whole(&bytes), version, Sender::Client);
        assert_eq!(read.as_ref(), Ok(&publish));
    }
}

#[test]
fn five_byte_integers_are_malformed() {
    let five = [0x80, 0x80, 0x80, 0x80, 0x01];
    let bodies = [
        (0x10, [b"\0\x04MQTT\x05\x02\0\0", &five[..], b"\0\x01a"].concat()),
        (0x30, [b"\0\x01a", &five[..]].concat()),
        (0x30, [b"\0\x01a\x06\x0B", &five[..]].concat()),
        (0x82, [b"\0\x01\x06\x0B", &five[..], b"\0\x01a\0"].concat()),
        (0x40, [b"\0\x01\0", &five[..]].concat()),
    ];
    for (first, body) in bodies {
        let frame = Frame { first, body: &body, length: 2 + body.len() };
        let error = Packet::decode(&frame, Version::V5, Sender::Client).expect_err("five bytes");
        assert_eq!(error.code, ReasonCode::MalformedPacket, "{first:#04x}");
    }
    let stream = [&[0x30], &five[..]].concat();
    assert!(next_frame(&stream, usize::MAX).is_err());
}

#[test]
fn many_user_properties_are_read_in_one_pass() {
    const COUNT: usize = 64_000;
    let mut bytes = Vec::new();
    for index in 0..COUNT {
        encode_user_property("name", if index % 2 == 0 { "even" } else { "odd" }, &mut bytes);
    }
    let mut connect = Connect::new(Version::V5, "a");
    connect.user_properties = UserProperties::from_bytes(&bytes);
    let publish = Publish {
        topic: "a",
        message_expiry_s: Some(1),
        properties: Properties::from_bytes(&bytes),
        ..Publish::default()
    };
    let mut stream = Vec::new();
    connect.encode(&mut stream);
    let read = Connect::decode(&whole(&stream)).expect("is a CONNECT");
    assert_eq!(read.user_properties.iter().count(), COUNT);
    assert_eq!(read, connect);
    stream.clear();
    publish.encode(Version::V5, &mut stream);
    let read = Publish::decode(&whole(&stream), Version::V5, Sender::Client);
    let read = read.expect("is a PUBLISH");
    assert_eq!(read.properties.user_properties().nth(COUNT - 1), Some(("name", "odd")));
    assert_eq!(read, publish);
}

#[test]
fn properties_go_on_without_those_between() {
    let mut block = Vec::new();
    let mut kept = Vec::new();
    for index in 0..3 {
        let user = Property::UserProperty(("n", ["a", "b", "c"][index]));
        let between = [
            Property::MessageExpiryInterval(9),
            Property::TopicAlias(1),
            Property::ContentType("text"),
        ][index];
        user.encode(&mut block);
        between.encode(&mut block);
        user.encode(&mut kept);
    }
    Property::ContentType("text").encode(&mut kept);
    let body = [b"\0\x01a", &[block.len() as u8][..], &block].concat();
    let frame = Frame { first: 0x30, body: &body, length: 2 + body.len() };
    let publish = Publish::decode(&frame, Version::V5, Sender::Client).expect("is a PUBLISH");
    let mut sent = Vec::new();
    publish.properties.append_to(&mut sent);
    assert_eq!(sent, kept);
    assert_eq!(publish.properties.len(), kept.len());
    assert_eq!((publish.message_expiry_s, publish.topic_alias), (Some(9), Some(1)));
}

#[test]
fn every_flag_of_connect_is_answered_by_version() {
    for flags in 0..=255 {
        let v3 = [b"\0\x04MQTT\x04", &[flags][..], b"\0\0\0\x01a"].concat();
        let v5 = [b"\0\x04MQTT\x05", &[flags][..], b"\0\0\0\0\x01a"].concat();
        let decode = |body: &[u8]| {
            let frame = Frame { first: 0x10, body, length: 2 + body.len() };
            Connect::decode(&frame).map(|_| ())
        };
        // Only the clean start flag announces nothing.
        let is_fine = flags & !2 == 0;
        assert_eq!(decode(&v3).is_ok(), is_fine, "{flags:#04x}");
        assert_eq!(decode(&v5).is_ok(), is_fine, "{flags:#04x}");
        assert!(is_fine || matches!(decode(&v3), Err(ConnectError::Malformed(_))));
        assert!(is_fine || matches!(decode(&v5), Err(ConnectError::Refused { .. })));
    }
}

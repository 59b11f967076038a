//! No packet of the broker is larger than its client takes, from the answer to CONNECT on.

mod support;

use ringmq::options::Options;
use support::bare::Bare;
use support::peer::{packet, text};
use support::vectors::packet_length;

/// CONNECT of a client that takes packets of `max` bytes; `properties` come behind that.
fn connect(max: u32, properties: &[u8], client_id: &str, behind: &[u8]) -> Vec<u8> {
    let mut all = vec![0x27];
    all.extend(max.to_be_bytes());
    all.extend_from_slice(properties);
    let head = [&text("MQTT")[..], &[5, 2, 0, 60, all.len() as u8], &all].concat();
    packet(0x10, &[&head[..], &text(client_id), behind].concat())
}

/// What comes on a new link after these bytes: the first byte and the length of each packet.
#[track_caller]
fn sizes(bare: &mut Bare, max: u32, bytes: &[u8]) -> Vec<(u8, usize)> {
    let link = bare.open();
    bare.send(link, bytes);
    let sent = bare.take(link);
    let mut sizes = Vec::new();
    let mut rest = &sent[..];
    while let Some(length) = packet_length(rest) {
        assert!(length <= max as usize, "{length} of {max}: {:02x?}", &rest[..length]);
        sizes.push((rest[0], length));
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    assert!(!sizes.is_empty() || bare.is_closed(link), "neither answered nor closed");
    bare.drop_link(link);
    sizes
}

#[test]
fn mqtt_3_1_2_24_connack_and_what_follows_fit() {
    let mut bare = Bare::with(Options { max_session_expiry: 10, ..Options::default() });
    let name = "a-client-of-some-length";
    let subscribe = |filters: u8| {
        let filters = (0..filters).flat_map(|filter| [0, 1, b'a' + filter, 0]);
        packet(0x82, &[0, 7, 0].into_iter().chain(filters).collect::<Vec<u8>>())
    };
    let requests = [
        subscribe(1),
        subscribe(26),
        packet(0xA2, &[&[0, 8, 0][..], &text("a"), &text("nothing")].concat()),
        packet(0x32, &[&text("nobody")[..], &[0, 9, 0]].concat()),
        packet(0x34, &[&text("nobody")[..], &[0, 9, 0]].concat()),
        packet(0x62, &[0, 77]),
        packet(0x50, &[0, 78]),
        vec![0xC0, 0],
        vec![0xC1, 0],
        packet(0x32, &[&text("$SYS/x")[..], &[0, 9, 0]].concat()),
    ];
    let connects: [fn(u32, &str) -> Vec<u8>; 4] = [
        |max, name| connect(max, &[], name, &[]),
        // Response information is asked for, and a session that is longer than allowed.
        |max, name| connect(max, &[0x19, 1, 0x11, 0, 0, 1, 0], name, &[]),
        // An assigned client identifier.
        |max, _| connect(max, &[], "", &[]),
        // Something is left over.
        |max, name| connect(max, &[], name, &[0]),
    ];
    for max in 1..=40 {
        for connect in connects {
            let connect = connect(max, name);
            for request in &requests {
                sizes(&mut bare, max, &[&connect[..], request].concat());
            }
        }
    }
    let plain = sizes(&mut bare, 16, &connect(16, &[], name, &[]));
    assert_eq!(plain, [(0x20, 16)]);
    // Without the Topic Alias Maximum.
    assert_eq!(sizes(&mut bare, 13, &connect(13, &[], name, &[])), [(0x20, 13)]);
    assert_eq!(sizes(&mut bare, 12, &connect(12, &[], name, &[])), []);
    assert_eq!(sizes(&mut bare, 5, &connect(5, &[], name, &[0])), [(0x20, 5)]);
    assert_eq!(sizes(&mut bare, 4, &connect(4, &[], name, &[0])), []);
}

#[test]
fn a_client_that_cannot_be_answered_takes_nothing_over() {
    let mut bare = Bare::default();
    let link = bare.open();
    bare.send(link, &connect(100, &[], "one", &[]));
    sizes(&mut bare, 2, &connect(2, &[], "one", &[]));
    assert!(!bare.is_closed(link));
}

// [MQTT-4.3.3-4], [MQTT-2.2.1-4]
#[test]
fn an_exchange_whose_message_does_not_fit_any_more_ends_with_pubrel() {
    let mut bare = Bare::default();
    let publisher = bare.open();
    bare.send(publisher, &connect(1000, &[], "publisher", &[]));
    let on = |bare: &mut Bare, max: u32| {
        let link = bare.open();
        let mut connect = connect(max, &[0x11, 0, 0, 1, 0], "subscriber", &[]);
        // Without Clean Start.
        connect[9] = 0;
        bare.send(link, &connect);
        link
    };
    let first = on(&mut bare, 1000);
    bare.send(first, &packet(0x82, &[&[0, 7, 0][..], &text("t"), &[2]].concat()));
    bare.take(first);
    let at_2 = |payload: &[u8]| packet(0x34, &[&text("t")[..], &[0, 1, 0], payload].concat());
    bare.send(publisher, &at_2(&[1; 100]));
    let sent = bare.take(first);
    let packet_id = [sent[5], sent[6]];
    assert_eq!((sent[0], sent.len()), (0x34, 108));
    bare.drop_link(first);

    let second = on(&mut bare, 40);
    let sent = bare.take(second);
    let connack = packet_length(&sent).unwrap();
    assert_eq!(sent[connack..], [0x62, 2, packet_id[0], packet_id[1]]);
    // A message that comes before PUBCOMP has another identifier.
    bare.send(publisher, &packet(0x62, &[0, 1]));
    bare.send(publisher, &at_2(&[2]));
    let sent = bare.take(second);
    assert_eq!(sent[0], 0x34);
    assert_ne!(sent[5..7], packet_id);
    bare.send(second, &packet(0x70, &packet_id));
    assert!(!bare.is_closed(second));
}

#[test]
fn a_message_that_fits_without_an_alias_comes_without_one() {
    let mut bare = Bare::default();
    let (topic, payload) = ("a/topic", [7; 40]);
    let publish = |topic: &str, length: usize| {
        packet(0x30, &[&text(topic)[..], &[0], &payload[..length]].concat())
    };
    let plain = publish(topic, 40).len();
    let publisher = bare.open();
    bare.send(publisher, &connect(1000, &[], "publisher", &[]));
    let get = |bare: &mut Bare, max: usize, lengths: &[usize]| {
        let link = bare.open();
        let subscriber = format!("subscriber{max}");
        bare.send(link, &connect(max as u32, &[0x22, 0, 10], &subscriber, &[]));
        let subscribe = packet(0x82, &[&[0, 7, 0][..], &text("#"), &[0]].concat());
        bare.send(link, &subscribe);
        bare.take(link);
        let sent = lengths.iter().map(|length| {
            bare.send(publisher, &publish(topic, *length));
            bare.take(link).len()
        });
        let sent = sent.collect::<Vec<_>>();
        bare.drop_link(link);
        sent
    };
    // The alias takes three bytes, the topic seven.
    assert_eq!(get(&mut bare, plain + 3, &[40, 40]), [plain + 3, plain - 4]);
    for max in [plain, plain + 2] {
        assert_eq!(get(&mut bare, max, &[40, 40, 30, 40]), [plain, plain, plain - 7, plain - 4]);
    }
    assert_eq!(get(&mut bare, plain - 4, &[40, 30, 40]), [0, plain - 7, plain - 4]);
    assert_eq!(get(&mut bare, plain - 5, &[40, 30, 40]), [0, plain - 7, 0]);
}

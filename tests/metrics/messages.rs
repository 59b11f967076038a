//! Messages pass, wait, and do not reach everybody.

use crate::driver::{By, Drive, Driver, flags};
use crate::folder::Folder;
use crate::support::peer::{
    Peer, connect_stored, connect_v3, packet, publish_expiring, subscribe_and_go, text,
};
use std::time::Duration;

fn one_worker(more: &[&str]) -> Vec<String> {
    flags(&[&["--listen", "mqtt://127.0.0.1:0", "--workers", "1"], more].concat())
}

/// SUBSCRIBE of version 3.1.1 at QoS 2.
fn subscribe_v3(filter: &str) -> Vec<u8> {
    packet(0x82, &[&[0, 1], &text(filter)[..], &[2]].concat())
}

/// PUBLISH of version 3.1.1 with packet identifier 1.
fn publish_v3(qos: u8, topic: &str, payload: &[u8]) -> Vec<u8> {
    let id: &[u8] = if qos > 0 { &[0, 1] } else { &[] };
    packet(0x30 | qos << 1, &[&text(topic), id, payload].concat())
}

/// PUBLISH of version 5 at QoS 0.
fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[&text(topic)[..], &[0], payload].concat())
}

/// The kind of the next packet.
fn kind(peer: &mut Peer) -> u8 {
    peer.packet().expect("a packet").0 & 0xF0
}

/// Each step is one packet in one turn, so that all is known to the byte.
pub(crate) const TRAFFIC: Driver = Driver {
    drive: Drive::Live(
        |_| one_worker(&[]),
        |live| {
            let mut reader = live.let_in(&connect_v3("r", None));
            let mut author = live.let_in(&connect_v3("a", None));
            reader.send(&subscribe_v3("t"));
            assert_eq!(kind(&mut reader), 0x90);
            author.send(&publish_v3(0, "t", b"12345"));
            assert_eq!(kind(&mut reader), 0x30);
            author.send(&publish_v3(1, "t", b"123"));
            assert_eq!((kind(&mut author), kind(&mut reader)), (0x40, 0x30));
            author.send(&publish_v3(2, "t", b"1"));
            assert_eq!((kind(&mut author), kind(&mut reader)), (0x50, 0x30));
            author.send(&[0x62, 2, 0, 1]);
            assert_eq!(kind(&mut author), 0x70);
            Box::new([reader, author])
        },
    ),
    moves: &[
        // Two CONNECT, SUBSCRIBE, three PUBLISH, PUBREL.
        ("packets_received", "", By::Exactly(7)),
        ("received_bytes", "", By::Exactly(15 + 15 + 8 + 10 + 10 + 8 + 4)),
        ("publishes_received", "0", By::Exactly(1)),
        ("publishes_received", "1", By::Exactly(1)),
        ("publishes_received", "2", By::Exactly(1)),
        ("received_payload_bytes", "", By::Exactly(5 + 3 + 1)),
        // Two CONNACK, SUBACK, PUBACK, PUBREC, PUBCOMP.
        ("responses_sent", "", By::Exactly(6)),
        ("sent_bytes", "", By::Exactly(4 + 4 + 5 + 10 + 4 + 10 + 4 + 8 + 4)),
        ("publishes_sent", "0", By::Exactly(1)),
        ("publishes_sent", "1", By::Exactly(1)),
        ("publishes_sent", "2", By::Exactly(1)),
        ("sent_payload_bytes", "", By::Exactly(5 + 3 + 1)),
        ("messages_owed", "", By::Exactly(3)),
        ("sends", "", By::Exactly(9)),
        ("delivery", "0", By::Exactly(1)),
        ("delivery", "1", By::Exactly(1)),
        ("delivery", "2", By::Exactly(1)),
        (
            "turn",
            "",
            By::AtLeast(7, "a turn may find nothing but its own clock, or several things"),
        ),
    ],
};

pub(crate) const MESH: Driver = Driver {
    drive: Drive::Live(
        |_| flags(&["--listen", "mqtt://127.0.0.1:0", "--workers", "2"]),
        |live| {
            let mut reader = live.connected("reader");
            assert_eq!(reader.subscribe("t"), Some(1));
            Box::new(reader)
        },
    ),
    moves: &[(
        "mesh_messages",
        "",
        By::AtLeast(2, "workers ask and tell more than the interest in a filter and its answer"),
    )],
};

pub(crate) const QUEUES: Driver = Driver {
    drive: Drive::Live(
        |_| one_worker(&["--max-queued-messages", "3"]),
        |live| {
            subscribe_and_go(live.server.port(0), "away", "q");
            let mut author = live.connected("author");
            for _ in 0..5 {
                assert_eq!(author.publish("q", &[7; 1000]), Some(0));
            }
            Box::new(author)
        },
    ),
    moves: &[
        ("messages_owed", "", By::Exactly(5)),
        ("messages_queued", "", By::Exactly(3)),
        ("messages_dropped", "queue_full", By::Exactly(2)),
        ("queued_messages", "", By::To(3)),
        ("queue_greatest", "", By::To(3)),
        ("queued_bytes", "", By::AtLeast(3000, "the broker's own structures count as well")),
    ],
};

/// CONNECT of version 5 for a client that takes packets of 40 bytes.
fn connect_small(client_id: &str) -> Vec<u8> {
    let head = [&text("MQTT")[..], &[5, 2, 0, 60, 5, 0x27, 0, 0, 0, 40]].concat();
    packet(0x10, &[&head[..], &text(client_id)].concat())
}

/// Everyone may read `open/+`, and write everything.
fn acl(folder: &Folder) -> Vec<String> {
    let acl = folder.write("acl", "topic read open/+\ntopic write #\n").display().to_string();
    one_worker(&["--acl-file", &acl, "--allow-anonymous", "true"])
}

pub(crate) const DROPS: Driver = Driver {
    drive: Drive::Live(acl, |live| {
        let mut author = live.connected("author");
        // Expired by the time its client is back.
        subscribe_and_go(live.server.port(0), "late", "open/1");
        author.send(&publish_expiring("open/1", b"x", false, 1));
        assert_eq!(kind(&mut author), 0x40);
        std::thread::sleep(Duration::from_millis(2100));
        let late = live.let_in(&connect_stored("late", 1000, 0));
        let mut small = live.let_in(&connect_small("small"));
        assert_eq!(small.subscribe("open/2"), Some(1));
        author.send(&publish("open/2", &[7; 100]));
        // A group without a member that is connected.
        subscribe_and_go(live.server.port(0), "member", "$share/g/open/3");
        author.send(&publish("open/3", b"x"));
        // Some topics of the filter may be read, but not this one.
        let mut curious = live.connected("curious");
        assert_eq!(curious.subscribe("#"), Some(1));
        author.send(&publish("secret", b"x"));
        assert!(author.ping().is_some());
        Box::new([author, late, small, curious])
    }),
    moves: &[
        ("messages_owed", "", By::Exactly(4)),
        ("messages_dropped", "expired", By::Exactly(1)),
        ("messages_dropped", "too_large", By::Exactly(1)),
        ("messages_dropped", "no_member", By::Exactly(1)),
        ("messages_dropped", "denied", By::Exactly(1)),
    ],
};

pub(crate) const WITHDRAWALS: Driver = Driver {
    drive: Drive::Live(
        |_| one_worker(&[]),
        |live| {
            let port = live.server.port(0);
            let mut author = live.connected("author");
            subscribe_and_go(port, "away", "a");
            author.send(&publish("a", b"x"));
            for _ in 0..2 {
                assert_eq!(author.publish("a", b"x"), Some(0));
            }
            live.operate("DELETE", "/api/v1/client/session?id=away");
            // The only member of a group goes for ever, when another one is there.
            subscribe_and_go(port, "first", "$share/g/b");
            assert_eq!(author.publish("b", b"x"), Some(0));
            let mut second = live.connected("second");
            assert_eq!(second.subscribe("$share/g/b"), Some(1));
            live.operate("DELETE", "/api/v1/client/session?id=first");
            assert_eq!(kind(&mut second), 0x30);
            Box::new([author, second])
        },
    ),
    moves: &[
        // The message to the group was owed to both.
        ("messages_owed", "", By::Exactly(5)),
        ("messages_withdrawn", "away", By::Exactly(1)),
        ("messages_withdrawn", "session_over", By::Exactly(2)),
        ("messages_withdrawn", "passed_on", By::Exactly(1)),
        ("publishes_sent", "1", By::Exactly(1)),
    ],
};

pub(crate) const RETRIES: Driver = Driver {
    drive: Drive::Live(
        |_| one_worker(&[]),
        |live| {
            let mut reader = live.let_in(&connect_stored("reader", 1000, 0));
            assert_eq!(reader.subscribe("t"), Some(1));
            let mut author = live.connected("author");
            for _ in 0..2 {
                assert_eq!(author.publish("t", b"x"), Some(0));
                assert_eq!(kind(&mut reader), 0x30);
            }
            drop(reader);
            let mut reader = live.let_in(&connect_stored("reader", 1000, 0));
            for _ in 0..2 {
                assert_eq!(reader.packet().unwrap().0, 0x3A, "a duplicate at QoS 1");
            }
            Box::new([author, reader])
        },
    ),
    moves: &[
        ("messages_owed", "", By::Exactly(2)),
        ("messages_retried", "", By::Exactly(2)),
        ("publishes_sent", "1", By::Exactly(4)),
        ("inflight_messages", "", By::To(2)),
        ("inflight_greatest", "", By::To(2)),
    ],
};

pub(crate) const EMPTIED: Driver = Driver {
    drive: Drive::Live(
        |_| one_worker(&[]),
        |live| {
            subscribe_and_go(live.server.port(0), "away", "q");
            let mut author = live.connected("author");
            for _ in 0..3 {
                assert_eq!(author.publish("q", b"x"), Some(0));
            }
            live.operate("DELETE", "/api/v1/client/queue?id=away");
            Box::new(author)
        },
    ),
    moves: &[
        ("messages_dropped", "administrative", By::Exactly(3)),
        ("queued_messages", "", By::To(0)),
    ],
};

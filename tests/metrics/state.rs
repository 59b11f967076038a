//! What stands, and what it takes.

use crate::driver::{By, Drive, Driver, flags};
use crate::support::peer::{connect_stored, packet, subscribe_and_go, text};

fn listening(more: &[&str]) -> Vec<String> {
    flags(&[&["--listen", "mqtt://127.0.0.1:0", "--workers", "2"], more].concat())
}

/// PUBLISH of version 5 at QoS 0 with RETAIN.
fn retain(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x31, &[&text(topic)[..], &[0], payload].concat())
}

pub(crate) const STANDING: Driver = Driver {
    drive: Drive::Live(
        |_| listening(&[]),
        |live| {
            let port = live.server.port(0);
            subscribe_and_go(port, "one", "a/#");
            subscribe_and_go(port, "two", "$share/g/a/#");
            let mut peer = live.let_in(&connect_stored("three", 0, 0));
            for filter in ["b", "c", "$share/g/d"] {
                assert_eq!(peer.subscribe(filter), Some(1));
            }
            for topic in ["r/1", "r/2", "r/3", "r/2"] {
                peer.send(&retain(topic, b"x"));
            }
            peer.send(&retain("r/1", b""));
            assert!(peer.ping().is_some());
            Box::new(peer)
        },
    ),
    moves: &[
        ("connections", "", By::To(1)),
        ("clients_connected", "", By::To(1)),
        ("sessions", "", By::To(3)),
        ("subscriptions", "", By::To(5)),
        ("shared_subscriptions", "", By::To(2)),
        ("retained_messages", "", By::To(2)),
    ],
};

pub(crate) const BRIDGES: Driver = Driver {
    drive: Drive::Live(
        |folder| {
            // One to the broker itself, and one to nobody.
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = port.local_addr().unwrap().port();
            let text = format!(
                "listen = \"mqtt://127.0.0.1:{port}\"\n\
                 [[bridge]]\nname = \"self\"\naddress = \"127.0.0.1:{port}\"\n\
                 topic = [\"a out 0 \\\"\\\" far/\", \"b in 0 near/ far/\"]\n\
                 notifications = false\nmax-packet-size = 100\n\
                 restart-timeout = 1\nlocal-client-id = \"bridge\"\n\
                 [[bridge]]\nname = \"nowhere\"\naddress = \"127.0.0.1:1\"\n\
                 topic = \"c out\"\nnotifications = false\n"
            );
            let file = folder.write("bridges.toml", text);
            flags(&["--config", file.to_str().unwrap(), "--workers", "2"])
        },
        |live| {
            live.reaches("bridges", "connected", 1);
            let mut peer = live.connected("client");
            for topic in ["a", "a", "far/b"] {
                peer.send(&packet(0x30, &[&text(topic)[..], &[0, b'x']].concat()));
            }
            peer.send(&packet(0x30, &[&text("a")[..], &[0], &[b'x'; 100]].concat()));
            assert!(peer.ping().is_some());
            live.reaches("bridge_messages_dropped", "", 1);
            // Another client takes the bridge's session, until the bridge takes it back.
            drop(live.let_in(&connect_stored("bridge", 3600, 0)));
            live.reaches("bridge_connections", "", 2);
            live.reaches("bridges", "connected", 1);
            Box::new(peer)
        },
    ),
    moves: &[
        ("bridges", "connected", By::To(1)),
        ("bridges", "apart", By::To(1)),
        (
            "bridge_connections",
            "",
            By::AtLeast(1, "the first one comes before the first look, or after"),
        ),
        ("bridge_messages", "in", By::Exactly(1)),
        ("bridge_messages", "out", By::Exactly(2)),
        ("bridge_messages_dropped", "", By::Exactly(1)),
    ],
};

pub(crate) const PROCESS: Driver = Driver {
    drive: Drive::Live(
        |_| listening(&["--max-memory", "1000000000"]),
        |live| {
            live.reaches("uptime", "", 1);
            let mut peer = live.connected("client");
            subscribe_and_go(live.server.port(0), "away", "q");
            for _ in 0..40 {
                assert_eq!(peer.publish("q", &[7; 60_000]), Some(0));
            }
            Box::new(peer)
        },
    ),
    moves: &[
        ("uptime", "", By::AtLeast(1, "time passes while the broker is looked at")),
        ("workers", "", By::To(2)),
        ("memory_limit", "", By::To(1_000_000_000)),
        (
            "memory_used",
            "",
            By::AtLeast(1_000_000, "an allocator keeps pages, and takes some more"),
        ),
        ("messages_kept", "", By::AtLeast(2_300_000, "each thread tells of 64 KiB at a time")),
    ],
};

const GROWS: &str = "tables grow by more than one entry at a time, and at once for several";

pub(crate) const MEMORY: Driver = Driver {
    drive: Drive::Live(
        |_| listening(&[]),
        |live| {
            let mut peer = live.connected("client");
            for number in 0..200 {
                peer.send(&retain(&format!("retained/{number}"), b"x"));
                assert_eq!(peer.subscribe(&format!("subscribed/{number}")), Some(1));
            }
            for number in 0..20 {
                subscribe_and_go(live.server.port(0), &format!("away-{number}"), "a");
            }
            // Half a packet stays with its connection.
            let half = packet(0x30, &[7; 100_000]);
            peer.send(&half[..50_000]);
            Box::new(peer)
        },
    ),
    moves: &[
        ("memory", "retained", By::AtLeast(200 * 32, GROWS)),
        ("memory", "subscriptions", By::AtLeast(200 * 32, GROWS)),
        ("memory", "sessions", By::AtLeast(20 * 256, GROWS)),
        ("memory", "connections", By::AtLeast(50_000, GROWS)),
        ("memory", "output", By::AtLeast(1, GROWS)),
        ("memory", "metrics", By::ToAtLeast(100_000, "histograms are there from the start on")),
    ],
};

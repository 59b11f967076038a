//! Peers that vanish without a word: TCP has to find that out, also without MQTT's keep alive.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod everywhere;
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
mod support;

use everywhere::{Everywhere, TRANSPORTS};
use support::folder;
use support::peer::{connect_stored, packet, text};
use support::server::{Server, eventually};

/// Which timer the kernel runs for the only connection that a listener on `port` has accepted: 0
/// for none, 1 for data in flight, 2 for keep-alive.
fn timer(port: u16) -> Option<u8> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut lines = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_ours = fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "01";
        is_ours.then(|| fields[5].split(':').next().unwrap().parse().unwrap())
    });
    lines.next()
}

fn port(server: &Server, transport: &str) -> u16 {
    server.port(TRANSPORTS.iter().position(|known| *known == transport).unwrap())
}

#[test]
fn tcp_keep_alive_is_on_for_every_accepted_socket_unless_it_is_turned_off() {
    let world = Everywhere::new();
    for (seconds, wanted) in [("60", 2), ("0", 0)] {
        for workers in ["1", "2"] {
            let server = world.start(&["--workers", workers, "--tcp-keep-alive", seconds]);
            for transport in TRANSPORTS.into_iter().filter(|transport| *transport != "unix") {
                let mut peer = world.peer(&server, transport);
                assert_eq!(peer.connect(&connect_stored(transport, 0, 0)), Some(0));
                let port = port(&server, transport);
                let is_so = || timer(port) == Some(wanted);
                assert!(eventually(is_so), "{transport}: {:?}", timer(port));
            }
            let mut unix = world.peer(&server, "unix");
            assert_eq!(unix.connect(&connect_stored("unix", 0, 0)), Some(0));
        }
    }
}

/// The kernel gives up a peer that acknowledges nothing by the same limit as one that takes
/// nothing, which needs no network that loses packets.
#[test]
fn a_peer_with_data_in_flight_that_never_goes_on_is_given_up() {
    let world = Everywhere::new();
    let server = world.start(&["--workers", "2", "--tcp-keep-alive", "1"]);
    let mut stuck: Vec<_> = ["mqtt", "mqtts", "ws"]
        .into_iter()
        .map(|transport| {
            let mut peer = world.peer(&server, transport);
            assert_eq!(peer.connect(&connect_stored(transport, 0, 0)), Some(0));
            peer.send(&packet(0x82, &[&[0, 2, 0][..], &text("flood"), &[0]].concat()));
            assert_eq!(peer.packet().map(|(kind, _)| kind), Some(0x90));
            peer
        })
        .collect();
    let mut publisher = world.peer(&server, "unix");
    assert_eq!(publisher.connect(&connect_stored("publisher", 0, 0)), Some(0));
    let flood = packet(0x30, &[&text("flood")[..], &[0], &[b'x'; 100_000]].concat());
    for _ in 0..200 {
        publisher.send(&flood);
    }
    for transport in ["mqtt", "mqtts", "ws"] {
        let line = format!("Client {transport} [");
        let is_gone = || server.count(&line) > 0;
        assert!(eventually(is_gone), "{transport}: {}", server.log());
    }
    assert_eq!(server.count("disconnected: network error: timed out."), 3, "{}", server.log());
    assert!(publisher.ping().is_some());
    stuck.clear();
}

//! How a broker ends that is told to: at once when there is nobody to wait for, and in time
//! whatever the disk does.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod everywhere;
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
mod support;

use everywhere::{Everywhere, TRANSPORTS};
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use support::folder::{self, Folder};
use support::peer::{Peer, connect, connect_stored, packet, socket, text};
use support::server::Server;

/// Shorter than any wait that a stop may not have. A busy machine may take longer, but not each
/// time.
const AT_ONCE: Duration = Duration::from_millis(900);

#[test]
fn a_stop_waits_for_no_idle_peer_on_any_transport() {
    let world = Everywhere::new();
    for workers in ["1", "2", "4"] {
        for data in [&[][..], &["--data-dir", &world.data()]] {
            let flags = [&["--workers", workers][..], data].concat();
            let stops = (0..8).map(|_| stop_beside_idle_peers(&world, &flags));
            assert!(stops.into_iter().any(|took| took < AT_ONCE), "{flags:?}");
        }
    }
}

/// Stops a broker whose clients say nothing; how long that took.
fn stop_beside_idle_peers(world: &Everywhere, flags: &[&str]) -> Duration {
    let server = world.start(flags);
    let mut peers = Vec::new();
    for transport in TRANSPORTS {
        for number in 0..3 {
            let mut peer = world.peer(&server, transport);
            let id = format!("{transport}-{number}");
            assert_eq!(peer.connect(&connect_stored(&id, number, 60)), Some(0), "{flags:?}");
            peers.push(peer);
        }
    }
    // One that says nothing, and one in the middle of its CONNECT.
    let _silent = socket(server.port(0));
    let mut half = Peer::plain(server.port(0));
    half.send(&connect("half", None)[..10]);
    let took = stop(server, Some(0));
    for peer in &mut peers {
        let packet = peer.packet().expect("DISCONNECT comes");
        assert_eq!((packet.0, packet.1[0]), (0xe0, 0x8b), "{flags:?}");
    }
    took
}

/// Has it stop; how long that took.
#[track_caller]
fn stop(mut server: Server, expected: Option<i32>) -> Duration {
    let start = Instant::now();
    server.signal(libc::SIGTERM);
    let status = server.ends();
    assert_eq!(status, Some(expected), "{}", server.log());
    start.elapsed()
}

#[test]
fn a_client_that_goes_on_sending_still_gets_its_disconnect() {
    let world = Everywhere::new();
    for transport in ["mqtt", "mqtts", "ws"] {
        let server = world.start(&[]);
        let mut peer = world.peer(&server, transport);
        assert_eq!(peer.connect(&connect("sender", None)), Some(0));
        let publish = packet(0x30, &[&text("a")[..], &[0], &[b'x'; 1000]].concat());
        server.signal(libc::SIGTERM);
        let end = Instant::now() + Duration::from_millis(300);
        let mut sent = 0;
        while Instant::now() < end && peer.try_send(&publish).is_ok() {
            sent += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        let packet = peer.packet();
        let (kind, body) =
            packet.unwrap_or_else(|| panic!("{transport}, {sent}: {}", server.log()));
        assert_eq!((kind, body[0]), (0xe0, 0x8b), "{transport}");
    }
}

#[test]
fn the_port_is_free_while_the_last_connections_end() {
    let mut server = Server::start(&["--listen", "127.0.0.1:0"]);
    let port = server.port(0);
    let mut slow = Peer::plain(port);
    assert_eq!(slow.connect(&connect("slow", None)), Some(0));
    assert_eq!(slow.subscribe("a"), Some(1));
    let mut publisher = Peer::plain(port);
    assert_eq!(publisher.connect(&connect("publisher", None)), Some(0));
    // More than the sockets of a client that does not read take.
    for _ in 0..20 {
        publisher.publish("a", &vec![0; 1_000_000]);
    }
    server.signal(libc::SIGTERM);
    let is_free = || TcpListener::bind(("127.0.0.1", port)).is_ok();
    assert!(support::server::eventually(is_free), "the port is not free:\n{}", server.log());
    assert!(server.is_alive(), "it waits for the slow client:\n{}", server.log());
    assert_eq!(server.ends(), Some(Some(0)), "{}", server.log());
}

/// The kernel takes down the ring of a process that was killed after its end, the later the more
/// connections it had. A listener that lived as long would take connections that nobody serves.
#[test]
fn a_killed_broker_takes_no_connection_any_more() {
    for _ in 0..5 {
        let mut server = Server::start(&["--listen", "127.0.0.1:0", "--workers", "2"]);
        let port = server.port(0);
        let _connections: Vec<_> = (0..400).map(|_| socket(port)).collect();
        server.signal(libc::SIGKILL);
        assert_eq!(server.ends(), Some(None));
        let refused = TcpStream::connect(("127.0.0.1", port)).expect_err("nobody is there");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        TcpListener::bind(("127.0.0.1", port)).expect("the address is free");
    }
}

/// A broker in a file system of three megabytes, which only it and `/proc` see, and is full.
fn start_on_full_disk(folder: &Folder, workers: &str) -> Server {
    let data = folder.path().join("data");
    let flags = ["--listen", "127.0.0.1:0", "--workers", workers, "--data-dir"];
    let flags = [&flags[..], &[data.to_str().unwrap()]].concat();
    let (server, disk) = Server::start_on_small_disk(3, folder.path(), &flags);
    let mut stored = Peer::plain(server.port(0));
    assert_eq!(stored.connect(&connect_stored("stored", 3600, 60)), Some(0));
    assert_eq!(stored.subscribe("a"), Some(1));
    stored.send(&[0xe0, 0]);
    assert!(stored.closes());
    let _ = fs::write(disk.join("fill"), vec![0; 4_000_000]);
    server
}

/// Three clients that wait for what cannot be written.
fn wait_for_disk(server: &Server) -> Vec<Peer> {
    let publish = packet(0x32, &[&text("a")[..], &[0, 1, 0], &[b'x'; 20_000]].concat());
    let waiting = (0..3).map(|number| {
        let mut peer = Peer::plain(server.port(0));
        assert_eq!(peer.connect(&connect(&format!("waiting-{number}"), None)), Some(0));
        peer.send(&publish);
        server.logs("The journal cannot be written");
        peer
    });
    waiting.collect()
}

#[test]
fn a_full_disk_does_not_keep_it_from_ending() {
    for workers in ["1", "2"] {
        let folder = Folder::new();
        let mut server = start_on_full_disk(&folder, workers);
        let _waiting = wait_for_disk(&server);
        server.signal(libc::SIGTERM);
        assert_eq!(server.ends(), Some(Some(1)), "{}", server.log());
        server.logs("Stopped");
        let log = server.log();
        // A worker that the machine gives no time is not waited for.
        let is_told = ["changes are given up", "given_up="].iter().any(|told| log.contains(told));
        assert!(is_told, "that changes are given up is not told:\n{log}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = Folder::new();
    let mut server = start_on_full_disk(&folder, "2");
    let _waiting = wait_for_disk(&server);
    server.signal(libc::SIGTERM);
    server.logs("Stopping");
    server.signal(libc::SIGINT);
    assert_eq!(server.ends(), Some(Some(1)), "{}", server.log());
    server.logs("a second signal came");
}

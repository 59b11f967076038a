//! A service user may lock 8 MiB of memory or less, which newer kernels count rings as.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod support;

use std::sync::Mutex;
use support::peer::{Peer, connect};
use support::server::Server;

/// Starts 16 workers of a process that may lock so many KiB.
fn start(limit_kib: u32) -> Server {
    // Root may lock any amount unless it gives up the right to.
    let script = format!(
        "ulimit -l {limit_kib}; drop='setpriv --bounding-set=-ipc_lock --inh-caps=-ipc_lock'; \
         if [ \"$(id -u)\" != 0 ]; then drop=; fi; exec $drop \"$@\""
    );
    let flags = ["--listen", "127.0.0.1:0", "--workers", "16"];
    Server::start_under(&["bash", "-c", &script, "--"], &flags)
}

/// What one broker locks is another's limit: they take turns.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn sixteen_workers_start_with_little_memory_to_lock_and_serve() {
    let _turn = TURN.lock();
    for limit_kib in [8192, 2048, 1024] {
        let server = start(limit_kib);
        assert!(server.summary().contains("worker 15 on any core"), "{}", server.summary());
        let told = server.count("RLIMIT_MEMLOCK");
        assert!(told == server.count("allows smaller rings only: set LimitMEMLOCK=9M") && told < 2);
        let mut peers: Vec<Peer> = (0..64).map(|_| Peer::plain(server.port(0))).collect();
        for (number, peer) in peers.iter_mut().enumerate() {
            assert_eq!(peer.connect(&connect(&number.to_string(), None)), Some(0));
        }
        for peer in &mut peers[1..] {
            assert_eq!(peer.subscribe("all"), Some(1));
        }
        assert_eq!(peers[0].publish("all", b"x"), Some(0));
        for peer in &mut peers[1..] {
            assert_eq!(peer.packet().map(|(kind, _)| kind), Some(0x32), "{limit_kib}");
        }
    }
}

#[test]
fn fewer_workers_start_where_there_is_no_room_for_all_of_them() {
    let _turn = TURN.lock();
    let server = start(320);
    // A kernel that does not count rings lets all of them start.
    if !server.summary().contains("worker 15") {
        server.logs("allows fewer workers only: set LimitMEMLOCK=9M (ulimit -l 9216)");
    }
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect("client", None)), Some(0));
    assert!(peer.ping().is_some());
}

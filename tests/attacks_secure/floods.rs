//! Peers that stop half-way, and peers that come too often.

use crate::support::peer::{Peer, UPGRADE, connect, frame, packet, socket, text, tls, tls_client};
use crate::support::server::eventually;
use crate::{MQTT, MQTTS, Pinging, WS, WSS, World};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// After so long a peer that has not sent its CONNECT is gone.
const CONNECT_TIME: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: [&str; 2] = ["--connect-timeout", "10"];

/// Where a peer stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Silent,
    Connect,
    LongConnect,
    Hello,
    LongHello,
    Tls,
    Request,
    LongRequest,
    WebSocket,
}

const HALVES: [Half; 9] = [
    Half::Silent,
    Half::Connect,
    Half::LongConnect,
    Half::Hello,
    Half::LongHello,
    Half::Tls,
    Half::Request,
    Half::LongRequest,
    Half::WebSocket,
];

impl Half {
    /// Goes half the way.
    fn open(self, world: &World) -> TcpStream {
        let port = |listener| world.server.port(listener);
        let sent = |listener, bytes: &[u8]| {
            let mut stream = socket(port(listener));
            stream.write_all(bytes).unwrap();
            stream
        };
        match self {
            Self::Silent => sent(MQTT, &[]),
            // 256 MB are announced.
            Self::Connect => sent(MQTT, &[0x10, 0xff, 0xff, 0xff]),
            Self::LongConnect => {
                let mut bytes = vec![0x10, 0x80, 0x80, 0x10, 0, 4];
                bytes.extend_from_slice(b"MQTT\x04\x02\0\0\x2f\xff");
                bytes.resize(11 * 1024, b'a');
                sent(MQTT, &bytes)
            }
            Self::Hello => sent(MQTTS, &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7]),
            // As much of a message as is taken before it is whole.
            Self::LongHello => {
                let mut bytes = vec![22, 3, 1, 0x20, 0, 1, 0, 0xf0, 0];
                bytes.resize(5 + 0x2000, 3);
                bytes.extend_from_slice(&[22, 3, 1, 0x1f, 0xf0]);
                bytes.resize(bytes.len() + 0x1f00, 3);
                sent(MQTTS, &bytes)
            }
            Self::Tls => {
                let mut stream = tls(&world.trust, socket(port(MQTTS)));
                while stream.0.conn.is_handshaking() {
                    stream.0.conn.complete_io(&mut stream.0.sock).unwrap();
                }
                stream.0.sock
            }
            Self::Request => sent(WS, b"GET /mqtt HTTP/1.1\r\nHost: loc"),
            Self::LongRequest => {
                let head = UPGRADE.trim_end();
                sent(WS, format!("{head}\r\nX: {}", "x".repeat(7000)).as_bytes())
            }
            Self::WebSocket => {
                let mut stream = sent(WS, UPGRADE.as_bytes());
                let mut head = [0; 12];
                stream.read_exact(&mut head).unwrap();
                assert_eq!(&head, b"HTTP/1.1 101");
                stream
            }
        }
    }
}

/// As many descriptors as this process may have.
fn raise_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is there to be written, then to be read.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

/// `RINGMQ_PEERS=10000 cargo test --release --test attacks_secure -- half_open` opens ten thousand
/// of each kind.
#[test]
fn v03_v04_half_open_peers_hold_little_hinder_nobody_and_are_closed_on_time() {
    raise_limit();
    let count = std::env::var("RINGMQ_PEERS").map_or(1000, |count| count.parse().unwrap());
    // They are in this process as well.
    let at_once = if count > 1500 { 1 } else { 3 };
    let kinds = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(half) = HALVES.get(kinds.fetch_add(1, Ordering::Relaxed)) {
                    half_open(*half, count);
                }
            });
        }
    });
}

fn half_open(half: Half, count: usize) {
    let world = World::new(&CONNECT_TIMEOUT, &[]);
    // What is needed once is there before it is counted.
    drop((0..20).map(|_| half.open(&world)).collect::<Vec<_>>());
    let pinging = [MQTT, WSS].map(|at| Pinging::start(world.enter(at, &format!("pinging-{at}"))));
    let descriptors = || world.server.descriptors();
    let before = (eventually(|| world.server.count("connected from") == 2), descriptors());
    assert!(before.0);
    let resident = world.server.resident();
    let begun = Instant::now();
    let peers: Vec<TcpStream> = (0..count).map(|_| half.open(&world)).collect();
    let opened = begun.elapsed();
    for listener in [MQTT, MQTTS, WS, WSS] {
        let mut client = world.enter(listener, &format!("legitimate-{listener}"));
        assert!(client.ping().is_some(), "{half:?}");
    }
    let held = world.server.resident().saturating_sub(resident) / count as u64;
    println!("{half:?}: {held} bytes for each of {count} peers, opened in {opened:?}");
    // 16 KiB of a hello, one receive whose turn has not come, and what TLS itself needs.
    let most = if half == Half::LongHello { 32 } else { 16 } * 1024;
    assert!(held < most, "{half:?}: {held} bytes are held for each");
    // All of them are gone some time after the last one's time is over, and not before.
    thread::sleep(CONNECT_TIME.saturating_sub(begun.elapsed() + Duration::from_millis(300)));
    let are_open = descriptors() > before.1 + count / 2;
    assert!(are_open || begun.elapsed() >= CONNECT_TIME, "{half:?}: they are closed too early");
    let is_over = eventually(|| descriptors() <= before.1 + 4);
    assert!(is_over, "{half:?}: {} of {} descriptors are left", descriptors(), before.1);
    for pinging in pinging {
        println!("{half:?}: PINGREQ waited {:?}", pinging.stop());
    }
    assert!(world.server.count("no CONNECT in time") >= count, "{half:?}");
    drop(peers);
}

#[test]
fn v29_a_flood_of_handshakes_leaves_others_alone() {
    let world = World::new(&[], &[]);
    let pinging =
        [MQTT, MQTTS, WS, WSS].map(|at| Pinging::start(world.enter(at, &format!("p{at}"))));
    let mut subscribers: Vec<Peer> =
        (0..20).map(|n| world.enter(n % 4, &format!("subscriber-{n}"))).collect();
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.subscribe("flood"), Some(1));
    }
    let mut publisher = world.enter(MQTT, "publisher");
    let (stop, handshakes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Nothing is resumed, so each costs a signature.
                    let config = tls_client(&world.authority.pem(), None);
                    let mut stream = tls(&config, socket(world.server.port(MQTTS)));
                    if stream.0.conn.complete_io(&mut stream.0.sock).is_ok() {
                        handshakes.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for round in 0..30 {
            let start = Instant::now();
            assert_eq!(publisher.publish("flood", b"x"), Some(0));
            for subscriber in &mut subscribers {
                let (kind, body) = subscriber.packet().expect("the message comes");
                assert_eq!(kind & 0xf0, 0x30);
                subscriber.send(&[0x40, 2, body[7], body[8]]);
            }
            slowest = slowest.max(start.elapsed());
            if round % 10 == 0 {
                world.enter(MQTTS, &format!("legitimate-{round}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let longest = pinging.map(Pinging::stop).into_iter().max().unwrap();
    println!("{handshakes:?} handshakes: fan-out {slowest:?}, PINGREQ {longest:?}");
    assert!(handshakes.into_inner() > 50);
}

#[test]
fn v19_floods_of_fragments_and_control_frames_leave_others_alone() {
    let world = World::new(&[], &[]);
    let pinging = [MQTT, WS, WSS].map(|at| Pinging::start(world.enter(at, &format!("p{at}"))));
    let before = world.server.resident();
    // Empty fragments of one message; PINGREQ, a byte a fragment; pings; pongs nobody asked for.
    let empty = [&frame(0x02, &[])[..], &frame(0x00, &[]).repeat(50_000)].concat();
    let single = [frame(0x00, &[0xc0]), frame(0x00, &[0])].concat().repeat(20_000);
    let single = [&frame(0x02, &[])[..], &single].concat();
    let pings = frame(0x89, &[7; 125]).repeat(20_000);
    let pongs = frame(0x8a, &[7; 125]).repeat(20_000);
    let floods = [empty, single, pings, pongs];
    for listener in [WS, WSS] {
        for (number, flood) in floods.iter().enumerate() {
            let mut peer = world.enter(listener, &format!("flooding-{listener}-{number}"));
            // Nothing is read meanwhile, so the broker takes no more once its answers pile up.
            peer.set_timeout(Duration::from_millis(300));
            for part in flood.chunks(64 * 1024) {
                if peer.try_send_raw(part).is_err() {
                    break;
                }
            }
        }
    }
    for pinging in pinging {
        println!("PINGREQ waited {:?}", pinging.stop());
    }
    let held = || world.server.resident().saturating_sub(before);
    assert!(eventually(|| held() < 32 << 20), "{} bytes are held", held());
    let mut client = Peer::websocket(world.server.port(WS));
    assert_eq!(client.connect(&connect("afterwards", None)), Some(0));
}

/// A subscriber that does not read, one that does, and a publisher that floods them.
#[test]
fn v08_a_stopped_reader_behind_tls_or_websocket_slows_nobody_and_is_bounded() {
    let world = World::new(&["--max-queued-messages", "1000"], &[]);
    for listener in [MQTTS, WS, WSS] {
        let mut stopped = world.enter(listener, &format!("stopped-{listener}"));
        assert_eq!(stopped.subscribe("#"), Some(1));
        let mut reading = world.enter(listener, &format!("reading-{listener}"));
        assert_eq!(reading.subscribe("last"), Some(1));
        let mut publisher = world.enter(listener, &format!("publisher-{listener}"));
        let before = world.server.resident();
        let message = packet(0x30, &[&text("t")[..], &[0], &[b'x'; 4000]].concat());
        let pinging = Pinging::start(world.enter(listener, &format!("pinging-{listener}")));
        for _ in 0..10_000 {
            publisher.send(&message);
        }
        let start = Instant::now();
        assert_eq!(publisher.publish("last", b"x"), Some(0));
        let (kind, _) = reading.packet().expect("the message comes");
        assert_eq!(kind, 0x32);
        println!("listener {listener}: the last one took {:?}", start.elapsed());
        // The allocator gives memory back a while after it was freed.
        let held = || world.server.resident().saturating_sub(before);
        let is_bounded = eventually(|| held() < 48 << 20);
        assert!(is_bounded, "listener {listener}: {} bytes are held for 40 MB sent", held());
        println!("listener {listener}: PINGREQ waited {:?}", pinging.stop());
    }
}

#[test]
fn sigterm_says_why_through_every_layer() {
    let world = World::new(&[], &[]);
    let peers: Vec<Peer> = [MQTT, MQTTS, WS, WSS]
        .into_iter()
        .flat_map(|at| (0..8).map(move |number| (at, number)))
        .map(|(at, number)| world.enter(at, &format!("client-{at}-{number}")))
        .collect();
    // Halves that must not hold it up.
    let _halves = HALVES.map(|half| half.open(&world));
    world.server.signal(libc::SIGTERM);
    for mut peer in peers {
        let (kind, body) = peer.packet().expect("DISCONNECT comes");
        assert_eq!((kind, body[0]), (0xe0, 0x8b), "{body:02x?}");
        assert!(peer.closes());
    }
    assert!(eventually(|| !world.server.is_alive()));
}

/// CONNECT with a will of 60,000 bytes.
fn large_connect(client_id: &str) -> Vec<u8> {
    let will = [&[0][..], &text("will"), &60_000u16.to_be_bytes(), &[b'w'; 60_000]].concat();
    let body = [&text("MQTT")[..], &[5, 0x06, 0, 60, 0], &text(client_id), &will].concat();
    packet(0x10, &body)
}

#[test]
fn v03_half_sent_large_connects_behind_tls_or_websocket_are_few() {
    let world = World::new(&CONNECT_TIMEOUT, &[]);
    for listener in [MQTT, MQTTS, WS, WSS] {
        let code = world.peer(listener).connect(&large_connect(&format!("large-{listener}")));
        assert_eq!(code, Some(0), "listener {listener}: {}", world.server.log());
    }
    let before = world.server.resident();
    let begun = Instant::now();
    // Nothing but its last byte is missing.
    let peers: Vec<Peer> = (0..300)
        .map(|number| {
            let mut peer = world.peer([MQTTS, WS, WSS][number % 3]);
            let bytes = large_connect(&format!("half-{number}"));
            // It may be closed already.
            let _ = peer.try_send(&bytes[..bytes.len() - 1]);
            peer
        })
        .collect();
    world.server.logs("too many large CONNECT packets at once");
    let held = world.server.resident().saturating_sub(before);
    assert!(held < 12 << 20, "{held} bytes are held");
    let closed = world.server.count("too many large CONNECT packets at once");
    // Sixteen for each worker.
    let is_late = begun.elapsed() >= CONNECT_TIME;
    assert!(closed <= 284 && (closed >= 260 || is_late), "{closed} of {}", peers.len());
    for listener in [MQTT, MQTTS, WS, WSS] {
        assert!(world.enter(listener, &format!("legitimate-{listener}")).ping().is_some());
    }
    let code = world.peer(MQTT).connect(&large_connect("plain"));
    assert_eq!(code, Some(0), "over TCP they wait in the kernel");
    // When their time is over, others have their turn.
    thread::sleep(CONNECT_TIME.saturating_sub(begun.elapsed()));
    for listener in [MQTTS, WS, WSS] {
        let is_free = || {
            let mut peer = world.peer(listener);
            peer.try_send(&large_connect("afterwards")).is_ok()
                && peer.packet().is_some_and(|(kind, body)| (kind, body[1]) == (0x20, 0))
        };
        assert!(eventually(is_free), "listener {listener}");
    }
    drop(peers);
}

//! Who is taken for silent: nobody whose bytes the broker has not read yet, whatever kept it.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod everywhere;
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
mod support;

use everywhere::{Everywhere, TRANSPORTS};
use ringmq::base::time::Time;
use ringmq::broker::{Excess, Input, LinkId, Origin, Promise};
use ringmq::limits::{
    CONNECT_TIME_FACTOR, JOURNAL_WAITING_BYTES_MAX, LOOKS_MAX, TURNED_AWAY_TIME_MAX,
};
use ringmq::options::Options;
use ringmq::store::Epoch;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};
use support::bare::Bare;
use support::folder;
use support::peer::{Peer, UPGRADE, connect, connect_stored, packet, socket, text, tls_client};

const SECOND: Duration = Duration::from_secs(1);
/// The default of `--connect-timeout`.
const CONNECT_TIME: Duration = Duration::from_secs(30);
const PINGREQ: [u8; 2] = [0xc0, 0];

/// A client with a keep-alive of two seconds.
fn client(broker: &mut Bare, id: &str) -> LinkId {
    let link = broker.open();
    broker.send(link, &connect_stored(id, 0, 2));
    assert_eq!(broker.take(link)[0], 0x20);
    link
}

#[test]
fn input_that_waits_keeps_a_client_and_nothing_else_does() {
    let mut broker = Bare::default();
    let (heard, silent) = (client(&mut broker, "heard"), client(&mut broker, "silent"));
    broker.set_waiting(heard, true);
    broker.wait(4 * SECOND);
    assert!(!broker.is_closed(heard) && broker.is_closed(silent));
    // It arrives; from then on nothing comes any more.
    broker.set_waiting(heard, false);
    broker.send(heard, &PINGREQ);
    broker.wait(2 * SECOND);
    assert!(!broker.is_closed(heard));
    broker.wait(2 * SECOND);
    assert!(broker.is_closed(heard));
}

#[test]
fn input_that_never_becomes_a_packet_keeps_nobody_for_ever() {
    let mut broker = Bare::default();
    let (connected, fresh) = (client(&mut broker, "connected"), broker.open());
    for link in [connected, fresh] {
        broker.set_waiting(link, true);
    }
    broker.wait(CONNECT_TIME + SECOND);
    assert!(!broker.is_closed(connected) && !broker.is_closed(fresh));
    broker.wait(CONNECT_TIME + u32::from(LOOKS_MAX) * SECOND);
    assert!(broker.is_closed(connected) && broker.is_closed(fresh));
}

#[test]
fn a_slow_peer_that_goes_on_comes_in_and_one_that_dribbles_does_not() {
    let mut broker = Bare::default();
    let (slow, dribbling, stuck) = (broker.open(), broker.open(), broker.open());
    let connect = connect_stored("slow", 0, 2);
    let step = CONNECT_TIME - SECOND;
    broker.send(stuck, &connect[..1]);
    broker.wait(step);
    for link in [slow, dribbling] {
        broker.send(link, &connect[..5]);
    }
    broker.wait(2 * SECOND);
    assert!(broker.is_closed(stuck) && !broker.is_closed(slow) && !broker.is_closed(dribbling));
    broker.wait(step - 3 * SECOND);
    broker.send(slow, &connect[5..]);
    assert_eq!(broker.take(slow)[0], 0x20);
    broker.send(dribbling, &connect[5..6]);
    // However often something comes, there is an end: at twice the time.
    assert_eq!(broker.now, Time::ZERO.after(CONNECT_TIME_FACTOR * CONNECT_TIME - 3 * SECOND));
    broker.wait(3 * SECOND);
    assert!(broker.is_closed(dribbling));
}

#[test]
fn progress_that_the_shard_does_not_see_counts_until_a_client_is_in() {
    let mut broker = Bare::default();
    let (fresh, connected) = (broker.open(), client(&mut broker, "connected"));
    for _ in 0..3 {
        broker.wait(CONNECT_TIME / 2);
        broker.input(Input::Heard { link: fresh });
        broker.input(Input::Heard { link: connected });
        assert!(!broker.is_closed(fresh));
    }
    assert!(broker.is_closed(connected), "its keep alive of 2 s is over");
    broker.wait(CONNECT_TIME / 2);
    assert!(broker.is_closed(fresh));
}

#[test]
fn who_is_only_to_be_told_that_there_are_too_many_has_no_more_time_for_progress() {
    let mut broker = Bare::default();
    let link = LinkId { slot: 9, generation: 9 };
    let mut origin = Origin::from(std::net::SocketAddr::from(([192, 0, 2, 1], 1)));
    origin.excess = Some(Excess::Connections);
    broker.shard.open(broker.now, link, origin);
    assert_eq!(broker.shard.deadline(), Some(broker.now.after(TURNED_AWAY_TIME_MAX)));
}

/// A peer that sends CONNECT piece by piece, over each transport.
#[test]
fn a_slow_link_comes_in_over_every_transport() {
    let world = Everywhere::new();
    let server = world.start(&["--workers", "2", "--connect-timeout", "3"]);
    let peers = TRANSPORTS.map(|transport| (transport, world.peer(&server, transport)));
    let silent = TRANSPORTS.map(|transport| (transport, world.peer(&server, transport)));
    let connect = connect("slow", None);
    thread::scope(|scope| {
        for (transport, mut peer) in peers {
            let connect = &connect;
            scope.spawn(move || {
                peer.set_timeout(30 * SECOND);
                // Four seconds in all, and never one without anything.
                let (last, pieces) = connect.split_last().unwrap();
                for piece in pieces.chunks(pieces.len().div_ceil(8)) {
                    peer.send(piece);
                    thread::sleep(SECOND / 2);
                }
                assert_eq!(peer.connect(&[*last]), Some(0), "{transport}");
            });
        }
        for (transport, mut peer) in silent {
            scope.spawn(move || {
                peer.set_timeout(30 * SECOND);
                assert!(peer.closes(), "{transport}");
            });
        }
    });
}

/// Sends bytes in nine pieces, half a second after each other.
fn send_slowly(stream: &mut TcpStream, bytes: &[u8]) {
    for piece in bytes.chunks(bytes.len().div_ceil(9)) {
        stream.write_all(piece).unwrap();
        thread::sleep(SECOND / 2);
    }
}

#[test]
fn progress_below_mqtt_and_in_the_kernel_counts_as_well() {
    let world = Everywhere::new();
    let server = world.start(&["--workers", "2", "--connect-timeout", "3"]);
    let open = |transport: &str| {
        let index = TRANSPORTS.iter().position(|known| *known == transport).unwrap();
        let stream = socket(server.port(index));
        stream.set_read_timeout(Some(30 * SECOND)).unwrap();
        stream
    };
    let mut hello = Vec::new();
    let name = "localhost".try_into().unwrap();
    let client = rustls::ClientConnection::new(tls_client(&world.authority, None), name);
    client.unwrap().write_tls(&mut hello).unwrap();
    let will = [&[0][..], &text("w"), &60_000u16.to_be_bytes(), &[b'w'; 60_000]].concat();
    let head = [&text("MQTT")[..], &[5, 6, 0, 60, 0], &text("large")].concat();
    let large = packet(0x10, &[head, will].concat());
    // What is sent, and what an answer begins with.
    let cases = [
        ("mqtts", &*hello, &[0x16][..]),
        ("ws", UPGRADE.as_bytes(), b"HTTP/1.1 101"),
        ("mqtt", &*large, &[0x20]),
    ];
    thread::scope(|scope| {
        for (transport, bytes, answer) in cases {
            let mut stream = open(transport);
            scope.spawn(move || {
                send_slowly(&mut stream, bytes);
                let mut begin = vec![0; answer.len()];
                stream
                    .read_exact(&mut begin)
                    .unwrap_or_else(|error| panic!("{transport}: {error}"));
                assert_eq!(begin, answer, "{transport}");
            });
        }
    });
}

#[test]
fn a_late_turn_lets_a_connect_in() {
    let mut broker = Bare::default();
    let link = broker.open();
    broker.set_waiting(link, true);
    broker.wait(CONNECT_TIME);
    broker.set_waiting(link, false);
    broker.send(link, &connect_stored("late", 0, 2));
    assert_eq!(broker.take(link)[0], 0x20);
}

#[test]
fn a_journal_that_does_not_keep_up_makes_nobody_silent() {
    let mut broker = Bare::with(Options { max_queued_bytes: 1 << 40, ..Options::default() });
    broker.shard.keep_journal(Epoch(0), Promise::Interval(SECOND));
    let stored = broker.open();
    broker.send(stored, &connect_stored("stored", 3600, 0));
    broker.send(stored, &packet(0x82, &[&[0, 2, 0][..], &text("a"), &[1]].concat()));
    broker.drop_link(stored);
    let publisher = client(&mut broker, "publisher");
    let publish = packet(0x32, &[&text("a")[..], &[0, 1, 0], &[0; 1_000_000]].concat());
    for _ in 0..JOURNAL_WAITING_BYTES_MAX / 1_000_000 + 3 {
        broker.send(publisher, &publish);
    }
    // What comes now is not read: there may be anything.
    for _ in 0..10 {
        broker.now = broker.now.after(SECOND);
        broker.input(Input::Tick);
    }
    assert!(!broker.is_closed(publisher));
}

fn connect_with_will(id: &str, keep_alive_s: u16) -> Vec<u8> {
    let head = [&text("MQTT")[..], &[5, 6], &keep_alive_s.to_be_bytes(), &[0]].concat();
    let will = [&[0][..], &text("will"), &text(id)].concat();
    packet(0x10, &[&head[..], &text(id), &will].concat())
}

/// Lets a process stand still while the clients ping, or send their CONNECT.
#[test]
fn a_process_that_stood_still_disconnects_nobody() {
    const KEEP_ALIVE_S: u16 = 4;
    const CONNECT_TIME_S: u64 = 8;
    let world = Everywhere::new();
    for workers in ["1", "2"] {
        let server = world.start(&["--workers", workers, "--connect-timeout", "8"]);
        let mut heir = world.peer(&server, "mqtt");
        assert_eq!(heir.connect(&connect_stored("heir", 0, 0)), Some(0));
        assert_eq!(heir.subscribe("will"), Some(1));
        let mut peers = Vec::new();
        for transport in TRANSPORTS {
            for number in 0..60 {
                let mut peer = world.peer(&server, transport);
                let id = format!("{transport}-{number}");
                assert_eq!(peer.connect(&connect_with_will(&id, KEEP_ALIVE_S)), Some(0), "{id}");
                peers.push((transport, peer));
                peers.iter_mut().for_each(|(_, peer)| peer.set_timeout(30 * SECOND));
            }
        }
        // Peers that are in the middle of coming in.
        let fresh: Vec<Peer> =
            ["mqtt", "mqtts", "unix"].map(|transport| world.peer(&server, transport)).into();
        thread::sleep(Duration::from_millis(200));
        server.signal(libc::SIGSTOP);
        let began = Instant::now();
        let coming: Vec<_> = fresh
            .into_iter()
            .enumerate()
            .map(|(number, mut peer)| {
                peer.set_timeout(30 * SECOND);
                thread::spawn(move || peer.connect(&connect(&format!("fresh-{number}"), None)))
            })
            .collect();
        let mut pings = 0;
        while began.elapsed().as_secs() < CONNECT_TIME_S + 4 {
            peers.iter_mut().for_each(|(_, peer)| peer.send(&PINGREQ));
            pings += 1;
            thread::sleep(SECOND);
        }
        server.signal(libc::SIGCONT);
        for (transport, peer) in &mut peers {
            for _ in 0..pings {
                let packet = peer.packet().map(|(kind, _)| kind);
                assert_eq!(packet, Some(0xd0), "{transport}: {}", server.log());
            }
        }
        for thread in coming {
            assert_eq!(thread.join().unwrap(), Some(0), "{}", server.log());
        }
        heir.set_timeout(SECOND);
        assert_eq!(heir.packet(), None, "a will is published");
        // Whoever is silent now is found out.
        let (_, silent) = &mut peers[0];
        silent.set_timeout(20 * SECOND);
        let (kind, body) = silent.packet().expect("DISCONNECT comes");
        assert_eq!((kind, body[0]), (0xe0, 0x8d));
        assert!(server.is_alive());
    }
}

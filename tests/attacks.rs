//! What peers can do to a broker through its sockets: the vulnerability classes that a bare shard
//! cannot show, and how the process starts and stops.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::broker::{Broker, closes, connect_packet, connected};
use support::server::eventually;

/// PINGREQ is answered.
fn is_served(mut stream: &TcpStream) -> bool {
    let mut pong = [0; 2];
    stream.write_all(&[0xc0, 0]).is_ok()
        && stream.read_exact(&mut pong).is_ok()
        && pong == [0xd0, 0]
}

fn subscribe(mut stream: &TcpStream, filter: &str, qos: u8) {
    let mut packet = vec![0x82, 5 + filter.len() as u8, 0, 1, 0, filter.len() as u8];
    packet.extend_from_slice(filter.as_bytes());
    packet.push(qos);
    stream.write_all(&packet).unwrap();
    let mut suback = [0; 5];
    stream.read_exact(&mut suback).unwrap();
    assert_eq!(suback, [0x90, 3, 0, 1, qos]);
}

#[test]
fn v03_half_sent_connects_hold_little_and_hinder_nobody() {
    let broker = Broker::start(&["--workers", "2"]);
    let before = broker.resident();
    let count = 2000;
    let mut peers = Vec::new();
    for i in 0..count {
        let mut stream = broker.connect();
        // 256 MB are announced, or a CONNECT is cut after 11 KiB.
        match i % 2 {
            0 => stream.write_all(&[0x10, 0xff, 0xff, 0xff]).unwrap(),
            _ => {
                let mut bytes = vec![0x10, 0x80, 0x80, 0x10, 0, 4];
                bytes.extend_from_slice(b"MQTT\x04\x02\0\0\x2f\xff");
                bytes.resize(11 * 1024, b'a');
                stream.write_all(&bytes).unwrap();
            }
        }
        peers.push(stream);
    }
    let client = connected(&broker, "legitimate");
    assert!(is_served(&client));
    let held = (broker.resident().saturating_sub(before)) / count;
    assert!(held < 16 * 1024, "{held} bytes are held for each");
}

#[test]
fn v14_takeover_storm_over_tcp() {
    let broker = Broker::start(&["--workers", "2"]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = broker.connect();
                    let mut bytes = connect_packet("same");
                    bytes.extend_from_slice(&[0x82, 6, 0, 1, 0, 1, b't', 0]);
                    bytes.extend_from_slice(&[0xa2, 5, 0, 2, 0, 1, b't']);
                    bytes.extend_from_slice(b"\x30\x04\0\x01tx");
                    let _ = stream.write_all(&bytes);
                    let mut answer = [0; 4];
                    let _ = stream.read_exact(&mut answer);
                }
            });
        }
        std::thread::sleep(Duration::from_secs(3));
        stop.store(true, Ordering::Relaxed);
    });
    let last = connected(&broker, "same");
    assert!(is_served(&last));
    drop(last);
    let status = broker.stop();
    assert_eq!(status, Some(0));
}

#[test]
fn v26_a_restart_after_an_abort_serves_within_a_second() {
    let mut broker = Broker::start(&[]);
    assert!(is_served(&connected(&broker, "before")));
    let port = broker.address.port();
    // SAFETY: the process is this test's own child.
    unsafe { libc::kill(broker.pid() as i32, libc::SIGABRT) };
    assert!(eventually(|| !broker.is_alive()));
    drop(broker);
    let mut child = support::ringmq()
        .args(["--listen", &format!("127.0.0.1:{port}"), "--log-level", "warn"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let is_served = eventually(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    let _ = child.kill();
    let _ = child.wait();
    assert!(is_served, "the next process does not accept");
}

#[test]
fn v28_refused_sockets_are_closed() {
    let broker = Broker::start(&[]);
    let before = broker.descriptors();
    let refusals: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xc0\x00",
        b"\x10\x00",
        b"\x10\xff\xff\xff\xff\x7f",
        b"\x10\x0d\x00\x04MQTT\x09\x02\x00\x3c\x00\x01a",
        b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x3c\x00\x01a",
        b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x3c\x00\x00",
    ];
    for bytes in refusals {
        let mut stream = broker.connect();
        stream.write_all(bytes).unwrap();
        assert!(closes(&stream), "{bytes:02x?} was left open");
    }
    assert!(eventually(|| broker.descriptors() == before), "descriptors were left behind");
}

#[test]
fn v31_peers_that_vanish_at_any_point_leave_nothing_behind() {
    let broker = Broker::start(&["--workers", "2"]);
    let watcher = connected(&broker, "watcher");
    let before = broker.descriptors();
    let whole = [&connect_packet("vanishing")[..], &[0x82, 6, 0, 1, 0, 1, b'#', 0]].concat();
    for round in 0..40 {
        for cut in 0..whole.len() {
            let mut stream = broker.connect();
            stream.write_all(&whole[..cut]).unwrap();
            if round % 2 == 0 {
                // Reset instead of an orderly end.
                let linger = socket2::SockRef::from(&stream);
                linger.set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    }
    assert!(is_served(&watcher));
    assert!(eventually(|| broker.descriptors() == before), "descriptors were left behind");
}

/// A subscriber that does not read, one that does, and a publisher that floods them.
#[test]
fn v08_a_stopped_reader_slows_nobody_and_is_bounded() {
    let broker = Broker::start(&["--workers", "2", "--max-queued-messages", "1000"]);
    let stopped = connected(&broker, "stopped");
    subscribe(&stopped, "#", 0);
    let mut reading = connected(&broker, "reading");
    subscribe(&reading, "last", 1);
    let mut publisher = connected(&broker, "publisher");
    let before = broker.resident();
    let mut flood = vec![0x30, 0x80 | 0x43, 0x20, 0, 1, b't'];
    flood.resize(3 + 0x43 + 0x20 * 128, b'x');
    for _ in 0..20_000 {
        publisher.write_all(&flood).unwrap();
    }
    publisher.write_all(b"\x32\x09\0\x04last\0\x07x").unwrap();
    let mut message = [0; 11];
    reading.read_exact(&mut message).unwrap();
    assert_eq!(&message[..2], &[0x32, 9]);
    assert!(is_served(&publisher_acknowledged(publisher)));
    // The allocator gives memory back a while after it was freed.
    let held = || broker.resident().saturating_sub(before);
    assert!(eventually(|| held() < 48 << 20), "{} bytes are held for 80 MB sent", held());
}

fn publisher_acknowledged(mut stream: TcpStream) -> TcpStream {
    let mut puback = [0; 4];
    stream.read_exact(&mut puback).unwrap();
    assert_eq!(puback, [0x40, 2, 0, 7]);
    stream
}

#[test]
fn sigterm_says_why_and_ends_within_five_seconds() {
    for workers in ["1", "2"] {
        let broker = Broker::start(&["--workers", workers]);
        let mut clients = Vec::new();
        for i in 0..20 {
            let mut stream = broker.connect();
            let id = format!("client{i}");
            let mut packet = vec![0x10, 13 + id.len() as u8, 0, 4];
            packet.extend_from_slice(b"MQTT\x05\x02\0\x3c\0\0");
            packet.push(id.len() as u8);
            packet.extend_from_slice(id.as_bytes());
            stream.write_all(&packet).unwrap();
            let mut head = [0; 2];
            stream.read_exact(&mut head).unwrap();
            let mut rest = vec![0; head[1] as usize];
            stream.read_exact(&mut rest).unwrap();
            clients.push(stream);
        }
        // One does not read, and one never said CONNECT: neither may hold up the end.
        let _silent = broker.connect();
        assert_eq!(broker.stop(), Some(0));
        for mut stream in clients {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            assert_eq!((bytes[0], bytes[2]), (0xe0, 0x8b), "{bytes:02x?}");
        }
    }
}

/// A wrong value is one line with the cause, and exit status 2.
#[test]
fn wrong_flags_are_one_line_and_status_2() {
    let wrong: [&[&str]; 10] = [
        &["--workers", "many"],
        &["--pin", "0,977"],
        &["--pin", "3-1"],
        &["--listen", "no-such-host.invalid"],
        &["--listen", "127.0.0.1:70000"],
        &["--max-packet-size", "1"],
        &["--max-inflight", "0"],
        &["--log-level", "loud"],
        &["--no-such-flag"],
        &["--retain-available", "perhaps"],
    ];
    for flags in wrong {
        let output = support::ringmq().args(flags).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{flags:?}: {error}");
        assert!(error.starts_with("ringmq: "), "{flags:?}: {error}");
        assert!(!error.contains("panicked"), "{error}");
    }
}

#[test]
fn an_address_in_use_is_one_line_and_status_1() {
    let broker = Broker::start(&[]);
    let output =
        support::ringmq().args(["--listen", &broker.address.to_string()]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    assert!(error.contains(&broker.address.to_string()), "{error}");
}

//! Bytes cut anywhere, and the wrong protocol for the port.

use crate::support::peer::{
    Peer, UPGRADE, connect, connect_v3, frame, packet, socket, text, tls, tls_client,
};
use crate::support::server::eventually;
use crate::{MQTT, MQTTS, WS, WSS, World};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// CONNECT, SUBSCRIBE and a PUBLISH that comes back.
fn conversation(client_id: &str) -> Vec<u8> {
    let topic = format!("split/{client_id}");
    let subscribe = packet(0x82, &[&[0, 2, 0][..], &text(&topic), &[0]].concat());
    let publish = packet(0x30, &[&text(&topic)[..], &[0], b"payload"].concat());
    [connect(client_id, None), subscribe, publish].concat()
}

/// The answers to it come.
fn is_answered(peer: &mut Peer, case: &str) {
    let mut next = || peer.packet().unwrap_or_else(|| panic!("{case}: no answer")).0;
    assert_eq!(next(), 0x20, "{case}");
    // A message may come before SUBACK, which waits for the other worker.
    let mut kinds = [next(), next()];
    kinds.sort();
    assert_eq!(kinds, [0x30, 0x90], "{case}");
}

#[test]
fn v19_mqtt_split_at_every_byte_over_websocket_and_tls() {
    let world = World::new(&[], &[]);
    for listener in [MQTTS, WS, WSS] {
        let length = conversation("x-000").len();
        for cut in 0..=length {
            let bytes = conversation(&format!("{listener}-{cut:03}"));
            let mut peer = world.peer(listener);
            // Two records, or two frames, or both.
            peer.send(&bytes[..cut]);
            peer.send(&bytes[cut..]);
            is_answered(&mut peer, &format!("listener {listener}, cut at {cut}"));
        }
        let mut peer = world.peer(listener);
        for byte in conversation("bytewise") {
            peer.send(&[byte]);
        }
        is_answered(&mut peer, &format!("listener {listener}, byte by byte"));
    }
}

#[test]
fn v19_requests_and_frames_split_at_every_byte() {
    let world = World::new(&[], &[]);
    let whole = |id: &str| [UPGRADE.as_bytes(), &frame(0x82, &conversation(id))].concat();
    let length = whole("x-000").len();
    for cut in (0..=length).step_by(3) {
        let bytes = whole(&format!("c-{cut:03}"));
        let mut stream = socket(world.server.port(WS));
        stream.write_all(&bytes[..cut]).unwrap();
        if cut % 9 == 0 {
            // So that the broker surely sees the first part alone.
            std::thread::sleep(Duration::from_millis(2));
        }
        stream.write_all(&bytes[cut..]).unwrap();
        let mut received = Vec::new();
        let mut chunk = [0; 1024];
        let is_there =
            |kind: &[u8], received: &[u8]| received.windows(kind.len()).any(|bytes| bytes == kind);
        while !is_there(b"payload", &received) || !is_there(&[0x90, 4, 0, 2, 0, 0], &received) {
            let count = stream.read(&mut chunk).unwrap_or(0);
            assert!(count > 0, "cut at {cut}: {}", String::from_utf8_lossy(&received));
            received.extend_from_slice(&chunk[..count]);
        }
        assert!(received.starts_with(b"HTTP/1.1 101 "));
    }
}

/// What a TLS client says first.
fn hello(world: &World) -> (rustls::ClientConnection, Vec<u8>) {
    let config = tls_client(&world.authority.pem(), None);
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(config, name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    (client, bytes)
}

#[test]
fn v29_a_hello_split_at_every_byte_is_understood() {
    let world = World::new(&[], &[]);
    let length = hello(&world).1.len();
    for cut in 1..length {
        let (mut client, bytes) = hello(&world);
        let cut = cut.min(bytes.len() - 1);
        let mut stream = socket(world.server.port(MQTTS));
        stream.write_all(&bytes[..cut]).unwrap();
        if cut % 8 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        stream.write_all(&bytes[cut..]).unwrap();
        while client.is_handshaking() {
            let result = client.complete_io(&mut stream);
            assert!(result.is_ok(), "cut at {cut}: {result:?}\n{}", world.server.log());
        }
    }
}

#[test]
fn v29_goodbyes_alerts_and_garbage_during_a_handshake_leave_nothing_behind() {
    let world = World::new(&[], &[]);
    let mut watcher = world.enter(WSS, "watcher");
    let before = world.server.descriptors();
    let close_notify: &[u8] = &[21, 3, 3, 0, 2, 1, 0];
    let fatal: &[u8] = &[21, 3, 3, 0, 2, 2, 40];
    let garbage: &[u8] = &[23, 3, 3, 0, 4, 1, 2, 3, 4];
    let huge: &[u8] = &[22, 3, 3, 0xff, 0xff, 1];
    for listener in [MQTTS, WSS] {
        for end in [close_notify, fatal, garbage, huge, &[0x80, 0, 0]] {
            for with_hello in [false, true] {
                let (_, bytes) = hello(&world);
                let mut stream = socket(world.server.port(listener));
                if with_hello {
                    stream.write_all(&bytes).unwrap();
                }
                stream.write_all(end).unwrap();
                // Before there are keys anybody could have written a close_notify; who means it
                // closes the socket.
                let is_sure = end != close_notify;
                let case = format!("{end:02x?} after a hello: {with_hello}");
                assert!(!is_sure || Peer::over(stream).closes(), "{case} was left open");
            }
            // Halves of a hello, and the socket's end.
            for cut in [1, 5, 6, 100] {
                let mut stream = socket(world.server.port(listener));
                stream.write_all(&hello(&world).1[..cut]).unwrap();
            }
        }
    }
    assert!(watcher.ping().is_some());
    let is_clean = eventually(|| world.server.descriptors() == before);
    assert!(is_clean, "descriptors were left behind");
}

#[test]
fn the_wrong_protocol_for_a_port_is_closed_and_the_log_says_what_it_was() {
    let world = World::new(&[], &[]);
    let mqtt = connect("wrong", None);
    let (_, hello) = hello(&world);
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let cases: [(usize, &[u8], &str); 9] = [
        (MQTTS, &mqtt, "plain text on a TLS port: MQTT without TLS"),
        (MQTTS, http, "plain text on a TLS port: HTTP without TLS"),
        (WSS, &mqtt, "plain text on a TLS port: MQTT without TLS"),
        (WSS, UPGRADE.as_bytes(), "plain text on a TLS port: HTTP without TLS"),
        (WS, &mqtt, "MQTT without WebSocket on a WebSocket port"),
        (WS, &hello, "TLS on a WebSocket port without TLS"),
        (WS, http, "WebSocket request refused"),
        (MQTT, &hello, "TLS on a port without TLS"),
        (MQTT, UPGRADE.as_bytes(), "HTTP or a PROXY header on an MQTT port"),
    ];
    for (listener, bytes, line) in cases {
        let before = world.server.count(line);
        let mut stream = socket(world.server.port(listener));
        stream.write_all(bytes).unwrap();
        assert!(Peer::over(stream).closes(), "{line}: left open");
        let is_told = eventually(|| world.server.count(line) > before);
        assert!(is_told, "{line:?} is not in the log:\n{}", world.server.log());
    }
}

/// A connection whose first bytes are a proxy's.
fn proxied(world: &World, listener: usize, header: &[u8]) -> TcpStream {
    let mut stream = socket(world.server.port(listener));
    stream.write_all(header).unwrap();
    stream
}

/// A version 2 header for a client with this IPv4 address and port.
pub(crate) fn binary_header(address: [u8; 4], port: u16) -> Vec<u8> {
    let signature = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    let [high, low] = port.to_be_bytes();
    [&signature[..], &address, &[10, 0, 0, 1, high, low, 7, 0x5b]].concat()
}

#[test]
fn v20_a_trusted_proxy_tells_the_clients_address() {
    let world = World::at("proxy-from=127.0.0.0/8", &[], &[]);
    let headers = [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 1883\r\n".to_vec(), "192.0.2.7:12345"),
        (b"PROXY TCP6 2001:db8::7 ::1 12346 1883\r\n".to_vec(), "[2001:db8::7]:12346"),
        (binary_header([192, 0, 2, 8], 12347), "192.0.2.8:12347"),
    ];
    for listener in [MQTT, MQTTS, WS, WSS] {
        for (number, (header, address)) in headers.iter().enumerate() {
            let stream = proxied(&world, listener, header);
            let mut peer = match listener {
                MQTT => Peer::over(stream),
                MQTTS => Peer::over(tls(&world.trust, stream)),
                WS => Peer::over(stream).upgraded(),
                _ => Peer::over(tls(&world.trust, stream)).upgraded(),
            };
            let id = format!("proxied-{listener}-{number}");
            assert_eq!(peer.connect(&connect(&id, None)), Some(0), "{}", world.server.log());
            world.server.logs(&format!("New client connected from {address} as {id}"));
            // Whatever goes wrong later is the client's as well, not the proxy's.
            peer.send(&[0xf1, 0x40]);
            assert!(peer.closes());
            world.server.logs(&format!("Client {id} [{address}] disconnected: malformed packet"));
        }
    }
    // And whatever goes wrong before there is MQTT.
    for (listener, port) in [(MQTTS, 1), (WS, 2), (WSS, 3)] {
        let stream = proxied(&world, listener, &binary_header([192, 0, 2, 9], port));
        let mut peer = Peer::over(stream);
        peer.send(&[0x10, 0, 0, 0, 0, 0, 0, 0]);
        assert!(peer.closes());
        world.server.logs(&format!("peer=192.0.2.9:{port}"));
    }
    // The proxy's own connections, for its health checks, have no other address.
    let mut peer = Peer::over(proxied(&world, MQTT, b"PROXY UNKNOWN\r\n"));
    assert_eq!(peer.connect(&connect("health", None)), Some(0));
    world.server.logs("New client connected from 127.0.0.1:");
}

#[test]
fn v20_a_trusted_proxy_that_tells_nothing_is_refused() {
    let world = World::at("proxy-from=127.0.0.1", &[], &[]);
    let line = "no PROXY header where the proxy must send one";
    for listener in [MQTT, MQTTS, WS, WSS] {
        let before = world.server.count(line);
        let bytes = match listener {
            MQTT => connect("direct", None),
            WS => UPGRADE.as_bytes().to_vec(),
            _ => hello(&world).1,
        };
        let mut peer = Peer::over(proxied(&world, listener, &bytes));
        assert!(peer.closes(), "listener {listener}");
        assert!(eventually(|| world.server.count(line) > before), "{}", world.server.log());
    }
    let wrong: [&[u8]; 4] = [
        b"PROXY TCP4 300.0.2.7 10.0.0.1 12345 1883\r\n",
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 1883 more of it, and no end of the line for so long \
          that it could never have been one at all........................\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ];
    for header in wrong {
        assert!(Peer::over(proxied(&world, MQTT, header)).closes());
    }
    let told = || world.server.count("malformed PROXY header");
    assert!(eventually(|| told() == wrong.len()), "{}", world.server.log());
    assert_eq!(world.server.count("connected from"), 0);
}

#[test]
fn v20_a_header_from_an_untrusted_address_is_malformed() {
    let world = World::at("proxy-from=192.0.2.0/24", &[], &[]);
    let headers = [
        b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 1883\r\n".to_vec(),
        binary_header([192, 0, 2, 7], 12345),
    ];
    for listener in [MQTT, MQTTS, WS, WSS] {
        for header in &headers {
            let bytes = [header.clone(), connect_v3("spoofed", None)].concat();
            let is_closed = Peer::over(proxied(&world, listener, &bytes)).closes();
            assert!(is_closed, "listener {listener}, {header:02x?}");
        }
        // Without one the address is the socket's.
        world.enter(listener, &format!("direct-{listener}"));
    }
    assert_eq!(world.server.count("192.0.2.7"), 0, "{}", world.server.log());
    world.server.logs("New client connected from 127.0.0.1:");
    let told = || world.server.count("Client refused") + world.server.count("Client closed");
    assert!(eventually(|| told() == 8), "{}", world.server.log());
}

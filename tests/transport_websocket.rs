//! MQTT over WebSocket: who may open one, what frames may hold, and all layers together.

mod transport_peer;

use proptest::prelude::*;
use ringmq::transport::{Flow, Protocol, WebSocketSettings};
use rustls::version::TLS13;
use std::sync::Arc;
use transport_peer::Server;
use transport_peer::client::{Client, Pair};
use transport_peer::pki::Site;
use transport_peer::websocket::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, REQUEST, TEXT, frame, frames, header,
};

fn protocol(settings: WebSocketSettings) -> Protocol {
    Protocol { websocket: Some(Arc::new(settings)), ..Protocol::default() }
}

fn fresh() -> Server {
    Server::new(&protocol(WebSocketSettings::default()))
}

/// A server whose WebSocket is open.
fn open() -> Server {
    let mut server = fresh();
    server.receive(REQUEST.as_bytes()).unwrap();
    assert!(server.output().starts_with(b"HTTP/1.1 101 "));
    server
}

/// The answer to a request, and whether the WebSocket is open.
fn answer(settings: &WebSocketSettings, request: &str) -> (String, bool) {
    let mut server = Server::new(&protocol(settings.clone()));
    let outcome = server.receive(request.as_bytes());
    let answer = String::from_utf8(server.output()).unwrap();
    assert_eq!(outcome.is_ok(), server.transport.is_ready());
    (answer, outcome.is_ok())
}

#[test]
fn a_request_is_answered_as_the_rfc_has_it() {
    let (answer, is_open) = answer(&WebSocketSettings::default(), REQUEST);
    assert!(is_open);
    // The key and its answer are the example of RFC 6455, section 1.3.
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                    Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    assert_eq!(answer, expected);
}

#[test]
fn requests_that_are_wrong_are_told_why() {
    let cases = [
        ("GET ", "POST ", "405 "),
        ("GET /mqtt HTTP/1.1", "GET /mqtt HTTP/1.0", "505 "),
        ("GET /mqtt", "GET /other", "404 "),
        ("GET /mqtt", "GET /mqtt/", "404 "),
        ("Host: broker.example\r\n", "", "400 "),
        ("Host: broker.example\r\n", "Host: a\r\nHost: b\r\n", "400 "),
        ("Upgrade: websocket\r\n", "", "426 "),
        ("Upgrade: websocket", "Upgrade: h2c", "426 "),
        ("Connection: Upgrade", "Connection: close", "400 "),
        ("Version: 13", "Version: 8", "426 "),
        ("Version: 13", "Version: 13, 8", "426 "),
        ("Sec-WebSocket-Key: dGhl", "Sec-WebSocket-Key: dGh", "400 "),
        ("b25jZQ==", "b25jZQ=!", "400 "),
        ("Sec-WebSocket-Protocol: mqtt\r\n", "", "400 "),
        ("Protocol: mqtt", "Protocol: amqp, MQTT", "400 "),
        ("Host: ", "Ho st: ", "400 "),
        ("Host: ", "Content-Length: 5\r\nHost: ", "400 "),
        ("Host: ", "content-length: 0\r\nContent-Length: 1\r\nHost: ", "400 "),
        ("Host: ", "Content-Length: +0\r\nHost: ", "400 "),
        ("Host: ", "Transfer-Encoding: chunked\r\nHost: ", "400 "),
        ("Host: ", "Transfer-Encoding: identity\r\nHost: ", "400 "),
    ];
    for (good, bad, status) in cases {
        assert!(REQUEST.contains(good));
        let request = REQUEST.replacen(good, bad, 1);
        let (answer, is_open) = answer(&WebSocketSettings::default(), &request);
        assert!(!is_open && answer.starts_with(&format!("HTTP/1.1 {status}")), "{bad}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nConnection: close") && head.contains("text/plain"), "{head}");
        assert!(head.ends_with(&format!("Content-Length: {}\r\nConnection: close", body.len())));
        assert!(body.ends_with(".\n") && body.len() > 10, "{body}");
        assert_eq!(status == "426 ", head.contains("Sec-WebSocket-Version: 13"), "{head}");
    }
}

#[test]
fn every_path_may_be_served() {
    let settings = WebSocketSettings { path: "/*".into(), ..WebSocketSettings::default() };
    for path in ["/", "/mqtt", "/ws/", "/a/b?c=/d", "/*"] {
        let request = REQUEST.replacen("/mqtt", path, 1);
        assert!(answer(&settings, &request).1, "{path}");
    }
}

#[test]
fn requests_may_be_written_in_several_ways() {
    let cases = [
        ("GET /mqtt", "GET /", "mqtt"),
        ("GET /mqtt", "GET /mqtt?token=1", "mqtt"),
        ("Upgrade: websocket", "upgrade: h2c, WebSocket", "mqtt"),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade", "mqtt"),
        ("Protocol: mqtt", "Protocol: amqp,\tmqttv3.1 , mqtt", "mqtt"),
        ("Protocol: mqtt", "Protocol: amqp\r\nSec-WebSocket-Protocol: mqttv3.1.1", "mqttv3.1.1"),
    ];
    for (usual, other, subprotocol) in cases {
        let request = REQUEST.replacen(usual, other, 1);
        let (answer, is_open) = answer(&WebSocketSettings::default(), &request);
        assert!(is_open, "{other}: {answer}");
        assert!(answer.contains(&format!("Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n")));
    }
    let settings = WebSocketSettings { path: "/ws".into(), ..WebSocketSettings::default() };
    assert!(answer(&settings, &REQUEST.replacen("/mqtt", "/ws", 1)).1);
    assert!(!answer(&settings, REQUEST).1);
}

#[test]
fn pages_of_other_origins_are_refused() {
    let origins = vec!["https://good.example".into(), "https://fine.example".into()];
    let limited = WebSocketSettings { origins, ..WebSocketSettings::default() };
    let from = |origins: &[&str]| {
        let fields: String = origins.iter().map(|o| format!("Origin: {o}\r\n")).collect();
        REQUEST.replacen("Upgrade: ", &format!("{fields}Upgrade: "), 1)
    };
    let cases: [(&[&str], bool); 7] = [
        (&[], true),
        (&["https://good.example"], true),
        (&["https://FINE.example"], true),
        (&["https://evil.example"], false),
        (&["https://good.example.evil.example"], false),
        (&["null"], false),
        (&["https://good.example", "https://evil.example"], false),
    ];
    for (origins, is_allowed) in cases {
        let (answer, is_open) = answer(&limited, &from(origins));
        assert_eq!(is_open, is_allowed, "{origins:?}");
        assert!(is_allowed || answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
    assert!(answer(&WebSocketSettings::default(), &from(&["https://evil.example"])).1);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let settings = WebSocketSettings::default();
    let with = |fields: &str| REQUEST.replacen("Upgrade: ", &format!("{fields}Upgrade: "), 1);
    let padding = 8192 - REQUEST.len();
    let field = |length: usize| format!("X: {}\r\n", "x".repeat(length - 5));
    assert!(answer(&settings, &with(&field(padding))).1);
    for request in [with(&field(padding + 1)), with(&"X: y\r\n".repeat(80))] {
        let (answer, is_open) = answer(&settings, &request);
        assert!(!is_open && answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[test]
fn what_is_no_http_is_refused_at_once() {
    for (bytes, cause) in
        [(&b"\x10\x0c"[..], "MQTT without"), (b"\x16\x03\x01", "TLS on"), (b"\0", "no HTTP")]
    {
        let mut server = fresh();
        assert!(server.receive(bytes).unwrap_err().to_string().contains(cause));
        assert!(server.output().is_empty());
    }
}

#[test]
fn payload_is_handed_on_before_its_frame_is_complete() {
    let mut server = open();
    let wire = frame(FIN | BINARY, b"\x30\x0a0123456789");
    server.receive(&wire[..10]).unwrap();
    assert_eq!(server.take_plain(), b"\x30\x0a01");
    server.receive(&wire[10..]).unwrap();
    assert_eq!(server.take_plain(), b"23456789");
}

/// Frames of every size and kind that may be, and the data in them.
fn stream() -> (Vec<u8>, Vec<u8>) {
    let (short, long) = ([5; 126], [6; 70_000]);
    let wire = [
        frame(FIN | BINARY, b"one"),
        frame(FIN | BINARY, b""),
        frame(BINARY, b"two"),
        frame(FIN | PING, b"ping"),
        frame(CONTINUATION, b"three"),
        frame(FIN | PONG, b"pong"),
        frame(FIN | CONTINUATION, b"four"),
        frame(FIN | BINARY, &short),
        frame(FIN | BINARY, &long),
    ];
    (wire.concat(), [&b"onetwothreefour"[..], &short, &long].concat())
}

#[test]
fn frames_cut_at_every_byte_are_the_same_frames() {
    let (wire, plain) = stream();
    let mut server = fresh();
    for byte in REQUEST.bytes() {
        server.receive(&[byte]).unwrap();
    }
    assert!(server.output().starts_with(b"HTTP/1.1 101 "));
    for byte in wire {
        server.receive(&[byte]).unwrap();
    }
    assert!(server.take_plain() == plain);
    assert_eq!(frames(&server.output()), [(FIN | PONG, b"ping".to_vec())]);
}

#[test]
fn frames_right_behind_the_request_are_taken() {
    let mut server = fresh();
    server.receive(&[REQUEST.as_bytes(), &frame(FIN | BINARY, b"early")].concat()).unwrap();
    assert_eq!(server.take_plain(), b"early");
}

#[test]
fn a_send_is_one_frame() {
    let mut server = open();
    for length in [1, 125, 126, 65_535, 65_536] {
        let segment = vec![9; length];
        let wire = server.send(&[&segment[..1], &[], &segment[1..]]);
        assert_eq!(frames(&wire), [(FIN | BINARY, segment)]);
    }
    assert!(server.send(&[]).is_empty() && server.send(&[b""]).is_empty());
}

#[test]
fn frames_that_are_wrong_close_with_a_code() {
    let cases: [(Vec<u8>, u16, &str); 14] = [
        (frame(FIN | TEXT, b"text"), 1003, "text"),
        (header(FIN | BINARY, 4, false), 1002, "mask"),
        (frame(FIN | 0x40 | BINARY, b""), 1002, "reserved bits"),
        (frame(FIN | 0x10 | PING, b""), 1002, "reserved bits"),
        (frame(FIN | 3, b""), 1002, "opcode"),
        (frame(FIN | 11, b""), 1002, "opcode"),
        (frame(PING, b""), 1002, "pieces"),
        (frame(FIN | PING, &[0; 126]), 1002, "125"),
        (frame(FIN | CONTINUATION, b"x"), 1002, "continuation"),
        ([frame(BINARY, b"x"), frame(FIN | BINARY, b"y")].concat(), 1002, "within"),
        (header(FIN | BINARY, 1 << 63, true), 1002, "longer"),
        (frame(FIN | CLOSE, &[3]), 1002, "half"),
        (frame(FIN | CLOSE, &1005u16.to_be_bytes()), 1002, "code"),
        (frame(FIN | CLOSE, &[3, 0xe8, 0xff]), 1007, "UTF-8"),
    ];
    for (wire, code, cause) in cases {
        let mut server = open();
        let error = server.receive(&wire).unwrap_err().to_string();
        assert!(error.contains(cause), "{error}");
        let answer = [(FIN | BINARY, b"owed".to_vec())];
        assert_eq!(frames(&server.send(&[b"owed"])), answer, "what is owed goes first");
        server.transport.close();
        assert_eq!(frames(&server.output()), [(FIN | CLOSE, code.to_be_bytes().to_vec())]);
        assert!(server.send(&[b"more"]).is_empty(), "nothing follows a close frame");
        let after = frame(FIN | BINARY, b"ignored");
        assert_eq!(server.transport.receive(&after, &mut server.plain).unwrap(), Flow::Ended);
        assert!(!server.plain.ends_with(b"ignored"));
    }
}

#[test]
fn a_close_is_answered_with_its_code() {
    for payload in [&b""[..], &1000u16.to_be_bytes(), &3000u16.to_be_bytes(), b"\x03\xe9bye"] {
        let mut server = open();
        server
            .receive(&[frame(FIN | BINARY, b"last"), frame(FIN | CLOSE, payload)].concat())
            .unwrap();
        assert_eq!((server.take_plain(), server.flow), (b"last".to_vec(), Flow::Ended));
        let code = payload[..payload.len().min(2)].to_vec();
        let answer = (FIN | BINARY, b"x".to_vec());
        assert_eq!(
            frames(&server.send(&[b"x"])),
            std::slice::from_ref(&answer),
            "what is owed goes first"
        );
        server.transport.close();
        assert_eq!(frames(&server.send(&[b"x"])), [answer, (FIN | CLOSE, code)]);
    }
}

#[test]
fn our_close_follows_the_last_data_and_is_said_once() {
    let mut server = open();
    server.transport.close();
    let close = (FIN | CLOSE, 1000u16.to_be_bytes().to_vec());
    assert_eq!(frames(&server.send(&[b"last"])), [(FIN | BINARY, b"last".to_vec()), close]);
    server.receive(&frame(FIN | CLOSE, &1000u16.to_be_bytes())).unwrap();
    assert_eq!(server.flow, Flow::Ended);
    assert!(server.output().is_empty());
}

#[test]
fn of_many_pings_the_newest_is_answered() {
    let mut server = open();
    for number in 0..10_000u32 {
        server.receive(&frame(FIN | PING, &number.to_be_bytes())).unwrap();
    }
    assert_eq!(frames(&server.output()), [(FIN | PONG, 9999u32.to_be_bytes().to_vec())]);
}

/// The layers of a connection, and the same exchange through each combination of them.
#[test]
fn every_combination_of_layers_carries_the_same() {
    let mut site = Site::new();
    site.files.websocket = true;
    let settings = site.load();
    let proxy_line = &b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 1883\r\n"[..];
    for combination in 0..8 {
        let [proxy, tls, websocket] = [1, 2, 4].map(|bit| combination & bit != 0);
        let protocol = Protocol {
            proxy,
            tls: tls.then(|| settings.clone()),
            websocket: websocket.then(Arc::default),
        };
        assert_eq!(protocol.is_plain(), combination == 0);
        if protocol.is_plain() {
            continue;
        }
        let client = Client::new(&site.authority, &TLS13, None).with_alpn(&["http/1.1", "mqtt"]);
        let mut pair = Pair { client: client.open(), server: Server::new(&protocol) };
        if proxy {
            assert!(!pair.server.transport.is_ready());
            proxy_line.iter().for_each(|byte| pair.server.receive(&[*byte]).unwrap());
        }
        if tls {
            assert!(pair.server.transport.is_handshaking());
            pair.exchange(7).unwrap();
        }
        let seal = |pair: &mut Pair, bytes: &[u8]| match tls {
            true => pair.client_sends(bytes),
            false => bytes.to_vec(),
        };
        if websocket {
            assert!(!pair.server.transport.is_ready());
            let wire = seal(&mut pair, REQUEST.as_bytes());
            pair.server.receive(&wire).unwrap();
            let answer = pair.server.output();
            let answer = if tls { pair.client_reads(&answer) } else { answer };
            assert!(answer.starts_with(b"HTTP/1.1 101 "));
        }
        assert!(pair.server.transport.is_ready() && !pair.server.transport.is_handshaking());
        assert_eq!(pair.server.transport.peer().is_some(), proxy);
        let packet = match websocket {
            true => frame(FIN | BINARY, b"question"),
            false => b"question".to_vec(),
        };
        let wire = seal(&mut pair, &packet);
        pair.server.receive(&wire).unwrap();
        assert_eq!(pair.server.take_plain(), b"question");
        let wire = pair.server.send(&[b"ans", b"wer"]);
        let wire = if tls { pair.client_reads(&wire) } else { wire };
        match websocket {
            true => assert_eq!(frames(&wire), [(FIN | BINARY, b"answer".to_vec())]),
            false => assert_eq!(wire, b"answer"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn frames_cut_anywhere_are_the_same_frames(cuts in prop::collection::vec(1usize..9000, 1..40)) {
        let (wire, plain) = stream();
        let mut server = open();
        let mut rest = &wire[..];
        for cut in cuts.iter().cycle() {
            let (part, after) = rest.split_at((*cut).min(rest.len()));
            server.receive(part).unwrap();
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(server.take_plain() == plain);
    }

    #[test]
    fn any_bytes_are_taken_or_refused(
        head in 0usize..REQUEST.len() + 1,
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        piece in 1usize..64,
    ) {
        let wire = [&REQUEST.as_bytes()[..head], &bytes].concat();
        let mut server = fresh();
        for part in wire.chunks(piece) {
            if server.receive(part).is_err() || server.flow == Flow::Ended {
                break;
            }
        }
        server.output();
        prop_assert!(server.plain.len() <= bytes.len());
    }
}

//! What a running broker tells of itself: `$SYS`, metrics and health by HTTP.

mod support;

use ringmq::metrics;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use support::http::{ask, get, scrape};
use support::peer::{Peer, connect, connect_stored, connect_v3, packet, subscribe_and_go, text};
use support::server::{Server, eventually};

const FLAGS: [&str; 6] =
    ["--listen", "mqtt://127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--sys-interval", "1"];

fn start(more: &[&str]) -> (Server, String) {
    let server = Server::start(&[&FLAGS, more].concat());
    let address = server.metrics();
    (server, address)
}

fn publish(qos: u8, topic: &str, payload: &str) -> Vec<u8> {
    let id: &[u8] = if qos > 0 { &[0, 7] } else { &[] };
    packet(0x30 | qos << 1, &[&text(topic), id, &[0], payload.as_bytes()].concat())
}

#[test]
fn metrics_move_by_what_clients_do() {
    let (server, address) = start(&[]);
    let before = scrape(&address);
    let mut old = Peer::plain(server.port(0));
    assert_eq!(old.connect(&connect_v3("old", None)), Some(0));
    let mut reader = Peer::plain(server.port(0));
    assert_eq!(reader.connect(&connect_stored("reader", 100, 0)), Some(0));
    assert_eq!(reader.subscribe("t/+"), Some(1));
    let mut author = Peer::plain(server.port(0));
    assert_eq!(author.connect(&connect("author", None)), Some(0));
    author.send(&publish(0, "t/a", "12345"));
    author.send(&publish(1, "t/a", "123"));
    author.send(&publish(2, "t/a", "1"));
    for expected in [0x40, 0x50] {
        assert_eq!(author.packet().unwrap().0, expected);
    }
    for _ in 0..3 {
        assert_eq!(reader.packet().unwrap().0 >> 4, 3);
    }
    // A first packet that is no CONNECT.
    let mut wrong = Peer::plain(server.port(0));
    wrong.send(&packet(0xC0, &[]));
    assert!(wrong.closes());
    old.send(&packet(0xE0, &[]));
    assert!(old.closes());
    let expected = [
        ("connections_opened_total{transport=\"tcp\"}", 4.0),
        ("connects_accepted_total{version=\"3.1.1\"}", 1.0),
        ("connects_accepted_total{version=\"5.0\"}", 2.0),
        ("clients_departed_total{reason=\"disconnect\"}", 1.0),
        ("clients_connected", 2.0),
        ("connections", 2.0),
        ("sessions", 2.0),
        ("subscriptions", 1.0),
        ("publishes_received_total{qos=\"0\"}", 1.0),
        ("publishes_received_total{qos=\"1\"}", 1.0),
        ("publishes_received_total{qos=\"2\"}", 1.0),
        ("publishes_sent_total{qos=\"0\"}", 1.0),
        ("publishes_sent_total{qos=\"1\"}", 2.0),
        ("received_payload_bytes_total", 9.0),
        ("sent_payload_bytes_total", 9.0),
        ("delivery_seconds_count{qos=\"0\"}", 1.0),
        ("delivery_seconds_count{qos=\"1\"}", 2.0),
    ];
    for (name, change) in expected {
        let name = format!("ringmq_{name}");
        let moved = || scrape(&address)[&name] - before.get(&name).copied().unwrap_or(0.0);
        assert!(eventually(|| moved() == change), "{name}: {} for {change}", moved());
    }
    let now = scrape(&address);
    assert!(now["ringmq_packets_received_total"] - before["ringmq_packets_received_total"] >= 8.0);
    assert!(now["ringmq_turn_seconds_count"] > before["ringmq_turn_seconds_count"]);
    assert!(now["ringmq_memory_used_bytes"] > 0.0);
}

#[test]
fn what_waits_and_what_is_dropped_is_counted() {
    let (server, address) = start(&["--max-queued-messages", "3"]);
    subscribe_and_go(server.port(0), "away", "q");
    let mut author = Peer::plain(server.port(0));
    assert_eq!(author.connect(&connect("author", None)), Some(0));
    for _ in 0..5 {
        author.send(&publish(1, "q", "x"));
        assert_eq!(author.packet().unwrap().0, 0x40);
    }
    let expected = [
        ("ringmq_queued_messages", 3.0),
        ("ringmq_queue_greatest", 3.0),
        ("ringmq_messages_dropped_total{reason=\"queue_full\"}", 2.0),
    ];
    for (name, value) in expected {
        assert!(eventually(|| scrape(&address)[name] == value), "{name}: {value}");
    }
}

#[test]
fn sys_topics_are_those_of_mosquitto_and_follow_what_happens() {
    let (server, _) = start(&[]);
    let mut reader = Peer::plain(server.port(0));
    assert_eq!(reader.connect(&connect_v3("reader", None)), Some(0));
    reader.send(&packet(0x82, &[&[0, 1][..], &text("$SYS/#"), &[0]].concat()));
    let mut seen = BTreeMap::new();
    let mut take = |until: &dyn Fn(&BTreeMap<String, String>) -> bool| {
        while !until(&seen) {
            let (kind, body) = reader.packet().expect("more of $SYS");
            if kind >> 4 == 3 {
                let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let (topic, payload) = body[2..].split_at(length);
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                seen.insert(text(topic), text(payload));
            }
        }
    };
    let is = |topic: &'static str, value: &'static str| {
        move |seen: &BTreeMap<String, String>| {
            seen.get(&format!("$SYS/broker/{topic}")).is_some_and(|seen| seen == value)
        }
    };
    take(&is("clients/connected", "1"));
    take(&is("subscriptions/count", "1"));
    let mut more = Peer::plain(server.port(0));
    assert_eq!(more.connect(&connect_stored("more", 100, 0)), Some(0));
    take(&is("clients/connected", "2"));
    take(&is("clients/maximum", "2"));
    more.send(&packet(0xE0, &[]));
    assert!(more.closes());
    take(&is("clients/disconnected", "1"));
    take(&is("clients/total", "2"));
    let version = format!("ringmq version {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen["$SYS/broker/version"], version);
    assert!(seen["$SYS/broker/uptime"].ends_with(" seconds"));
    assert!(seen["$SYS/broker/load/connections/1min"].contains('.'));
    for topic in seen.keys() {
        assert!(!topic.contains("more") && !topic.contains('@'), "{topic}");
    }
}

#[test]
fn with_an_interval_of_0_nothing_is_published() {
    let server = Server::start(&["--listen", "mqtt://127.0.0.1:0", "--sys-interval", "0"]);
    let mut reader = Peer::plain(server.port(0));
    assert_eq!(reader.connect(&connect_v3("reader", None)), Some(0));
    reader.send(&packet(0x82, &[&[0, 1][..], &text("$SYS/#"), &[0]].concat()));
    assert_eq!(reader.packet().unwrap().0, 0x90);
    // Nothing comes before the answer to a ping.
    assert!(reader.ping().is_some());
}

#[test]
fn health_says_when_the_broker_is_ready() {
    let (server, address) = start(&[]);
    assert_eq!(get(&address, "/health/live").0, 200);
    let (status, _, body) = get(&address, "/health/ready");
    assert_eq!((status, &*body), (200, "ready\n"));
    // A client that does not go keeps the broker stopping for a moment.
    drop(server);
    assert!(TcpStream::connect(&address).is_err());
}

#[test]
fn bad_requests_are_answered_and_hold_nobody_up() {
    let (server, address) = start(&[]);
    // Half a request, and nothing at all: more connections than are served at a time.
    let mut idle: Vec<_> = (0..40).map(|_| TcpStream::connect(&address).unwrap()).collect();
    idle[0].write_all(b"GET /metrics HTTP/1.1\r\nHos").unwrap();
    assert_eq!(get(&address, "/nowhere").0, 404);
    let post =
        "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(ask(&address, post).0, 405);
    assert_eq!(ask(&address, "nonsense\r\n\r\n").0, 400);
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let mut socket = TcpStream::connect(&address).unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    // The peer may hang up before all of it is sent.
    let _ = socket.write_all(long.as_bytes());
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(get(&address, "/metrics").0, 200);
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect("client", None)), Some(0));
    assert!(peer.ping().unwrap() < Duration::from_secs(5));
}

#[test]
fn the_page_of_metrics_has_each_of_them() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md");
    let page = std::fs::read_to_string(page).unwrap();
    for metric in metrics::all() {
        let labels = match metric.label {
            "" => String::new(),
            label => format!("`{label}`: {}", metric.values.join(", ")),
        };
        let row = format!("| `{}` | {labels} | {} |", metric.prometheus_name(), metric.help);
        assert!(page.contains(&row), "docs/METRICS.md lacks:\n{row}");
    }
    let (_server, address) = start(&[]);
    let (_, _, text) = get(&address, "/metrics");
    for metric in metrics::all() {
        let help = format!("# HELP {} {}\n", metric.prometheus_name(), metric.help);
        assert!(text.contains(&help), "{help}");
    }
}

/// The dashboard for Grafana asks for nothing that there is not.
#[test]
fn the_dashboard_for_grafana_knows_the_metrics() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/grafana.json");
    let text = std::fs::read_to_string(path).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let asked = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut seen = 0;
    for target in asked {
        let expression = target["expr"].as_str().unwrap();
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("ringmq_")) {
            let name = name.trim_end_matches("_bucket").trim_end_matches("_sum");
            let is_known = metrics::all().any(|metric| metric.prometheus_name() == name);
            assert!(is_known, "{name} in {expression}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

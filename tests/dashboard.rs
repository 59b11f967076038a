//! The dashboard: its files and their policy, the streams that it reads, and a walk through its
//! pages in Chromium. `scripts/install-test-tools.sh` installs what the walk needs.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use support::folder::Folder;
use support::http::{ask, get};
use support::peer::{Peer, connect, packet, subscribe_and_go, text};
use support::server::{Server, eventually, run};

const FLAGS: [&str; 6] = [
    "--listen",
    "mqtt://127.0.0.1:0",
    "--listen",
    "ws://127.0.0.1:0/mqtt",
    "--admin-listen",
    "127.0.0.1:0",
];

fn start(more: &[&str]) -> (Server, String) {
    let server = Server::start(&[&FLAGS, more].concat());
    let address = server.dashboard().0;
    (server, address)
}

fn client(server: &Server, name: &str) -> Peer {
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect(name, None)), Some(0));
    peer
}

/// Publishes at QoS 1 and waits until it is acknowledged.
fn publish(author: &mut Peer, topic: &str, payload: &str, retain: bool) {
    let body = [&text(topic)[..], &[0, 9, 0], payload.as_bytes()].concat();
    author.send(&packet(0x32 | u8::from(retain), &body));
    assert_eq!(author.packet().unwrap().0, 0x40);
}

/// Server-sent events, one after the other.
struct Events {
    lines: Lines<BufReader<TcpStream>>,
}

impl Events {
    /// Opens a stream, which the broker has to grant.
    fn open(address: &str, path: &str) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut lines = BufReader::new(socket).lines();
        let head: Vec<_> =
            lines.by_ref().map(Result::unwrap).take_while(|l| !l.is_empty()).collect();
        assert_eq!(head[0], "HTTP/1.1 200 OK", "{head:?}");
        assert!(head.contains(&"content-type: text/event-stream".to_owned()), "{head:?}");
        Self { lines }
    }

    /// The text of the next event.
    fn text(&mut self) -> String {
        let is_event = |line: &String| line.starts_with("data: ");
        let line = self.lines.by_ref().map(Result::unwrap).find(is_event).expect("an event");
        line["data: ".len()..].to_owned()
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// The next event of which this is true.
    fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next();
            if is_it(&event) {
                return event;
            }
        }
    }
}

/// The places in a text between `before` and the next quotation mark.
fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split(['"', '\'']).next()).collect()
}

#[test]
fn every_file_that_the_page_needs_is_served_with_a_strict_policy() {
    let (server, address) = start(&[]);
    let port = server.port(1);
    let (status, head, page) = get(&address, "/");
    assert_eq!(status, 200);
    let mut wanted: Vec<String> =
        ["href=\"", "src=\""].iter().flat_map(|a| quoted(&page, a)).map(str::to_owned).collect();
    wanted.retain(|path| !path.starts_with('#'));
    assert!(wanted.len() > 5, "{wanted:?}");
    let mut known = vec![];
    while let Some(path) = wanted.pop().filter(|path| !known.contains(path)) {
        let (status, head, body) = get(&address, &format!("/{path}"));
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        if path.ends_with("main.js") || !path.contains("min.") {
            let imports = ["from './", "import('./"].iter().flat_map(|at| quoted(&body, at));
            wanted.extend(imports.map(|name| format!("dashboard/{name}")));
            wanted.retain(|path| !known.contains(path) && *path != "dashboard/mqtt.esm.js");
        }
        known.push(path);
    }
    assert!(known.iter().any(|path| path == "dashboard/format.js"), "{known:?}");
    let (status, other, _) = get(&address, "/dashboard/mqtt.esm.js");
    assert_eq!(status, 200);
    for head in [head, other] {
        let policy = format!(
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
             img-src 'self' data:; connect-src 'self' ws://127.0.0.1:{port}; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'none'\r\n"
        );
        assert!(head.contains(&policy), "{head}");
        assert!(head.contains("referrer-policy: no-referrer\r\n"), "{head}");
        assert!(head.contains("cache-control: no-cache\r\n"), "{head}");
    }
    assert!(!page.contains("<style") && !page.contains("style="), "{page}");
    assert_eq!(get(&address, "/dashboard/nothing.js").0, 404);
}

#[test]
fn a_page_by_another_name_of_this_machine_may_reach_its_listeners() {
    let (server, address) = start(&[]);
    let with = |more: &str| {
        ask(&address, &format!("GET / HTTP/1.1\r\n{more}\r\nConnection: close\r\n\r\n"))
    };
    let (_, head, _) = with("Host: localhost:1");
    assert!(head.contains(&format!("'self' ws://localhost:{};", server.port(1))), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let (status, head, body) = with(&format!("Host: localhost:1\r\nIf-None-Match: {tag}"));
    assert_eq!((status, &*body), (304, ""), "{head}");
    assert_eq!(with("Host: rebound.example.org").0, 403);
    assert_eq!(with("Host: localhost; script-src *").0, 403);
}

#[test]
fn live_figures_are_those_of_the_metrics_and_the_same_for_all() {
    let (server, address) = start(&[]);
    let mut reader = client(&server, "reader");
    assert_eq!(reader.subscribe("t/+"), Some(1));
    let mut author = client(&server, "author");
    let mut live = Events::open(&address, "/api/v1/live");
    let mut other = Events::open(&address, "/api/v1/live");
    for first in [live.next(), other.next()] {
        assert!(first["past"].is_array() && first["metrics"].is_null(), "{first}");
    }
    for _ in 0..5 {
        publish(&mut author, "t/a", "12345", false);
    }
    let is_there = |event: &Value| event["metrics"]["publishes_sent"]["1"] == 5;
    let event = live.until(is_there);
    assert_eq!(other.until(is_there), event);
    let (_, _, metrics) = get(&address, "/api/v1/metrics");
    let metrics: Value = serde_json::from_str(&metrics).unwrap();
    for name in ["clients_connected", "sessions", "subscriptions", "messages_dropped"] {
        assert_eq!(event["metrics"][name], metrics[name], "{name}");
    }
    let [workers, heat] = [&event["workers"], &event["heat"]["counts"]];
    assert_eq!(workers.as_array().unwrap().len(), 2);
    assert_eq!((&workers[1]["worker"], &workers[1]["core"]), (&json!(1), &Value::Null));
    let load = workers[0]["load"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&load), "{load}");
    assert_eq!(event["delivery"]["qos"]["1"]["count"], 5);
    assert!(heat.as_array().unwrap().len() >= 40, "{heat}");
    assert_eq!(event["journal"], "none");
    assert_eq!(event["slow"], json!([]));
    assert_eq!(event["websockets"][0]["port"], server.port(1));
}

#[test]
fn the_subscriber_that_holds_things_up_is_named() {
    let (server, address) = start(&[]);
    // One that lets no more than two messages be in flight, and acknowledges none.
    let properties: [u8; 4] = [3, 0x21, 0, 2];
    let connect = [&text("MQTT")[..], &[5, 2, 0, 0], &properties, &text("slow")].concat();
    let mut slow = Peer::plain(server.port(0));
    assert_eq!(slow.connect(&packet(0x10, &connect)), Some(0));
    assert_eq!(slow.subscribe("q"), Some(1));
    subscribe_and_go(server.port(0), "away", "q");
    let mut author = client(&server, "author");
    for _ in 0..7 {
        publish(&mut author, "q", "x", false);
    }
    let mut live = Events::open(&address, "/api/v1/live");
    let event = live.until(|event| event["slow"][0]["queued_messages"] == 5);
    let slow = event["slow"].as_array().unwrap();
    assert_eq!((slow.len(), &slow[0]["client_id"]), (1, &json!("slow")), "{event}");
    assert_eq!(slow[0]["inflight_messages"], 2);
}

#[test]
fn viewers_are_bounded_and_their_places_come_back() {
    let (_server, address) = start(&[]);
    for (path, count) in [("/api/v1/live", 16), ("/api/v1/log", 8)] {
        let viewers: Vec<_> = (0..count).map(|_| Events::open(&address, path)).collect();
        let (status, _, body) = get(&address, path);
        assert!(status == 503 && body.contains("\"error\""), "{path}: {status} {body}");
        // Other questions are answered all the same.
        assert_eq!(get(&address, "/api/v1/version").0, 200);
        drop(viewers);
        let is_granted = || {
            let mut socket = TcpStream::connect(&address).unwrap();
            write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
            let first = BufReader::new(socket).lines().next();
            first.is_some_and(|line| line.is_ok_and(|line| line.ends_with("200 OK")))
        };
        assert!(eventually(is_granted), "{path}");
    }
}

#[test]
fn the_log_is_told_from_its_last_lines_on() {
    for format in ["text", "json"] {
        let (server, address) = start(&["--log-format", format]);
        let _first = client(&server, "first");
        server.logs("as first");
        let mut log = Events::open(&address, "/api/v1/log");
        let has = |line: &Value, text: &str| line["message"].as_str().unwrap().contains(text);
        let line = log.until(|line| has(line, "as first"));
        assert_eq!(line["level"], "INFO", "{line}");
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
        let _second = client(&server, "second \"<b>\"");
        let later = log.until(|line| has(line, "as second"));
        assert!(later["number"].as_u64() > line["number"].as_u64(), "{later}");
        assert!(has(&later, "<b>"), "{later}");
    }
}

/// Clients of all kinds, one with a name that is markup, and what they leave behind.
fn fill(server: &Server) -> Vec<Peer> {
    subscribe_and_go(server.port(0), "away", "q/#");
    let mut peers: Vec<_> = (0..120).map(|n| client(server, &format!("client-{n:03}"))).collect();
    let mut odd = client(server, "<img src=x onerror=alert(1)>/%2F &amp; ü");
    assert_eq!(odd.subscribe("t/<b>/#"), Some(1));
    assert_eq!(peers[0].subscribe("t/+"), Some(1));
    assert_eq!(peers[1].subscribe("$share/g/t/#"), Some(1));
    for number in 0..4 {
        publish(&mut peers[2], &format!("q/{number}"), "x", false);
    }
    for topic in ["t/1", "t/2", "site/a/temperature"] {
        publish(&mut peers[2], topic, "21.5", true);
    }
    peers.push(odd);
    peers
}

#[test]
fn its_pages_show_what_the_answers_say_and_everybody_can_use_them() {
    let (folder, root) = (Folder::new(), Path::new(env!("CARGO_MANIFEST_DIR")));
    let (server, address) = start(&["--max-queued-messages", "3"]);
    let token = server.dashboard().1;
    let peers = fill(&server);
    let modules = root.join(".test-env/node_modules");
    assert!(modules.join("axe-core").is_dir(), "run scripts/install-test-tools.sh");
    let (status, text) = run(Command::new("node")
        .arg(root.join("tests/dashboard/walk.mjs"))
        .args([&address, &folder.path().join("profile").display().to_string()])
        .args([&server.pid().to_string(), &token])
        .env("MODULES", modules));
    assert_eq!(status, Some(0), "{text}\n{}", server.log());
    drop(peers);
}

//! What the log tells its reader: who came, who was not let in, who went and why, what was dropped.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

mod everywhere;
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
mod support;

use everywhere::{Everywhere, TRANSPORTS};
use ringmq::broker::{Input, LinkId};
use ringmq::limits::{DROPS_INTERVAL, DROPS_TOLD_MAX};
use ringmq::options::Options;
use socket2::SockRef;
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use support::bare::Bare;
use support::folder::{self, Folder};
use support::peer::{
    Peer, connect, connect_stored, connect_v3, packet, publish_expiring, socket, text,
};
use support::server::{Server, eventually};

/// Lines of the log that name a client and are not about how it came.
fn lines_about(server: &Server, client_id: &str) -> Vec<String> {
    let log = server.log();
    let named = |line: &&str| line.contains(client_id) && !line.contains("New client connected");
    log.lines().filter(named).map(str::to_owned).collect()
}

/// Waits for the one line that says how a client went.
#[track_caller]
fn departs(server: &Server, client_id: &str, reason: &str) {
    let is_told = || !lines_about(server, client_id).is_empty();
    assert!(eventually(is_told), "{client_id}: {}", server.log());
    let lines = lines_about(server, client_id);
    let [line] = &*lines else { panic!("{client_id}: {lines:#?}") };
    let from = line.find(&format!("INFO Client {client_id} [")).expect("Mosquitto's words");
    let (who, why) = line[from..].split_once("] disconnected: ").expect("Mosquitto's words");
    let (_, address) = who.rsplit_once('[').unwrap();
    assert!(address.starts_with("127.0.0.1:") || address == "a Unix socket", "{line}");
    assert_eq!(why, format!("{reason}."), "{line}");
}

#[test]
fn the_log_says_who_went_and_why_over_every_transport() {
    let world = Everywhere::new();
    for workers in ["1", "2"] {
        let server = world.start(&["--workers", workers, "--max-publish-rate", "5"]);
        let enter = |transport: &str, name: &str, connect: &[u8]| {
            let mut peer = world.peer(&server, transport);
            assert_eq!(peer.connect(connect), Some(0), "{name}");
            peer
        };
        let mut silent = Vec::new();
        for transport in TRANSPORTS {
            let id = |name: &str| format!("{transport}-{workers}-{name}");
            let go = |name: &str, bytes: &[u8], reason: &str| {
                let id = id(name);
                let mut peer = enter(transport, &id, &connect(&id, None));
                peer.send(bytes);
                departs(&server, &id, reason);
                peer
            };
            go("bye", &[0xe0, 0], "DISCONNECT received");
            let will = "DISCONNECT received: disconnect with will message (0x04)";
            go("will", &[0xe0, 1, 4], will);
            go("twice", &connect("x", None), "protocol error: a second CONNECT");
            go("zero", &[0, 0], "malformed packet: packet type 0");
            let large = [&[0x30, 0xff, 0xff, 0xff, 0x7f][..], b"x"].concat();
            let cause = "oversize packet: packet above the limit";
            go("large", &large, cause);
            let many = publish_expiring("t", b"", false, 60).repeat(20);
            let cause = "message rate too high: the client publishes more than it may";
            go("many", &many, cause);
            let old = enter(transport, &id("old"), &connect_v3(&id("old"), None));
            let _new = enter(transport, &id("old"), &connect_v3(&id("old"), None));
            departs(&server, &id("old"), "session taken over");
            drop(old);
            drop(enter(transport, &id("gone"), &connect_v3(&id("gone"), None)));
            departs(&server, &id("gone"), "connection closed by client");
            let connect = connect_stored(&id("silent"), 0, 1);
            silent.push((id("silent"), enter(transport, &id("silent"), &connect)));
        }
        for (id, peer) in silent {
            departs(&server, &id, "exceeded timeout");
            drop(peer);
        }
        let mut unmasked = enter("ws", "unmasked", &connect("unmasked", None));
        unmasked.send_raw(&[0x82, 2, 0xc0, 0]);
        departs(&server, "unmasked", "WebSocket: a frame without a mask");
        server.signal(libc::SIGTERM);
    }
}

#[test]
fn a_reset_and_a_stop_are_told() {
    let server = Server::start(&["--listen", "127.0.0.1:0"]);
    let stream = socket(server.port(0));
    let reset = SockRef::from(&stream).try_clone().unwrap();
    let mut peer = Peer::over(stream);
    assert_eq!(peer.connect(&connect("reset", None)), Some(0));
    reset.set_linger(Some(Duration::ZERO)).unwrap();
    drop((reset, peer));
    departs(&server, "reset", "network error: connection reset");
    let mut stays = Peer::plain(server.port(0));
    assert_eq!(stays.connect(&connect("stays", None)), Some(0));
    server.signal(libc::SIGTERM);
    departs(&server, "stays", "shutdown");
}

#[test]
fn a_client_that_a_reload_removes_and_one_that_is_refused_are_named() {
    let folder = Folder::new();
    let path = support::passwords(&folder, &["alice", "mallory"], "secret");
    let server = Server::start(&["--listen", "127.0.0.1:0", "--password-file", &path]);
    let enter = |id: &str, user: &str, password: &str| {
        let mut peer = Peer::plain(server.port(0));
        let code = peer.connect(&connect(id, Some((user, password))));
        (code, peer)
    };
    let (code, _stays) = enter("stays", "alice", "secret");
    assert_eq!(code, Some(0));
    let (code, _goes) = enter("goes", "mallory", "secret");
    assert_eq!(code, Some(0));
    let (code, _) = enter("wrong", "alice", "wrong");
    assert_eq!(code, Some(0x86));
    server.logs(" as wrong (p5, c1, k60, u'alice'): bad user name or password: ");
    assert_eq!(server.count("CONNECT refused from 127.0.0.1:"), 1, "{}", server.log());
    assert_eq!(server.count("as stays (p5, c1, k60, u'alice')."), 1, "{}", server.log());
    let users = std::fs::read_to_string(&path).unwrap();
    let without = users.lines().filter(|line| !line.starts_with("mallory:"));
    std::fs::write(&path, without.collect::<Vec<_>>().join("\n")).unwrap();
    assert!(server.reload());
    departs(&server, "goes", "administrative action: the client would not be let in any more");
    assert!(lines_about(&server, "stays").is_empty(), "{}", server.log());
    assert!(!server.log().contains("secret"), "{}", server.log());
}

#[test]
fn a_refused_subscription_and_publish_are_told_at_debug() {
    let folder = Folder::new();
    let acl = folder.write("acl", "topic read open/#\n").display().to_string();
    for (level, count) in [("debug", 1), ("info", 0)] {
        let flags = ["--listen", "127.0.0.1:0", "--acl-file", &acl, "--log-level", level];
        let server = Server::start(&flags);
        let mut peer = Peer::plain(server.port(0));
        assert_eq!(peer.connect(&connect("client", None)), Some(0));
        peer.subscribe("closed/a");
        peer.publish("closed/b", b"");
        peer.send(&[0xe0, 0]);
        departs_after(&server, "client", level);
        let denied = |what: &str| {
            let line = format!("DEBUG Denied {what}");
            let log = server.log();
            log.lines().filter(|l| l.contains(&line) && l.contains("client_id=client")).count()
        };
        assert_eq!(denied("SUBSCRIBE"), count, "{}", server.log());
        assert_eq!(denied("PUBLISH"), count, "{}", server.log());
    }
}

fn departs_after(server: &Server, client_id: &str, level: &str) {
    server.logs(&format!("Client {client_id} ["));
    assert!(level == "debug" || lines_about(server, client_id).len() == 1);
}

#[test]
fn every_line_is_json_from_the_start_to_the_end() {
    let folder = Folder::new();
    let data = folder.path().join("data").display().to_string();
    for _ in 0..2 {
        let flags = [
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--data-dir",
            &data,
            "--workers",
            "2",
        ];
        let mut server = Server::start(&flags);
        let mut peer = Peer::plain(server.port(0));
        let nasty = "quote\" line\nend";
        assert_eq!(peer.connect(&connect_stored(nasty, 3600, 60)), Some(0));
        server.signal(libc::SIGTERM);
        assert_eq!(server.ends(), Some(Some(0)));
        let lines = json_lines(&[server.summary(), server.log()].join("\n"));
        let find = |message: &str| {
            let line = lines.iter().find(|line| line["message"] == message);
            line.unwrap_or_else(|| panic!("{message}: {}", server.log()))
        };
        let counts = find("Stopped")["counts"].as_str().unwrap();
        assert!(counts.contains("connects_accepted.5.0=1"), "{counts}");
        assert!(find("How long turns took")["p99_ms"].is_f64());
        assert!(find("limits")["connections"].is_u64());
        let gone = lines.iter().find(|line| line["reason"] == "shutdown").unwrap();
        assert!(gone["client_id"].as_str().unwrap().starts_with("quote"));
        let came = lines.iter().find(|line| line["keep_alive_s"] == 60).unwrap();
        assert_eq!((&came["protocol"], &came["clean_start"]), (&5.into(), &false.into()));
    }
}

#[track_caller]
fn json_lines(text: &str) -> Vec<serde_json::Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"));
    let lines: Vec<serde_json::Value> = text.lines().map(parse).collect();
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    lines
}

#[test]
fn a_broker_that_does_not_start_says_so_in_json() {
    let folder = Folder::new();
    let file = folder.write("a.toml", "log-format = \"json\"\nmax-inflight = 0\n");
    let broken = folder.write("b.toml", "log-format = \"json\"\nnonsense = 0\n");
    let (file, broken) = (file.display().to_string(), broken.display().to_string());
    let cases: [&[&str]; 6] = [
        &["--log-format", "json", "--max-inflight", "0"],
        &["--log-format=json", "--nonsense"],
        &["--log-format", "json", "--listen", "192.0.2.1:1", "--allow-anonymous", "true"],
        &["--log-format", "json", "--config", "/nonexistent"],
        &["--config", &file],
        &["--config", &broken],
    ];
    for arguments in cases {
        let output = support::ringmq().args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        let lines = json_lines(&String::from_utf8(output.stderr).unwrap());
        assert_eq!(lines.last().unwrap()["level"], "ERROR", "{arguments:?}");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What shards in this process log: those of all tests.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("nobody else sets one");
    log
});

/// The lines about dropped messages that have this text.
fn told(text: &str) -> Vec<String> {
    let log = String::from_utf8(LOG.0.lock().unwrap().clone()).unwrap();
    let lines = log.lines().map(|line| line.trim_start().to_owned());
    lines.filter(|line| line.contains("utgoing messages") && line.contains(text)).collect()
}

/// A client that subscribes to everything at QoS 1, with a queue of 3 messages and a window of 1.
fn slow_client(broker: &mut Bare, id: &str) -> LinkId {
    let link = broker.open();
    broker.send(link, &connect_stored(id, 3600, 0));
    broker.send(link, &packet(0x82, &[&[0, 2, 0][..], &text("#"), &[1]].concat()));
    broker.take(link);
    link
}

fn publish(broker: &mut Bare, from: LinkId, topic: &str, count: usize) {
    for _ in 0..count {
        broker.send(from, &packet(0x32, &[&text(topic)[..], &[0, 1, 0], b"x"].concat()));
    }
    broker.take(from);
}

#[test]
fn drops_are_told_when_they_begin_each_minute_and_when_they_end() {
    LazyLock::force(&LOG);
    let options = Options { max_queued_messages: 3, max_inflight: 1, ..Options::default() };
    let mut broker = Bare::with(options);
    let slow = slow_client(&mut broker, "slow-client");
    let publisher = broker.open();
    broker.send(publisher, &connect_stored("publisher", 0, 0));
    publish(&mut broker, publisher, "some/topic", 10);
    let begins = "WARN Outgoing messages are being dropped for client slow-client \
                  client_id=slow-client reason=\"queue full\" topic=some/topic";
    assert_eq!(told("slow-client"), [begins]);
    let long = "x".repeat(100);
    publish(&mut broker, publisher, &long, 7);
    assert_eq!(told("slow-client").len(), 1);
    broker.wait(DROPS_INTERVAL);
    let lines = told("slow-client");
    let minute = "WARN Outgoing messages were dropped in the last minute for client slow-client \
                  client_id=slow-client dropped=13 reason=\"queue full\" topic=xxx";
    assert!(lines.len() == 2 && lines[1].starts_with(minute), "{lines:#?}");
    assert!(lines[1].len() < minute.len() + 64, "{lines:#?}");
    // A session that is gone is told of as well.
    broker.drop_link(slow);
    publish(&mut broker, publisher, "again", 1);
    broker.wait(2 * DROPS_INTERVAL);
    let lines = told("slow-client");
    assert!(lines.len() == 4 && lines[2].contains("dropped=1 "), "{lines:#?}");
    let ends = "WARN No outgoing messages are being dropped any more for client slow-client \
                client_id=slow-client dropped_in_all=14";
    assert_eq!(lines[3], ends);
    broker.wait(5 * DROPS_INTERVAL);
    assert_eq!(told("slow-client").len(), 4);
}

#[test]
fn messages_larger_than_a_client_takes_are_told_as_drops() {
    LazyLock::force(&LOG);
    let mut broker = Bare::default();
    let link = broker.open();
    // Maximum Packet Size 40.
    let head = [&text("MQTT")[..], &[5, 2, 0, 0, 5, 0x27, 0, 0, 0, 40]].concat();
    broker.send(link, &packet(0x10, &[&head[..], &text("small")].concat()));
    for qos in [0, 1] {
        broker.send(link, &packet(0x82, &[&[0, 2, 0][..], &text("#"), &[qos]].concat()));
        let publisher = broker.open();
        broker.send(publisher, &connect_stored("publisher", 0, 0));
        publish(&mut broker, publisher, &"y".repeat(60), 2);
    }
    broker.wait(2 * DROPS_INTERVAL);
    let lines = told("client small");
    assert!(lines.len() == 3 && lines[0].contains("larger than the client takes"), "{lines:#?}");
    assert!(lines[1].contains("dropped=4 "), "{lines:#?}");
}

#[test]
fn what_is_kept_of_drops_is_bounded() {
    LazyLock::force(&LOG);
    let options = Options { max_queued_messages: 1, max_inflight: 1, ..Options::default() };
    let mut broker = Bare::with(options);
    for number in 0..DROPS_TOLD_MAX + 10 {
        let link = slow_client(&mut broker, &format!("crowd-{number}"));
        broker.drop_link(link);
    }
    let publisher = broker.open();
    broker.send(publisher, &connect_stored("publisher", 0, 0));
    publish(&mut broker, publisher, "t", 3);
    assert_eq!(told("client crowd-").len(), DROPS_TOLD_MAX);
    assert_eq!(told("are being dropped for many more clients").len(), 1);
    broker.wait(DROPS_INTERVAL);
    let lines = told("for many more clients");
    assert!(lines.len() == 2 && lines[1].contains("dropped=20"), "{lines:#?}");
    broker.input(Input::Shutdown);
}

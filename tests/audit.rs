//! The audit log of a running broker: what it tells of whom, that no secret is in it, and that it
//! lasts through renames, restarts, kills and a full disk.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock and name its folders")]

mod support;

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::folder::Folder;
use support::http::get;
use support::peer::{Peer, connect, connect_stored, packet, text};
use support::server::{Server, eventually, run};

const PASSWORD: &str = "a-secret-password";
const WRONG_PASSWORD: &str = "another-guess";
const PAYLOAD: &str = "a-private-payload";

fn log_path(folder: &Folder) -> String {
    folder.path().join("audit.log").display().to_string()
}

/// The lines of an audit log, without torn ones.
fn lines(path: impl AsRef<Path>) -> Vec<Value> {
    let log = fs::read_to_string(path).unwrap_or_default();
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Waits for so many lines about an event with these fields, and returns them.
#[track_caller]
fn await_lines(path: &str, event: &str, fields: &[(&str, &str)], count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    let is_there = eventually(|| {
        let is_it = |line: &Value| {
            line["event"] == event && fields.iter().all(|(name, value)| line[name] == *value)
        };
        found = lines(path);
        found.retain(is_it);
        found.len() >= count
    });
    let log = || fs::read_to_string(path).unwrap_or_default();
    assert!(is_there && found.len() == count, "{event} {fields:?}: {found:#?}\n{}", log());
    found
}

#[track_caller]
fn await_line(path: &str, event: &str, fields: &[(&str, &str)]) -> Value {
    await_lines(path, event, fields, 1).remove(0)
}

/// The status and the words of `ringmq audit verify`.
fn verify<T: AsRef<str>>(files: &[T], more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    run(command.args(["audit", "verify"]).args(more).args(files.iter().map(AsRef::as_ref)))
}

#[track_caller]
fn is_whole<T: AsRef<str>>(files: &[T]) -> String {
    let (status, said) = verify(files, &[]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("the chain is whole"), "{said}");
    said
}

/// CONNECT of version 5 by a user.
fn connect_as(id: &str, user: &str, password: &str, clean: bool, expiry_s: u32) -> Vec<u8> {
    let flags = 0xc0 | u8::from(clean) << 1;
    let head = [&text("MQTT")[..], &[5, flags, 0, 60, 5, 0x11], &expiry_s.to_be_bytes()].concat();
    packet(0x10, &[head, text(id), text(user), text(password)].concat())
}

fn publish(topic: &str, payload: &str, retain: bool) -> Vec<u8> {
    let body = [&text(topic)[..], &[0], payload.as_bytes()].concat();
    packet(0x30 | u8::from(retain), &body)
}

fn subscribe(filters: &[&str]) -> Vec<u8> {
    let filters = filters.iter().flat_map(|filter| [&text(filter)[..], &[1]].concat());
    packet(0x82, &[0, 2, 0].into_iter().chain(filters).collect::<Vec<u8>>())
}

const GOODBYE: [u8; 2] = [0xe0, 0];

/// A broker with users, rules and an audit log.
struct Guarded {
    folder: Folder,
    server: Server,
    log: String,
}

impl Guarded {
    fn new() -> Self {
        let folder = Folder::new();
        let users = support::passwords(&folder, &["alice", "bob"], PASSWORD);
        let rules = "user alice\ntopic readwrite open/#\nuser bob\ntopic readwrite open/#\n";
        let acl = folder.write("acl", rules).display().to_string();
        let log = log_path(&folder);
        let server = Server::start(&[
            "--listen",
            "127.0.0.1:0",
            "--password-file",
            &users,
            "--acl-file",
            &acl,
            "--audit-log",
            &log,
        ]);
        Self { folder, server, log }
    }

    fn enter(&self, connect: &[u8], code: u8) -> Peer {
        let mut peer = Peer::plain(self.server.port(0));
        assert_eq!(peer.connect(connect), Some(code));
        peer
    }
}

#[test]
fn logins_and_sessions_are_told() {
    let guarded = Guarded::new();
    let log = &*guarded.log;
    let alice = |id: &str, clean, expiry_s| {
        guarded.enter(&connect_as(id, "alice", PASSWORD, clean, expiry_s), 0)
    };
    let start = await_line(log, "start", &[]);
    assert_eq!((&start["seq"], &start["prev"]), (&1.into(), &"0".repeat(64).into()));
    let time = start["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.starts_with("20") && time.contains('T'), "{time}");

    guarded.enter(&connect_as("guesser", "alice", WRONG_PASSWORD, true, 0), 0x86);
    let refused = await_line(log, "login_refused", &[("client_id", "guesser")]);
    assert_eq!(
        (&refused["unverified_user"], &refused["reason_code"]),
        (&"alice".into(), &134.into())
    );
    assert!(refused["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{refused}");
    assert!(refused["listener"].as_str().unwrap().starts_with("mqtt://127.0.0.1:"), "{refused}");
    assert_eq!(refused["reason"], "bad user name or password");
    assert!(refused["cause"].is_string() && refused["protocol"] == "5.0", "{refused}");

    let mut stranger = Peer::plain(guarded.server.port(0));
    stranger.send(&[0x16, 3, 1, 0, 0]);
    assert!(stranger.closes());
    await_line(log, "connection_refused", &[("cause", "TLS on a port without TLS")]);

    let first = alice("sensor", false, 1000);
    let login = await_line(log, "login", &[("client_id", "sensor"), ("session", "created")]);
    assert_eq!((&login["user"], &login["expiry_s"]), (&"alice".into(), &1000.into()));
    assert_eq!((&login["clean_start"], &login["protocol"]), (&false.into(), &"5.0".into()));
    assert_eq!(login.get("unverified_user"), None);
    let mut second = alice("sensor", false, 1000);
    let taken = await_line(log, "session_taken_over", &[("client_id", "sensor")]);
    assert_eq!(taken["peer"], login["peer"]);
    let gone = await_line(log, "disconnect", &[("reason", "taken_over")]);
    assert_eq!((&gone["session"], &gone["user"]), (&"kept".into(), &"alice".into()));
    assert_eq!(gone["detail"], "session taken over");
    let resumed = await_line(log, "login", &[("client_id", "sensor"), ("session", "resumed")]);
    assert_eq!(resumed["peer"], taken["by"]);
    drop(first);

    // Another user meets a client that is connected, then one that is away.
    guarded.enter(&connect_as("sensor", "bob", PASSWORD, false, 0), 0x85);
    let refused = await_line(log, "login_refused", &[("client_id", "sensor")]);
    assert_eq!((&refused["owner"], &refused["unverified_user"]), (&"alice".into(), &"bob".into()));
    second.send(&GOODBYE);
    let gone = await_line(log, "disconnect", &[("reason", "disconnect")]);
    assert_eq!((&gone["peer"], &gone["session"]), (&resumed["peer"], &"kept".into()));
    let bob = guarded.enter(&connect_as("sensor", "bob", PASSWORD, false, 0), 0);
    await_line(log, "session_ended", &[("cause", "another user came"), ("user", "alice")]);
    drop(bob);
    await_line(log, "disconnect", &[("reason", "closed"), ("session", "ended")]);

    alice("tidy", false, 1000).send(&GOODBYE);
    await_line(log, "disconnect", &[("client_id", "tidy")]);
    let tidy = alice("tidy", true, 0);
    await_line(log, "session_ended", &[("cause", "clean start"), ("client_id", "tidy")]);
    alice("brief", false, 1).send(&GOODBYE);
    await_line(log, "session_ended", &[("cause", "expired"), ("client_id", "brief")]);

    let Guarded { folder: _folder, mut server, log } = guarded;
    server.signal(libc::SIGTERM);
    assert_eq!(server.ends(), Some(Some(0)));
    await_line(&log, "disconnect", &[("client_id", "tidy"), ("reason", "shutdown")]);
    let all = lines(&log);
    let last = all.last().unwrap();
    assert_eq!((&last["event"], &last["cause"]), (&"stop".into(), &"SIGTERM".into()));
    assert_eq!((&last["is_orderly"], &last["seq"]), (&true.into(), &all.len().into()));
    drop(tidy);
    no_secret(&log, &is_whole(&[&log]));
}

#[track_caller]
fn no_secret(log: &str, said: &str) {
    let text = fs::read_to_string(log).unwrap() + said;
    for secret in [PASSWORD, WRONG_PASSWORD, PAYLOAD] {
        assert!(!text.contains(secret), "{secret} is in the audit log:\n{text}");
    }
}

#[test]
fn what_clients_ask_for_and_are_denied_is_told() {
    let guarded = Guarded::new();
    let log = &*guarded.log;
    let mut peer = guarded.enter(&connect_as("meter", "alice", PASSWORD, true, 0), 0);
    peer.send(&subscribe(&["open/a", "closed/a", "open/+", "open/a#"]));
    assert_eq!(peer.packet().unwrap().0, 0x90);
    let subscribed = await_line(log, "subscribe", &[("client_id", "meter"), ("user", "alice")]);
    assert_eq!(
        (&subscribed["count"], &subscribed["filters"][1]["filter"]),
        (&2.into(), &"open/+".into())
    );
    assert_eq!(subscribed["filters"][0], serde_json::json!({"filter": "open/a", "qos": 1}));
    assert!(subscribed["peer"].is_string() && subscribed["listener"].is_string());
    let denied = await_line(log, "subscribe_denied", &[("client_id", "meter")]);
    assert_eq!(denied["count"], 2);
    let expected = serde_json::json!({"filter": "closed/a", "reason": "not authorised"});
    assert_eq!(denied["filters"][0], expected);

    peer.send(&packet(0xa2, &[&[0, 3, 0][..], &text("open/a"), &text("open/x")].concat()));
    let gone = await_line(log, "unsubscribe", &[("client_id", "meter")]);
    assert_eq!((&gone["count"], &gone["filters"][0]["filter"]), (&1.into(), &"open/a".into()));

    let topic = format!("closed/{}\u{202e}\u{9b}", "x".repeat(300));
    peer.send(&publish(&topic, PAYLOAD, false));
    let denied = await_line(log, "publish_denied", &[("client_id", "meter")]);
    assert_eq!(denied["reason"], "not authorised");
    let shown = denied["topic"].as_str().unwrap();
    assert!(shown.ends_with('…') && shown.chars().count() == 257, "{shown}");
    peer.send(&publish("open/r", PAYLOAD, true));
    peer.send(&publish("open/r", "", true));
    let cleared = await_line(log, "retained_deleted", &[("client_id", "meter")]);
    assert_eq!((&cleared["topic"], &cleared["user"]), (&"open/r".into(), &"alice".into()));

    // A will that may not be written is a refusal.
    let head = [&text("MQTT")[..], &[5, 0xc6, 0, 60, 0], &text("testator"), &[0]].concat();
    let will = [text("closed/will"), text(PAYLOAD), text("alice"), text(PASSWORD)].concat();
    guarded.enter(&packet(0x10, &[head, will].concat()), 0x87);
    let refused = await_line(log, "login_refused", &[("client_id", "testator")]);
    assert_eq!(refused["cause"], "the client may not publish its will");

    let rules = guarded.folder.write("acl", "user bob\ntopic readwrite open/#\n");
    assert!(guarded.server.reload());
    let reload = await_line(log, "reload", &[("actor", "SIGHUP")]);
    assert_eq!(reload["files"], serde_json::json!([rules.display().to_string()]));
    assert_eq!(reload["options"], serde_json::json!([]));
    fs::remove_file(&rules).unwrap();
    assert!(!guarded.server.reload());
    let refused = await_line(log, "reload_refused", &[("actor", "SIGHUP")]);
    assert!(refused["cause"].as_str().unwrap().contains("acl"), "{refused}");
    drop(peer);
    no_secret(log, &is_whole(&[log]));
}

#[test]
fn a_packet_with_many_filters_is_one_line_and_a_flood_is_counted() {
    let folder = Folder::new();
    let log = &*log_path(&folder);
    let server = Server::start(&["--listen", "127.0.0.1:0", "--audit-log", log]);
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect("many", None)), Some(0));
    let names: Vec<String> = (0..50_000).map(|number| format!("f/{number}")).collect();
    peer.send(&subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(peer.packet().unwrap().0, 0x90);
    let line = await_line(log, "subscribe", &[("client_id", "many")]);
    assert_eq!(line["count"], 50_000);
    assert_eq!(line["filters"].as_array().unwrap().len(), 20);
    assert_eq!(line["filters"][19]["filter"], "f/19");

    let count = 5000;
    peer.send(&publish("r", "", true).repeat(count));
    assert!(peer.ping().is_some());
    peer.send(&GOODBYE);
    let gone = await_line(log, "disconnect", &[("client_id", "many")]);
    let cleared: Vec<Value> =
        lines(log).into_iter().filter(|line| line["event"] == "retained_deleted").collect();
    let left_out =
        cleared.iter().chain([&gone]).filter_map(|line| line["left_out_before"].as_u64());
    assert_eq!(cleared.len() as u64 + left_out.sum::<u64>(), count as u64);
    assert!(cleared.len() < count, "a client may fill the log");
    is_whole(&[log]);
}

/// Clients that come and go, one after the other.
fn visit(server: &Server, prefix: &str, count: usize) {
    for number in 0..count {
        let mut peer = Peer::plain(server.port(0));
        assert_eq!(peer.connect(&connect(&format!("{prefix}-{number}"), None)), Some(0));
        peer.send(&GOODBYE);
        assert!(peer.closes());
    }
}

#[test]
fn the_log_goes_on_in_new_files_and_in_new_processes() {
    let folder = Folder::new();
    let log = &*log_path(&folder);
    let old = |number: usize| format!("{log}.{number}");
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--audit-log",
        log,
        "--audit-log-max-bytes",
        "65536",
        "--audit-log-keep",
        "0",
    ];
    let mut server = Server::start(&flags);
    visit(&server, "first", 300);
    await_line(log, "disconnect", &[("client_id", "first-299")]);
    assert!(Path::new(&old(2)).exists() && fs::metadata(old(1)).unwrap().len() >= 65_536);
    server.signal(libc::SIGTERM);
    assert_eq!(server.ends(), Some(Some(0)));

    // A second process, which is killed and leaves a torn line.
    let server = Server::start(&flags);
    visit(&server, "second", 1);
    await_line(log, "disconnect", &[("client_id", "second-0")]);
    let (_, said) = verify(&[log], &[]);
    let hash = said.lines().find_map(|line| line.strip_prefix("last hash: ")).unwrap().to_owned();
    drop(server);
    let mut file = fs::OpenOptions::new().append(true).open(log).unwrap();
    file.write_all(b"{\"seq\":99,\"prev\":\"").unwrap();
    let said = is_whole(&[log]);
    assert!(said.contains("the last line is torn after 18 bytes"), "{said}");

    let server = Server::start(&flags);
    server.logs("its last line was torn by a crash");
    let torn = await_line(log, "torn", &[]);
    assert_eq!(torn["torn_bytes"], 19);

    // A file that something else has renamed, as logrotate does.
    let renamed = format!("{log}-renamed");
    fs::rename(log, &renamed).unwrap();
    assert!(server.reload());
    let begun = await_line(log, "file_begun", &[("cause", "reopened")]);
    assert!(begun["seq"].as_u64() > torn["seq"].as_u64(), "{begun}");
    visit(&server, "third", 1);
    await_line(log, "disconnect", &[("client_id", "third-0")]);
    drop(server);

    let count = (1..).take_while(|number| Path::new(&old(*number)).exists()).count();
    let mut files: Vec<String> = (1..=count).map(old).collect();
    files.extend([renamed.clone(), log.to_owned()]);
    let said = is_whole(&files);
    assert!(said.contains("19 torn bytes of a crash"), "{said}");
    let events = |event: &str| {
        let of = |file: &String| lines(file).iter().filter(|line| line["event"] == event).count();
        files.iter().map(of).sum::<usize>()
    };
    assert_eq!((events("start"), events("stop"), events("login")), (3, 1, 302));
    let (status, said) = verify(&files, &["--last-hash", &hash]);
    assert!(status == Some(0) && said.contains("has the hash that was given"), "{said}");
    let (status, said) = verify(&[&old(1)], &["--last-hash", &hash]);
    assert!(status == Some(1) && said.contains("lines at the end were removed"), "{said}");
    found_in_files(&files, &old(1));
}

/// What is done to a file in the middle is found there.
fn found_in_files(files: &[String], file: &str) {
    let original = fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = original.split_inclusive('\n').collect();
    let mut removed = lines.clone();
    removed.remove(4);
    let mut swapped = lines.clone();
    swapped.swap(4, 5);
    let mut added = lines.clone();
    added.insert(4, lines[9]);
    let mut changed = lines.clone();
    let other = lines[4].replace("127.0.0.1", "127.0.0.9");
    changed[4] = &other;
    let cases = [
        (removed, format!("{file}:5: line number ")),
        (swapped, format!("{file}:6: added or moved: ")),
        (added, format!("{file}:5: lines number ")),
        (changed, format!("{file}:5: changed or replaced: ")),
        (lines[..lines.len() - 1].to_vec(), ":1: line number ".to_owned()),
    ];
    for (case, expected) in cases {
        fs::write(file, case.concat()).unwrap();
        let (status, said) = verify(files, &[]);
        assert!(status == Some(1) && said.contains(&expected), "{expected}:\n{said}");
        assert!(said.contains("NOT WHOLE"), "{said}");
    }
    fs::write(file, original).unwrap();
    is_whole(files);
}

#[test]
fn wrong_arguments_and_files_get_one_line_and_status_2() {
    let (status, said) = verify::<&str>(&[], &[]);
    assert_eq!((status, said.lines().count()), (Some(2), 1), "{said}");
    let (status, said) = verify(&["/nonexistent"], &[]);
    assert!(status == Some(2) && said.contains("/nonexistent: No such file"), "{said}");
    let (status, said) = verify(&["/dev/null"], &["--last-hash", "abc"]);
    assert!(status == Some(2) && said.contains("64 hexadecimal digits"), "{said}");
    let folder = Folder::new();
    let file = folder.write("other", "something else\n").display().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["--listen", "127.0.0.1:0", "--audit-log", &file])
        .output()
        .unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
    assert!(line.contains("is no audit log: choose another file"), "{line}");
}

/// The value of a metric.
fn metric(server: &Server, name: &str) -> u64 {
    let (_, _, body) = get(&server.metrics(), "/metrics");
    let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name}: {body}")).parse::<f64>().unwrap() as u64
}

/// A broker with its audit log in a file system of 32 megabytes, which only it and `/proc` see.
fn start_on_small_disk(folder: &Folder) -> (Server, PathBuf) {
    let log = log_path(folder);
    Server::start_on_small_disk(
        32,
        folder.path(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
            "--workers",
            "1",
            "--audit-log",
            &log,
        ],
    )
}

#[test]
fn a_full_disk_stops_nobody_and_what_was_lost_is_told() {
    let folder = Folder::new();
    let (server, disk) = start_on_small_disk(&folder);
    let log = disk.join("audit.log").display().to_string();
    let mut reader = Peer::plain(server.port(0));
    assert_eq!(reader.connect(&connect_stored("reader", 0, 0)), Some(0));
    assert_eq!(reader.subscribe("t"), Some(1));
    await_line(&log, "subscribe", &[("client_id", "reader")]);
    // Fills what is left.
    let _ = fs::write(disk.join("fill"), vec![0; 40_000_000]);
    let mut flooders = Vec::new();
    for number in 0..40 {
        let mut peer = Peer::plain(server.port(0));
        assert_eq!(peer.connect(&connect(&format!("flooder-{number}"), None)), Some(0));
        peer.send(&publish("r", "", true).repeat(1000));
        // Traffic goes on meanwhile.
        assert!(peer.publish("t", PAYLOAD.as_bytes()).is_some());
        assert_eq!(reader.packet().unwrap().0 & 0xf0, 0x30);
        flooders.push(peer);
    }
    server.logs("The audit log cannot be written: No space left on device");
    assert_eq!(metric(&server, "ringmq_audit_failing"), 1);
    assert!(eventually(|| metric(&server, "ringmq_audit_events_lost_total") > 0));
    let busy = server.cpu_time();
    std::thread::sleep(Duration::from_secs(2));
    assert!(server.cpu_time() - busy < Duration::from_secs(1), "the writer spins meanwhile");
    fs::remove_file(disk.join("fill")).unwrap();
    let again = await_line(&log, "written_again", &[]);
    let lost = again["lost"].as_u64().unwrap();
    assert_eq!(lost, metric(&server, "ringmq_audit_events_lost_total"));
    assert!(lost > 0 && again["cause"].as_str().unwrap().contains("No space left"), "{again}");
    server.logs("The audit log can be written again");
    assert_eq!(server.count("The audit log cannot be written"), 1, "{}", server.log());
    visit(&server, "later", 1);
    await_line(&log, "login", &[("client_id", "later-0")]);
    assert_eq!(metric(&server, "ringmq_audit_failing"), 0);
    let said = is_whole(&[&log]);
    no_secret(&log, &said);
}

//! Data of other brokers and other versions: what Mosquitto keeps is delivered as Mosquitto would
//! have delivered it, and what is exported comes back as it was.
#![allow(unreachable_pub, missing_docs, missing_debug_implementations, dead_code)]

#[path = "transfer/client.rs"]
mod client;
#[path = "transfer/database.rs"]
mod database;
#[path = "transfer/mosquitto.rs"]
mod mosquitto;
mod support;
#[path = "store/workload.rs"]
mod workload;

use client::{Came, Client};
use database::{ClientMessage, Database, QUEUED};
use mosquitto::{Mosquitto, database_in};
use proptest::prelude::*;
use ringmq::store::record::{Attributes, Record};
use ringmq::store::{Reading, Stamp, State};
use ringmq::transfer::{ImportError, Terms, export, import};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::folder::Folder;
use support::server::Server;
use workload::{Payloads, Workload, canonical};

/// Content type, response topic, correlation data, a user property twice, payload format.
const PROPERTIES: &[u8] = b"\x01\x01\x03\0\x04text\x08\0\x03r/t\x09\0\x02\0\xff\
    \x26\0\x01k\0\x01v\x26\0\x01k\0\x01w";
/// A Message Expiry Interval of an hour.
const EXPIRES: &[u8] = b"\x02\0\0\x0e\x10";

/// The sessions of the scenario that have messages in the end.
const SESSIONS: [&str; 6] = ["queue", "flight", "old", "local", "member 1", "member 2"];

/// The number of retained messages in the end.
const RETAINED: usize = 6;

/// Fills a broker with every kind of thing that its database keeps.
fn fill(port: u16) {
    let mut queue = Client::new(port, "queue");
    queue.subscribe_as("q/#", 0b0000_1010, Some(7));
    queue.subscribe_as("q/1", 0b0000_0001, Some(8));
    let mut old = Client::old(port, "old");
    old.subscribe("q/#", 1);
    let mut local = Client::new(port, "local");
    local.subscribe("n/#", 0b0010_0101);
    let mut members = [Client::new(port, "member 1"), Client::new(port, "member 2")];
    members.iter_mut().for_each(|member| member.subscribe("$share/g/s/#", 1));
    let mut flight = Client::taking(port, "flight", 3);
    flight.subscribe("f/#", 2);
    for client in [&mut queue, &mut old, &mut local, &mut flight].into_iter().chain(&mut members) {
        client.subscribe("end", 1);
    }
    local.publish("n/own", "own", 1, false, &[]);
    for client in [queue, old, local].into_iter().chain(members) {
        client.leave();
    }
    let mut publisher = Client::new(port, "publisher");
    fill_flight(&mut publisher, flight);
    for number in 0..30 {
        let topic = format!("q/{}", number % 3);
        let with = [PROPERTIES, &[], EXPIRES][number % 3];
        publisher.publish(&topic, &number.to_string(), number as u8 % 3, number % 5 == 0, with);
    }
    publisher.publish("n/other", "other", 1, false, &[]);
    (0..4).for_each(|n: u8| publisher.publish("s/1", &n.to_string(), 1, false, &[]));
    publisher.publish("r/1", "one", 1, true, PROPERTIES);
    publisher.publish("r/2", "two", 2, true, EXPIRES);
    publisher.publish("r/gone", "gone", 1, true, &[]);
    publisher.publish("r/gone", "", 1, true, &[]);
    publisher.leave();
    // PUBREC has come, PUBREL is not sent.
    let mut sender = Client::new(port, "sender");
    sender.send_publish("q/late", "late", 2, (false, false), 9, PROPERTIES);
    sender.until(0x50);
    sender.send_publish("r/late", "late", 2, (true, false), 10, &[]);
    sender.until(0x50);
    sender.vanish();
}

/// Three messages in flight, one in each state, and others behind them.
fn fill_flight(publisher: &mut Client, mut flight: Client) {
    publisher.publish("f/1", "waits for PUBACK", 1, false, &[]);
    publisher.publish("f/2", "waits for PUBREC", 2, false, PROPERTIES);
    publisher.publish("f/2", "waits for PUBCOMP", 2, false, EXPIRES);
    (0..4).for_each(|n| publisher.publish("f/3", &n.to_string(), 1 + n % 2, false, &[]));
    flight.next_id();
    flight.next_id();
    let released = flight.next_id();
    flight.answer(0x50, released);
    flight.until(0x60);
    flight.vanish();
}

/// What comes to each session that goes on, and what is retained.
fn collect(port: u16) -> Vec<(String, Vec<Came>)> {
    let mut sender = Client::new(port, "sender");
    sender.release(9);
    // It has not heard of PUBREC.
    sender.send_publish("r/late", "late", 2, (true, true), 10, &[]);
    sender.until(0x50);
    sender.release(10);
    let mut ends = Client::new(port, "ends");
    ends.publish("end", "end", 1, false, &[]);
    let mut came = Vec::new();
    for id in SESSIONS {
        let mut client = if id == "old" { Client::old(port, id) } else { Client::new(port, id) };
        came.push((id.to_owned(), client.collect()));
        client.finish();
    }
    let mut reader = Client::new(port, "reader");
    reader.subscribe("#", 2);
    let mut retained = reader.collect_some(RETAINED);
    retained.sort();
    came.push(("retained".to_owned(), retained));
    // Subscriptions go on as they were.
    for id in ["queue", "flight", "old", "local"] {
        let mut client = if id == "old" { Client::old(port, id) } else { Client::new(port, id) };
        let topic = match id {
            "flight" => "f/1",
            "local" => "n/1",
            _ => "q/2",
        };
        if id == "local" {
            client.publish(topic, "own", 1, false, &[]);
        }
        ends.publish(topic, "later", 2, true, &[]);
        ends.publish("end", id, 1, false, &[]);
        came.push((format!("{id} later"), client.collect_until(id)));
        client.finish();
    }
    came
}

/// The status and both outputs of the program.
fn ringmq(arguments: &[&str]) -> (i32, String, String) {
    let output = support::ringmq().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder with the database of a Mosquitto that has kept what clients left.
fn filled() -> Folder {
    let folder = Folder::new();
    let mosquitto = Mosquitto::start(&folder);
    fill(mosquitto.port);
    mosquitto.stop();
    folder
}

fn serve(data: &Path) -> Server {
    Server::start(&["--listen", "127.0.0.1:0", "--data-dir", shown(data)])
}

#[test]
fn what_mosquitto_keeps_is_delivered_as_mosquitto_would_have() {
    let folder = filled();
    let kept = std::fs::read(database_in(&folder)).unwrap();
    let data = folder.path().join("data");
    let (status, said, error) = ringmq(&["import", shown(&database_in(&folder)), shown(&data)]);
    assert_eq!(status, 0, "{error}");
    assert!(said.contains(": 8 sessions, 11 subscriptions (0 shared), 6 retained"), "{said}");
    assert!(said.contains(" 3 messages in flight, 2 received at QoS 2"), "{said}");
    assert_eq!(std::fs::read(database_in(&folder)).unwrap(), kept, "the file is left as it was");
    let mosquitto = Mosquitto::start(&folder);
    let wanted = collect(mosquitto.port);
    mosquitto.stop();
    let server = serve(&data);
    let found = collect(server.port(0));
    for ((name, wanted), (_, found)) in wanted.iter().zip(&found) {
        assert_eq!(found, wanted, "{name}");
    }
}

/// The wall clock's time where a test says it; in 2001, and in 2096.
const NOW_S: i64 = 2_000_000_000;
const PAST_S: i64 = 1_000_000_000;
const LATER_S: i64 = 4_000_000_000;

fn terms(accepts_damage: bool) -> Terms {
    let now = Reading { wall_ms: NOW_S as u64 * 1000, boot: [1; 16], boot_ms: 5 };
    Terms { now, expiry_max_s: (u32::MAX, u32::MAX), accepts_damage }
}

fn exported(state: &State) -> String {
    let mut lines = Vec::new();
    export(state, &mut lines).unwrap();
    String::from_utf8(lines).unwrap()
}

/// A database with all that the import tells apart, and that nobody's clock has to be right for.
fn sample(format: u32) -> Database {
    let mut database = Database::new(format);
    database.message_with(70, "a/1", b"one", 0, (1, true), b"\x03\0\x04text\x26\0\x01k\0\x01v");
    database.message(71, "a/2", b"two", LATER_S, 2);
    database.message(72, "a/3", b"late", PAST_S, 1);
    database.message(73, "a/4", b"now", 0, 0);
    database.client("stays", 0, u32::MAX);
    let stays = ClientMessage { client: "stays", ..QUEUED };
    for message in [
        ClientMessage { message: 71, packet_id: 3, qos: 2, state: 9, dup: true, ..stays },
        ClientMessage { message: 99, packet_id: 4, qos: 2, state: 6, dup: true, ..stays },
        ClientMessage { message: 70, packet_id: 1, state: 3, dup: true, ..stays },
        // It has its place in the window, and was never sent.
        ClientMessage { message: 71, packet_id: 2, qos: 2, state: 4, ..stays },
        ClientMessage { message: 70, properties: b"\x0b\x05\x0b\x06", ..stays },
        ClientMessage { message: 72, ..stays },
        ClientMessage { message: 73, qos: 0, ..stays },
        ClientMessage { message: 98, ..stays },
    ] {
        database.client_message(message);
    }
    database.client("ended", PAST_S, 100);
    database.client("ends", LATER_S, 100);
    let ends = ClientMessage { client: "ends", is_outgoing: false, ..QUEUED };
    database.client_message(ClientMessage { message: 71, packet_id: 8, qos: 2, state: 7, ..ends });
    database.client_message(ClientMessage { message: 70, packet_id: 9, qos: 1, state: 2, ..ends });
    database.client_message(ClientMessage { client: "nobody", message: 70, ..QUEUED });
    database.subscription("stays", "a/+", 0b0010_1001, 6);
    database.subscription("stays", "a/2", 2, 4);
    database.subscription("stays", "$share/g/a/#", 0b0000_0110, 0);
    database.subscription("ends", "#", 0b0000_0110, 0);
    database.subscription("ended", "#", 1, 0);
    database.chunk(77, &[b"of a later version"]);
    database.retained(70);
    database.retained(72);
    database.retained(97);
    database
}

/// What the sample comes to, after the first line; `USER` is the client's where there is one.
const SAMPLE: &str = include_str!("transfer/sample.jsonl");

#[test]
fn formats_5_and_6_are_read_as_they_are_published() {
    for (format, user) in [(5, ""), (6, "\"user\":\"ann\"")] {
        let found = import(&*sample(format).bytes, &terms(false)).unwrap();
        let lines = exported(&found.state);
        let (first, rest) = lines.split_once('\n').unwrap();
        assert!(first.starts_with("{\"kind\":\"export\",\"format\":1,\"ringmq\":\""), "{first}");
        assert_eq!(rest, SAMPLE.replace("USER", user), "format {format}");
        assert_eq!(
            found.counts.to_string(),
            "2 sessions, 4 subscriptions (1 shared), 1 retained messages, 4 queued messages, 3 \
             messages in flight, 1 received at QoS 2 and not released, 0 wills; left out: 1 \
             expired sessions, 2 expired messages, 1 QoS 0 messages for sessions, 3 entries whose \
             session or message the file lacks, 1 chunks of unknown kinds"
        );
    }
}

#[test]
fn sessions_live_no_longer_than_the_terms_allow() {
    let mut database = Database::new(6);
    database.client("for ever", 0, u32::MAX);
    database.client("has an end", NOW_S + 500, u32::MAX);
    database.client("short", NOW_S + 7, 20);
    database.client("none", 0, 0);
    let ends = |expiry_max_s| -> Vec<(String, u32, Option<u64>)> {
        let terms = Terms { expiry_max_s: (expiry_max_s, 1), ..terms(false) };
        let state = import(&*database.bytes, &terms).unwrap().state;
        let mut sessions: Vec<_> = state.sessions.into_values().map(|s| s.attributes).collect();
        sessions.sort_by(|one, other| one.client_id.cmp(&other.client_id));
        let shown = |session: Attributes<'_>| {
            let ends_s = session.ends_ms.map(|ends| ends / 1000 - NOW_S as u64);
            (session.client_id.to_string(), session.expiry_s, ends_s)
        };
        sessions.into_iter().map(shown).collect()
    };
    let (one, other, short) = ("for ever".into(), "has an end".into(), "short".into());
    let end = |expiry_s, ends_s| (expiry_s, Some(ends_s));
    let with = |name: &String, (expiry_s, ends_s)| (name.clone(), expiry_s, ends_s);
    let names: [String; 3] = [one, other, short];
    let found = ends(u32::MAX);
    let wanted = [(u32::MAX, None), end(500, 500), end(20, 7)];
    assert_eq!(found, names.iter().zip(wanted).map(|(n, w)| with(n, w)).collect::<Vec<_>>());
    let found = ends(100);
    let wanted = [end(100, 100), end(100, 100), end(20, 7)];
    assert_eq!(found, names.iter().zip(wanted).map(|(n, w)| with(n, w)).collect::<Vec<_>>());
}

/// The errors that a damaged file may have: the place and the cause, on one line.
fn assert_told(error: &ImportError, length: usize) {
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    if let ImportError::At { offset, .. } = error {
        assert!(*offset <= length as u64, "{line}");
    }
    assert!(line.starts_with("byte "), "{line}");
}

/// Imports damaged bytes with and without the acceptance of the damage; whatever is taken is
/// exported, and comes back from that as it was.
fn assert_survives(bytes: &[u8]) -> bool {
    let taken = import(bytes, &terms(true));
    let found = match import(bytes, &terms(false)) {
        Ok(whole) => whole,
        Err(error) => {
            assert_told(&error, bytes.len());
            let Ok(part) = taken else { return false };
            assert_eq!(part.damage.as_ref().unwrap().to_string(), error.to_string());
            part
        }
    };
    let lines = exported(&found.state);
    let again = import(lines.as_bytes(), &terms(false)).expect(&lines).state;
    assert_eq!(exported(&again), lines);
    found.damage.is_none()
}

#[test]
fn a_database_cut_off_anywhere_or_with_any_wrong_byte_does_no_harm() {
    let folder = filled();
    let real = std::fs::read(database_in(&folder)).unwrap();
    for bytes in [sample(5).bytes, sample(6).bytes, real] {
        assert!(assert_survives(&bytes));
        let whole = (0..bytes.len()).filter(|length| assert_survives(&bytes[..*length])).count();
        // Only an end between two chunks cannot be seen.
        assert!(whole > 5 && whole < bytes.len() / 20, "{whole} of {}", bytes.len());
        for place in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[place] ^= flip;
                assert_survives(&damaged);
            }
        }
    }
}

#[test]
fn a_length_beyond_everything_takes_no_memory() {
    for kind in 1..9_u32 {
        let mut database = Database::new(6);
        let offset = database.bytes.len();
        database.bytes.extend(kind.to_be_bytes());
        database.bytes.extend(u32::MAX.to_be_bytes());
        database.bytes.extend([0; 50]);
        let error = import(&*database.bytes, &terms(false)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("byte {offset}: ")), "{error}");
        let cause =
            if kind <= 6 { "says that it has 4294967295 bytes" } else { "50 of 4294967295" };
        assert!(error.contains(cause), "{error}");
    }
    // The largest message that there may be, of which nothing is there.
    let mut database = Database::new(6);
    database.bytes.extend(2_u32.to_be_bytes());
    database.bytes.extend(268_000_000_u32.to_be_bytes());
    let error = import(&*database.bytes, &terms(false)).unwrap_err().to_string();
    assert!(error.contains("0 of 268000000 bytes are there"), "{error}");
}

#[test]
fn other_files_are_told_apart() {
    let unknown = |format| Database::new(format).bytes;
    for (bytes, cause) in [
        (b"".to_vec(), "byte 0: the file is empty"),
        (b"SQLite format 3\0and more".to_vec(), "neither a database of Mosquitto's nor"),
        (unknown(4), "byte 19: the file is a database of Mosquitto's in format 4"),
        (unknown(7), "in format 7"),
        (b"{\"kind\":\"export\"".to_vec(), "line 1: "),
        (b"{\"kind\":\"end\",\"lines\":0}\n".to_vec(), "line 1: the line of kind \"export\""),
    ] {
        for accepts_damage in [false, true] {
            let error = import(&*bytes, &terms(accepts_damage)).unwrap_err().to_string();
            assert!(error.contains(cause) && !error.contains('\n'), "{error}");
        }
    }
}

proptest! {
    #![proptest_config(support::cases(150))]

    /// Exported, imported and exported again, everything is as it was, byte by byte.
    #[test]
    fn an_export_comes_back_exactly(seed in any::<u64>(), steps in 1_u64..60) {
        let mut workload = Workload::new(seed, Payloads::new());
        for number in 1..=steps {
            workload.step(Stamp { salt: 7, number });
        }
        let mut state = workload.state_after(workload.commits.len());
        if seed % 2 == 0 {
            state.apply(Record::Clock(terms(false).now.note(seed >> 8 & 0xff_ffff_ffff)));
        }
        let lines = exported(&state);
        let again = import(lines.as_bytes(), &terms(false)).expect(&lines);
        prop_assert_eq!(&exported(&again.state), &lines);
        prop_assert_eq!(canonical(&again.state), canonical(&state));
        prop_assert_eq!(again.counts.sessions, state.sessions.len() as u64);
        // A part of a file is no whole one.
        let part = lines.rfind("{\"kind\":\"end\"").unwrap();
        let error = import(&lines.as_bytes()[..part], &terms(false)).unwrap_err().to_string();
        prop_assert!(error.contains("it is not whole"), "{}", error);
        let part = import(&lines.as_bytes()[..part], &terms(true)).unwrap();
        prop_assert!(part.damage.is_some());
        prop_assert_eq!(canonical(&part.state), canonical(&state));
    }
}

/// The lines of the sample with one replaced, or one more behind it.
fn wrong_lines(old: &str, new: &str) -> String {
    let head = "{\"kind\":\"export\",\"format\":1,\"ringmq\":\"0\"}\n";
    let lines = format!("{head}{}", SAMPLE.replace("USER", ""));
    assert!(lines.contains(old), "{old}");
    lines.replacen(old, new, 1)
}

#[test]
fn wrong_lines_are_told_with_their_number_and_cause() {
    let long = "x".repeat(65_536);
    let long = format!("{{\"content_type\":\"{long}\"}}");
    for (old, new, wanted) in [
        ("\"id\":1", "\"id\":0", "line 2: id: 0 is not between"),
        ("\"id\":2", "\"id\":1", "line 3: id: 1 belongs to two messages"),
        ("\"a/1\"", "\"a/+\"", "line 2: topic: "),
        ("\"a/1\"", "\"a\\u0000\"", "line 2: topic: the character U+0000"),
        ("\"b25l\"", "\"b25\"", "line 2: no base64"),
        ("\"qos\":1", "\"qos\":3", "line 2: qos: 3 is not"),
        ("\"retained\":2", "\"retained\":9223372036854775808", "line 2: retained: "),
        ("{\"content_type\":\"text\"}", &long, "line 2: property: 65536 bytes"),
        ("4000000000000", "18446744073709551615", "line 3: 18446744073709551615 ms"),
        ("\"session\":5,\"client_id\"", "\"session\":0,\"client_id\"", "line 4: session: 0 is"),
        (
            "\"session\":6,\"client_id\"",
            "\"session\":5,\"client_id\"",
            "line 7: session: 5 belongs",
        ),
        ("\"stays\"", "\"ends\"", "line 7: client_id: \"ends\" has two"),
        ("\"filter\":\"#\"", "\"filter\":\"#/a\"", "line 5: filter: "),
        ("\"identifier\":6", "\"identifier\":268435456", "line 9: identifier: "),
        ("\"retain_handling\":2", "\"retain_handling\":3", "line 9: retain_handling: "),
        ("\"message\":1,\"qos\":1}", "\"message\":5,\"qos\":1}", "line 13: message: no line tells"),
        ("\"number\":9", "\"number\":8", "line 15: number: 8 belongs"),
        ("[7,4]", "[2,4]", "line 19: deliveries: 2 is there twice"),
        ("\"sent\",\"session\":5", "\"sent\",\"session\":9", "line 18: session: no line tells"),
        ("\"lines\":19", "\"lines\":17", "line 20: 17 lines were written"),
        ("\"format\":1", "\"format\":2", "line 1: format 2 is not known"),
        ("\"kind\":\"received\"", "\"kind\":\"deceived\"", "line 6: unknown variant"),
        ("\"expiry_s\":100", "\"expiry\":100", "line 4: unknown field"),
    ] {
        let lines = wrong_lines(old, new);
        let error = import(lines.as_bytes(), &terms(false)).unwrap_err().to_string();
        assert!(error.starts_with(wanted) && !error.contains('\n'), "{wanted}: {error}");
    }
    let more = format!("{}\n", wrong_lines("x", "x"));
    let error = import(more.as_bytes(), &terms(false)).unwrap_err().to_string();
    assert!(error.starts_with("line 21: something follows"), "{error}");
}

#[test]
fn the_commands_move_a_directory_to_another_one() {
    let folder = Folder::new();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let file = folder.write("mosquitto.db", sample(6).bytes);
    let (status, said, _) = ringmq(&["import", "--dry-run", shown(&file)]);
    assert!(status == 0 && said.starts_with("nothing is written: 2 sessions"), "{said}");
    let (status, said, _) = ringmq(&["import", "--dry-run", shown(&file), shown(&one)]);
    assert!(status == 0 && !one.exists(), "{said}");
    let (status, said, error) = ringmq(&["import", shown(&file), shown(&one)]);
    assert!(status == 0 && said.starts_with(&format!("{}: 2 sessions", shown(&one))), "{error}");
    let names: Vec<_> = std::fs::read_dir(&one).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "a segment and the lock: {names:?}");
    // Data is never mixed.
    let (status, _, error) = ringmq(&["import", shown(&file), shown(&one)]);
    assert!(status == 2 && error.contains("holds data already"), "{error}");
    let (status, lines, _) = ringmq(&["export", shown(&one)]);
    assert_eq!((status, lines.lines().count()), (0, 20), "{lines}");
    let backup = folder.path().join("backup.jsonl");
    let (status, said, _) = ringmq(&["export", shown(&one), "--output", shown(&backup)]);
    assert!(status == 0 && said.contains("3 messages in flight"), "{said}");
    assert_eq!(std::fs::read_to_string(&backup).unwrap(), lines);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&backup, &link).unwrap();
    let (status, _, error) = ringmq(&["export", shown(&one), "--output", shown(&link)]);
    assert!(status == 2 && error.contains("no regular file"), "{error}");
    let mode = std::fs::metadata(&backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "messages are for nobody else");
    // An import that was ended half way is begun anew.
    let left = other.join("importing");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("0000000000000001.journal"), b"half of it").unwrap();
    assert_eq!(ringmq(&["import", shown(&backup), shown(&other)]).0, 0);
    assert!(!left.exists());
    assert_eq!(ringmq(&["export", shown(&other)]).1, lines);
    assert_eq!(ringmq(&["journal", "verify", shown(&other)]).0, 0);
}

#[test]
fn what_cannot_be_imported_or_exported_gets_one_line_and_makes_nothing() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let mut bytes = sample(6).bytes;
    bytes.truncate(bytes.len() - 3);
    let torn = folder.write("torn.db", &bytes);
    let foreign = folder.write("foreign", b"something else");
    let (torn, foreign, data_shown) = (shown(&torn), shown(&foreign), shown(&data));
    for (arguments, status, cause) in [
        (&["import"][..], 2, "FILE and DIR are needed"),
        (&["import", torn], 2, "FILE and DIR are needed"),
        (&["import", "/nonexistent", data_shown], 2, "/nonexistent: cannot be read"),
        (&["import", foreign, data_shown], 1, "foreign: byte 0: the file is neither"),
        (&["import", torn, data_shown], 1, "torn.db: byte "),
        (&["import", torn, data_shown, "--nonsense"], 2, "--nonsense"),
        (&["import", shown(folder.path()), data_shown], 2, "it is a folder"),
        (&["export"], 2, "DIR is needed"),
        (&["export", "/nonexistent"], 2, "/nonexistent"),
        (&["imprt"], 2, "import is"),
    ] {
        let (found, out, error) = ringmq(arguments);
        assert_eq!((found, out.as_str()), (status, ""), "{arguments:?}: {error}");
        assert!(error.starts_with("ringmq: ") && error.contains(cause), "{error}");
        assert!(error.lines().count() == 1 && !data.exists(), "{error}");
    }
    let (status, out, error) = ringmq(&["import", "--accept-damage", torn, data_shown]);
    assert!(status == 1 && out.contains("2 sessions") && error.contains("left out"), "{error}");
    assert_eq!(ringmq(&["export", data_shown]).0, 0);
    // A broker's directory is exported while it runs, and nothing is imported into it.
    let server = serve(&data);
    assert_eq!(ringmq(&["export", data_shown]).0, 0);
    let (status, _, error) = ringmq(&["import", torn, data_shown]);
    assert!(status == 2 && error.contains("holds data already"), "{error}");
    drop(server);
}

/// What came to the members of a group, whoever got it.
fn by_group(came: Vec<(String, Vec<Came>)>) -> BTreeMap<String, Vec<Came>> {
    let mut all: BTreeMap<String, Vec<Came>> = BTreeMap::new();
    for (name, came) in came {
        let is_member = name.starts_with("member");
        let came_before = all.entry(if is_member { "group".into() } else { name }).or_default();
        came_before.extend(came);
        if is_member {
            came_before.sort();
        }
    }
    all
}

#[test]
fn what_is_exported_is_delivered_as_if_it_had_stayed() {
    let folder = Folder::new();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let mut server = serve(&one);
    fill(server.port(0));
    server.signal(libc::SIGTERM);
    assert_eq!(server.ends(), Some(Some(0)));
    let backup = folder.path().join("backup.jsonl");
    let (status, said, _) = ringmq(&["export", shown(&one), "--output", shown(&backup)]);
    assert!(status == 0 && said.contains("(2 shared), 6 retained"), "{said}");
    assert!(said.contains(" 3 messages in flight, 2 received at QoS 2"), "{said}");
    assert_eq!(ringmq(&["import", shown(&backup), shown(&other)]).0, 0);
    assert_eq!(ringmq(&["export", shown(&other)]).1, std::fs::read_to_string(&backup).unwrap());
    let [wanted, found] = [&one, &other].map(|data| by_group(collect(serve(data).port(0))));
    assert_eq!(wanted["group"].len(), 4, "{wanted:?}");
    for (name, wanted) in &wanted {
        assert_eq!(&found[name], wanted, "{name}");
    }
}

#[test]
fn a_start_with_a_file_of_mosquittos_goes_on_with_its_data() {
    let folder = filled();
    let kept = std::fs::read(database_in(&folder)).unwrap();
    let configuration = Mosquitto::configuration(&folder, 1);
    let configuration = configuration.replace("listener 1 127", "listener 0 127");
    let file = folder.write("ringmq.conf", configuration);
    let (listen, config) = (["--listen", "127.0.0.1:0"], ["--config", shown(&file)]);
    let flags = [listen, config].concat();
    let mut server = Server::start(&flags);
    server.logs("mosquitto.db: 8 sessions, 11 subscriptions (0 shared), 6 retained messages");
    server.logs(&format!("Data is kept in {}", shown(&folder.path().join("ringmq"))));
    let mut queue = Client::new(server.port(0), "queue");
    assert_eq!(queue.collect_some(31).len(), 31);
    queue.finish();
    assert_eq!(std::fs::read(database_in(&folder)).unwrap(), kept, "the file is left as it was");
    // Nobody tells a client that its PUBCOMP is on disk, but a stop waits for that.
    server.signal(libc::SIGTERM);
    assert_eq!(server.ends(), Some(Some(0)));
    // Only once: what has been delivered since does not come back.
    let server = Server::start(&flags);
    assert_eq!(server.count("Imported"), 0);
    let mut queue = Client::new(server.port(0), "queue");
    let mut publisher = Client::new(server.port(0), "publisher");
    publisher.publish("end", "end", 1, false, &[]);
    assert_eq!(queue.collect(), [""; 0]);
}

#[test]
fn a_start_whose_database_cannot_be_read_fails_and_one_without_data_does_not() {
    let folder = Folder::new();
    let configuration = Mosquitto::configuration(&folder, 0);
    let file = folder.write("ringmq.conf", &configuration);
    let start = || Server::start(&["--listen", "127.0.0.1:0", "--config", shown(&file)]);
    let mut bytes = sample(6).bytes;
    bytes.truncate(bytes.len() - 3);
    folder.write("mosquitto.db", &bytes);
    let arguments = ["--listen", "127.0.0.1:0", "--config", shown(&file)];
    let (status, _, error) = ringmq(&arguments);
    let last = error.lines().last().unwrap();
    assert!(status == 1 && last.contains("mosquitto.db: byte "), "{error}");
    assert!(last.contains("ringmq import --accept-damage"), "{error}");
    folder.write("mosquitto.db", b"");
    start().logs("is empty: nothing is imported");
    std::fs::remove_file(database_in(&folder)).unwrap();
    assert_eq!(start().count("Imported"), 0);
}

/// Mosquitto puts the name of its file behind the location, and both in the working directory.
#[test]
fn the_database_is_where_mosquitto_has_it() {
    let name = "ever/other.db";
    for (location, file, database) in [
        (None, None, "mosquitto.db"),
        (None, Some(name), name),
        (Some("ABSOLUTE/"), Some("/other.db"), "other.db"),
        (None, Some("ABSOLUTE/ever/other.db"), name),
        (Some("ever"), None, "ever/mosquitto.db"),
    ] {
        let folder = Folder::new();
        std::fs::create_dir(folder.path().join("ever")).unwrap();
        folder.write(database, sample(6).bytes);
        let line = |option: &str, value: Option<&str>| {
            let value = value.map(|value| value.replace("ABSOLUTE", shown(folder.path())));
            value.map_or(String::new(), |value| format!("{option} {value}\n"))
        };
        let text = format!(
            "user root\npersistence true\nallow_anonymous true\nlistener 0 127.0.0.1\n{}{}",
            line("persistence_location", location),
            line("persistence_file", file)
        );
        let configuration = folder.write("a.conf", text);
        let directory = ["env", "--chdir", shown(folder.path())];
        let flags = ["--listen", "127.0.0.1:0", "--config", shown(&configuration)];
        let server = Server::start_under(&directory, &flags);
        server.logs(": 2 sessions, 4 subscriptions");
        drop(server);
        let beside = folder.path().join(database).with_file_name("ringmq");
        assert!(beside.is_dir(), "{}", beside.display());
    }
}

//! What was acknowledged outlives a wall clock that was wrong at the start, or is set.
//!
//! A device without a battery for its clock starts in 1970, and is set right while the broker runs.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock and name its folders")]

mod support;

use ringmq::base::ids::MessageId;
use ringmq::base::time::Time;
use ringmq::store::record::{Body, ClockNote, Published, Record, StoredExpiry};
use ringmq::store::{Epoch, State};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;
use support::folder::Folder;
use support::peer::{Peer, connect, connect_stored, publish_expiring};
use support::server::{Server, eventually};

/// Moves the wall clock of a process by as many seconds as a file says.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME) {
        long moved = 0;
        FILE *file = fopen(getenv("WALL_MOVED"), "r");
        if (file) {
            if (fscanf(file, "%ld", &moved) != 1) moved = 0;
            fclose(file);
        }
        time->tv_sec += moved;
    }
    return result;
}
"#;

/// So far is 1970 back, and a year.
const TO_1971: i64 = -1_700_000_000;
const HOUR: i64 = 3600;

struct World {
    folder: Folder,
    shim: PathBuf,
}

impl World {
    /// None where there is no compiler.
    fn new() -> Option<Self> {
        let folder = Folder::new();
        let (source, shim) = (folder.path().join("shim.c"), folder.path().join("shim.so"));
        fs::write(&source, SHIM).unwrap();
        let mut compiler = Command::new("cc");
        let flags = ["-shared", "-fPIC", "-o"];
        let built = compiler.args(flags).arg(&shim).arg(&source).arg("-ldl").status();
        built.is_ok_and(|status| status.success()).then_some(Self { folder, shim })
    }

    /// Moves the wall clock of the brokers to so many seconds from the real one.
    fn move_wall(&self, seconds: i64) {
        let path = self.folder.path().join("moved");
        fs::write(path.with_extension("new"), seconds.to_string()).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    fn start(&self) -> Server {
        let preload = format!("LD_PRELOAD={}", self.shim.display());
        let moved = format!("WALL_MOVED={}", self.folder.path().join("moved").display());
        let data = self.folder.path().join("data");
        Server::start_under(
            &["env", &preload, &moved],
            &["--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()],
        )
    }
}

/// A session, messages for it and a retained message: each outlives its making by `expiry_s`.
fn acknowledge(server: &Server, expiry_s: u32) {
    let mut one = Peer::plain(server.port(0));
    assert_eq!(one.connect(&connect_stored("one", expiry_s, 60)), Some(0));
    assert_eq!(one.subscribe("a"), Some(1));
    one.send(&[0xe0, 0]);
    assert!(one.closes());
    let mut publisher = Peer::plain(server.port(0));
    assert_eq!(publisher.connect(&connect("publisher", None)), Some(0));
    for (topic, payload, retain) in [("a", "1", false), ("a", "2", false), ("kept", "3", true)] {
        publisher.send(&publish_expiring(topic, payload.as_bytes(), retain, expiry_s));
        assert_eq!(publisher.packet().map(|(kind, _)| kind), Some(0x40));
    }
}

/// The last bytes of the PUBLISH packets that come within a second.
fn received(peer: &mut Peer) -> String {
    peer.set_timeout(Duration::from_secs(1));
    let mut all = String::new();
    while let Some((kind, body)) = peer.packet() {
        if kind & 0xf0 == 0x30 {
            all.extend(body.last().map(|byte| char::from(*byte)));
        }
    }
    all
}

fn retained(server: &Server) -> String {
    let mut reader = Peer::plain(server.port(0));
    assert_eq!(reader.connect(&connect("reader", None)), Some(0));
    reader.subscribe("kept");
    received(&mut reader)
}

#[track_caller]
fn check(server: &Server, expiry_s: u32, case: &str) {
    let mut one = Peer::plain(server.port(0));
    assert_eq!(one.connect(&connect_stored("one", expiry_s, 60)), Some(0));
    assert_eq!(received(&mut one), "12", "{case}:\n{}", server.log());
    assert_eq!(retained(server), "3", "{case}:\n{}", server.log());
}

fn end(server: Server, is_orderly: bool) {
    if is_orderly {
        server.signal(libc::SIGTERM);
        assert!(eventually(|| !server.is_alive()));
    }
}

#[test]
fn what_was_acknowledged_survives_a_clock_that_was_wrong_at_the_start() {
    // Where the clock is at the start, when things are acknowledged, and at the next start.
    let cases = [
        (TO_1971, 0, 0, 86_400),
        (TO_1971, TO_1971, 0, 86_400),
        (TO_1971, 0, TO_1971, 86_400),
        (0, 0, HOUR, 1800),
        (0, HOUR, HOUR, 1800),
        (HOUR, -HOUR, 0, 1800),
        (-HOUR, -HOUR, TO_1971, 1800),
    ];
    for is_orderly in [true, false] {
        for case in cases {
            let Some(world) = World::new() else { return };
            let (first, then, later, expiry_s) = case;
            world.move_wall(first);
            let server = world.start();
            world.move_wall(then);
            acknowledge(&server, expiry_s);
            end(server, is_orderly);
            world.move_wall(later);
            check(&world.start(), expiry_s, &format!("{case:?}, orderly {is_orderly}"));
        }
    }
}

#[test]
fn what_has_expired_while_no_broker_ran_is_gone() {
    let Some(world) = World::new() else { return };
    world.move_wall(0);
    let server = world.start();
    acknowledge(&server, 2);
    end(server, true);
    std::thread::sleep(Duration::from_secs(3));
    let server = world.start();
    assert_eq!(retained(&server), "");
}

#[test]
fn a_clock_that_is_set_while_nothing_else_happens_is_noted() {
    let Some(world) = World::new() else { return };
    world.move_wall(TO_1971);
    let server = world.start();
    acknowledge(&server, 86_400);
    world.move_wall(0);
    let is_noted = || {
        let dump = String::from_utf8(run_journal(&world, "dump").stdout).unwrap();
        let last = dump.lines().rfind(|line| line.contains(" clock ")).map(str::to_owned);
        let wall = last.and_then(|line| line.split(' ').nth(5)?.parse::<u64>().ok());
        wall.is_some_and(|wall| wall > ringmq::limits::WALL_PLAUSIBLE_MS)
    };
    assert!(eventually(is_noted));
    drop(server);
}

fn run_journal(world: &World, command: &str) -> Output {
    let data = world.folder.path().join("data");
    let mut program = support::ringmq();
    program.args(["journal", command]).arg(&data).output().unwrap()
}

/// Runs `ringmq journal`; what it prints.
fn journal(world: &World, command: &str) -> String {
    let output = run_journal(world, command);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_compacted_journal_still_knows_its_time() {
    let Some(world) = World::new() else { return };
    world.move_wall(TO_1971);
    let server = world.start();
    acknowledge(&server, 86_400);
    end(server, true);
    let clock = |dump: &str| dump.lines().rfind(|line| line.contains(" clock ")).map(note_of);
    let before = clock(&journal(&world, "dump"));
    assert!(before.is_some());
    journal(&world, "compact");
    assert_eq!(clock(&journal(&world, "dump")), before);
    world.move_wall(0);
    check(&world.start(), 86_400, "compacted");
}

/// A line of a dump without its place.
fn note_of(line: &str) -> String {
    line.split_once(" clock ").unwrap().1.to_owned()
}

#[test]
fn points_in_time_become_those_of_the_new_epoch() {
    let mut state = State::new(Epoch(0));
    let note = ClockNote { journal_ms: 1000, wall_ms: 0, boot: [1; 16], boot_ms: 0 };
    state.apply(Record::Clock(note));
    let body = Body {
        qos: 1,
        retain: true,
        expires: Some(StoredExpiry { at_ms: 5000, interval_s: 5 }),
        owner: None,
        lengths: (1, 0),
        bytes: b"ax"[..].into(),
    };
    state.apply(Record::Published(Published {
        message: MessageId(1),
        body: Some(body),
        retained: Some(1),
        received: None,
        taken: None,
        groups: Vec::new(),
        others: Vec::new(),
    }));
    state.finish();
    assert_eq!((state.clock, state.earliest_ms()), (Some(note), Some(5000)));
    state.set_epoch(Epoch(3000));
    let expires = state.retained().next().unwrap().expires.unwrap();
    assert_eq!(expires.at, Time::ZERO.after(Duration::from_secs(2)));
    assert_eq!(state.records().next(), Some(Record::Clock(note)));
}

//! What a person sees of a broker with a data directory: with other people's clients, kills, a full
//! disk and wrong directories.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock and name its folders")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::folder::Folder;
use support::server::{Server, eventually, run};

fn data(folder: &Folder) -> String {
    folder.path().join("data").to_str().unwrap().to_owned()
}

fn start(folder: &Folder, flags: &[&str]) -> Server {
    let data = data(folder);
    Server::start(&[&["--listen", "127.0.0.1:0", "--data-dir", &data], flags].concat())
}

fn client(program: &str, server: &Server, arguments: &[&str]) -> Output {
    let port = server.port(0).to_string();
    Command::new(program).args(["-p", &port]).args(arguments).output().unwrap()
}

/// Publishes, and waits for the acknowledgement.
#[track_caller]
fn publish(server: &Server, arguments: &[&str]) {
    let output = client("mosquitto_pub", server, arguments);
    assert!(output.status.success(), "{output:?}");
}

/// What comes within a second: a line each.
fn receive(server: &Server, arguments: &[&str]) -> Vec<String> {
    let output = client("mosquitto_sub", server, &[arguments, &["-W", "2", "-v"]].concat());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// True when a file of the data directory has these bytes.
fn has_written(folder: &Folder, bytes: &[u8]) -> bool {
    let files = std::fs::read_dir(folder.path().join("data")).unwrap();
    let contents = files.filter_map(|file| std::fs::read(file.unwrap().path()).ok());
    contents.into_iter().any(|content| content.windows(bytes.len()).any(|part| part == bytes))
}

/// Makes a session that stays, and leaves.
#[track_caller]
fn subscribe(server: &Server, id: &str, qos: &str, filter: &str) {
    let output = client("mosquitto_sub", server, &["-c", "-i", id, "-q", qos, "-t", filter, "-E"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let folder = Folder::new();
    let server = start(&folder, &[]);
    for (id, qos) in [("one", "1"), ("two", "2")] {
        subscribe(&server, id, qos, "a/#");
        subscribe(&server, id, qos, "$share/group/s");
    }
    subscribe(&server, "gone", "1", "a/#");
    client("mosquitto_sub", &server, &["-i", "gone", "-t", "x", "-E"]);
    for (topic, qos) in [("a/1", "1"), ("a/2", "2"), ("s", "1")] {
        publish(&server, &["-t", topic, "-m", topic, "-q", qos]);
    }
    publish(&server, &["-t", "r/kept", "-m", "old", "-r", "-q", "1"]);
    publish(&server, &["-t", "r/kept", "-m", "new", "-r", "-q", "1"]);
    publish(&server, &["-t", "r/cleared", "-m", "old", "-r", "-q", "1"]);
    publish(&server, &["-t", "r/cleared", "-n", "-r", "-q", "1"]);
    drop(server);

    let server = start(&folder, &[]);
    assert_eq!(server.count("Journal: "), 0, "{}", server.log());
    // Sessions are there before their clients are.
    publish(&server, &["-t", "a/3", "-m", "a/3", "-q", "1"]);
    let mut shared = 0;
    for (id, qos) in [("one", "1"), ("two", "2")] {
        let mut lines = receive(&server, &["-c", "-i", id, "-q", qos, "-t", "a/#"]);
        shared += lines.iter().filter(|line| *line == "s s").count();
        lines.retain(|line| line != "s s");
        // Each QoS has an order of its own.
        lines.sort();
        assert_eq!(lines, ["a/1 a/1", "a/2 a/2", "a/3 a/3"], "{id}");
    }
    assert_eq!(shared, 1, "one member of the group gets it");
    assert_eq!(receive(&server, &["-c", "-i", "gone", "-t", "x"]), [""; 0]);
    assert_eq!(receive(&server, &["-t", "r/#"]), ["r/kept new"]);
    drop(server);

    let server = start(&folder, &[]);
    let lines = receive(&server, &["-c", "-i", "two", "-q", "2", "-t", "a/#"]);
    assert_eq!(lines, [""; 0], "what was acknowledged does not come again");
}

#[test]
fn every_durability_survives_an_orderly_stop_and_its_own_interval() {
    for durability in ["commit", "interval", "none"] {
        let folder = Folder::new();
        let flags = ["--durability", durability, "--durability-interval-ms", "50"];
        let server = start(&folder, &flags);
        subscribe(&server, "one", "2", "a/#");
        publish(&server, &["-t", "a/1", "-m", "1", "-q", "2"]);
        server.signal(libc::SIGTERM);
        assert!(eventually(|| !server.is_alive()));
        let server = start(&folder, &flags);
        publish(&server, &["-t", "a/2", "-m", "2", "-q", "1"]);
        assert!(eventually(|| has_written(&folder, b"a/2")), "{durability}");
        drop(server);
        let server = start(&folder, &flags);
        let mut lines = receive(&server, &["-c", "-i", "one", "-q", "2", "-t", "a/#"]);
        lines.sort();
        assert_eq!(lines, ["a/1 1", "a/2 2"], "{durability}");
    }
}

#[test]
fn a_will_outlives_a_kill_and_is_discarded_by_an_orderly_stop() {
    for (signal, expected) in [(libc::SIGKILL, &["w gone"][..]), (libc::SIGTERM, &[])] {
        let folder = Folder::new();
        let server = start(&folder, &[]);
        subscribe(&server, "heir", "1", "w");
        let port = server.port(0).to_string();
        let will = ["--will-topic", "w", "--will-payload", "gone", "--will-qos", "1"];
        let mut testator = Command::new("mosquitto_sub")
            .args(["-p", &port, "-t", "x", "-i", "testator"])
            .args(will)
            .spawn()
            .unwrap();
        server.logs("as testator");
        server.signal(signal);
        assert!(eventually(|| !server.is_alive()));
        testator.kill().unwrap();
        testator.wait().unwrap();
        drop(server);
        let server = start(&folder, &[]);
        let lines = receive(&server, &["-c", "-i", "heir", "-q", "1", "-t", "w"]);
        assert_eq!(lines, expected, "signal {signal}");
        drop(server);
        let server = start(&folder, &[]);
        let lines = receive(&server, &["-c", "-i", "heir", "-q", "1", "-t", "w"]);
        assert_eq!(lines, [""; 0], "it is published once");
    }
}

/// The exit status and the one line of a broker that does not start.
fn refused(data: &Path) -> (Option<i32>, String) {
    let output = support::ringmq()
        .args(["--listen", "127.0.0.1:0", "--log-level", "error", "--data-dir"])
        .arg(data)
        .output()
        .unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    (output.status.code(), line)
}

#[test]
fn a_directory_that_cannot_be_used_is_one_line() {
    let folder = Folder::new();
    let server = start(&folder, &[]);
    let data = PathBuf::from(data(&folder));
    let (status, line) = refused(&data);
    assert!(
        status == Some(1) && line.contains("in use by another ringmq: stop that one"),
        "{line}"
    );
    subscribe(&server, "one", "1", "a");
    drop(server);

    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let files = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }

    let segment = data.join("0000000000000001.journal");
    let format = ringmq::store::SegmentHeader {
        format: ringmq::store::FORMAT + 1,
        number: 1,
        end_before: 0,
        salt: 0,
    };
    fs::write(&segment, format.encode()).unwrap();
    let (status, line) = refused(&data);
    assert!(
        status == Some(1) && line.contains("use the version of ringmq that wrote it"),
        "{line}"
    );

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let (status, line) = refused(&file);
    assert!(status == Some(1) && line.contains("cannot use the data directory"), "{line}");
}

#[test]
fn damage_is_told_and_the_rest_is_kept() {
    let folder = Folder::new();
    let server = start(&folder, &[]);
    subscribe(&server, "one", "1", "a/#");
    for number in ["1", "2", "3"] {
        publish(&server, &["-t", "a/1", "-m", &number.repeat(50), "-q", "1"]);
    }
    drop(server);
    let segment = Path::new(&data(&folder)).join("0000000000000001.journal");
    let mut bytes = fs::read(&segment).unwrap();
    let damaged = bytes.windows(9).position(|window| window == b"222222222").unwrap();
    bytes[damaged] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let server = start(&folder, &[]);
    server.logs("are damaged; what they held is lost, the rest is kept");
    let lines = receive(&server, &["-c", "-i", "one", "-q", "1", "-t", "a/#"]);
    let payloads: Vec<_> = lines.iter().map(|line| &line[4..5]).collect();
    assert_eq!(payloads, ["1", "3"]);
}

/// A broker in a file system of three megabytes, which only it and `/proc` see.
fn start_on_small_disk(folder: &Folder) -> (Server, PathBuf) {
    Server::start_on_small_disk(
        3,
        folder.path(),
        &["--listen", "127.0.0.1:0", "--data-dir", &data(folder), "--admin-listen", "127.0.0.1:0"],
    )
}

#[test]
fn a_full_disk_stops_acknowledgements_until_there_is_room() {
    let folder = Folder::new();
    let (server, disk) = start_on_small_disk(&folder);
    subscribe(&server, "one", "1", "a/#");
    publish(&server, &["-t", "a/0", "-m", "before", "-q", "1"]);
    // Fills what is left.
    let _ = fs::write(disk.join("fill"), vec![0; 4_000_000]);
    let payload = "x".repeat(10_000);
    let port = server.port(0).to_string();
    let mut waiting = Command::new("mosquitto_pub")
        .args(["-p", &port, "-t", "a/1", "-q", "1", "-m", &payload])
        .spawn()
        .unwrap();
    server.logs("The journal cannot be written: No space left on device");
    let told = receive(&server, &["-t", "$SYS/broker/journal/state"]);
    assert!(told.iter().any(|line| line.contains("No space left on device")), "{told:?}");
    let status = || {
        let address = server.dashboard().0;
        let status = ["journal", "status", "--admin", &address];
        run(support::ringmq().args(status)).1
    };
    let told = status();
    assert!(told.contains("state: failing\n") && told.contains("failure: No space"), "{told}");
    // What need not outlive the process goes on.
    publish(&server, &["-t", "live", "-m", "on", "-q", "1"]);
    assert!(waiting.try_wait().unwrap().is_none(), "acknowledged without being on disk");
    fs::remove_file(disk.join("fill")).unwrap();
    assert!(waiting.wait().unwrap().success(), "acknowledged once there is room");
    server.logs("The journal can be written again");
    let told = status();
    assert!(told.contains("state: works\n") && told.contains("failure: -\n"), "{told}");

    // What is on that disk now is all there is to start from.
    let copy = Folder::new();
    let status = Command::new("cp").arg("-r").arg(disk.join("data")).arg(copy.path()).status();
    assert!(status.unwrap().success());
    drop(server);
    let server = start(&copy, &[]);
    let lines = receive(&server, &["-c", "-i", "one", "-q", "1", "-t", "a/#"]);
    assert_eq!(lines, ["a/0 before".to_owned(), format!("a/1 {payload}")]);
}

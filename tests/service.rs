//! The service manager: it hears when the broker is ready, reloads, stops, and is alive, opens its
//! sockets, and reads its log.

mod support;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;
use support::folder::Folder;
use support::peer::{Peer, connect};
use support::server::{Server, run};

/// The next word to the service manager that has this.
#[track_caller]
fn hears(manager: &UnixDatagram, wanted: &str) -> String {
    let mut bytes = [0; 4096];
    loop {
        let length = manager.recv(&mut bytes).unwrap_or_else(|error| panic!("{wanted}: {error}"));
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if text.lines().any(|line| line.starts_with(wanted)) {
            return text;
        }
    }
}

#[test]
fn systemd_hears_of_each_stage() {
    let folder = Folder::new();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    // 600 ms.
    let program = ["env", &socket, "WATCHDOG_USEC=600000"];
    let flags = ["--listen", "mqtt://127.0.0.1:0", "--workers", "2"];
    let mut server = Server::start_under(&program, &flags);
    assert!(hears(&manager, "READY=1").contains("STATUS=Serving"));
    for _ in 0..3 {
        hears(&manager, "WATCHDOG=1");
    }
    server.signal(libc::SIGHUP);
    assert!(hears(&manager, "RELOADING=1").contains("MONOTONIC_USEC="));
    hears(&manager, "READY=1");
    server.signal(libc::SIGTERM);
    hears(&manager, "STOPPING=1");
    assert_eq!(server.ends(), Some(Some(0)));
}

#[test]
fn no_signal_of_mosquittos_ends_the_broker() {
    let mut server = Server::start(&["--listen", "mqtt://127.0.0.1:0"]);
    server.signal(libc::SIGUSR1);
    server.logs("is on disk already");
    server.signal(libc::SIGUSR2);
    server.logs("Summary uptime_s=");
    server.signal(libc::SIGRTMIN());
    server.signal(libc::SIGHUP);
    server.logs("Reloaded");
    server.signal(libc::SIGTERM);
    assert_eq!(server.ends(), Some(Some(0)));
}

#[test]
fn a_manager_that_is_gone_harms_nobody() {
    let program = ["env", "NOTIFY_SOCKET=/nowhere/notify", "WATCHDOG_USEC=100000"];
    let mut server = Server::start_under(&program, &["--listen", "mqtt://127.0.0.1:0"]);
    server.signal(libc::SIGTERM);
    assert_eq!(server.ends(), Some(Some(0)));
}

/// The script of a process that gets these sockets as systemd hands them over, then becomes the one
/// that its arguments name; and the descriptors that it takes them from.
fn passing(sockets: &[&dyn AsFd], names: &str) -> (String, Vec<OwnedFd>) {
    let mut script = format!("export LISTEN_PID=$$ LISTEN_FDS={}", sockets.len());
    script += &format!(" LISTEN_FDNAMES={names}; exec \"$@\"");
    let mut copies = Vec::new();
    for (number, socket) in (3..).zip(sockets) {
        // None of the numbers from 3 on may be overwritten before it is read.
        let copy = fcntl_dupfd_cloexec(socket, 100).unwrap();
        // The process that is started inherits it.
        fcntl_setfd(&copy, FdFlags::empty()).unwrap();
        script += &format!(" {number}<&{}", copy.as_raw_fd());
        copies.push(copy);
    }
    (script, copies)
}

/// Enters by a connection that is there already.
#[track_caller]
fn enters(stream: TcpStream, client_id: &str) {
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let mut peer = Peer::over(stream);
    assert_eq!(peer.connect(&connect(client_id, None)), Some(0), "{client_id}");
}

#[test]
fn sockets_of_the_service_manager_outlive_the_broker() {
    let folder = Folder::new();
    let path = folder.path().join("mqtt.sock");
    let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
    // Of both protocols, as systemd opens it by default.
    let both = TcpListener::bind("[::]:0").unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let port = both.local_addr().unwrap().port();
    let (script, _copies) = passing(&[&v4, &both, &unix], "one:two:three");
    let flags = [
        "--listen".to_owned(),
        format!("mqtt://{}", v4.local_addr().unwrap()),
        "--listen".to_owned(),
        format!("mqtt://[::]:{port}"),
        "--listen".to_owned(),
        format!("unix:{}", path.display()),
        "--allow-anonymous".to_owned(),
        "true".to_owned(),
    ];
    // Before there is a broker: the connection waits.
    let waiting = TcpStream::connect(v4.local_addr().unwrap()).unwrap();
    let mut server = Server::start_under(&["bash", "-c", &script, "--"], &flags);
    server.logs("is the service manager's socket name=\"one\"");
    enters(waiting, "before");
    for number in 0..8 {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        enters(TcpStream::connect(address).unwrap(), &format!("both-{number}"));
    }
    server.logs("New client connected from 127.0.0.1:");
    assert_eq!(server.count("::ffff"), 0, "{}", server.log());
    let mut peer = Peer::unix(&path);
    assert_eq!(peer.connect(&connect("unix", None)), Some(0));
    server.signal(libc::SIGTERM);
    assert_eq!(server.ends(), Some(Some(0)));
    // While there is none, and the next one serves all three sockets.
    let waiting = TcpStream::connect(v4.local_addr().unwrap()).unwrap();
    let server = Server::start_under(&["bash", "-c", &script, "--"], &flags);
    enters(waiting, "between");
    assert!(UnixStream::connect(&path).is_ok(), "the file stays");
    assert_eq!(server.count("WARN"), 0, "{}", server.log());
}

#[test]
fn sockets_that_no_listener_has_are_told_and_wrong_numbers_refused() {
    let strange = TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = UnixDatagram::unbound().unwrap();
    let (script, _copies) = passing(&[&strange, &datagrams], "mine");
    let flags = ["--listen", "mqtt://127.0.0.1:0"];
    let server = Server::start_under(&["bash", "-c", &script, "--"], &flags);
    let place = strange.local_addr().unwrap();
    server.logs(&format!("No listener takes the service manager's socket {place}"));
    server.logs("No listener takes the service manager's socket which is no listening socket");
    assert_eq!(server.count("WARN"), 2, "{}", server.log());
    // Variables for another process are not this one's.
    let strangers = ["env", "LISTEN_PID=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b"];
    let server = Server::start_under(&strangers, &flags);
    assert_eq!(server.count("WARN"), 0, "{}", server.log());
    let script = "export LISTEN_PID=$$ LISTEN_FDS=2; exec \"$@\" 3>&- 4>&-";
    let mut broker = Command::new("bash");
    broker.args(["-c", script, "--", env!("CARGO_BIN_EXE_ringmq")]).args(flags);
    let (status, text) = run(&mut broker);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("ringmq: cannot take the service manager's sockets: Bad file"), "{text}");
}

/// A script that makes the standard error the journal's stream.
const IN_JOURNAL: &str = "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec \"$@\"";

#[test]
fn lines_for_journald_have_priorities_and_neither_time_nor_token() {
    let journald = ["bash", "-c", IN_JOURNAL, "--"];
    let flags = ["--listen", "mqtt://127.0.0.1:0", "--log-level", "debug"];
    let server = Server::start_under(&journald, &flags);
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect("a", None)), Some(0));
    server.logs("<6>New client connected from 127.0.0.1:");
    let log = server.log();
    assert!(log.lines().all(|line| line.starts_with('<') && !line.contains("Z INFO")), "{log}");
    let server = Server::start_under(&journald, &[&flags[..2], &["--log-format", "json"]].concat());
    server.signal(libc::SIGUSR1);
    server.logs("<6>{\"timestamp\":");
    let mut broker = Command::new("bash");
    broker.args(["-c", IN_JOURNAL, "--", env!("CARGO_BIN_EXE_ringmq"), "--workers", "many"]);
    let (status, text) = run(&mut broker);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.starts_with("<3>ringmq: --workers: "), "{text}");
    // Of a stream that only calls itself the journal's, nothing is different.
    let others = ["env", "JOURNAL_STREAM=1:1"];
    let server = Server::start_under(&others, &flags[..2]);
    server.signal(libc::SIGUSR1);
    server.logs("Z  INFO SIGUSR1");
}

#[test]
fn the_journal_does_not_learn_the_token() {
    let script = "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/3); exec \"$@\"";
    // Of the descriptors that the shell has, 3 is the broker's standard output.
    let script = format!("exec 3>&1; {script} 3>&-");
    let flags = ["--listen", "mqtt://127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let server = Server::start_under(&["bash", "-c", &script, "--"], &flags);
    assert_eq!(server.dashboard().1, "", "{}", server.summary());
    let server = Server::start(&flags);
    assert_ne!(server.dashboard().1, "", "{}", server.summary());
}

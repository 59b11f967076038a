//! What the service manager is told: when the broker is ready, reloads, stops, and is alive.

mod support;

use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use support::folder::Folder;
use support::server::Server;

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

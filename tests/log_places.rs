//! The places that the log goes to: files that are moved away, topics, or nowhere.

mod support;

use std::path::Path;
use std::time::Duration;
use support::folder::Folder;
use support::peer::{Peer, connect};
use support::server::{Server, eventually};

const LISTEN: [&str; 4] = ["--listen", "mqtt://127.0.0.1:0", "--sys-interval", "0"];

fn start(more: &[&str]) -> Server {
    Server::start(&[&LISTEN[..], more].concat())
}

/// Lets a client of this name come and go, of which the log tells.
fn visit(server: &Server, name: &str) {
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect(name, None)), Some(0));
}

fn has(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|log| log.contains(text))
}

#[test]
fn a_file_of_the_log_goes_on_in_a_new_one_once_it_is_moved_away() {
    let folder = Folder::new();
    let (path, old) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
    let place = format!("file:{}", path.display());
    let server = start(&["--log-dest", &place, "--log-timestamp", "false"]);
    visit(&server, "first");
    assert!(eventually(|| has(&path, "INFO Client first [")), "{}", server.log());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().all(|line| line.starts_with("INFO ")), "{text}");
    std::fs::rename(&path, &old).unwrap();
    server.signal(libc::SIGRTMIN());
    assert!(eventually(|| path.exists()));
    visit(&server, "second");
    assert!(eventually(|| has(&path, "Client second [")));
    assert!(!has(&old, "Client second ["));
    std::fs::rename(&path, &old).unwrap();
    server.signal(libc::SIGHUP);
    assert!(eventually(|| path.exists()));
    assert_eq!(server.log(), "");
}

#[test]
fn lines_are_messages_for_whoever_wants_them() {
    let server = start(&["--log-dest", "topic,stderr"]);
    let mut peer = Peer::plain(server.port(0));
    assert_eq!(peer.connect(&connect("reader", None)), Some(0));
    assert_eq!(peer.subscribe("$SYS/broker/log/I"), Some(1));
    // What is last is retained there.
    peer.set_timeout(Duration::from_secs(120));
    visit(&server, "visitor");
    loop {
        let (_, body) = peer.packet().expect("a line comes");
        let text = String::from_utf8_lossy(&body).into_owned();
        if text.contains("Z: Client visitor [") {
            break;
        }
    }
    server.logs("Client visitor [");
}

#[test]
fn mosquittos_lines_about_the_log_mean_what_they_mean_there() {
    let folder = Folder::new();
    let path = folder.path().join("m.log");
    let text = format!(
        "user root\nlog_dest file {}\nlog_type information\nlog_timestamp false\n\
         listener 0 {}/m.sock\nallow_anonymous true\n",
        path.display(),
        folder.path().display()
    );
    let file = folder.write("m.conf", text);
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    server.signal(libc::SIGUSR1);
    assert!(eventually(|| has(&path, "INFO SIGUSR1")));
    assert_eq!(server.log(), "");
}

#[test]
fn a_place_that_cannot_be_used_is_named() {
    for (place, status, part) in [
        ("file:/nonexistent/a.log", 1, "cannot open the file /nonexistent/a.log"),
        ("file:a.log", 2, "file:PATH"),
        ("syslog:mail", 2, "syslog:local0"),
    ] {
        let flags = [&LISTEN[..], &["--log-dest", place]].concat();
        let (code, output) = support::server::run(support::ringmq().args(flags));
        assert_eq!(code, Some(status), "{output}");
        assert!(output.contains(part), "{output}");
    }
}

//! Whose a client identifier is, and topics that are nobody's.
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock and name its folders")]

mod support;

use std::process::Command;
use support::folder::Folder;
use support::peer::{Peer, packet, text};
use support::server::{Server, run};

const SUCCESS: u8 = 0;
const NOT_VALID: u8 = 0x85;
const NOT_AUTHORIZED: u8 = 0x87;

/// A broker whose users are alice and mallory, with the password `right`.
struct World {
    folder: Folder,
    server: Server,
}

impl World {
    /// `{}` in the listener's URL stands for the users' file.
    fn new(workers: &str, listener: &str, flags: &[&str]) -> Self {
        let folder = Folder::new();
        let users = folder.write("users", "");
        for user in ["alice", "mallory"] {
            let mut command = Command::new("sh");
            let program = env!("CARGO_BIN_EXE_ringmq");
            command.args(["-c", "printf right | \"$0\" passwd --batch --hash scram \"$1\" \"$2\""]);
            let (status, output) = run(command.arg(program).arg(&users).arg(user));
            assert_eq!(status, Some(0), "{output}");
        }
        let server = Self::start(&folder, workers, listener, flags);
        Self { folder, server }
    }

    fn start(folder: &Folder, workers: &str, listener: &str, flags: &[&str]) -> Server {
        let users = folder.path().join("users").display().to_string();
        let data = folder.path().join("data").display().to_string();
        let listener = listener.replace("{}", &format!("password-file={users}"));
        let all = ["--workers", workers, "--data-dir", &data, "--listen", &listener];
        Server::start(&[&all[..], flags].concat())
    }

    /// The same broker once more, on what it has kept.
    fn restart(self, workers: &str, listener: &str, flags: &[&str]) -> Self {
        let Self { folder, server } = self;
        drop(server);
        let server = Self::start(&folder, workers, listener, flags);
        Self { folder, server }
    }

    fn peer(&self) -> Peer {
        Peer::plain(self.server.port(0))
    }

    /// Connects with a session that stays; the code and session present.
    fn connect(&self, version: u8, client_id: &str, user: Option<&str>) -> (Peer, u8, bool) {
        let mut peer = self.peer();
        let flags = if user.is_some() { 0xc0 } else { 0 };
        let mut body = [&text("MQTT")[..], &[version, flags, 0, 60]].concat();
        if version == 5 {
            body.extend([5, 0x11, 0, 0, 0x0e, 0x10]);
        }
        body.extend(text(client_id));
        if let Some(user) = user {
            body.extend([text(user), text("right")].concat());
        }
        peer.send(&packet(0x10, &body));
        let (kind, body) = peer.packet().expect("CONNACK");
        assert_eq!(kind, 0x20);
        (peer, body[1], body[0] == 1)
    }

    /// The same where only the outcome counts.
    fn try_connect(&self, client_id: &str, user: Option<&str>) -> (u8, bool) {
        let (_, code, is_present) = self.connect(5, client_id, user);
        (code, is_present)
    }
}

const PLAIN: &str = "mqtt://127.0.0.1:0?{}";

#[test]
fn another_users_client_identifier_is_refused_while_its_owner_is_connected() {
    for workers in ["1", "2", "4"] {
        let world = World::new(workers, PLAIN, &[]);
        let (mut alice, ..) = world.connect(5, "meter", Some("alice"));
        assert_eq!(world.try_connect("meter", Some("mallory")), (NOT_VALID, false));
        assert_eq!(world.connect(4, "meter", Some("mallory")).1, 2);
        world.server.logs("as meter (p5, c0, k60, u'mallory'): its client identifier is that of");
        world.server.logs("user 'alice', who is connected.");
        assert!(alice.ping().is_some(), "she notices nothing");
        assert_eq!(world.try_connect("meter", Some("alice")), (SUCCESS, true), "her own");
        drop(alice);
        let is_new = || world.try_connect("meter", Some("mallory")) == (SUCCESS, false);
        assert!(support::server::eventually(is_new), "a new session");
    }
}

#[test]
fn a_session_that_is_kept_can_be_protected_as_well() {
    let flags = ["--client-id-owner", "session"];
    let world = World::new("2", PLAIN, &flags);
    let (mut alice, ..) = world.connect(5, "meter", Some("alice"));
    assert_eq!(alice.subscribe("a"), Some(1));
    drop(alice);
    let (mut publisher, ..) = world.connect(5, "publisher", Some("alice"));
    assert_eq!(publisher.publish("a", b"kept"), Some(0));
    let world = world.restart("4", PLAIN, &flags);
    assert_eq!(world.try_connect("meter", Some("mallory")), (NOT_VALID, false));
    world.server.logs("user 'alice', whose session is kept until it expires");
    let (mut alice, code, is_present) = world.connect(5, "meter", Some("alice"));
    assert_eq!((code, is_present), (SUCCESS, true));
    assert_eq!(alice.packet().map(|(kind, _)| kind & 0xf0), Some(0x30));
}

#[test]
fn without_owners_whoever_comes_in_takes_over_as_with_mosquitto() {
    let world = World::new("2", PLAIN, &["--client-id-owner", "none"]);
    let (mut alice, ..) = world.connect(5, "meter", Some("alice"));
    assert_eq!(world.try_connect("meter", Some("mallory")), (SUCCESS, true));
    assert!(alice.closes());
}

#[test]
fn a_session_of_nobody_in_particular_is_anybodys() {
    for owner in ["connected", "session"] {
        let world = World::new("2", "mqtt://127.0.0.1:0", &["--client-id-owner", owner]);
        let (mut device, ..) = world.connect(5, "meter", None);
        assert_eq!(device.subscribe("a"), Some(1));
        drop(device);
        // From now on there are passwords.
        let world = world.restart("2", PLAIN, &["--client-id-owner", owner]);
        assert_eq!(world.try_connect("meter", Some("alice")), (SUCCESS, true), "{owner}");
    }
}

#[test]
fn where_client_identifiers_are_user_names_each_user_has_one_session() {
    let world = World::new("2", "mqtt://127.0.0.1:0?{}&client-id=user-name", &[]);
    let (mut first, code, _) = world.connect(5, "one", Some("alice"));
    assert_eq!(code, SUCCESS);
    let (mut second, code, is_present) = world.connect(4, "two", Some("alice"));
    assert_eq!((code, is_present), (SUCCESS, true), "her one session");
    assert!(first.closes());
    assert_eq!(world.try_connect("alice", Some("mallory")), (SUCCESS, false), "his own");
    assert!(second.ping().is_some());
    assert_eq!(world.try_connect("three", None), (NOT_AUTHORIZED, false));
    world.server.logs("client identifiers are user names here, and it has none");
}

#[test]
fn control_topics_are_nobodys() {
    for workers in ["1", "2"] {
        let world = World::new(workers, "mqtt://127.0.0.1:0", &[]);
        let (mut listener, ..) = world.connect(5, "listener", None);
        assert_eq!(listener.subscribe("$CONTROL/#"), Some(1));
        assert_eq!(listener.subscribe("$CONTROL/dynamic-security/v1"), Some(1));
        let (mut admin, ..) = world.connect(5, "admin", None);
        let secret = br#"{"commands":[{"command":"createClient","password":"secret"}]}"#;
        let topic = "$CONTROL/dynamic-security/v1";
        assert_eq!(admin.publish(topic, secret), Some(NOT_AUTHORIZED));
        let (mut old, ..) = world.connect(4, "old", None);
        old.send(&packet(0x33, &[&text(topic)[..], &[0, 9], secret].concat()));
        assert_eq!(old.packet().map(|(kind, _)| kind), Some(0x40), "a 3.1.1 client hears no more");
        admin.send(&packet(0x30, &[&text(topic)[..], &[0], secret].concat()));
        assert!(admin.ping().is_some());
        // Neither live nor retained.
        assert_eq!(listener.subscribe("$CONTROL/+/v1"), Some(1));
        assert!(listener.ping().is_some(), "nothing has come before its answer");
    }
}

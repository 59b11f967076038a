//! How many may come, and how fast: each client beyond it is told so, and the log as well.

use crate::layers::binary_header;
use crate::support::peer::{Peer, connect, connect_v3, socket, tls};
use crate::support::server::{eventually, run};
use crate::{MQTT, MQTTS, WS, WSS, World};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

const ALL: [usize; 4] = [MQTT, MQTTS, WS, WSS];

#[test]
fn connections_beyond_the_limit_are_told() {
    let world = World::new(&["--max-connections", "4"], &[]);
    let held: Vec<Peer> = ALL.map(|at| world.enter(at, &format!("held-{at}"))).into();
    for listener in ALL {
        let before = world.server.count("too many connections");
        assert_eq!(world.peer(listener).connect(&connect("fifth", None)), Some(0x97));
        assert_eq!(world.peer(listener).connect(&connect_v3("fifth", None)), Some(3));
        let is_told = eventually(|| world.server.count("too many connections") == before + 2);
        assert!(is_told, "{}", world.server.log());
    }
    drop(held);
    let is_free = || world.peer(WSS).connect(&connect("later", None)) == Some(0);
    assert!(eventually(is_free), "places are given back");
}

#[test]
fn connections_of_one_address_are_limited_behind_a_proxy_as_well() {
    let own = "proxy-from=127.0.0.1";
    let world = World::at(own, &["--max-connections-per-address", "2"], &[]);
    let client = |last: u8, number: u16| {
        let mut stream = socket(world.server.port(MQTT));
        stream.write_all(&binary_header([192, 0, 2, last], 1000 + number)).unwrap();
        let mut peer = Peer::over(stream);
        let code = peer.connect(&connect(&format!("client-{last}-{number}"), None));
        (code, peer)
    };
    let held = [client(1, 1), client(1, 2), client(2, 1)];
    assert!(held.iter().all(|(code, _)| *code == Some(0)), "{}", world.server.log());
    assert_eq!(client(1, 3).0, Some(0x97));
    assert_eq!(client(2, 2).0, Some(0));
    world.server.logs("too many connections from this address");
    drop(held);
    assert!(eventually(|| client(1, 4).0 == Some(0)), "given back");
    // Without a proxy the socket's address counts, on all listeners together.
    let world = World::new(&["--max-connections-per-address", "2"], &[]);
    let _held = [world.enter(MQTT, "one"), world.enter(WSS, "two")];
    for listener in ALL {
        assert_eq!(world.peer(listener).connect(&connect("three", None)), Some(0x97));
        assert_eq!(world.peer(listener).connect(&connect_v3("three", None)), Some(3));
    }
}

#[test]
fn a_proxys_own_connections_count_for_the_proxy() {
    let own = "proxy-from=127.0.0.1";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let without_client = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0";
    for header in [&local[..], without_client, b"PROXY UNKNOWN\r\n"] {
        let world = World::at(own, &["--max-connections-per-address", "2"], &[]);
        let enter = |listener: usize, number: u16| {
            let mut stream = socket(world.server.port(listener));
            stream.write_all(header).unwrap();
            let mut peer = match listener {
                MQTT => Peer::over(stream),
                MQTTS => Peer::over(tls(&world.trust, stream)),
                WS => Peer::over(stream).upgraded(),
                _ => Peer::over(tls(&world.trust, stream)).upgraded(),
            };
            (peer.connect(&connect(&format!("local-{number}"), None)), peer)
        };
        let held = [enter(MQTT, 1), enter(WSS, 2)];
        assert!(held.iter().all(|(code, _)| *code == Some(0)), "{}", world.server.log());
        for listener in ALL {
            assert_eq!(enter(listener, 3).0, Some(0x97), "{}", world.server.log());
        }
        drop(held);
        assert!(eventually(|| enter(MQTTS, 4).0 == Some(0)), "given back");
    }
}

#[test]
fn connections_may_not_come_faster_than_allowed() {
    let world = World::new(&["--max-connect-rate", "5"], &[]);
    let codes = |count| -> Vec<Option<u8>> {
        (0..count).map(|n| world.peer(MQTT).connect(&connect(&format!("c{n}"), None))).collect()
    };
    let first = codes(12);
    let let_in = first.iter().filter(|code| **code == Some(0)).count();
    assert!((5..=8).contains(&let_in), "{first:02x?}");
    assert!(first.contains(&Some(0x9f)), "{first:02x?}");
    world.server.logs("too many connections at once");
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(codes(1), [Some(0)]);
}

/// An entry of a password file for `user` with the password `right`.
pub(crate) fn entry(user: &str, hash: &str) -> String {
    let folder = crate::folder::Folder::new();
    let path = folder.write("passwords", "");
    let mut command = Command::new("sh");
    command
        .args(["-c", "printf right | \"$0\" passwd --batch --hash \"$1\" \"$2\" \"$3\""])
        .args([env!("CARGO_BIN_EXE_ringmq"), hash])
        .arg(&path)
        .arg(user);
    let (status, output) = run(&mut command);
    assert_eq!(status, Some(0), "{output}");
    std::fs::read_to_string(path).unwrap()
}

/// Behind one address some device has an old password, and somebody guesses: who has the right one
/// comes in, and so does the same name, only later.
#[test]
fn logins_that_fail_shut_out_nobody_else() {
    let flags = ["--max-login-failures", "3", "--password-file", "FOLDER/passwords"];
    let passwords = [entry("ann", "scram"), entry("bob", "argon2id")].concat();
    let world = World::at("proxy-from=127.0.0.1", &flags, &[("passwords", &passwords)]);
    let login = |last: u8, user: &str, password: &str| {
        let mut stream = socket(world.server.port(MQTT));
        stream.write_all(&binary_header([192, 0, 2, last], 1000)).unwrap();
        let mut peer = Peer::over(stream);
        peer.set_timeout(Duration::from_secs(30));
        peer.connect(&connect(&format!("{user}-{last}"), Some((user, password))))
    };
    assert_eq!([(); 5].map(|()| login(1, "ann", "wrong")), [Some(0x86); 5]);
    world.server.logs("Logins of user ann from 192.0.2.1 are delayed: too many of them");
    for _ in 0..3 {
        assert_eq!(login(1, "bob", "right"), Some(0), "another name from the same address");
        assert_eq!(login(2, "ann", "right"), Some(0), "the same name from another address");
        assert_eq!(login(1, "nobody", "guess"), Some(0x86));
    }
    assert_eq!(login(1, "ann", "right"), Some(0), "{}", world.server.log());
    assert_eq!(world.server.count("user ann from"), 1, "{}", world.server.log());
}

/// While a thousand others guess, who was there before comes back at once, also where every
/// password is hashed anew.
#[test]
fn a_flood_of_guesses_keeps_nobody_out_who_was_in_before() {
    let flags = ["--login-cache-s", "0", "--password-file", "FOLDER/passwords"];
    let passwords = entry("ann", "argon2id");
    let world = World::at("proxy-from=127.0.0.1", &flags, &[("passwords", &passwords)]);
    let open = |address: [u8; 4], user: &str, password: &str| {
        let mut stream = socket(world.server.port(MQTT));
        stream.write_all(&binary_header(address, 1000)).unwrap();
        let mut peer = Peer::over(stream);
        peer.send(&connect(&format!("{user}{address:?}"), Some((user, password))));
        peer.set_timeout(Duration::from_secs(60));
        peer
    };
    let ann = || open([192, 0, 2, 1], "ann", "right").packet().map(|(_, body)| body[1]);
    assert_eq!(ann(), Some(0));
    let guesses: Vec<Peer> = (0..1000u32)
        .map(|guess| open([198, 51, 100, (guess % 200) as u8], &format!("u{guess}"), "guess"))
        .collect();
    for _ in 0..3 {
        assert_eq!(ann(), Some(0), "{}", world.server.log());
    }
    drop(guesses);
    assert_eq!(open([203, 0, 113, 1], "ann", "right").packet().map(|(_, body)| body[1]), Some(0));
}

/// Nobody waits for those who have gone: half a minute of hashes is owed to nobody.
#[test]
fn logins_of_clients_that_have_gone_are_dropped_on_every_transport() {
    for transport in ALL {
        let flags = ["--password-file", "FOLDER/passwords"];
        let passwords = entry("ann", "argon2id");
        let world = World::at("", &flags, &[("passwords", &passwords)]);
        let gone: Vec<Peer> = (0..200)
            .map(|number| {
                let mut peer = world.peer(transport);
                peer.send(&connect(&format!("gone{number}"), Some(("nobody", "guess"))));
                peer
            })
            .collect();
        let verified = || world.server.count("wrong user name or password");
        let before = verified();
        drop(gone);
        let mut here = world.peer(transport);
        // A busy machine takes a second for each hash of those who had their turn.
        here.set_timeout(Duration::from_secs(120));
        assert_eq!(here.connect(&connect("here", Some(("ann", "right")))), Some(0));
        let others = verified() - before;
        assert!(others <= (200 - before) / 2 + 2, "{others} after {before}: {transport}");
    }
}

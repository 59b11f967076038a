//! What a reload changes for who is connected, and what it leaves alone, with messages on their
//! way all the time.

use crate::pki;
use crate::realm::Realm;
use crate::support::peer::{Peer, connect, tls_client};
use crate::support::server::{Server, eventually};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::ClientConfig;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const ACL: &str = "pattern readwrite own/%u/#\npattern readwrite flow/#\n";

/// One user's line of a password file; few iterations, since it is hashed often here.
fn entry(user: &str, password: &str) -> String {
    let mut hash = [0; 64];
    pbkdf2::pbkdf2_hmac::<sha2::Sha512>(password.as_bytes(), b"salt of 12 B", 100, &mut hash);
    let [salt, hash] = [&b"salt of 12 B"[..], &hash].map(|bytes| BASE64_STANDARD.encode(bytes));
    format!("{user}:$7$100${salt}${hash}\n")
}

/// A broker with users in a file on TCP, TLS and WebSocket, and one that asks for certificates.
struct World {
    realm: Realm,
    server: Server,
    trust: Arc<ClientConfig>,
}

impl World {
    fn new() -> Self {
        let realm = Realm::new();
        realm.folder.write("acl", ACL);
        let users = ["flow", "victim", "other"];
        let passwords: String = users.iter().map(|user| entry(user, "right")).collect();
        realm.folder.write("passwords", passwords);
        let path = |name| realm.path(name).display().to_string();
        let mut flags = realm.tls_flags().to_vec();
        for listener in ["mqtt://127.0.0.1:0", "mqtts://127.0.0.1:0", "ws://127.0.0.1:0"] {
            let file = path("passwords");
            flags.extend(["--listen".into(), format!("{listener}?password-file={file}")]);
        }
        let certificates = format!(
            "mqtts://127.0.0.1:0?client-certificates=required&certificate-user=cn&\
             tls-client-ca={}&tls-crl={}",
            path("clients.pem"),
            path("clients.crl")
        );
        flags.extend(["--listen".into(), certificates, "--acl-file".into(), path("acl")]);
        flags.extend(["--max-login-failures", "0"].map(str::to_owned));
        let server = Server::start(&flags);
        let trust = tls_client(&realm.authority.pem(), None);
        Self { realm, server, trust }
    }

    fn peer(&self, listener: usize) -> Peer {
        let port = self.server.port(listener);
        match listener {
            0 => Peer::plain(port),
            1 => Peer::tls(port, &self.trust),
            _ => Peer::websocket(port),
        }
    }

    /// A client that is let in.
    fn enter(&self, listener: usize, client_id: &str, user: &str) -> Peer {
        let mut peer = self.peer(listener);
        let code = peer.connect(&connect(client_id, Some((user, "right"))));
        assert_eq!(code, Some(0), "{client_id}: {}", self.server.log());
        peer
    }

    /// The certificate that the server shows now.
    fn certificate(&self) -> Vec<u8> {
        use std::io::Write;
        let socket = crate::support::peer::socket(self.server.port(1));
        // Tickets would hide it.
        let mut stream =
            crate::support::peer::tls(&tls_client(&self.realm.authority.pem(), None), socket);
        stream.flush().unwrap();
        stream.0.conn.complete_io(&mut stream.0.sock).unwrap();
        stream.0.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// Messages from one client to another with QoS 1, until it is stopped.
    fn flow(&self, name: &str, from: usize, to: usize) -> Flow {
        let topic = format!("flow/{name}");
        let mut receiver = self.enter(to, &format!("{name}-receiver"), "flow");
        let mut sender = self.enter(from, &format!("{name}-sender"), "flow");
        assert_eq!(receiver.subscribe(&topic), Some(1));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sending = thread::spawn(move || {
            let mut count = 0u32;
            while !stopped.load(Ordering::Relaxed) {
                let code = sender.publish(&topic, &count.to_be_bytes());
                assert_eq!(code, Some(0), "message {count}");
                count += 1;
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(sender.publish(&topic, &u32::MAX.to_be_bytes()), Some(0));
            count
        });
        let receiving = thread::spawn(move || {
            let mut count = 0u32;
            loop {
                let (kind, body) = receiver.packet().expect("the receiver stays connected");
                assert_eq!(kind & 0xf6, 0x32, "{kind:02x} {body:02x?}");
                let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                receiver.send(&[0x40, 2, body[at], body[at + 1]]);
                let number = u32::from_be_bytes(*body.last_chunk().unwrap());
                if number == u32::MAX {
                    return count;
                }
                assert_eq!(number, count, "each message comes once and in order");
                count += 1;
            }
        });
        Flow { stop, sending, receiving }
    }
}

struct Flow {
    stop: Arc<AtomicBool>,
    sending: JoinHandle<u32>,
    receiving: JoinHandle<u32>,
}

impl Flow {
    /// Ends it: all that was sent has arrived. How much that was.
    fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sending.join().expect("the sender stays connected");
        assert_eq!(self.receiving.join().expect("the receiver stays connected"), sent);
        sent
    }
}

fn may_publish(peer: &mut Peer, topic: &str) -> bool {
    match peer.publish(topic, b"x") {
        // Nobody subscribes to it, or somebody does.
        Some(0 | 0x10) => true,
        Some(0x87) => false,
        other => panic!("{other:02x?} for {topic}"),
    }
}

/// Waits until the client is told that it may not be here.
fn is_put_out(peer: &mut Peer) {
    match peer.packet() {
        Some((0xe0, body)) => assert_eq!(body.first(), Some(&0x87), "{body:02x?}"),
        other => panic!("{other:02x?} instead of DISCONNECT"),
    }
    assert!(peer.closes());
}

#[test]
fn a_new_certificate_is_shown_and_old_connections_stay() {
    let world = World::new();
    let flow = world.flow("certificates", 1, 1);
    let first = world.certificate();
    world.realm.write_server_certificate();
    assert!(world.server.reload());
    let second = world.certificate();
    assert_ne!(first, second);
    // And without being told.
    world.realm.write_server_certificate();
    world.server.logs("Certificates have changed: reloaded");
    assert_ne!(world.certificate(), second);
    assert!(flow.stop() > 0);
}

#[test]
fn a_revoked_client_is_put_out_and_cannot_resume() {
    let world = World::new();
    let realm = &world.realm;
    let flow = world.flow("revocation", 1, 2);
    let enter = |name: &str, serial| {
        let identity = pki::issue(&realm.clients, pki::client_params(name, serial));
        let (certificate, key) = (identity.certificate.pem(), identity.key.serialize_pem());
        let config = tls_client(&realm.authority.pem(), Some((&certificate, &key)));
        let mut peer = Peer::tls(world.server.port(3), &config);
        assert_eq!(peer.connect(&connect(name, None)), Some(0), "{}", world.server.log());
        (peer, config)
    };
    let (mut good, _) = enter("good", 1);
    let (mut bad, config) = enter("bad", 2);
    // Another one resumes the session while it may.
    let mut resumed = Peer::tls(world.server.port(3), &config);
    assert_eq!(resumed.connect(&connect("bad too", None)), Some(0));
    realm.folder.write("clients.crl", pki::crl(&realm.clients, &[2]));
    assert!(world.server.reload());
    is_put_out(&mut bad);
    is_put_out(&mut resumed);
    assert!(good.ping().is_some());
    let again = thread::spawn({
        let port = world.server.port(3);
        // Resumed or not: it is refused during the handshake.
        move || Peer::tls(port, &config).connect(&connect("bad again", None))
    });
    assert!(!matches!(again.join(), Ok(Some(0))), "{}", world.server.log());
    world.server.logs("revoked");
    assert!(good.ping().is_some());
    flow.stop();
}

#[test]
fn rights_that_are_taken_away_end_at_once() {
    let world = World::new();
    let folder = &world.realm.folder;
    let flow = world.flow("rights", 0, 2);
    for listener in 0..3 {
        folder.write("acl", format!("{ACL}user victim\ntopic readwrite shared/#\n"));
        assert!(world.server.reload());
        let mut victim = world.enter(listener, &format!("victim-{listener}"), "victim");
        let mut reader = world.enter(listener, &format!("reader-{listener}"), "victim");
        assert_eq!(reader.subscribe("shared/#"), Some(1));
        assert_eq!(victim.publish("shared/a", b"before"), Some(0));
        let (kind, _) = reader.packet().expect("the message comes");
        assert_eq!(kind, 0x32);
        folder.write("acl", format!("{ACL}user other\ntopic readwrite shared/#\n"));
        assert!(world.server.reload());
        let is_denied = || victim.publish("shared/a", b"denied") == Some(0x87);
        assert!(eventually(is_denied), "{}", world.server.log());
        let mut other = world.enter(listener, &format!("other-{listener}"), "other");
        assert_eq!(other.publish("shared/a", b"not for the victim"), Some(0));
        assert_eq!(reader.subscribe("shared/b"), Some(0x87), "and nothing came before");
        assert!(victim.ping().is_some(), "it stays connected");
    }
    assert!(flow.stop() > 0);
}

#[test]
fn a_changed_password_and_a_removed_user_end_their_connections() {
    let world = World::new();
    let flow = world.flow("passwords", 2, 1);
    let stays = [entry("flow", "right"), entry("other", "right")].concat();
    let changes = [
        format!("{stays}{}", entry("victim", "another")),
        format!("{stays}{}", entry("victim", "right")),
        stays.clone(),
    ];
    for (listener, passwords) in changes.iter().enumerate() {
        // As it was.
        world.realm.folder.write("passwords", format!("{stays}{}", entry("victim", "right")));
        assert!(world.server.reload());
        let mut victims: Vec<Peer> =
            (0..8).map(|n| world.enter(listener, &format!("victim-{n}"), "victim")).collect();
        let mut other = world.enter(listener, "other", "other");
        world.realm.folder.write("passwords", passwords);
        assert!(world.server.reload());
        if passwords.contains(&entry("victim", "right")) {
            assert!(victims.iter_mut().all(|victim| victim.ping().is_some()), "nothing changed");
            continue;
        }
        for victim in &mut victims {
            is_put_out(victim);
        }
        let mut again = world.peer(listener);
        let code = again.connect(&connect("victim-0", Some(("victim", "right"))));
        assert_eq!(code, Some(0x86), "{}", world.server.log());
        assert!(other.ping().is_some());
    }
    flow.stop();
}

#[test]
fn a_broken_file_keeps_what_held_and_says_why() {
    let world = World::new();
    let flow = world.flow("broken", 1, 0);
    let mut victim = world.enter(0, "victim", "victim");
    let old = |name| std::fs::read(world.realm.path(name)).unwrap();
    let broken: [(&str, &[u8]); 9] = [
        ("acl", b"topic readwrite a/#\ntopic nonsense b c d\nuser\n"),
        ("acl", b"topic readwrite \xff\xfe\n"),
        ("passwords", b"victim:\n"),
        ("passwords", b"victim right\n"),
        ("passwords", b"victim:$7$100$cut"),
        ("server.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n"),
        ("server.key", b""),
        ("clients.pem", b"nothing"),
        ("clients.crl", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"),
    ];
    for (name, bytes) in broken {
        let before = old(name);
        let told = world.server.count(name);
        world.realm.folder.write(name, bytes);
        let shown = String::from_utf8_lossy(bytes);
        assert!(!world.server.reload(), "{name} with {shown:?} was taken");
        assert!(world.server.count(name) > told, "{name} is not named: {}", world.server.log());
        world.realm.folder.write(name, before);
        assert!(may_publish(&mut victim, "own/victim/a"), "{name} with {shown:?}");
        assert_eq!(victim.publish("shared/a", b"x"), Some(0x87), "{name} with {shown:?}");
    }
    // A file that is gone, and one that cannot be read.
    for name in ["acl", "passwords"] {
        let before = old(name);
        std::fs::remove_file(world.realm.path(name)).unwrap();
        assert!(!world.server.reload(), "without {name}");
        std::fs::create_dir(world.realm.path(name)).unwrap();
        assert!(!world.server.reload(), "{name} is a folder");
        std::fs::remove_dir(world.realm.path(name)).unwrap();
        world.realm.folder.write(name, before);
    }
    assert!(world.server.reload());
    assert!(victim.ping().is_some());
    flow.stop();
}

/// `prlimit`: while no descriptor is to be had, nothing can be read again, and what held stays.
#[test]
fn v18_a_reload_without_descriptors_keeps_what_held() {
    let world = World::new();
    let flow = world.flow("descriptors", 0, 1);
    let mut victim = world.enter(0, "victim", "victim");
    let limit = |count| {
        let limit = libc::rlimit { rlim_cur: count, rlim_max: 20_000 };
        // SAFETY: the limit is there to be read, and nothing is written; the process is the test's.
        let result = unsafe {
            libc::prlimit(world.server.pid(), libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut())
        };
        assert_eq!(result, 0);
    };
    world.realm.folder.write("acl", "topic readwrite #\n");
    world.realm.folder.write("passwords", "");
    limit(3);
    assert!(!world.server.reload(), "{}", world.server.log());
    assert_eq!(victim.publish("shared/a", b"x"), Some(0x87), "nobody may do more");
    limit(20_000);
    assert!(victim.ping().is_some());
    let mut other = world.enter(0, "other", "other");
    assert_eq!(other.publish("shared/a", b"x"), Some(0x87));
    flow.stop();
}

/// `RINGMQ_RELOADS=1000 cargo test --release --test secure -- t16` runs a thousand.
#[test]
fn t16_reloads_under_load_drop_nothing_and_revoke_in_time() {
    let count = std::env::var("RINGMQ_RELOADS").map_or(20, |count| count.parse().unwrap());
    let world = World::new();
    let flows =
        [world.flow("tcp-tls", 0, 1), world.flow("tls-ws", 1, 2), world.flow("ws-tcp", 2, 0)];
    let mut victim = world.enter(1, "victim", "victim");
    let mut slowest = Duration::ZERO;
    for round in 0..count {
        let is_granted = round % 2 == 0;
        let grant = if is_granted { "user victim\ntopic readwrite shared/#\n" } else { "" };
        world.realm.folder.write("acl", format!("{ACL}{grant}"));
        let passwords: String =
            ["flow", "victim"].iter().map(|user| entry(user, "right")).collect();
        let others = entry("other", &format!("password {round}"));
        world.realm.folder.write("passwords", passwords + &others);
        if round % 4 == 0 {
            world.realm.write_server_certificate();
        }
        let revoked: Vec<u64> = (100..100 + round % 50).collect();
        world.realm.folder.write("clients.crl", pki::crl(&world.realm.clients, &revoked));
        assert!(world.server.reload(), "round {round}: {}", world.server.log());
        let reloaded = Instant::now();
        let is_so = || may_publish(&mut victim, "shared/a") == is_granted;
        assert!(eventually(is_so), "round {round}: {}", world.server.log());
        slowest = slowest.max(reloaded.elapsed());
    }
    let messages: u32 = flows.into_iter().map(Flow::stop).sum();
    println!("{count} reloads, {messages} messages, rights changed within {slowest:?}");
}

//! Mosquitto's place, taken: the same file, the same clients, the same data, another program.

#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use support::folder;
use support::folder::Folder;
use support::peer::{Peer, connect, connect_stored, packet, text, tls_client};
use support::server::{Program, Server, eventually};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Debian's own set-up, and what people add to it: the files that a broker is started with.
struct SetUp {
    folder: Folder,
    /// The ports of plain MQTT, TLS, WebSocket, and of the broker behind the bridge.
    ports: [u16; 4],
    authority: String,
}

impl SetUp {
    fn new() -> Self {
        let folder = Folder::new();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let ports = [free_port(), free_port(), free_port(), free_port()];
        for name in ["conf.d", "lib", "log", "run"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        let authority = pki::authority("Home");
        let server = pki::server(&authority, &["localhost"]);
        folder.write("server.pem", server.certificate.pem());
        pki::private(folder.write("server.key", server.key.serialize_pem()));
        let users = path("users");
        let added = Command::new("mosquitto_passwd")
            .args(["-b", "-c", &users, "alice", "secret"])
            .output()
            .expect("mosquitto_passwd: run scripts/install-test-tools.sh");
        assert!(added.status.success());
        folder.write("acl", "user alice\ntopic readwrite home/#\ntopic read $SYS/#\n");
        folder.write(
            "mosquitto.conf",
            format!(
                "user root\npid_file {}\npersistence true\npersistence_location {}/\n\
                 log_dest file {}\ninclude_dir {}\n",
                path("run/mosquitto.pid"),
                path("lib"),
                path("log/mosquitto.log"),
                path("conf.d"),
            ),
        );
        folder.write(
            "conf.d/home.conf",
            format!(
                "allow_anonymous false\npassword_file {users}\nacl_file {}\n\
                 listener {} 127.0.0.1\nprotocol websockets\n\
                 listener {} 127.0.0.1\n\
                 listener {} 127.0.0.1\ncertfile {}\nkeyfile {}\n\
                 connection up\naddress 127.0.0.1:{}\ntopic home/# out 1 \"\" site/\n\
                 restart_timeout 1\n",
                path("acl"),
                ports[2],
                ports[0],
                ports[1],
                path("server.pem"),
                path("server.key"),
                ports[3],
            ),
        );
        let authority = authority.pem();
        Self { folder, ports, authority }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a broker as the unit does, with this program in its `ExecStart`.
    fn start(&self, program: &Path) -> Program {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.path("mosquitto.conf"));
        command.envs([("RINGMQ_ADMIN_LISTEN", "none"), ("RINGMQ_ADMIN_SOCKET", "none")]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let program = Program::start(&mut command);
        let is_open = |port: &u16| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok();
        assert!(eventually(|| self.ports[..3].iter().all(is_open)), "{}", self.log());
        assert!(eventually(|| self.path("run/mosquitto.pid").exists()));
        program
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log/mosquitto.log")).unwrap_or_default()
    }

    /// A client's connections by each transport.
    fn peers(&self) -> [Peer; 3] {
        let config = tls_client(&self.authority, None);
        [
            Peer::plain(self.ports[0]),
            Peer::tls(self.ports[1], &config),
            Peer::websocket(self.ports[2]),
        ]
    }
}

/// CONNECT of alice with a session that lasts.
fn alice(client_id: &str) -> Vec<u8> {
    let connect = connect_stored(client_id, 3600, 60);
    // Behind the fixed header: name and level, flags, keep alive, properties, client identifier.
    let mut body = connect[2..].to_vec();
    body[7] |= 0xc0;
    packet(0x10, &[&body[..], &text("alice"), &text("secret")].concat())
}

/// The topic and payload of the next message, which is acknowledged.
fn next(peer: &mut Peer) -> (String, Vec<u8>) {
    loop {
        let (head, body) = peer.packet().expect("a message comes");
        if head >> 4 != 3 {
            continue;
        }
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
        let mut rest = &body[2 + length..];
        if head & 6 > 0 {
            peer.send(&packet(0x40, &rest[..2]));
            rest = &rest[2..];
        }
        return (topic, rest[1 + usize::from(rest[0])..].to_vec());
    }
}

/// What clients see of either broker: the same.
fn serves(set_up: &SetUp, far: &mut Peer, round: &str) {
    for mut peer in set_up.peers() {
        assert_eq!(peer.connect(&connect("stranger", None)), Some(0x87), "{round}");
    }
    for (mut peer, number) in set_up.peers().into_iter().zip(0..) {
        assert_eq!(peer.connect(&alice(&format!("a{number}"))), Some(0), "{round}");
        let topic = format!("home/{round}/{number}");
        assert_eq!(peer.subscribe(&topic), Some(1));
        peer.send(&packet(0x30, &[&text(&topic)[..], &[0], b"live"].concat()));
        assert_eq!(next(&mut peer), (topic.clone(), b"live".to_vec()));
        // The bridge carries it on.
        while next(far) != (format!("site/{topic}"), b"live".to_vec()) {}
    }
}

#[test]
fn another_program_in_exec_start_serves_the_same_clients_with_the_same_data() {
    let mosquitto = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
    let mosquitto = mosquitto.map(Path::new).into_iter().find(|path| path.exists());
    let mosquitto = mosquitto.expect("mosquitto: run scripts/install-test-tools.sh");
    let set_up = SetUp::new();
    let far = format!("mqtt://127.0.0.1:{}", set_up.ports[3]);
    let far = Server::start(&["--listen", &far, "--sys-interval", "0"]);
    let mut watcher = Peer::plain(far.port(0));
    assert_eq!(watcher.connect(&connect("watcher", None)), Some(0));
    assert_eq!(watcher.subscribe("site/#"), Some(1));
    {
        let mut program = set_up.start(mosquitto);
        far.logs(".up (p");
        serves(&set_up, &mut watcher, "before");
        let mut peer = Peer::plain(set_up.ports[0]);
        assert_eq!(peer.connect(&alice("away")), Some(0));
        assert_eq!(peer.subscribe("home/queued"), Some(1));
        drop(peer);
        let mut peer = Peer::plain(set_up.ports[0]);
        assert_eq!(peer.connect(&alice("publisher")), Some(0));
        for payload in [b"1", b"2"] {
            assert_eq!(peer.publish("home/queued", payload), Some(0));
        }
        peer.send(&packet(0x31, &[&text("home/state")[..], &[0], b"kept"].concat()));
        assert!(peer.ping().is_some());
        let pid = program.child().id();
        assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
        program.child().wait().unwrap();
    }
    assert!(set_up.path("lib/mosquitto.db").exists());
    let database = std::fs::read(set_up.path("lib/mosquitto.db")).unwrap();
    let _program = set_up.start(Path::new(env!("CARGO_BIN_EXE_ringmq")));
    let mut away = Peer::plain(set_up.ports[0]);
    assert_eq!(away.connect(&alice("away")), Some(0), "{}", set_up.log());
    for payload in [b"1", b"2"] {
        assert_eq!(next(&mut away), ("home/queued".to_owned(), payload.to_vec()));
    }
    assert_eq!(away.subscribe("home/state"), Some(1));
    assert_eq!(next(&mut away), ("home/state".to_owned(), b"kept".to_vec()));
    assert!(eventually(|| set_up.log().contains("Bridge up: connected")), "{}", set_up.log());
    while next(&mut watcher).0 != "site/home/state" {}
    serves(&set_up, &mut watcher, "after");
    assert_eq!(std::fs::read(set_up.path("lib/mosquitto.db")).unwrap(), database);
    assert!(set_up.path("lib/ringmq").is_dir());
}

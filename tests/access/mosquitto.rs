//! The same ACL file and the same password file before Mosquitto and before ringmq.

use super::{Folder, identity};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ringmq::access::{HashMethod, Policy, Sources, hash_password};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Stops when it is dropped.
struct Mosquitto {
    process: Child,
    address: SocketAddr,
}

impl Mosquitto {
    /// None when it is not installed.
    fn start(folder: &Folder, settings: &str) -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // Else, when root runs it, it would give up the right to read the folder.
        let text = format!("listener {} 127.0.0.1\nuser root\n{settings}", address.port());
        let file = folder.write("mosquitto.conf", text);
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
        let Some(program) = program.iter().find(|path| Path::new(path).exists()) else {
            println!("skipped: mosquitto is not installed");
            return None;
        };
        let mut command = Command::new(program);
        command.arg("-c").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        let mosquitto = Self { process: command.spawn().unwrap(), address };
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Some(mosquitto);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("mosquitto does not listen");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection that speaks as much MQTT 5 as it takes.
struct Client(TcpStream);

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

impl Client {
    /// The connection, or CONNACK's reason.
    fn connect(
        address: SocketAddr,
        client_id: &str,
        user: Option<(&str, &str)>,
    ) -> Result<Self, u8> {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut client = Self(stream);
        let flags = if user.is_some() { 0xC2 } else { 0x02 };
        let mut body = [text("MQTT"), vec![5, flags, 0, 60, 0], text(client_id)].concat();
        if let Some((name, password)) = user {
            body.extend([text(name), text(password)].concat());
        }
        client.send(0x10, &body);
        let (kind, body) = client.receive();
        assert_eq!(kind, 0x20);
        if body[1] == 0 { Ok(client) } else { Err(body[1]) }
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        assert!(body.len() < 16_384);
        let length = [body.len() as u8 & 0x7F | 0x80, (body.len() >> 7) as u8];
        self.0.write_all(&[&[kind], &length[..], body].concat()).unwrap();
    }

    fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut byte = || {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            byte[0]
        };
        let (kind, mut length, mut shift) = (byte(), 0, 0);
        loop {
            let part = byte();
            length |= usize::from(part & 0x7F) << shift;
            shift += 7;
            if part < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (kind, body)
    }

    /// Publishes with QoS 1; whether that was allowed.
    fn publish(&mut self, topic: &str) -> bool {
        self.send(0x32, &[text(topic), vec![0, 1, 0]].concat());
        let (kind, body) = self.receive();
        assert_eq!(kind, 0x40, "{topic}: {body:?}");
        body.get(2).is_none_or(|reason| *reason < 0x80)
    }

    fn subscribe(&mut self, filter: &str) {
        self.send(0x82, &[vec![0, 2, 0], text(filter), vec![0]].concat());
        assert_eq!(self.receive().0, 0x90);
    }

    /// The topic of the next message.
    fn next_topic(&mut self) -> String {
        let (kind, body) = self.receive();
        assert_eq!(kind & 0xF0, 0x30);
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        String::from_utf8(body[2..2 + length].to_vec()).unwrap()
    }
}

const ADMIN: &str = "user admin\ntopic #\npattern read sentinel\n";

/// What Mosquitto allows to a client: to write to the topic, and to read from it.
fn ask(mosquitto: &Mosquitto, client_id: &str, user: Option<&str>, topic: &str) -> (bool, bool) {
    let user = user.map(|user| (user, "pass"));
    let mut client = Client::connect(mosquitto.address, client_id, user).unwrap();
    let may_write = client.publish(topic);
    client.subscribe(topic);
    client.subscribe("sentinel");
    let admin = Some(("admin", "pass"));
    let mut publisher = Client::connect(mosquitto.address, "admin", admin).unwrap();
    assert!(publisher.publish(topic) && publisher.publish("sentinel"));
    (may_write, client.next_topic() == topic)
}

const RULES: &str = "# comment\n\
    topic read public/#\n\
    topic deny public/secret\n\
    topic write open\n\
    user ann\n\
    topic read a/+\n\
    topic a/own\n\
    topic deny a/hidden\n\
    topic readwrite with space/x\n\
    topic pattern/%u/x\n\
    topic both/#\n\
    user two words\n\
    topic b/#\n\
    user ann\n\
    topic write later  \n\
    pattern read p/%u/#\n\
    pattern write c/%c\n\
    pattern deny both/denied\n\
    pattern both/+\n\
    pattern deny p/%u/not\n";

const TOPICS: &[&str] = &[
    "public/a",
    "public/secret",
    "public",
    "open",
    "a/x",
    "a/own",
    "a/hidden",
    "a",
    "a/x/y",
    "with space/x",
    "pattern/ann/x",
    "pattern/%u/x",
    "both/denied",
    "both/x",
    "both/x/y",
    "b/x",
    "later",
    "later  ",
    "p/ann/x",
    "p/bob/x",
    "p/ann/not",
    "p//x",
    "c/one",
    "c/two",
    "c/%c",
    "p/x/y",
    "c/a/b",
    "none",
];

#[test]
fn rules_mean_what_mosquitto_makes_of_them() {
    let folder = Folder::new();
    // `pass`, hashed with few iterations: there are hundreds of connections.
    let mut hash = [0; 64];
    pbkdf2::pbkdf2_hmac::<sha2::Sha512>(b"pass", b"salt of 12 B", 1, &mut hash);
    let [salt, hash] = [&b"salt of 12 B"[..], &hash].map(|bytes| BASE64_STANDARD.encode(bytes));
    let hash = format!("$7$1${salt}${hash}");
    let users = ["admin", "ann", "two words", "bob", "x/y"];
    let passwords: String = users.iter().map(|user| format!("{user}:{hash}\n")).collect();
    let acl = folder.write("acl", format!("{RULES}{ADMIN}"));
    let settings = format!(
        "allow_anonymous true\npassword_file {}\nacl_file {}\n",
        folder.write("passwords", passwords).display(),
        acl.display()
    );
    let Some(mosquitto) = Mosquitto::start(&folder, &settings) else { return };
    let policy = Policy::load(&Sources { acl_file: Some(acl), ..Sources::default() }).unwrap();
    for topic in TOPICS.iter().copied() {
        for user in [None, Some("ann"), Some("two words"), Some("bob"), Some("x/y")] {
            for client_id in ["one", "a/b"] {
                let grants = policy.grants(&identity(client_id, user)).unwrap();
                let ours = (grants.may_write(topic), grants.may_read(topic));
                let theirs = ask(&mosquitto, client_id, user, topic);
                // Where Mosquitto makes several levels of an identifier, ringmq allows nothing; and
                // no pattern at all when one that denies speaks of it.
                let is_unusable = user == Some("x/y") || client_id == "a/b" && topic == "c/a/b";
                let case = format!("{user:?} {client_id} {topic}: {ours:?}, Mosquitto {theirs:?}");
                assert!(ours == theirs || is_unusable && ours == (false, false), "{case}");
            }
        }
    }
}

#[test]
fn mosquitto_reads_what_ringmq_writes() {
    let folder = Folder::new();
    let hash = hash_password(HashMethod::Pbkdf2, "pässword".as_bytes());
    let passwords = folder.write("passwords", format!("user:{hash}\n"));
    let settings = format!("password_file {}\n", passwords.display());
    let Some(mosquitto) = Mosquitto::start(&folder, &settings) else { return };
    let enter = |password| Client::connect(mosquitto.address, "c", Some(("user", password)));
    assert!(enter("pässword").is_ok());
    assert!(enter("password").is_err());
}

//! Bridges that ringmq opens: to a real Mosquitto, and to another ringmq, through cuts and kills.

#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
mod support;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::folder;
use support::folder::Folder;
use support::peer::{Peer, connect, connect_stored, packet, text};
use support::server::{Program, Server, eventually};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Flags of a broker at `port` whose messages outlive it.
fn stored(folder: &Folder, port: u16, more: &[&str]) -> Vec<String> {
    let data = folder.path().join("data");
    let listen = format!("mqtt://127.0.0.1:{port}");
    let flags = ["--listen", &listen, "--data-dir", data.to_str().unwrap(), "--sys-interval", "0"];
    [&flags[..], more].concat().iter().map(ToString::to_string).collect()
}

/// A bridge's table, which begins with these lines.
fn bridge(folder: &Folder, lines: &str) -> String {
    let text = format!("[[bridge]]\nname = \"up\"\nrestart-timeout = 1\n{lines}\n");
    folder.write("bridge.toml", text).to_str().unwrap().to_owned()
}

fn client(port: u16, name: &str) -> Peer {
    let mut peer = Peer::plain(port);
    assert_eq!(peer.connect(&connect(name, None)), Some(0));
    peer
}

/// Publishes in version 5 at QoS 2, and ends the exchange.
fn publish_exactly(peer: &mut Peer, topic: &str, payload: &[u8]) {
    peer.send(&packet(0x34, &[&text(topic)[..], &[0, 7, 0], payload].concat()));
    assert_eq!(peer.packet().unwrap().0, 0x50);
    peer.send(&packet(0x62, &[0, 7]));
    assert_eq!(peer.packet().unwrap().0, 0x70);
}

/// The topic and the payload of the next message, which is acknowledged.
fn next(peer: &mut Peer) -> (String, Vec<u8>, u8) {
    loop {
        let (head, body) = peer.packet().expect("a message comes");
        if head >> 4 == 6 {
            peer.send(&packet(0x70, &body[..2]));
        }
        if head >> 4 != 3 {
            continue;
        }
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
        let qos = head >> 1 & 3;
        let mut rest = &body[2 + length..];
        if qos > 0 {
            let answer = if qos == 1 { 0x40 } else { 0x50 };
            peer.send(&packet(answer, &rest[..2]));
            rest = &rest[2..];
        }
        return (topic, rest[1 + usize::from(rest[0])..].to_vec(), head);
    }
}

fn subscribe_exactly(peer: &mut Peer, filter: &str) {
    peer.send(&packet(0x82, &[&[0, 2, 0][..], &text(filter), &[2]].concat()));
    // A message may come before SUBACK.
    while peer.packet().expect("SUBACK comes").0 != 0x90 {}
}

/// A Mosquitto at this port.
fn mosquitto(folder: &Folder, port: u16) -> Program {
    let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
    let program = program.into_iter().find(|path| std::path::Path::new(path).exists());
    let program = program.expect("mosquitto: run scripts/install-test-tools.sh");
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n");
    let mut command = Command::new(program);
    command.arg("-c").arg(folder.write("mosquitto.conf", text));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let program = Program::start(&mut command);
    assert!(eventually(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()));
    program
}

/// Waits until the bridge's state, as clients of this broker see it, is `state`.
fn is_told(peer: &mut Peer, state: &[u8]) {
    while next(peer).1 != state {}
}

#[test]
fn messages_of_each_qos_go_both_ways_between_ringmq_and_mosquitto() {
    for version in ["3.1", "3.1.1", "5.0"] {
        let (folder, port) = (Folder::new(), free_port());
        let program = mosquitto(&folder, port);
        let lines = format!(
            "address = \"127.0.0.1:{port}\"\ntopic = [\"s/# both 2 here/ there/\", \"r out 1\"]\n\
             version = \"{version}\"\nclient-id = \"one\"\n"
        );
        let flags = stored(&folder, 0, &["--config", &bridge(&folder, &lines)]);
        let server = Server::start(&flags);
        let mut watcher = client(server.port(0), "watcher");
        subscribe_exactly(&mut watcher, "$SYS/broker/connection/one/state");
        is_told(&mut watcher, b"1");
        let carries = |from: u16, to: u16, own: &str, other: &str| {
            let (mut publisher, mut subscriber) = (client(from, "publisher"), client(to, "sub"));
            subscribe_exactly(&mut subscriber, other);
            publisher.send(&packet(0x30, &[&text(own)[..], &[0, b'0']].concat()));
            assert_eq!(publisher.publish(own, b"1"), Some(0));
            publish_exactly(&mut publisher, own, b"2");
            for payload in [b"0", b"1", b"2"] {
                let (topic, came, head) = next(&mut subscriber);
                assert_eq!((&*topic, &came[..]), (other, &payload[..]), "{version}");
                assert_eq!(head >> 1 & 3, payload[0] - b'0', "{version}");
            }
        };
        carries(server.port(0), port, "here/s/a", "there/s/a");
        carries(port, server.port(0), "there/s/b", "here/s/b");
        drop(program);
        is_told(&mut watcher, b"0");
        let mut publisher = client(server.port(0), "publisher");
        // Retained, so that it does not matter who is there first.
        let kept = [&text("here/s/kept")[..], &[0, 1, 0], b"waits"].concat();
        publisher.send(&packet(0x33, &kept));
        assert_eq!(publisher.packet().unwrap().0, 0x40);
        let _program = mosquitto(&folder, port);
        let mut there = client(port, "there");
        subscribe_exactly(&mut there, "there/#");
        assert_eq!(next(&mut there).1, b"waits");
        is_told(&mut watcher, b"1");
    }
}

/// The messages "0", "1" and so on that a stored session gets, up to this many.
fn collect(port: u16, name: &str, count: usize) -> Vec<String> {
    let mut peer = Peer::plain(port);
    assert_eq!(peer.connect(&connect_stored(name, 3600, 60)), Some(0));
    let mut all = Vec::new();
    while all.len() < count {
        all.push(String::from_utf8(next(&mut peer).1).unwrap());
    }
    // A message that came twice would come now.
    peer.send(&[0xc0, 0]);
    loop {
        match peer.packet().expect("PINGRESP comes") {
            (0xd0, _) => return all,
            (head, body) if head >> 4 == 3 => panic!("{name} at {port} has one more: {body:02x?}"),
            (_, body) => peer.send(&packet(0x70, &body[..2])),
        }
    }
}

/// Looks for all messages of both publishers, each publisher's in order.
fn is_whole(all: &[String], count: usize) {
    let of = |range: std::ops::Range<usize>| -> Vec<usize> {
        let numbers = all.iter().map(|number| number.parse().unwrap());
        numbers.filter(|number| range.contains(number)).collect()
    };
    assert_eq!(of(0..count), (0..count).collect::<Vec<_>>());
    assert_eq!(of(count..2 * count), (count..2 * count).collect::<Vec<_>>());
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_of_either_side() {
    // Both together fit the queue of a session that is away.
    const COUNT: usize = 450;
    let (here, there) = (Folder::new(), Folder::new());
    let ports = (free_port(), free_port());
    let lines = format!("address = \"127.0.0.1:{}\"\ntopic = \"q both 2\"\n", ports.1);
    let flags = stored(&here, ports.0, &["--config", &bridge(&here, &lines)]);
    let flags_there = stored(&there, ports.1, &[]);
    let mut far = Server::start(&flags_there);
    let mut near = Server::start(&flags);
    for port in [ports.0, ports.1] {
        let mut subscriber = Peer::plain(port);
        assert_eq!(subscriber.connect(&connect_stored("sub", 3600, 60)), Some(0));
        subscribe_exactly(&mut subscriber, "q");
    }
    let mut watcher = client(ports.0, "watcher");
    subscribe_exactly(&mut watcher, "$SYS/broker/connection/#");
    is_told(&mut watcher, b"1");
    drop(watcher);
    let publish = |port: u16, from: usize, to: usize| {
        let mut publisher = client(port, "publisher");
        for number in from..to {
            publish_exactly(&mut publisher, "q", number.to_string().as_bytes());
        }
    };
    let stop = |server: &mut Server| {
        server.signal(libc::SIGKILL);
        assert!(server.ends().is_some());
    };
    for round in 0..9 {
        let (from, to) = (round * COUNT / 9, (round + 1) * COUNT / 9);
        let there = (COUNT + from, COUNT + to);
        // A moment in which some of what has waited passes.
        let some_pass = || std::thread::sleep(Duration::from_millis(7 * round as u64));
        match round % 3 {
            // Messages wait here, and are on their way when this side is killed.
            0 => {
                publish(ports.1, there.0, there.1);
                stop(&mut far);
                publish(ports.0, from, to);
                far = Server::start(&flags_there);
                some_pass();
                stop(&mut near);
                near = Server::start(&flags);
            }
            // They wait there, and are on their way when that side is killed.
            1 => {
                publish(ports.0, from, to);
                stop(&mut near);
                publish(ports.1, there.0, there.1);
                near = Server::start(&flags);
                some_pass();
                stop(&mut far);
                far = Server::start(&flags_there);
            }
            _ => {
                std::thread::scope(|scope| {
                    scope.spawn(|| publish(ports.0, from, to));
                    scope.spawn(|| publish(ports.1, there.0, there.1));
                });
                stop(&mut far);
                stop(&mut near);
                far = Server::start(&flags_there);
                near = Server::start(&flags);
            }
        }
    }
    for port in [ports.0, ports.1] {
        is_whole(&collect(port, "sub", 2 * COUNT), COUNT);
    }
}

#[test]
fn a_bridge_shows_its_password_and_trusts_only_its_authority() {
    let (folder, port) = (Folder::new(), free_port());
    let (ours, others) = (pki::authority("Ours"), pki::authority("Others"));
    let server = pki::server(&ours, &["localhost"]);
    let write = |name: &str, text: String| folder.write(name, text).to_str().unwrap().to_owned();
    let (ca, wrong_ca) = (write("ca.pem", ours.pem()), write("wrong.pem", others.pem()));
    let (cert, key) = (write("s.pem", server.certificate.pem()), folder.path().join("s.key"));
    pki::private(folder.write("s.key", server.key.serialize_pem()));
    let users = support::passwords(&folder, &["bridge"], "secret");
    let listen = format!("mqtts://127.0.0.1:{port}");
    let key = key.to_str().unwrap();
    let _far = Server::start(&[
        "--listen",
        &listen,
        "--tls-cert",
        &cert,
        "--tls-key",
        key,
        "--password-file",
        &users,
    ]);
    let start = |host: &str, ca: &str, more: &str| {
        let lines = format!(
            "address = \"mqtts://{host}:{port}\"\ntopic = \"a out\"\ntls-ca = \"{ca}\"\n\
             user = \"bridge\"\n{more}\n"
        );
        Server::start(&["--listen", "mqtt://127.0.0.1:0", "--config", &bridge(&folder, &lines)])
    };
    let password = "password = \"secret\"";
    start("localhost", &ca, password).logs("Bridge up: connected to localhost");
    start("127.0.0.1", &ca, password).logs("certificate not valid for name");
    start("127.0.0.1", &ca, "password = \"secret\"\ntls-insecure = true").logs("connected to");
    start("localhost", &wrong_ca, password).logs("invalid peer certificate: UnknownIssuer");
    start("localhost", &ca, "password = \"wrong\"").logs("the other broker refuses the bridge");
}

#[test]
fn a_bridge_goes_to_the_next_address_and_a_lazy_one_when_messages_wait() {
    let (folder, port) = (Folder::new(), free_port());
    let far = Server::start(&["--listen", &format!("mqtt://127.0.0.1:{port}")]);
    let lines = format!(
        "address = [\"127.0.0.1:1\", \"127.0.0.1:{port}\"]\ntopic = \"a out 1\"\n\
         start = \"lazy\"\nthreshold = 3\nidle-timeout = 1\n"
    );
    let flags = ["--listen", "mqtt://127.0.0.1:0", "--config", &bridge(&folder, &lines)];
    let near = Server::start(&flags);
    let (mut publisher, mut subscriber) = (client(near.port(0), "p"), client(port, "s"));
    assert_eq!(subscriber.subscribe("a"), Some(1));
    near.logs("as local.");
    for payload in [b"1", b"2"] {
        assert_eq!(publisher.publish("a", payload), Some(0));
    }
    assert_eq!(far.count("New client connected"), 1, "{}", far.log());
    assert_eq!(publisher.publish("a", b"3"), Some(0));
    near.logs("no connection to 127.0.0.1:1: ");
    for payload in [b"1", b"2", b"3"] {
        assert_eq!(next(&mut subscriber).1, payload);
    }
    near.logs("nothing is to be carried");
}

#[test]
fn wrong_bridges_are_refused_with_their_place() {
    for (lines, part) in [
        ("topic = \"# out\"", "leads nowhere"),
        ("address = \"a\"", "carries nothing"),
        ("address = \"a\"\ntopic = \"# out 7\"", "bridge.toml:5:9: topic"),
        ("address = \"a\"\ntopics = \"#\"", "did you mean topic?"),
        ("address = \"a\"\ntopic = \"#\"\ntls-ca = \"missing.pem\"", "missing.pem"),
        ("address = \"nats://a\"\ntopic = \"#\"", "mqtts://HOST"),
    ] {
        let folder = Folder::new();
        let file = bridge(&folder, lines);
        let (status, output) = support::server::run(support::ringmq().args(["check", &file]));
        assert_eq!(status, Some(2), "{output}");
        assert!(output.contains(part), "{part}: {output}");
    }
}

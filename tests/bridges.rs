//! Bridges of Mosquitto come in with their own options, and tell their state.

mod support;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use support::bare::Bare;
use support::folder::Folder;
use support::peer::{Peer, connect, packet, text};
use support::server::{Program, Server, eventually};

/// CONNECT of a bridge with a retained will at its state's topic.
fn connect_bridge(level: u8, name: &str) -> Vec<u8> {
    let will = [text("$SYS/broker/connection/b/state"), text("0")].concat();
    packet(0x10, &[&text(name)[..], &[level, 0x26, 0, 60], &text("b"), &will].concat())
}

#[test]
fn a_bridge_gets_no_message_back_and_keeps_the_retain_flag() {
    for (level, name) in [(0x84, "MQTT"), (0x83, "MQIsdp")] {
        let mut broker = Bare::default();
        let bridge = broker.open();
        broker.send(bridge, &connect_bridge(level, name));
        assert_eq!(broker.take(bridge), [0x20, 2, 0, 0]);
        broker.send(bridge, &packet(0x82, &[&[0, 1], &text("#")[..], &[0]].concat()));
        assert_eq!(broker.take(bridge), [0x90, 3, 0, 1, 0]);
        let publish = packet(0x31, &[&text("a")[..], b"x"].concat());
        broker.send(bridge, &publish);
        assert_eq!(broker.take(bridge), [0; 0]);
        let other = broker.connected(&connect("other", None));
        broker.send(other, &packet(0x31, &[&text("a")[..], &[0], b"x"].concat()));
        assert_eq!(broker.take(bridge), publish);
        // Its state goes to those who watch it.
        broker.send(other, &packet(0x82, &[&[0, 1, 0], &text("$SYS/#")[..], &[0]].concat()));
        broker.take(other);
        broker.send(
            bridge,
            &packet(0x31, &[&text("$SYS/broker/connection/b/state")[..], b"1"].concat()),
        );
        assert!(broker.take(other).ends_with(b"/b/state\x001"));
        broker.drop_link(bridge);
        assert!(broker.take(other).ends_with(b"/b/state\x000"));
        // Everything else there is the broker's own.
        let publish = packet(0x30, &[&text("$SYS/broker/connection/b/other")[..], &[0]].concat());
        broker.send(other, &publish);
        assert_eq!(broker.take(other), [0; 0]);
    }
}

#[test]
fn an_unknown_level_gets_an_answer_that_old_clients_understand() {
    for level in [0, 2, 6, 0x82, 0x85, 0xff] {
        let mut broker = Bare::default();
        let link = broker.open();
        broker.send(link, &connect_bridge(level, "MQTT"));
        assert_eq!((broker.take(link), broker.is_closed(link)), (vec![0x20, 2, 0, 1], true));
    }
}

#[test]
fn mosquittos_bridge_carries_messages_both_ways() {
    let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
    let program = program.into_iter().find(|path| std::path::Path::new(path).exists());
    let program = program.expect("mosquitto: run scripts/install-test-tools.sh");
    for more in ["", "try_private false\n", "bridge_protocol_version mqttv50\n"] {
        let server = Server::start(&["--listen", "mqtt://127.0.0.1:0", "--sys-interval", "0"]);
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = Folder::new();
        let file = folder.write(
            "mosquitto.conf",
            format!(
                "listener {free} 127.0.0.1\nallow_anonymous true\nuser root\nconnection up\n\
                 address 127.0.0.1:{}\nremote_clientid bridge\ntopic # both 1\nrestart_timeout 1\n\
                 {more}",
                server.port(0)
            ),
        );
        let mut here = Peer::plain(server.port(0));
        assert_eq!(here.connect(&connect("here", None)), Some(0));
        assert_eq!(here.subscribe("from/#"), Some(1));
        assert_eq!(here.subscribe("$SYS/broker/connection/+/state"), Some(1));
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let mosquitto = Program::start(&mut command);
        // Its state is told when it has come, once for each time that it says so.
        let next = |peer: &mut Peer, topic: &str| {
            let is_on = |body: &[u8]| body[2..].starts_with(topic.as_bytes());
            loop {
                let (_, body) = peer.packet().unwrap_or_else(|| panic!("{topic}: {more}"));
                if is_on(&body) {
                    return body;
                }
            }
        };
        assert!(next(&mut here, "$SYS/broker/connection/").ends_with(b"1"));
        assert!(eventually(|| std::net::TcpStream::connect(("127.0.0.1", free)).is_ok()));
        let mut there = Peer::plain(free);
        assert_eq!(there.connect(&connect("there", None)), Some(0));
        assert_eq!(there.subscribe("to/#"), Some(1));
        assert_eq!(there.publish("from/there", b"one"), Some(0));
        assert!(next(&mut here, "from/there").ends_with(b"one"));
        assert_eq!(here.publish("to/there", b"two"), Some(0));
        assert!(next(&mut there, "to/there").ends_with(b"two"));
        drop(mosquitto);
        assert!(next(&mut here, "$SYS/broker/connection/").ends_with(b"0"));
    }
}

//! Runs the load generator against a broker that makes mistakes: each must be counted and make the
//! run fail, and a broker without mistakes must pass.

use ringmq_mqtt::{ConnAck, Frame, Framed, Packet, QoS, Sender, SubAck, Version, next_frame};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// What the broker does to the deliveries of one message in a hundred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    Nothing,
    Loses,
    Repeats,
    /// Sends it behind the next one.
    Delays,
    /// Sends it and closes the connection.
    Closes,
}

/// Only what the load generator needs, at QoS 0 and without wildcards.
struct Broker {
    mistake: Mistake,
    subscribers: Mutex<Vec<Subscriber>>,
}

struct Subscriber {
    filter: String,
    socket: TcpStream,
    count: u64,
    delayed: Vec<u8>,
}

impl Broker {
    fn start(mistake: Mistake) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let broker = Arc::new(Self { mistake, subscribers: Mutex::new(Vec::new()) });
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let broker = Arc::clone(&broker);
                std::thread::spawn(move || broker.serve(socket.unwrap()));
            }
        });
        address
    }

    fn serve(&self, mut socket: TcpStream) {
        socket.set_nodelay(true).unwrap();
        let (mut bytes, mut chunk) = (Vec::new(), [0; 65_536]);
        loop {
            let Ok(count @ 1..) = socket.read(&mut chunk) else { return };
            bytes.extend_from_slice(&chunk[..count]);
            let mut used = 0;
            while let Framed::Whole(frame) = next_frame(&bytes[used..], 1 << 20).unwrap() {
                used += frame.length;
                self.take(&frame, &bytes[used - frame.length..used], &mut socket);
            }
            bytes.drain(..used);
        }
    }

    fn take(&self, frame: &Frame<'_>, bytes: &[u8], socket: &mut TcpStream) {
        let version = Version::V311;
        let mut out = Vec::new();
        match Packet::decode(frame, version, Sender::Client).unwrap() {
            Packet::Connect(_) => ConnAck::default().encode(version, &mut out),
            Packet::Subscribe(subscribe) => {
                let codes = [QoS::AtMostOnce as u8];
                SubAck { packet_id: subscribe.packet_id, codes: &codes, ..SubAck::default() }
                    .encode(version, &mut out);
                let filter = subscribe.filters[0].filter.to_string();
                let socket = socket.try_clone().unwrap();
                let subscriber = Subscriber { filter, socket, count: 0, delayed: Vec::new() };
                self.subscribers.lock().unwrap().push(subscriber);
            }
            Packet::Publish(publish) => {
                let mut subscribers = self.subscribers.lock().unwrap();
                let hears = |subscriber: &&mut Subscriber| subscriber.filter == publish.topic;
                subscribers
                    .iter_mut()
                    .filter(hears)
                    .for_each(|each| each.send(bytes, self.mistake));
            }
            _ => {}
        }
        // A client that has gone needs no answer.
        let _ = socket.write_all(&out);
    }
}

impl Subscriber {
    fn send(&mut self, bytes: &[u8], mistake: Mistake) {
        self.count += 1;
        let mut out = std::mem::take(&mut self.delayed);
        out.splice(..0, bytes.iter().copied());
        if self.count.is_multiple_of(100) {
            match mistake {
                Mistake::Nothing | Mistake::Closes => {}
                Mistake::Loses => out.clear(),
                Mistake::Repeats => out.extend_from_slice(bytes),
                Mistake::Delays => self.delayed = std::mem::take(&mut out),
            }
        }
        let _ = self.socket.write_all(&out);
        if mistake == Mistake::Closes && self.count == 100 {
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn bench(address: SocketAddr, arguments: &str, duration: &str) -> Output {
    let port = address.port().to_string();
    let times = ["--warmup", "0.1", "--duration", duration];
    Command::new(env!("CARGO_BIN_EXE_ringmq-bench"))
        .args(arguments.split(' '))
        .args(["--port", &port])
        .args(times)
        .output()
        .unwrap()
}

/// Runs until the output says `expected`: a busy machine may be slow to come to a hundredth
/// message.
fn run(mistake: Mistake, arguments: &str, expected: &str) -> (i32, String) {
    let mut last = (0, String::new());
    for duration in ["0.3", "1", "4", "15", "60"] {
        let output = bench(Broker::start(mistake), arguments, duration);
        let text = String::from_utf8(output.stdout).unwrap();
        eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
        last = (output.status.code().unwrap(), text);
        if last.1.contains(expected) {
            break;
        }
    }
    assert!(last.1.contains(expected), "{arguments}: {}", last.1);
    last
}

/// What a run says that has found nothing wrong.
const GOOD: &str = "none lost, duplicated or reordered";

#[test]
fn a_broker_without_mistakes_passes() {
    for arguments in [
        "fanout --subscribers 5",
        "fanout --subscribers 6 --publishers 2 --topics 3 --threads 2 --size 3000",
        "fanout --subscribers 4 --rate 500",
        "fanin --publishers 7 --threads 2",
        "pairs --pairs 9 --threads 2",
        "pingpong --pairs 3",
    ] {
        let (status, text) = run(Mistake::Nothing, arguments, GOOD);
        assert_eq!(status, 0, "{arguments}: {text}");
        assert!(!text.contains("FAILED"));
    }
}

#[test]
fn lost_messages_fail_the_run() {
    for arguments in ["fanout --subscribers 5", "fanout --subscribers 2 --rate 2000", "pairs"] {
        let (status, text) = run(Mistake::Loses, arguments, "FAILED");
        assert_eq!(status, 1, "{arguments}");
        assert!(text.contains(" lost"), "{arguments}");
    }
}

#[test]
fn repeated_messages_fail_the_run() {
    let (status, text) = run(Mistake::Repeats, "fanout --subscribers 5", " duplicated");
    assert_eq!(status, 1);
    assert!(!text.contains(" lost"));
}

#[test]
fn messages_out_of_order_fail_the_run() {
    let (status, text) = run(Mistake::Delays, "fanout --subscribers 5", " reordered");
    assert_eq!(status, 1);
    assert!(!text.contains(" duplicated"));
}

#[test]
fn closed_connections_fail_the_run() {
    let expected = "5 connections closed by the broker";
    let (status, _) = run(Mistake::Closes, "fanout --subscribers 5", expected);
    assert_eq!(status, 1);
}

#[test]
fn without_a_broker_there_is_a_sentence() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let output = bench(address, "fanout --subscribers 2", "0.3");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("ringmq-bench: ") && text.lines().count() == 1, "{text}");
}

#[test]
fn histograms_are_written() {
    let folder = std::env::temp_dir().join(format!("ringmq-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (text, log) = (folder.join("latency.hgrm"), folder.join("latency.hlog"));
    let flags = format!("--hgrm {} --histogram-log {}", text.display(), log.display());
    let (status, _) = run(Mistake::Nothing, &format!("fanout --subscribers 2 {flags}"), GOOD);
    assert_eq!(status, 0);
    let (text, log) =
        (std::fs::read_to_string(text).unwrap(), std::fs::read_to_string(log).unwrap());
    assert!(text.contains("1.000000000000") && text.contains("#[Mean"));
    assert!(log.contains("#[StartTime: ") && log.contains("HISTF"));
    std::fs::remove_dir_all(folder).unwrap();
}

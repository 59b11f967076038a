//! The vectors of `tests/vectors`, named by the statement they show, run against a bare shard and
//! against the broker over TCP.

mod support;

use ringmq::base::maps::HashMap;
use ringmq::broker::LinkId;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use support::bare::Bare;
use support::broker::Broker;
use support::vectors::{self, Driver, packet_length};

#[derive(Default)]
struct BareDriver {
    bare: Bare,
    links: HashMap<char, (LinkId, Vec<u8>)>,
}

impl BareDriver {
    fn link(&mut self, connection: char) -> LinkId {
        let bare = &mut self.bare;
        self.links.entry(connection).or_insert_with(|| (bare.open(), Vec::new())).0
    }

    fn read(&mut self, connection: char) -> &mut Vec<u8> {
        let link = self.link(connection);
        let new = self.bare.take(link);
        let received = &mut self.links.get_mut(&connection).unwrap().1;
        received.extend(new);
        received
    }
}

impl Driver for BareDriver {
    fn send(&mut self, connection: char, bytes: &[u8]) {
        let link = self.link(connection);
        self.bare.send(link, bytes);
    }

    fn packet(&mut self, connection: char) -> Option<Vec<u8>> {
        let received = self.read(connection);
        packet_length(received).map(|length| received.drain(..length).collect())
    }

    fn is_closed(&mut self, connection: char) -> bool {
        let link = self.link(connection);
        self.read(connection).is_empty() && self.bare.is_closed(link)
    }

    fn is_silent(&mut self, connection: char) -> bool {
        let link = self.link(connection);
        self.read(connection).is_empty() && !self.bare.is_closed(link)
    }

    fn drop_connection(&mut self, connection: char) {
        let link = self.link(connection);
        self.bare.drop_link(link);
        self.links.remove(&connection);
    }

    fn wait(&mut self, duration: Duration) {
        self.bare.wait(duration);
    }
}

struct TcpDriver<'a> {
    broker: &'a Broker,
    streams: HashMap<char, (TcpStream, Vec<u8>)>,
}

const QUIET: Duration = Duration::from_millis(150);

impl TcpDriver<'_> {
    fn stream(&mut self, connection: char) -> &mut (TcpStream, Vec<u8>) {
        let broker = self.broker;
        self.streams.entry(connection).or_insert_with(|| (broker.connect(), Vec::new()))
    }

    /// Reads once; None at the end, Some(false) when nothing came in time.
    fn read(&mut self, connection: char, limit: Duration) -> Option<bool> {
        let (stream, received) = self.stream(connection);
        stream.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => None,
            Ok(count) => {
                received.extend_from_slice(&buffer[..count]);
                Some(true)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(_) => Some(false),
        }
    }
}

impl Driver for TcpDriver<'_> {
    fn send(&mut self, connection: char, bytes: &[u8]) {
        // A peer that has refused us may have closed already: what it said is looked at later.
        let _ = self.stream(connection).0.write_all(bytes);
    }

    fn packet(&mut self, connection: char) -> Option<Vec<u8>> {
        loop {
            let received = &mut self.stream(connection).1;
            if let Some(length) = packet_length(received) {
                return Some(received.drain(..length).collect());
            }
            if self.read(connection, Duration::from_secs(3)) != Some(true) {
                return None;
            }
        }
    }

    fn is_closed(&mut self, connection: char) -> bool {
        let is_end = self.read(connection, Duration::from_secs(3)).is_none();
        is_end && self.stream(connection).1.is_empty()
    }

    fn is_silent(&mut self, connection: char) -> bool {
        self.stream(connection).1.is_empty() && self.read(connection, QUIET) == Some(false)
    }

    fn drop_connection(&mut self, connection: char) {
        self.streams.remove(&connection);
        std::thread::sleep(QUIET);
    }

    fn wait(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

fn report(failures: Vec<String>, count: usize) {
    assert!(count > 50, "only {count} vectors were found");
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn vectors_on_a_bare_shard() {
    let all = vectors::load();
    let run = |vector| vectors::run(vector, &mut BareDriver::default()).err();
    report(all.iter().filter_map(run).collect(), all.len());
}

/// Over TCP each vector has a client identifier space and topics of its own only if it says so, so
/// each gets a broker of its own; eight run at a time.
#[test]
fn vectors_over_tcp() {
    let all = vectors::load();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(vector) =
                    all.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    let broker = Broker::start(&["--workers", "2", "--sys-interval", "0"]);
                    let mut driver = TcpDriver { broker: &broker, streams: HashMap::default() };
                    if let Err(failure) = vectors::run(vector, &mut driver) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    report(failures.into_inner().unwrap(), all.len());
}

//! The engine under a real shard: slow readers, tiny rings, closes at every point, descriptors.

mod engine_client;
mod support;

use engine_client::Client;
use ringmq::base::ids::WorkerId;
use ringmq::broker::Quotas;
use ringmq::io::clock::Clock;
use ringmq::io::setup::RingSizes;
use ringmq::io::socket::Listener;
use ringmq::io::wake::Waker;
use ringmq::mesh::{Doorbell, mesh};
use ringmq::options::Options;
use ringmq::testing::{open_policy, ring_engine};
use ringmq::transport::Protocol;
use ringmq::worker::{LoginSender, Places, Report, Settings, Setup, Worker};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use support::broker::Broker;
use support::folder::Folder;
use support::peer::{Peer, connect, connect_stored, subscribe_and_go};
use support::server::{Server, eventually, run};

/// Workers in this process, with rings and sockets as small as a test wants.
struct Workers {
    address: SocketAddr,
    doorbells: Arc<[Doorbell]>,
    threads: Vec<JoinHandle<Report>>,
}

impl Workers {
    fn start(count: usize, mesh_capacity: usize, sizes: RingSizes, send_buffer: usize) -> Self {
        let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
        let wakers: Vec<_> = (0..count).map(|_| Arc::new(Waker::new().unwrap())).collect();
        let doorbell = |waker: &Arc<Waker>| {
            let waker = Arc::clone(waker);
            Doorbell::new(count, move || waker.wake())
        };
        let doorbells: Arc<[Doorbell]> = wakers.iter().map(doorbell).collect();
        let options = Options { max_queued_messages: 1_000_000, ..Options::default() };
        let (clock, places) = (Clock::start(), Arc::new(Places::new(1000, 1)));
        let quotas = Arc::new(Quotas::new(1));
        let settings = Settings {
            memory_max: u64::MAX,
            options: Arc::new(options),
            policies: Arc::new([open_policy()]),
            protocols: Arc::new([Protocol::default()]),
        };
        let ends = mesh(Arc::clone(&doorbells), mesh_capacity).into_iter().zip(wakers);
        let ends = WorkerId::all(ends.len()).zip(ends);
        let mut threads = Vec::new();
        for (worker, (mesh, waker)) in ends {
            let listener = Listener::bind(address, None).unwrap();
            // Accepted sockets inherit it.
            socket2::SockRef::from(&listener).set_send_buffer_size(send_buffer).unwrap();
            address = listener.address().unwrap();
            let setup = Setup {
                journal: None,
                audit: None,
                worker,
                settings: settings.clone(),
                logins: LoginSender::new(|_, _| {}),
                notices: crossbeam_channel::never(),
                seed: 1,
                clock,
                mesh,
                waker,
                listeners: vec![listener],
                places: Arc::clone(&places),
                quotas: Arc::clone(&quotas),
                engine: ring_engine(),
                sizes,
            };
            threads.push(std::thread::spawn(move || Worker::new(setup).unwrap().run()));
        }
        Self { address, doorbells, threads }
    }

    fn connect(&self, name: &str) -> Client {
        Client::connect(self.address, name)
    }

    /// Stops all; none may have had to cut off a connection.
    fn stop(self) {
        self.doorbells.iter().for_each(Doorbell::stop);
        for thread in self.threads {
            assert_eq!(thread.join().unwrap().connections_cut, 0);
        }
    }
}

const TINY_SEND_BUFFER: usize = 4096;
const SEND_BUFFER: usize = 1 << 18;

fn join(broker: &Broker, name: &str) -> Client {
    Client::connect(broker.address, name)
}

fn limit_descriptors(broker: &Broker, limit: usize) {
    let arguments = [format!("--pid={}", broker.pid()), format!("--nofile={limit}:")];
    assert!(Command::new("prlimit").args(arguments).status().unwrap().success());
}

/// The broker's CPU time so far, in hundredths of a second.
fn cpu_ticks(broker: &Broker) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", broker.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn payload(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|index| ((index * 7 + number * 13) % 251) as u8).collect()
}

#[test]
fn a_slow_reader_with_a_tiny_send_buffer_gets_every_byte_in_order() {
    let worker = Workers::start(1, 16, RingSizes::default(), TINY_SEND_BUFFER);
    let mut slow = worker.connect("slow");
    slow.subscribe("big", 1);
    let mut publisher = worker.connect("publisher");
    for number in 0..20 {
        publisher.publish("big", &payload(number, 300_000 + number), 1);
        publisher.expect_puback();
    }
    std::thread::sleep(Duration::from_millis(100));
    for number in 0..20 {
        let (topic, received) = slow.expect_publish();
        assert_eq!(topic, "big");
        assert!(received == payload(number, 300_000 + number), "message {number}");
        // What is sent while the rest is blocked comes behind it, never in between.
        slow.ping();
    }
    drop((slow, publisher));
    worker.stop();
}

/// V32: no connection gets stuck when buffers and completion entries run out all the time.
#[test]
fn tiny_rings_and_buffers_serve_everybody() {
    let sizes = RingSizes { submissions: 4, completions: 8, buffers: 2, buffer_bytes: 32 };
    let worker = Workers::start(1, 16, sizes, SEND_BUFFER);
    let mut clients: Vec<_> = (0..30).map(|n| worker.connect(&format!("client-{n}"))).collect();
    for client in &mut clients {
        client.subscribe("all", 0);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.publish("all", &payload(number, 2000), 0);
    }
    for client in &mut clients {
        let mut received: Vec<_> = (0..30).map(|_| client.expect_publish().1).collect();
        let mut expected: Vec<_> = (0..30).map(|number| payload(number, 2000)).collect();
        received.sort();
        expected.sort();
        assert!(received == expected);
    }
    drop(clients);
    worker.stop();
}

#[test]
fn a_large_connect_waits_in_the_kernel_and_is_served() {
    let worker = Workers::start(1, 16, RingSizes::default(), SEND_BUFFER);
    let mut client = Client::open(worker.address);
    let connect = engine_client::connect_with_will("large", &payload(1, 60_000));
    let (first, rest) = connect.split_at(20_000);
    client.send(first);
    std::thread::sleep(Duration::from_millis(50));
    client.send(rest);
    client.expect_connack();
    client.ping();
    drop(client);
    worker.stop();
}

/// V31: whatever is in flight when a connection ends, its descriptor comes back.
#[test]
fn descriptors_are_back_at_their_baseline_after_closes_at_every_point() {
    let broker = Broker::start(&["--workers", "2"]);
    let baseline = broker.descriptors();
    for round in 0..10 {
        // A receive is armed: before CONNECT, half-way in it, and after it.
        let silent = Client::open(broker.address);
        let mut half = Client::open(broker.address);
        half.send(&[0x10, 60, 0, 4]);
        let idle = join(&broker, &format!("idle-{round}"));
        // A polled send is blocked: many large messages, and nobody reads.
        let mut blocked: Vec<_> =
            (0..4).map(|n| join(&broker, &format!("blocked-{round}-{n}"))).collect();
        for client in &mut blocked {
            client.subscribe(&format!("big-{round}"), 0);
        }
        let mut publisher = join(&broker, &format!("publisher-{round}"));
        for _ in 0..12 {
            publisher.publish(&format!("big-{round}"), &payload(round, 1_000_000), 1);
            publisher.expect_puback();
        }
        blocked.pop().unwrap().reset();
        drop(blocked.pop());
        // The broker closes a blocked link: another client takes over.
        let taken = join(&broker, &format!("blocked-{round}-0"));
        // The peer ends its direction in the same moment as the broker closes.
        let mut polite = join(&broker, &format!("polite-{round}"));
        polite.send(&[0xE0, 0]);
        polite.finish();
        // A protocol error behind a flood: the broker closes while input is still coming.
        let mut wrong = join(&broker, &format!("wrong-{round}"));
        wrong.send(&[0xF0; 3]);
        wrong.send_some(&vec![0; 500_000]);
        drop((silent, half, idle, publisher, taken, blocked, wrong));
    }
    let is_over = support::server::eventually(|| broker.descriptors() <= baseline);
    assert!(is_over, "{} descriptors, {baseline} before", broker.descriptors());
    broker.stop();
}

/// Rings between workers that are full nearly all the time: publishers wait, nothing is lost or
/// overtaken.
#[test]
fn full_rings_between_workers_lose_and_reorder_nothing() {
    const MESSAGES: usize = 3000;
    let workers = Workers::start(3, 2, RingSizes::default(), SEND_BUFFER);
    let mut subscribers: Vec<_> =
        (0..6).map(|n| workers.connect(&format!("subscriber-{n}"))).collect();
    subscribers.iter_mut().for_each(|subscriber| subscriber.subscribe("from/+", 1));
    let publishers: Vec<_> = (0..6).map(|n| workers.connect(&format!("publisher-{n}"))).collect();
    std::thread::scope(|scope| {
        for (n, mut publisher) in publishers.into_iter().enumerate() {
            scope.spawn(move || {
                let topic = format!("from/{n}");
                for batch in 0..MESSAGES / 100 {
                    for number in 0..100 {
                        let payload = format!("{}", batch * 100 + number);
                        publisher.publish(&topic, payload.as_bytes(), 1);
                    }
                    (0..100).for_each(|_| publisher.expect_puback());
                }
            });
        }
        for subscriber in &mut subscribers {
            scope.spawn(move || {
                let mut next = [0; 6];
                for _ in 0..6 * MESSAGES {
                    let (topic, payload) = subscriber.expect_publish();
                    let publisher: usize = topic["from/".len()..].parse().unwrap();
                    assert_eq!(payload, format!("{}", next[publisher]).as_bytes());
                    next[publisher] += 1;
                }
            });
        }
    });
    drop(subscribers);
    workers.stop();
}

/// V31: a client floods without reading, so that its receive is cancelled; then it goes, is taken
/// over, or reads after all.
#[test]
fn links_may_end_while_their_receive_is_being_cancelled() {
    let worker = Workers::start(1, 16, RingSizes::default(), TINY_SEND_BUFFER);
    let flood = [0xC0, 0].repeat(60_000);
    for round in 0..90 {
        let mut flooder = Client::connect_narrow(worker.address, "flooder");
        let mut sender = flooder.clone();
        let bytes = flood.clone();
        let sending = std::thread::spawn(move || {
            // In bursts, so that the first answers are blocked before the last requests come.
            for burst in bytes.chunks(10_000) {
                sender.send_some(burst);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        std::thread::sleep(Duration::from_millis(5 + round % 14));
        match round % 3 {
            0 => flooder.reset(),
            1 => drop(worker.connect("flooder")),
            _ => flooder.expect_pings(60_000),
        }
        sending.join().unwrap();
    }
    let mut last = worker.connect("last");
    last.ping();
    drop(last);
    worker.stop();
}

/// A connection moves right after its CONNECT, with whatever was sent behind it.
#[test]
fn connections_that_move_lose_nothing() {
    let broker = Broker::start(&["--workers", "4"]);
    let mut subscriber = join(&broker, "subscriber");
    subscriber.subscribe("in/#", 0);
    for number in 0..200 {
        let mut client = Client::open(broker.address);
        let mut bytes = engine_client::connect(&format!("mover-{number}"));
        bytes.extend(engine_client::publish("in/order", format!("{number}").as_bytes(), 0, 0));
        bytes.extend(engine_client::publish("in/order", b"again", 0, 0));
        client.send(&bytes);
        client.expect_connack();
        assert_eq!(subscriber.expect_publish().1, format!("{number}").as_bytes());
        assert_eq!(subscriber.expect_publish().1, b"again");
    }
    broker.stop();
}

/// T14: without descriptors the broker neither spins nor dies, and accepts again soon after.
#[test]
fn it_accepts_again_soon_after_descriptors_ran_out() {
    let broker = Broker::start(&["--workers", "1"]);
    let first = join(&broker, "first");
    limit_descriptors(&broker, broker.descriptors());
    let mut waiting = Client::open(broker.address);
    waiting.send(&engine_client::connect("waiting"));
    std::thread::sleep(Duration::from_millis(200));
    let cpu = cpu_ticks(&broker);
    std::thread::sleep(Duration::from_millis(1000));
    assert!(cpu_ticks(&broker) - cpu < 20, "it spins");
    drop(first);
    waiting.expect_connack();
    broker.stop();
}

#[test]
fn connections_above_the_limit_are_closed_at_once() {
    let broker = Broker::start(&["--workers", "2", "--max-connections", "3"]);
    let mut clients: Vec<_> = (0..3).map(|n| join(&broker, &format!("client-{n}"))).collect();
    let descriptors = broker.descriptors();
    for _ in 0..5 {
        Client::open(broker.address).expect_end();
    }
    drop(clients.pop());
    assert!(eventually(|| broker.descriptors() < descriptors));
    clients.push(join(&broker, "in its place"));
    for client in &mut clients {
        client.ping();
    }
    broker.stop();
}

/// T17 in small: SIGTERM ends the process in time whatever its clients do.
#[test]
fn it_stops_in_time_with_idle_half_open_and_blocked_clients() {
    let broker = Broker::start(&["--workers", "2"]);
    let mut idle = join(&broker, "idle");
    let mut half = Client::open(broker.address);
    half.send(&[0x10]);
    let mut blocked = join(&broker, "blocked");
    blocked.subscribe("big", 0);
    let mut publisher = join(&broker, "publisher");
    for _ in 0..20 {
        publisher.publish("big", &payload(1, 1_000_000), 1);
        publisher.expect_puback();
    }
    assert_eq!(broker.stop(), Some(0));
    idle.expect_end();
}

#[test]
fn a_busy_polling_worker_serves_and_stops() {
    let broker = Broker::start(&["--workers", "2", "--busy-poll-us", "200"]);
    let mut client = join(&broker, "client");
    client.subscribe("echo", 0);
    for number in 0..100 {
        client.publish("echo", &payload(number, 10), 0);
        assert_eq!(client.expect_publish().1, payload(number, 10));
    }
    drop(client);
    assert_eq!(broker.stop(), Some(0));
}

/// Forbids io_uring with this error, as seccomp profiles and sandboxes do, and runs the rest.
const FORBIDDEN: &str = "
import ctypes, os, struct, sys
statement = lambda code, value: struct.pack('HBBI', code, 0, 0, value)
jump = struct.pack('HBBI', 0x15, 0, 1, 425)
program = statement(0x20, 0) + jump + statement(6, 0x50000 | int(sys.argv[1]))
program = ctypes.create_string_buffer(program + statement(6, 0x7fff0000))
class Filter(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('program', ctypes.c_void_p)]
filter = Filter(4, ctypes.cast(program, ctypes.c_void_p))
prctl = ctypes.CDLL(None).prctl
assert prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, ctypes.byref(filter), 0, 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
";

#[test]
fn without_io_uring_readiness_serves() {
    for (error, cause) in [(libc::EPERM, "seccomp"), (libc::ENOSYS, "sandbox")] {
        let folder = Folder::new();
        let path = folder.path().display().to_string();
        let program = ["python3", "-c", FORBIDDEN, &error.to_string()];
        let flags = ["--listen", "mqtt://127.0.0.1:0", "--data-dir", &path];
        let mut server = Server::start_under(&program, &[&flags[..], &["--engine=auto"]].concat());
        server.logs("Sockets are served by epoll");
        assert!(server.log().contains(cause), "{}", server.log());
        assert!(server.summary().contains("epoll: readiness"), "{}", server.summary());
        subscribe_and_go(server.port(0), "away", "q");
        let mut peer = Peer::plain(server.port(0));
        assert_eq!(peer.connect(&connect("here", None)), Some(0));
        assert_eq!(peer.publish("q", b"x"), Some(0));
        server.signal(libc::SIGKILL);
        assert!(server.ends().is_some());
        // The message is on disk, and io_uring alone is not to be had.
        let server = Server::start_under(&program, &[&flags[..], &["--engine=poll"]].concat());
        let mut peer = Peer::plain(server.port(0));
        assert_eq!(peer.connect(&connect_stored("away", 1000, 0)), Some(0));
        assert_eq!(peer.packet().map(|(kind, _)| kind & 0xF0), Some(0x30));
        let mut command = Command::new("python3");
        command.args(&program[1..]).arg(env!("CARGO_BIN_EXE_ringmq"));
        let (status, text) = run(command.args(["--listen", "127.0.0.1:0", "--engine=io-uring"]));
        assert!(status == Some(1) && text.contains(cause) && text.lines().count() == 1, "{text}");
    }
}

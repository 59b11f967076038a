//! Subscribers behind layers that stop reading: each costs the broker what it costs on plain TCP
//! and a piece of the layers' bytes, and gets all of its output in order when it reads on. The
//! worker runs in this process, whose allocations are counted.

#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "transport_peer/pki.rs"]
mod pki;
mod support;

use pki::Site;
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
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::thread::JoinHandle;
use support::folder;
use support::peer::{Peer, connect, packet, socket, text, tls};

/// Counts the live bytes of the process.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Subscribers, enough for one to be told from the bytes that the worker keeps for all.
const SUBSCRIBERS: usize = 20;
const PAYLOAD_BYTES: usize = 1_900_000;
/// What the layers of a blocked link may cost.
const LAYERS_BYTES_MAX: isize = 64 * 1024;

/// One worker with one listener, whose sockets take little that is not read.
struct Broker {
    address: SocketAddr,
    doorbells: Arc<[Doorbell]>,
    thread: JoinHandle<Report>,
}

impl Broker {
    fn start(protocol: Protocol) -> Self {
        let waker = Arc::new(Waker::new().unwrap());
        let bell = Arc::clone(&waker);
        let doorbells: Arc<[Doorbell]> = Arc::new([Doorbell::new(1, move || bell.wake())]);
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).unwrap();
        socket2::SockRef::from(&listener).set_send_buffer_size(1 << 16).unwrap();
        let address = listener.address().unwrap();
        let settings = Settings {
            memory_max: u64::MAX,
            options: Arc::new(Options::default()),
            policies: Arc::new([open_policy()]),
            protocols: Arc::new([protocol]),
        };
        let setup = Setup {
            journal: None,
            audit: None,
            worker: WorkerId(0),
            settings,
            logins: LoginSender::new(|_, _| {}),
            notices: crossbeam_channel::never(),
            seed: 1,
            clock: Clock::start(),
            mesh: mesh(Arc::clone(&doorbells), 16).remove(0),
            waker,
            listeners: vec![listener],
            places: Arc::new(Places::new(1000, 1)),
            quotas: Arc::new(Quotas::new(1)),
            engine: ring_engine(),
            sizes: RingSizes::default(),
        };
        let thread = std::thread::spawn(move || Worker::new(setup).unwrap().run());
        Self { address, doorbells, thread }
    }

    fn stop(self) {
        self.doorbells.iter().for_each(Doorbell::stop);
        self.thread.join().unwrap();
    }
}

/// The layers of a listener, and the version of TLS that its clients speak.
#[derive(Debug, Clone, Copy)]
struct Layers {
    tls: Option<&'static SupportedProtocolVersion>,
    is_websocket: bool,
}

impl Layers {
    fn protocol(self, site: &Site) -> Protocol {
        Protocol {
            proxy: false,
            tls: self.tls.map(|_| site.load()),
            websocket: self.is_websocket.then(Arc::default),
        }
    }

    fn peer(self, site: &Site, broker: &Broker, client_id: &str) -> Peer {
        let stream = socket(broker.address.port());
        let peer = match self.tls {
            None => Peer::over(stream),
            Some(version) => {
                let mut roots = RootCertStore::empty();
                roots.add(site.authority.der().clone()).unwrap();
                let config = ClientConfig::builder_with_protocol_versions(&[version])
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                Peer::over(tls(&Arc::new(config), stream))
            }
        };
        let mut peer = if self.is_websocket { peer.upgraded() } else { peer };
        assert_eq!(peer.connect(&connect(client_id, None)), Some(0));
        peer
    }
}

fn payload(number: usize) -> Vec<u8> {
    (0..PAYLOAD_BYTES).map(|index| ((index * 7 + number * 13) % 251) as u8).collect()
}

/// Reads these messages, in order, and as many answers to pings between or behind them.
fn expect(peer: &mut Peer, payloads: &[Vec<u8>], mut pings: usize) {
    let mut payloads = payloads.iter();
    while pings > 0 || payloads.len() > 0 {
        let (kind, body) = peer.packet().expect("a packet");
        if kind == 0xd0 {
            pings -= 1;
            continue;
        }
        let payload = payloads.next().expect("no more messages");
        assert_eq!((kind, body.len()), (0x30, 4 + payload.len()));
        assert!(body[..4] == [0, 1, b't', 0] && body[4..] == *payload, "a message is garbled");
    }
}

/// The bytes that the broker keeps for each subscriber that has stopped to read, when all of them
/// are sent three large messages.
fn cost(site: &Site, layers: Layers) -> isize {
    let broker = Broker::start(layers.protocol(site));
    let mut readers: Vec<Peer> = (0..SUBSCRIBERS)
        .map(|number| {
            let mut peer = layers.peer(site, &broker, &number.to_string());
            peer.send(&packet(0x82, &[&[0, 2, 0][..], &text("t"), &[0]].concat()));
            assert_eq!(peer.packet(), Some((0x90, vec![0, 2, 0, 0])));
            peer
        })
        .collect();
    let mut publisher = layers.peer(site, &broker, "publisher");
    let payloads: Vec<Vec<u8>> = (0..4).map(payload).collect();
    // What is kept for all links from the first such output on does not count.
    assert_eq!(publisher.publish("t", &payloads[0]), Some(0));
    readers.iter_mut().for_each(|reader| expect(reader, &payloads[..1], 0));
    assert!(publisher.ping().is_some());
    let before = LIVE.load(Ordering::Relaxed);
    for payload in &payloads[1..] {
        assert_eq!(publisher.publish("t", payload), Some(0));
    }
    // The turn that answers comes after the one that has sent what it could.
    assert!(publisher.ping().is_some());
    let after = LIVE.load(Ordering::Relaxed);
    for reader in &mut readers {
        reader.send(&[0xc0, 0]);
        expect(reader, &payloads[1..], 1);
        assert!(reader.ping().is_some(), "{layers:?}: nothing is left");
    }
    drop((readers, publisher));
    broker.stop();
    (after - before) / SUBSCRIBERS as isize
}

/// One test, since another one beside it would count as well.
#[test]
fn a_blocked_link_behind_layers_costs_what_a_plain_one_does_and_a_piece() {
    let site = Site::new();
    let plain = cost(&site, Layers { tls: None, is_websocket: false });
    for is_websocket in [false, true] {
        for tls in [None, Some(&TLS12), Some(&TLS13)] {
            let layers = Layers { tls, is_websocket };
            let cost = cost(&site, layers);
            assert!(cost <= plain + LAYERS_BYTES_MAX, "{layers:?}: {cost} bytes, not {plain}");
        }
    }
}

//! The ring against real sockets: partial sends, tiny queues, cancellation, descriptors.

use ringmq::base::ids::LinkId;
use ringmq::io::event::{Backlog, Event, SendFailure};
use ringmq::io::listeners::Listeners;
use ringmq::io::ring::Ring;
use ringmq::io::setup::RingSizes;
use ringmq::io::socket::{self, Listener};
use ringmq::io::wake::Waker;
use ringmq::testing::ring_engine;
use socket2::SockRef;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Chunks of bytes, as the broker's outbox leaves them behind.
#[derive(Debug, Default)]
struct Chunks(VecDeque<Vec<u8>>, usize);

impl Backlog for Chunks {
    fn front(&self) -> Option<&[u8]> {
        self.0.front().map(|chunk| &chunk[self.1..])
    }

    fn advance(&mut self, count: usize) {
        self.1 += count;
        if self.1 == self.0[0].len() {
            self.0.pop_front();
            self.1 = 0;
        }
    }
}

type TestRing = Ring<Chunks>;

fn link(slot: u32) -> LinkId {
    LinkId { slot, generation: 7 }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, peer)
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|index| ((index + seed) * 31 % 251) as u8).collect()
}

fn wait_event(ring: &mut TestRing) -> Event<Chunks> {
    for _ in 0..100 {
        if let Some(event) = ring.next_event() {
            return event;
        }
        ring.wait(Some(Duration::from_millis(100)));
    }
    panic!("no event within ten seconds");
}

/// Sends `segments` to a socket with a tiny buffer whose peer reads slowly, and expects every byte
/// in order.
fn send_to_a_slow_reader(segments: &[Vec<u8>]) {
    let (server, mut client) = pair();
    socket2::SockRef::from(&server).set_send_buffer_size(4096).unwrap();
    socket2::SockRef::from(&client).set_recv_buffer_size(65_536).unwrap();
    let expected = segments.concat();
    let total = expected.len();
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        let mut bytes = vec![0; total];
        client.read_exact(&mut bytes).unwrap();
        bytes
    });
    let mut ring = TestRing::new(ring_engine(), RingSizes::default()).unwrap();
    let mut failures = Vec::new();
    let sends = std::iter::once((link(3), server.as_raw_fd(), segments.iter().map(Vec::as_slice)));
    ring.send_all(sends, &mut failures);
    let [SendFailure { link: failed, sent: Ok(sent) }] = &failures[..] else {
        panic!("a partial send is reported when send_all returns: {failures:?}")
    };
    assert!(*failed == link(3) && *sent < total);
    let mut rest = Chunks(expected[*sent..].chunks(100_000).map(<[u8]>::to_vec).collect(), 0);
    while rest.front().is_some() {
        ring.send_backlog(link(3), server.as_fd(), rest);
        let Event::Drained { result: Ok(()), backlog, .. } = wait_event(&mut ring) else {
            panic!("only the backlog is in flight")
        };
        rest = backlog;
    }
    assert_eq!(reader.join().unwrap(), expected);
}

#[test]
fn one_large_segment_reaches_a_slow_reader_whole() {
    send_to_a_slow_reader(&[pattern(3_000_000, 1)]);
}

#[test]
fn several_large_segments_reach_a_slow_reader_whole() {
    send_to_a_slow_reader(&[pattern(1_000_000, 1), pattern(7, 2), pattern(2_000_000, 3)]);
}

#[test]
fn thousands_of_segments_reach_a_slow_reader_whole() {
    send_to_a_slow_reader(&(0..5000).map(|seed| pattern(700, seed)).collect::<Vec<_>>());
}

/// More gathered bytes and pieces than the scratch memory of one submission holds.
#[test]
fn many_gathered_sends_arrive_whole() {
    let pairs: Vec<_> = (0..200).map(|_| pair()).collect();
    let small: Vec<_> = (0..30).map(|seed| pattern(500, seed)).collect();
    let large: Vec<_> = (0..300).map(|seed| pattern(100, seed)).collect();
    let segments = |index: usize| if index.is_multiple_of(2) { &small } else { &large };
    let mut ring = TestRing::new(ring_engine(), RingSizes::default()).unwrap();
    let mut failures = Vec::new();
    let sends = pairs.iter().enumerate().map(|(index, (server, _))| {
        (link(index as u32), server.as_raw_fd(), segments(index).iter().map(Vec::as_slice))
    });
    ring.send_all(sends, &mut failures);
    assert!(failures.is_empty());
    for (index, (_, client)) in pairs.iter().enumerate() {
        let expected = segments(index).concat();
        let mut bytes = vec![0; expected.len()];
        let mut client = client;
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, expected);
    }
}

#[test]
fn a_send_to_a_lost_connection_fails_with_its_error() {
    let (server, client) = pair();
    socket::abandon(client.as_fd());
    drop(client);
    std::thread::sleep(Duration::from_millis(20));
    let mut ring = TestRing::new(ring_engine(), RingSizes::default()).unwrap();
    let mut failures = Vec::new();
    let bytes = [1, 2, 3];
    let segments = std::iter::once(&bytes[..]);
    ring.send_all(std::iter::once((link(0), server.as_raw_fd(), segments)), &mut failures);
    assert!(matches!(&failures[..], [SendFailure { sent: Err(_), .. }]), "{failures:?}");
}

/// V32: with a tiny completion queue and two tiny buffers every receive ends early many times.
#[test]
fn tiny_queues_and_buffers_lose_nothing() {
    let sizes = RingSizes { submissions: 4, completions: 8, buffers: 2, buffer_bytes: 16 };
    let mut ring = TestRing::new(ring_engine(), sizes).unwrap();
    let pairs: Vec<_> = (0..40).map(|_| pair()).collect();
    for (slot, (server, client)) in pairs.iter().enumerate() {
        ring.receive_many(link(slot as u32), server.as_fd());
        let mut client = client;
        client.write_all(&pattern(1000, slot)).unwrap();
    }
    let mut received = vec![Vec::new(); pairs.len()];
    while received.iter().any(|bytes: &Vec<u8>| bytes.len() < 1000) {
        let Event::Received { link: id, bytes, more } = wait_event(&mut ring) else {
            panic!("only receives are in flight")
        };
        match bytes {
            Ok(lent) => {
                let lent = lent.expect("no end of stream");
                received[id.slot as usize].extend_from_slice(ring.bytes(&lent));
                ring.recycle(lent);
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS)),
        }
        if !more {
            ring.receive_many(id, pairs[id.slot as usize].0.as_fd());
        }
    }
    for (slot, bytes) in received.into_iter().enumerate() {
        assert_eq!(bytes, pattern(1000, slot));
    }
}

#[test]
fn a_low_water_mark_leaves_the_bytes_in_the_kernel() {
    let (server, mut client) = pair();
    let mut ring = TestRing::new(ring_engine(), RingSizes::default()).unwrap();
    socket::set_low_water(server.as_fd(), 10_000);
    ring.receive_once(link(0), server.as_fd(), true);
    client.write_all(&[1; 9_999]).unwrap();
    ring.wait(Some(Duration::from_millis(100)));
    assert!(!ring.has_events());
    client.write_all(&[1]).unwrap();
    assert!(matches!(wait_event(&mut ring), Event::Received { bytes: Ok(Some(_)), .. }));
}

#[test]
fn a_cancelled_receive_says_so_and_loses_nothing() {
    let (server, mut client) = pair();
    let mut ring = TestRing::new(ring_engine(), RingSizes::default()).unwrap();
    ring.receive_many(link(0), server.as_fd());
    ring.poll();
    ring.cancel_receive(link(0));
    let Event::Received { bytes: Err(error), more: false, .. } = wait_event(&mut ring) else {
        panic!("the receive ends")
    };
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    client.write_all(b"kept").unwrap();
    ring.receive_once(link(0), server.as_fd(), false);
    let Event::Received { bytes: Ok(Some(lent)), .. } = wait_event(&mut ring) else {
        panic!("the bytes are still there")
    };
    assert_eq!(ring.bytes(&lent), b"kept");
    ring.recycle(lent);
}

#[test]
fn an_accepted_socket_sends_small_packets_at_once() {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).unwrap();
    let mut ring = TestRing::new(ring_engine(), RingSizes::default()).unwrap();
    let address = listener.address().unwrap();
    let listeners = Listeners::new(vec![listener]).unwrap();
    ring.await_connections(&listeners);
    let client = TcpStream::connect(address).unwrap();
    assert!(matches!(wait_event(&mut ring), Event::Acceptable));
    let accepted = listeners.accept().unwrap().expect("a connection waits");
    let socket = SockRef::from(&accepted.socket);
    assert!(socket.tcp_nodelay().unwrap() && !socket.nonblocking().unwrap());
    assert_eq!(accepted.peer, Some(client.local_addr().unwrap()));
    assert!(listeners.accept().unwrap().is_none());
    assert!(socket::check_free(address).is_err());
}

/// The ring outlives its process by the time that the kernel takes to tear it down; a listener must
/// not.
#[test]
fn a_closed_listener_is_gone_though_the_ring_watches_it() {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).unwrap();
    let address = listener.address().unwrap();
    let listeners = Listeners::new(vec![listener]).unwrap();
    let mut ring = TestRing::new(ring_engine(), RingSizes::default()).unwrap();
    ring.await_connections(&listeners);
    ring.poll();
    drop(listeners);
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(ring);
}

#[test]
fn a_receive_on_a_socket_that_is_gone_ends() {
    let (server, _client) = pair();
    // A number that no other test opens meanwhile.
    // SAFETY: the descriptor is open; the new one is this test's alone.
    let server = unsafe {
        OwnedFd::from_raw_fd(libc::fcntl(server.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 900))
    };
    let mut ring = TestRing::new(ring_engine(), RingSizes::default()).unwrap();
    ring.receive_many(link(0), server.as_fd());
    drop(server);
    let Event::Received { bytes: Err(error), more: false, .. } = wait_event(&mut ring) else {
        panic!("the receive ends")
    };
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
}

#[test]
fn a_wake_up_ends_the_wait_each_time() {
    let waker = Waker::new().unwrap();
    let mut ring = TestRing::new(ring_engine(), RingSizes::default()).unwrap();
    ring.watch(&waker);
    for _ in 0..3 {
        std::thread::scope(|scope| {
            scope.spawn(|| waker.wake());
            assert!(matches!(wait_event(&mut ring), Event::Woken { more: true }));
        });
    }
}

/// V31: whatever is in flight when the ring goes, its descriptors and memory go with it.
#[test]
fn a_ring_may_go_while_everything_is_in_flight() {
    for _ in 0..20 {
        let (server, client) = pair();
        let (full, _reader) = pair();
        let mut ring = TestRing::new(ring_engine(), RingSizes::default()).unwrap();
        ring.receive_many(link(0), server.as_fd());
        ring.receive_once(link(1), full.as_fd(), true);
        let big = Chunks(VecDeque::from([vec![0; 50_000_000]]), 0);
        ring.send_backlog(link(2), full.as_fd(), big);
        ring.poll();
        drop(ring);
        drop(client);
    }
}

//! Clients that do what no good client does, each kind on a thread of its own.

use crate::failure::{Failure, Result};
use crate::faults::client::Client;
use crate::faults::packets::{
    DISCONNECT, connect, connect_stored, encode, publish, subscribe, unsubscribe,
};
use crate::layer::{Below, Layer};
use ringmq_mqtt::{PacketType, QoS};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Filters of the SUBSCRIBE with many.
const FILTERS: u32 = 2000;

/// Connections that take over one session in a round.
const TAKEOVERS: u32 = 20;

/// Connections with half a packet in a round.
const HALVES: usize = 20;

/// Handshakes that are under way in a round.
const HANDSHAKES: usize = 10;

/// The time between two steps of an attack.
const STEP: Duration = Duration::from_millis(50);

/// Threads that attack.
pub(super) struct Attacks {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    is_over: AtomicBool,
    rounds: AtomicU64,
    failures: AtomicU64,
}

/// The results of the attacks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    /// Rounds of all kinds.
    pub(super) rounds: u64,
    /// Rounds in which the broker did not do its part.
    pub(super) failures: u64,
}

/// The addresses of the broker, and the end.
struct Attack {
    plain: SocketAddr,
    tls: SocketAddr,
    state: Arc<State>,
}

impl Attacks {
    pub(super) fn start(plain: SocketAddr, tls: SocketAddr) -> Self {
        let state = Arc::new(State::default());
        let kinds: [fn(&Attack) -> Result<()>; 5] = [
            Attack::stop_reading,
            Attack::subscribe_to_many,
            Attack::take_over,
            Attack::send_halves,
            Attack::shake_hands_slowly,
        ];
        let start = |round: fn(&Attack) -> Result<()>| {
            let attack = Attack { plain, tls, state: Arc::clone(&state) };
            std::thread::spawn(move || attack.repeat(round))
        };
        let threads = kinds.into_iter().map(start).collect();
        Self { state, threads }
    }

    /// Ends the attacks.
    pub(super) fn finish(mut self) -> Totals {
        self.end();
        Totals {
            rounds: self.state.rounds.load(Ordering::Relaxed),
            failures: self.state.failures.load(Ordering::Relaxed),
        }
    }

    fn end(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Attacks {
    fn drop(&mut self) {
        self.end();
    }
}

impl Attack {
    fn repeat(&self, round: fn(&Self) -> Result<()>) {
        while !self.is_over() {
            match round(self) {
                Ok(()) => _ = self.state.rounds.fetch_add(1, Ordering::Relaxed),
                Err(_) => _ = self.state.failures.fetch_add(1, Ordering::Relaxed),
            }
            self.wait(4);
        }
    }

    fn is_over(&self) -> bool {
        self.state.is_over.load(Ordering::Relaxed)
    }

    /// Waits so many steps, or until the end.
    fn wait(&self, steps: u32) {
        for _ in 0..steps {
            if self.is_over() {
                return;
            }
            std::thread::sleep(STEP);
        }
    }

    /// A subscriber of the whole load reads nothing for some seconds, and goes.
    fn stop_reading(&self) -> Result<()> {
        let mut client = Client::connect(self.plain, &connect("stopped"))?;
        set_socket_recv_buffer_size(&client.stream, 4096)?;
        client.send(&subscribe(&["+/load/#"], QoS::AtLeastOnce))?;
        client.expect(PacketType::SubAck)?;
        let mut publisher = Client::connect(self.plain, &connect("flooder"))?;
        for _ in 0..60 {
            publisher.send(&publish("tcp/load/flood", QoS::AtMostOnce, 0, &[b'x'; 50_000]))?;
            self.wait(1);
        }
        publisher.send(&DISCONNECT)
    }

    fn subscribe_to_many(&self) -> Result<()> {
        let mut client = Client::connect(self.plain, &connect("many"))?;
        let filters = (0..FILTERS).map(|number| format!("many/{number}/+/#"));
        let filters: Vec<_> = filters.collect();
        let filters: Vec<_> = filters.iter().map(String::as_str).collect();
        client.send(&subscribe(&filters, QoS::AtLeastOnce))?;
        client.expect(PacketType::SubAck)?;
        self.wait(2);
        client.send(&unsubscribe(&filters[..filters.len() / 2]))?;
        client.expect(PacketType::UnsubAck)?;
        client.send(&DISCONNECT)
    }

    fn take_over(&self) -> Result<()> {
        let mut before = None;
        for _ in 0..TAKEOVERS {
            before = Some(Client::connect(self.plain, &connect_stored("taken"))?);
        }
        drop(before);
        // The session ends with the round.
        Client::connect(self.plain, &connect("taken"))?.send(&DISCONNECT)
    }

    /// Half a CONNECT, or half a PUBLISH, and then nothing.
    fn send_halves(&self) -> Result<()> {
        let mut clients = Vec::new();
        for number in 0..HALVES {
            let client_id = format!("half-{number}");
            let hello = connect(&client_id);
            let (mut client, packet) = match number % 2 {
                0 => (Client::open(self.plain)?, encode(&hello)),
                _ => {
                    let client = Client::connect(self.plain, &hello)?;
                    (client, publish("half", QoS::AtLeastOnce, 1, &[b'h'; 1000]))
                }
            };
            client.send(&packet[..packet.len() / 2])?;
            clients.push(client);
        }
        self.wait(20);
        Ok(())
    }

    /// TLS handshakes whose first message comes in pieces, and never to its end.
    fn shake_hands_slowly(&self) -> Result<()> {
        let mut hello = Vec::new();
        Layer::open(Below::Tls, &mut hello);
        let mut clients = Vec::new();
        for _ in 0..HANDSHAKES {
            clients.push(Client::open(self.tls)?);
        }
        let pieces = hello.chunks(hello.len().div_ceil(40));
        for piece in pieces.take(39) {
            for client in &mut clients {
                client.send(piece).map_err(|_| Failure::new("closed within the handshake"))?;
            }
            self.wait(1);
        }
        Ok(())
    }
}

//! Clients with no part in a test, which ping all the time: the longest time that one waited.

use super::client::Client;
use super::packets::{connect, log_in};
use crate::clock::now_ns;
use crate::failure::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Clients of a bystander: enough that each of a few workers has one.
const CLIENTS: usize = 6;

/// The time between two pings.
const PAUSE: Duration = Duration::from_millis(2);

/// A thread that pings.
#[derive(Debug)]
pub(super) struct Bystander {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    is_over: AtomicBool,
    worst_ns: AtomicU64,
    /// When the ping began that waits for its answer; 0 for none.
    began_ns: AtomicU64,
    failures: AtomicU64,
}

impl Bystander {
    /// Connects; with a user's name where the broker asks for one.
    pub(super) fn start(address: SocketAddr, user: Option<&str>) -> Result<Self> {
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let client_id = format!("bystander-{number}");
            let mut connect = connect(&client_id);
            if let Some(user) = user {
                log_in(&mut connect, user);
            }
            clients.push(Client::connect(address, &connect)?);
        }
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || ping_all(clients, &shared));
        Ok(Self { state, thread: Some(thread) })
    }

    /// The longest time for an answer since the last call, in milliseconds.
    pub(super) fn worst_ms(&self) -> f64 {
        let worst_ns = self.state.worst_ns.swap(0, Ordering::Relaxed);
        let waiting_ns = match self.state.began_ns.load(Ordering::Relaxed) {
            0 => 0,
            began_ns => now_ns().saturating_sub(began_ns),
        };
        worst_ns.max(waiting_ns) as f64 / 1e6
    }

    /// Pings that were not answered at all: the client was closed, or gave up.
    pub(super) fn failures(&self) -> u64 {
        self.state.failures.load(Ordering::Relaxed)
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn ping_all(mut clients: Vec<Client>, state: &State) {
    while !clients.is_empty() {
        clients.retain_mut(|client| {
            if state.is_over.load(Ordering::Relaxed) {
                return false;
            }
            state.began_ns.store(now_ns(), Ordering::Relaxed);
            let answer = client.ping();
            state.began_ns.store(0, Ordering::Relaxed);
            match &answer {
                Ok(time_ns) => _ = state.worst_ns.fetch_max(*time_ns, Ordering::Relaxed),
                Err(_) => _ = state.failures.fetch_add(1, Ordering::Relaxed),
            }
            std::thread::sleep(PAUSE);
            answer.is_ok()
        });
    }
}

//! A deterministic simulation of a whole broker: shards, the rings between them, the network and
//! its clients, in virtual time. A seed makes every choice, so every failure replays.
//!
//! ```text
//! clients ── bytes ──▶ network ── Input ──▶ shards ◀── Mesh ──▶ rings
//!    ▲                    │                    │
//!    └──── bytes ◀────────┴───── outbox ◀──────┘      the model watches both ends, and judges
//! ```
//!
//! [`run`] runs one seed, and so does `cargo run --bin simulate SEED`:
//!
//! ```
//! use ringmq_sim::{RunSettings, run};
//!
//! let report = run(1, RunSettings::default()).expect("every invariant holds");
//! assert!(report.deliveries > 0);
//! ```
//!
//! The model knows when each packet was handed to a shard and when the shard was done with it, so
//! that "a subscription was there" is an interval of events, and what must and what may be
//! delivered follow from the overlap of intervals.
#![forbid(unsafe_code)]

mod checker;
mod client;
pub mod disk;
mod driver;
mod ending;
mod hostile;
mod journal;
mod late;
mod log;
mod mesh;
mod model;
mod network;
mod owed;
mod permission;
mod reload;
mod rights;
mod scenario;
mod wills;
mod wire;
mod workload;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A defect put into the network on purpose: the checker must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A delivery reaches its client twice.
    Duplicate,
    /// Two deliveries of one topic change places.
    Swap,
    /// A delivery at QoS 1 or 2 is lost.
    Lose,
    /// A byte of a payload is another.
    Alter,
    /// One worker goes on with the rules that it had.
    KeepRules,
    /// The workers' rules deny nothing that another rule allows.
    ForgetDenials,
    /// A verdict for a link that is gone goes to the one that has its slot now.
    MistakeLink,
}

/// The settings of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunSettings {
    /// The number of things that the clients do in all; by default the seed says.
    pub steps: Option<u32>,
    /// The defect to plant, if any.
    pub sabotage: Option<Sabotage>,
}

/// The outcome of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// A number that stands for everything that happened, in order.
    pub hash: u64,
    /// Events in all.
    pub events: u64,
    /// The virtual time that passed, in milliseconds.
    pub virtual_ms: u64,
    /// Workers of the broker.
    pub workers: usize,
    /// Connections opened.
    pub connections: usize,
    /// Application messages sent, wills included.
    pub messages: usize,
    /// Deliveries checked.
    pub deliveries: u64,
    /// Deliveries that the broker says it gave up, for whatever reason.
    pub dropped: u64,
    /// Commits of its journal, which ended with a crash; 0 without one.
    pub commits: usize,
    /// Publishes, subscriptions, deliveries and logins that the broker says it did not permit.
    pub denied: u64,
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed that replays it.
    pub seed: u64,
    /// The name of the invariant, and the event that broke it.
    pub violation: String,
    /// The last events before it.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "seed {}", self.seed)?;
        writeln!(formatter, "{}", self.violation)?;
        self.trace.iter().try_for_each(|line| writeln!(formatter, "  {line}"))
    }
}

/// Runs a seed; upon a violation once more, with a trace.
///
/// # Errors
///
/// The first violation.
pub fn run(seed: u64, settings: RunSettings) -> Result<Report, Box<Failure>> {
    run_once(seed, settings, false).or_else(|_| run_once(seed, settings, true))
}

fn run_once(seed: u64, settings: RunSettings, is_traced: bool) -> Result<Report, Box<Failure>> {
    let mut world = world::World::new(seed, settings, is_traced);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let panic = outcome.err().map(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        format!("I17: a panic: {}", text.unwrap_or_default())
    });
    match panic.or_else(|| world.model.violation.take()) {
        Some(violation) => {
            let trace = world.log.take_lines();
            Err(Box::new(Failure { seed, violation, trace }))
        }
        None => Ok(world.report()),
    }
}

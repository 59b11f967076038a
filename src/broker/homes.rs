//! Where sessions and retained messages live.

use crate::base::ids::WorkerId;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// On which worker a session or a retained topic lives: the same for all workers of a process.
#[derive(Debug, Clone)]
pub struct Homes {
    hasher: FixedState,
    workers: usize,
}

impl Homes {
    /// The homes among `workers` workers, by an unpredictable `seed`.
    #[must_use]
    pub const fn new(workers: usize, seed: u64) -> Self {
        Self { hasher: FixedState::with_seed(seed), workers }
    }

    /// How many workers there are.
    pub(super) const fn workers(&self) -> usize {
        self.workers
    }

    /// Where a client identifier's session, or a topic's retained message, lives.
    #[must_use]
    pub fn of(&self, name: &str) -> WorkerId {
        WorkerId((self.hasher.hash_one(name) % self.workers as u64) as u16)
    }
}

//! The homes of sessions and of retained messages.

use crate::base::ids::WorkerId;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// The homes of sessions and retained topics: each on one worker, the same for all workers of a
/// process.
#[derive(Debug, Clone)]
pub struct Homes {
    hasher: FixedState,
    workers: usize,
}

impl Homes {
    /// Makes the homes among `workers` workers, with an unpredictable `seed`.
    #[must_use]
    pub const fn new(workers: usize, seed: u64) -> Self {
        Self { hasher: FixedState::with_seed(seed), workers }
    }

    /// The number of workers.
    pub(super) const fn workers(&self) -> usize {
        self.workers
    }

    /// The home of a client identifier's session, or of a topic's retained message.
    #[must_use]
    pub fn of(&self, name: &str) -> WorkerId {
        WorkerId((self.hasher.hash_one(name) % self.workers as u64) as u16)
    }
}

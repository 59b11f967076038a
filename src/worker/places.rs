//! How many connections there may be, over all workers.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the connections of all workers against their limit.
#[derive(Debug)]
pub struct Places {
    taken: AtomicUsize,
    limit: usize,
}

impl Places {
    /// Room for `limit` connections.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { taken: AtomicUsize::new(0), limit }
    }

    /// Takes a place; false when none is left.
    #[must_use]
    pub fn take(&self) -> bool {
        // Relaxed: the count guards nothing but itself.
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        if taken >= self.limit {
            self.give_back();
        }
        taken < self.limit
    }

    /// Gives a taken place back.
    pub fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

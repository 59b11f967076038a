//! Accounts: the memory of a worker by what owns it.

use crate::metrics::Gauges;
use std::fmt;

/// Bytes of one worker's memory, by owner: what was asked of the allocator, as far as it follows
/// from the number and the size of things. Messages that are not retained belong to all workers
/// together: see [`kept_bytes`](crate::store::kept_bytes).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accounts {
    /// The retained messages whose topics live here.
    pub retained: u64,
    /// The subscriptions of this worker's sessions, and the interest of other workers.
    pub subscriptions: u64,
    /// The sessions, with places in queues and in flight, but without the messages there.
    pub sessions: u64,
    /// The retained messages on their way to new subscriptions, without the messages themselves.
    pub replays: u64,
    /// The connections, with packets that are not whole and responses that wait.
    pub connections: u64,
    /// The output of a turn.
    pub output: u64,
    /// The changes that gather for the journal.
    pub journal: u64,
    /// Counts and histograms.
    pub metrics: u64,
}

impl Accounts {
    /// The bytes of all owners.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.owners().iter().map(|(_, bytes)| bytes).sum()
    }

    pub(super) const fn owners(&self) -> [(&'static str, u64); 8] {
        [
            ("retained", self.retained),
            ("subscriptions", self.subscriptions),
            ("sessions", self.sessions),
            ("replays", self.replays),
            ("connections", self.connections),
            ("output", self.output),
            ("journal", self.journal),
            ("metrics", self.metrics),
        ]
    }
}

impl fmt::Display for Accounts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (owner, bytes)) in self.owners().into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{owner} {} kB", bytes / 1000)?;
        }
        Ok(())
    }
}

/// A walk over the sessions and links of a worker, some in each turn, that sums up what they take.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// The next slot; None while nobody asks.
    pub(super) next: Option<usize>,
    /// The sums of this walk.
    pub(super) sums: Accounts,
    /// The outcome of the last whole walk.
    pub(super) accounts: Accounts,
    /// Messages that wait for clients, by this walk and by the last whole one.
    pub(super) waiting: Gauges,
    pub(super) gauges: Gauges,
    /// The log is to be told the outcome.
    pub(super) is_told: bool,
}

//! The report of a worker at its end.

use crate::broker::Unwritten;
use crate::metrics::Snapshot;

/// A worker's counts, and the lengths of its turns.
#[derive(Debug)]
pub struct Report {
    /// The worker's metrics.
    pub snapshot: Snapshot,
    /// Connections closed at once because all places were taken.
    pub connections_refused: u64,
    /// Connections cut off because they did not close in time.
    pub connections_cut: usize,
    /// The records that the journal had not confirmed when the time was over.
    pub unwritten: Unwritten,
}

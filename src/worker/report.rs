//! The report of a worker at its end.

use crate::base::ids::WorkerId;
use crate::broker::{Counters, Unwritten};
use hdrhistogram::Histogram;
use std::time::Duration;

/// A worker's counts, and the lengths of its turns.
#[derive(Debug)]
pub struct Report {
    /// The worker's number.
    pub worker: WorkerId,
    /// The counters of its shard.
    pub counters: Counters,
    /// Nanoseconds of each turn that did something.
    pub turns: Histogram<u64>,
    /// Connections closed at once because all places were taken.
    pub connections_refused: u64,
    /// Connections cut off because they did not close in time.
    pub connections_cut: usize,
    /// The records that the journal had not confirmed when the time was over.
    pub unwritten: Unwritten,
}

/// A histogram of turns up to a minute, to two digits: 20 KiB.
pub(super) fn turn_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("constant bounds are valid")
}

pub(super) fn record(turns: &mut Histogram<u64>, turn: Duration) {
    turns.saturating_record(u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX));
}

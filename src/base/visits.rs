//! The meter of true work, in builds with debug assertions only: a data structure counts each
//! element that it looks at, moves or passes over. A caller may forget to pay for a walk; the
//! structure that is walked counts it all the same, and
//! [`Shard::handle`](crate::broker::Shard::handle) compares.
//!
//! Slow paths that the broker once had can be [planted](plant), so that a test sees the meter find
//! each of them.

use std::cell::Cell;

/// Bytes that are moved at the price of one visit.
pub(crate) const MOVED_BYTES: usize = 64;

thread_local! {
    static VISITS: Cell<u64> = const { Cell::new(0) };
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Counts so many visits of elements.
#[inline(always)]
pub(crate) fn visit(count: usize) {
    if cfg!(debug_assertions) {
        VISITS.set(VISITS.get() + count as u64);
    }
}

/// Counts bytes that are moved.
#[inline(always)]
pub(crate) fn moved(bytes: usize) {
    visit(bytes / MOVED_BYTES);
}

/// The visits of this thread so far; 0 without debug assertions.
#[inline(always)]
pub(crate) fn taken() -> u64 {
    if cfg!(debug_assertions) { VISITS.get() } else { 0 }
}

/// A slow path that the broker once had. The results are those of the path that replaced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A shared group is looked for among all groups.
    GroupScan,
    /// An older replay of a filter is looked for among all replays of the session.
    ReplayScan,
    /// A filter is looked for among all subscriptions of the session.
    SubscriptionScan,
    /// Every message that finds a queue full looks at the whole queue for one that has expired.
    ExpiredScan,
    /// A packet identifier is looked for among all exchanges of the session.
    InFlightScan,
    /// A live retained message looks at each replay that waits.
    LiveInEachReplay,
    /// A search looks at retained topics that cannot match, and does not pay for that.
    RetainedWalk,
    /// A subscriber is looked for among all of the filter.
    SubscriberScan,
    /// A session that ends takes out all subscriptions at once.
    EndAtOnce,
}

/// Lets this thread take a slow path again, or none. Nothing happens without debug assertions.
pub fn plant(planted: Option<Planted>) {
    PLANTED.set(planted);
}

/// True where the slow path is to be taken.
#[inline(always)]
pub(crate) fn is_planted(planted: Planted) -> bool {
    cfg!(debug_assertions) && PLANTED.get() == Some(planted)
}

//! State that the threads of a run share.

use crate::flags::Pacing;
use crate::plan::Plan;
use crate::poller::Waker;
use crate::window::Completions;
use crate::wire::Template;
use ringmq_mqtt::Version;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The state that the threads of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) templates: Vec<Template>,
    pub(crate) pacing: Pacing,
    pub(crate) version: Version,
    /// Whether publishes are answered: QoS 1 and 2.
    pub(crate) is_answered: bool,
    /// Whether latencies are kept by interval, for the histogram log.
    pub(crate) has_intervals: bool,
    /// The time for which threads sleep before they look for arrivals.
    pub(crate) nap: Duration,
    pub(crate) completions: Completions,
    /// The progress of each thread.
    pub(crate) progress: Vec<Progress>,
    pub(crate) wakers: Vec<Waker>,
    /// Set once, before any thread asks.
    pub(crate) times: OnceLock<Times>,
    pub(crate) is_over: AtomicBool,
}

/// The progress of a thread; written by that thread only.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Progress {
    /// Messages published.
    pub(crate) published: AtomicU64,
    /// Deliveries that those should make.
    pub(crate) expected: AtomicU64,
    /// Messages that arrived for the first time.
    pub(crate) delivered: AtomicU64,
    /// Connections that the broker closed.
    pub(crate) closed: AtomicU64,
}

impl Progress {
    /// Adds to a counter of the calling thread's own.
    #[inline]
    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Release);
    }
}

/// The times of the run, by the monotonic clock.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    /// The first publish.
    pub(crate) start_ns: u64,
    /// The measurement; publishing ends with it.
    pub(crate) measured: Range<u64>,
}

/// The progress of all threads together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) published: u64,
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    pub(crate) closed: u64,
}

impl Shared {
    /// The times of the run; only after they have been set.
    pub(crate) fn times(&self) -> Times {
        self.times.get().expect("threads start after the times are set").clone()
    }

    /// The progress of all threads together.
    pub(crate) fn totals(&self) -> Totals {
        let sum = |field: fn(&Progress) -> &AtomicU64| {
            self.progress.iter().map(|progress| field(progress).load(Ordering::Acquire)).sum()
        };
        Totals {
            published: sum(|progress| &progress.published),
            expected: sum(|progress| &progress.expected),
            delivered: sum(|progress| &progress.delivered),
            closed: sum(|progress| &progress.closed),
        }
    }

    /// Ends the run.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.wakers.iter().for_each(Waker::wake);
    }
}

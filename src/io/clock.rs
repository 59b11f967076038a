//! The only place that reads a clock.
#![forbid(unsafe_code)]

use crate::base::time::Time;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock, for what has a date: certificates and tokens.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that the rule names")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The monotonic clock (`CLOCK_MONOTONIC`); copies agree, on all threads.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    epoch_ms: u64,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place that the rule names")]
    pub fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), epoch_ms: epoch.as_millis() as u64 }
    }

    /// What the wall clock said at the start, in milliseconds since 1970.
    #[must_use]
    pub const fn epoch_ms(&self) -> u64 {
        self.epoch_ms
    }

    /// The time since the start.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Time {
        Time::ZERO.after(self.start.elapsed())
    }
}

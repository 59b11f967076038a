//! The only place that reads a clock.
#![forbid(unsafe_code)]

use crate::base::time::Time;
use std::time::{Instant, SystemTime};

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
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place that the rule names")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time since the start.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Time {
        Time::ZERO.after(self.start.elapsed())
    }
}

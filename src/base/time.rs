//! A point on the monotonic clock, passed in by the owner of a clock.

use std::num::NonZeroU64;
use std::time::Duration;

/// Nanoseconds since a fixed start; never goes back, unaffected by changes of the wall clock.
///
/// The stored number is one more, so that an `Option<Time>` is no larger than a `Time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(NonZeroU64);

impl Time {
    /// The start of the clock.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// The point `nanoseconds` after the start.
    #[must_use]
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanoseconds))
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn nanoseconds(self) -> u64 {
        self.0.get() - 1
    }

    /// The point `duration` later; the end of time when that is past it.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanoseconds))
    }

    /// The point `seconds` later.
    #[must_use]
    pub fn after_seconds(self, seconds: u32) -> Self {
        self.after(Duration::from_secs(u64::from(seconds)))
    }

    /// The time from `earlier` to this one; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanoseconds().saturating_sub(earlier.nanoseconds()))
    }
}

//! The clocks: no other file reads one.
#![forbid(unsafe_code)]

use crate::base::time::Time;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The wall clock, for certificates and tokens, which have dates.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that the rule names")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// The wall clock in milliseconds since 1970; 0 for a clock that stands before that.
#[must_use]
pub(crate) fn wall_ms() -> u64 {
    wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// The time since the machine was booted, suspension included (`CLOCK_BOOTTIME`), in milliseconds.
#[must_use]
pub(crate) fn boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// The name of this boot of the machine; zeros when the kernel does not tell.
#[must_use]
pub(crate) fn boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or_default().to_be_bytes()
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
    pub(crate) fn now(&self) -> Time {
        Time::ZERO.after(self.start.elapsed())
    }
}

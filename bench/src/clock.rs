//! The only place that reads clocks.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Nanoseconds of the machine's monotonic clock: the same for all threads and processes.
pub(crate) fn now_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// Nanoseconds since 1970.
pub(crate) fn unix_ns() -> u64 {
    read(ClockId::Realtime)
}

/// CPU time that the calling thread has used, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// CPU time that all threads of this process have used, in nanoseconds.
pub(crate) fn process_cpu_ns() -> u64 {
    read(ClockId::ProcessCPUTime)
}

/// Sleeps until `now_ns` would be `moment_ns`.
pub(crate) fn sleep_until(moment_ns: u64) {
    let left_ns = moment_ns.saturating_sub(now_ns());
    std::thread::sleep(Duration::from_nanos(left_ns));
}

fn read(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).expect("clocks do not show times before their epoch");
    let nanoseconds = u64::try_from(time.tv_nsec).expect("nanoseconds are never negative");
    seconds * 1_000_000_000 + nanoseconds
}

/// Seconds as nanoseconds; fractions are kept.
pub(crate) fn seconds_ns(seconds: f64) -> u64 {
    Duration::from_secs_f64(seconds).as_nanos() as u64
}

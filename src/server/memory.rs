//! The size of the rings: the limit of this process's locked memory.

use super::resource::raise_limit;
use crate::io::setup::{RingError, RingSizes, probe};
use crate::limits::{LOCKED_RESERVE_BYTES, SUBMISSIONS_FEW};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::time::Duration;

/// The number of tries to find room for rings.
const ROOM_TRIES: u32 = 40;
/// The time between two tries.
const ROOM_INTERVAL: Duration = Duration::from_millis(25);

/// The rings of all workers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rings {
    /// The sizes of each ring.
    pub(super) sizes: RingSizes,
    /// The number of workers that fit.
    pub(super) workers: usize,
}

/// Plans the rings of `workers` workers. Some kernels count rings as locked memory, for all
/// processes of a user together. There the limit makes the rings smaller, or the workers fewer, and
/// a line in the log says so.
pub(super) fn plan_rings(workers: usize) -> Rings {
    let usual = Rings { sizes: RingSizes::default(), workers };
    let Some(limit) = raise_limit(Resource::Memlock) else { return usual };
    let rings = wait_for_room(usual, limit);
    let is_usual = rings.sizes.submissions == usual.sizes.submissions;
    if !is_usual || rings.workers < workers {
        warn(rings, workers, limit);
    }
    rings
}

/// Waits for room. The kernel frees the rings of a process only a moment after the process has
/// gone, so a broker that is started again at once has to wait.
fn wait_for_room(usual: Rings, limit: u64) -> Rings {
    let most = fitting(usual.workers, |bytes| bytes as u64 <= limit);
    for _ in 0..ROOM_TRIES {
        for rings in [usual, most] {
            if has_room(limit, locked_bytes(rings.sizes, rings.workers)) {
                return rings;
            }
        }
        std::thread::sleep(ROOM_INTERVAL);
    }
    fitting(usual.workers, |bytes| has_room(limit, bytes))
}

/// The largest rings with room for as many workers as possible; one worker always counts as
/// fitting.
fn fitting(workers: usize, has_room: impl Fn(usize) -> bool) -> Rings {
    let fits = |sizes: RingSizes, workers: usize| has_room(locked_bytes(sizes, workers));
    let mut sizes = RingSizes::default();
    while !fits(sizes, workers) {
        match sizes.smaller().filter(|smaller| smaller.submissions >= SUBMISSIONS_FEW) {
            Some(smaller) => sizes = smaller,
            None => return fewer(sizes, workers, fits),
        }
    }
    Rings { sizes, workers }
}

fn fewer(mut sizes: RingSizes, workers: usize, fits: impl Fn(RingSizes, usize) -> bool) -> Rings {
    // Those that fit, and one more than that do not.
    let (mut some, mut many) = (0, workers);
    while some + 1 < many {
        let middle = usize::midpoint(some, many);
        *(if fits(sizes, middle) { &mut some } else { &mut many }) = middle;
    }
    while some == 0
        && !fits(sizes, 1)
        && let Some(smaller) = sizes.smaller()
    {
        sizes = smaller;
    }
    Rings { sizes, workers: some.max(1) }
}

fn locked_bytes(sizes: RingSizes, workers: usize) -> usize {
    sizes.locked_bytes() * workers + LOCKED_RESERVE_BYTES
}

fn warn(rings: Rings, wanted: usize, limit: u64) {
    let needed = locked_bytes(RingSizes::default(), wanted) as u64;
    // When that is less than the limit, other processes of this user have the rest.
    let set = if needed > limit { needed } else { limit.saturating_add(needed) };
    let set_mib = set.div_ceil(1024 * 1024);
    let what = if rings.workers < wanted { "fewer workers" } else { "smaller rings" };
    tracing::warn!(
        limit_bytes = limit,
        workers = rings.workers,
        wanted,
        ring_entries = rings.sizes.submissions,
        "The limit of locked memory (RLIMIT_MEMLOCK) allows {what} only: set \
         LimitMEMLOCK={set_mib}M (ulimit -l {})",
        set_mib * 1024
    );
}

/// True when `bytes` more memory may be locked. The kernel shows neither the locked amount nor
/// whether it counts rings at all; so the limit is lowered by `bytes` for the moment of a trial.
fn has_room(limit: u64, bytes: usize) -> bool {
    let Some(rest) = limit.checked_sub(bytes as u64) else {
        // More than the limit is too much only where it counts.
        return has_room(limit, limit as usize);
    };
    if set_limit(rest, limit).is_err() {
        return true;
    }
    let is_refused = matches!(probe(), Err(RingError::Memory));
    // It was so before.
    let _ = set_limit(limit, limit);
    !is_refused
}

fn set_limit(now: u64, most: u64) -> rustix::io::Result<()> {
    setrlimit(Resource::Memlock, Rlimit { current: Some(now), maximum: Some(most) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(workers: usize, room: usize) -> (u32, usize) {
        let rings = fitting(workers, |bytes| bytes <= room);
        (rings.sizes.submissions, rings.workers)
    }

    #[test]
    fn rings_become_smaller_before_workers_become_fewer() {
        const MIB: usize = 1024 * 1024;
        let usual = RingSizes::default().submissions;
        assert_eq!(plan(2, usize::MAX), (usual, 2));
        assert_eq!(plan(14, 8 * MIB), (usual, 14));
        assert_eq!(plan(16, 8 * MIB), (usual / 2, 16));
        assert_eq!(plan(128, 8 * MIB), (SUBMISSIONS_FEW, 128));
        let (entries, workers) = plan(128, MIB);
        assert!(entries == SUBMISSIONS_FEW && (10..30).contains(&workers), "{workers}");
        assert_eq!(plan(4, LOCKED_RESERVE_BYTES + 40 * 1024).1, 1);
        assert_eq!(plan(4, 0).1, 1);
    }

    #[test]
    fn no_plan_asks_for_more_than_there_is() {
        for room in (LOCKED_RESERVE_BYTES + 32 * 1024..16 << 20).step_by(12_345) {
            for workers in [1, 2, 3, 16, 127, 128] {
                let rings = fitting(workers, |bytes| bytes <= room);
                assert!(locked_bytes(rings.sizes, rings.workers) <= room, "{rings:?}, {room}");
            }
        }
    }
}

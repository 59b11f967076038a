//! Limits that the kernel sets for this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises a limit as far as this process may, and returns it; None for no limit.
pub(super) fn raise_limit(resource: Resource) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(resource);
    match setrlimit(resource, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

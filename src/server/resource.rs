//! How much of what the kernel limits this process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises a limit as far as this process may, and says what it is then; None when there is none.
pub(super) fn raise_limit(resource: Resource) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(resource);
    match setrlimit(resource, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

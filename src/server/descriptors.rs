//! The limit of this process's descriptors.

use super::failure::Failure;
use super::resource;
use crate::limits::TURNED_AWAY_MAX;
use rustix::process::Resource;

/// Descriptors reserved besides those of the workers: for files, and for connections that are only
/// turned away.
const RESERVED: usize = 64 + TURNED_AWAY_MAX;
/// Descriptors of a worker besides its listeners: its ring, its eventfd, and two to spare.
const PER_WORKER: usize = 4;

/// Raises the limit as far as this process may, and returns it.
pub(super) fn raise_limit() -> usize {
    let limit = resource::raise_limit(Resource::Nofile);
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// The number of connections that fit under a descriptor limit.
pub(super) fn connections(
    limit: usize,
    workers: usize,
    addresses: usize,
) -> Result<usize, Failure> {
    let others = RESERVED + workers * (PER_WORKER + addresses);
    match limit.saturating_sub(others) {
        0 => Err(Failure::start(format!(
            "the limit of {limit} open files leaves none for connections: raise it above {others} \
             (ulimit -n, LimitNOFILE=) or run fewer --workers"
        ))),
        connections => Ok(connections),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_becomes_the_hard_one() {
        let limit = raise_limit();
        assert_eq!(raise_limit(), limit);
        assert!(limit > 64);
    }

    #[test]
    fn too_few_descriptors_are_told() {
        assert_eq!(connections(1000, 2, 1).unwrap(), 1000 - 128 - 10);
        assert!(connections(64, 1, 1).unwrap_err().line().contains("raise it above 133"));
    }
}

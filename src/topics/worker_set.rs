//! A set of workers, in one word.

use crate::base::ids::WorkerId;

/// A set of workers: at most `limits::WORKERS_MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerSet(u128);

impl WorkerSet {
    /// Adds a worker.
    pub(crate) const fn insert(&mut self, worker: WorkerId) {
        self.0 |= 1 << worker.0;
    }

    /// Takes a worker out.
    pub(crate) const fn remove(&mut self, worker: WorkerId) {
        self.0 &= !(1 << worker.0);
    }

    /// Adds every worker of the other set.
    pub(crate) const fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// True when the set is empty.
    #[must_use]
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The worker, where the set has no other.
    #[must_use]
    pub(super) const fn only(self) -> Option<WorkerId> {
        if self.0.is_power_of_two() { Some(WorkerId(self.0.trailing_zeros() as u16)) } else { None }
    }

    /// The workers in the set, ascending.
    pub fn iter(self) -> impl Iterator<Item = WorkerId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let worker = rest.trailing_zeros();
            (rest != 0).then(|| {
                rest &= rest - 1;
                WorkerId(worker as u16)
            })
        })
    }
}

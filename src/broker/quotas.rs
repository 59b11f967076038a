//! Quotas of users: the sessions and retained messages of each, on all workers together.

use dashmap::DashMap;
use foldhash::fast::FixedState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// The users, each with what it keeps; the same for all workers.
#[derive(Debug)]
pub struct Quotas {
    users: DashMap<Box<str>, Arc<Quota>, FixedState>,
    /// The number of users at which those are forgotten that keep nothing.
    sweep_at: AtomicUsize,
}

/// Counts of what one user keeps. Clients without a verified name together are one user.
#[derive(Debug, Default)]
pub(super) struct Quota {
    /// Sessions that outlive their connections.
    sessions: AtomicU32,
    /// Topics with a retained message.
    retained: AtomicU32,
}

/// The least [`Quotas::sweep_at`].
const SWEEP_AT_MIN: usize = 1024;

impl Quotas {
    /// Makes the quotas of nobody. The seed should be unpredictable.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let users = DashMap::with_hasher(FixedState::with_seed(seed));
        Self { users, sweep_at: AtomicUsize::new(SWEEP_AT_MIN) }
    }

    /// The quota of a user; None is every client without a name.
    pub(super) fn of(&self, user: Option<&str>) -> Arc<Quota> {
        // A verified name is not empty.
        let user = user.unwrap_or_default();
        if let Some(quota) = self.users.get(user) {
            return quota.clone();
        }
        self.forget_unused();
        self.users.entry(user.into()).or_default().clone()
    }

    /// Forgets users that keep nothing and have no session, once there are twice as many users as
    /// were left the last time.
    fn forget_unused(&self) {
        if self.users.len() < self.sweep_at.load(Relaxed) {
            return;
        }
        self.users.retain(|_, quota| Arc::strong_count(quota) > 1 || quota.retained() > 0);
        self.sweep_at.store((2 * self.users.len()).max(SWEEP_AT_MIN), Relaxed);
    }
}

// Relaxed: the counts guard nothing but themselves.
impl Quota {
    pub(super) fn sessions(&self) -> u32 {
        self.sessions.load(Relaxed)
    }

    pub(super) fn retained(&self) -> u32 {
        self.retained.load(Relaxed)
    }

    pub(super) fn add_session(&self) {
        self.sessions.fetch_add(1, Relaxed);
    }

    pub(super) fn take_session(&self) {
        self.sessions.fetch_sub(1, Relaxed);
    }

    pub(super) fn add_retained(&self) {
        self.retained.fetch_add(1, Relaxed);
    }

    pub(super) fn take_retained(&self) {
        self.retained.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_forgotten_once_they_keep_nothing() {
        let quotas = Quotas::new(1);
        quotas.of(Some("keeper")).add_retained();
        let held = quotas.of(None);
        held.add_session();
        for user in 0..10 * SWEEP_AT_MIN {
            quotas.of(Some(&user.to_string()));
        }
        assert!(quotas.users.len() <= SWEEP_AT_MIN, "{}", quotas.users.len());
        assert_eq!(quotas.of(Some("keeper")).retained(), 1);
        assert_eq!(quotas.of(None).sessions(), 1);
    }
}

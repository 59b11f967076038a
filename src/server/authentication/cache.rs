//! Passwords that were right. A thousand clients that reconnect with one password cost one hash,
//! and logins that were right before go ahead of logins that never were.

use crate::base::maps::HashMap;
use crate::base::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// The name of a login; see [`Login::key`](crate::access::Login::key).
pub(super) type Key = [u8; 32];

/// Knowledge about a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// The login was right so short a time ago that no hash is needed. Holds the fingerprint of the
    /// password file's entry.
    IsRight(u64),
    /// The login was right at some time.
    WasRight,
}

/// Logins that were right, until too many others have come.
#[derive(Debug)]
pub(super) struct Cache {
    lifetime: Duration,
    logins_max: usize,
    right: HashMap<Key, Right>,
    /// The keys, oldest first. The key of a forgotten login stays until its turn to go.
    order: VecDeque<Key>,
}

#[derive(Debug)]
struct Right {
    /// The entry's fingerprint; none for a login verified without the password file.
    fingerprint: Option<u64>,
    until: Time,
}

impl Cache {
    pub(super) fn new(lifetime: Duration, logins_max: usize) -> Self {
        Self { lifetime, logins_max, right: HashMap::default(), order: VecDeque::new() }
    }

    pub(super) fn find(&self, key: &Key, now: Time) -> Option<Known> {
        let right = self.right.get(key)?;
        let fingerprint = right.fingerprint.filter(|_| now < right.until);
        Some(fingerprint.map_or(Known::WasRight, Known::IsRight))
    }

    /// Notes a success. A known login keeps its end, so its password is hashed again at last.
    pub(super) fn note(&mut self, key: Key, fingerprint: Option<u64>, now: Time) {
        let new = Right { fingerprint, until: now.after(self.lifetime) };
        match self.right.get_mut(&key) {
            Some(right) if right.fingerprint == fingerprint && now < right.until => {}
            Some(right) => *right = new,
            None => {
                self.right.insert(key, new);
                self.order.push_back(key);
            }
        }
        if self.order.len() > self.logins_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.right.remove(&oldest);
        }
    }

    /// Forgets a login that was right.
    pub(super) fn forget(&mut self, key: &Key) {
        self.right.remove(key);
    }

    /// Makes every login need a hash again.
    pub(super) fn expire(&mut self) {
        self.right.values_mut().for_each(|right| right.until = Time::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u32) -> Time {
        Time::ZERO.after_seconds(seconds)
    }

    #[test]
    fn a_success_is_good_for_its_time_and_not_prolonged() {
        let mut cache = Cache::new(Duration::from_secs(30), 10);
        cache.note([1; 32], Some(7), at(0));
        assert_eq!(cache.find(&[1; 32], at(29)), Some(Known::IsRight(7)));
        assert_eq!(cache.find(&[2; 32], at(29)), None);
        cache.note([1; 32], Some(7), at(29));
        assert_eq!(cache.find(&[1; 32], at(30)), Some(Known::WasRight));
        cache.note([1; 32], Some(8), at(31));
        assert_eq!(cache.find(&[1; 32], at(60)), Some(Known::IsRight(8)));
        cache.expire();
        assert_eq!(cache.find(&[1; 32], at(60)), Some(Known::WasRight));
        cache.note([3; 32], None, at(60));
        assert_eq!(cache.find(&[3; 32], at(60)), Some(Known::WasRight));
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut cache = Cache::new(Duration::from_secs(30), 2);
        for key in 0..3 {
            cache.note([key; 32], Some(0), at(u32::from(key)));
        }
        assert_eq!(cache.find(&[0; 32], at(3)), None);
        assert!(cache.find(&[1; 32], at(3)).is_some() && cache.find(&[2; 32], at(3)).is_some());
        assert_eq!((cache.right.len(), cache.order.len()), (2, 2));
    }
}

//! Passwords that were right a moment ago, so that a thousand clients that reconnect with one
//! password cost one hash.
#![forbid(unsafe_code)]

use crate::base::maps::HashMap;
use crate::base::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// Names a login; see [`Login::key`](crate::access::Login::key).
pub(super) type Key = [u8; 32];

/// What was verified, by key, until it is too old or too many have come since.
#[derive(Debug)]
pub(super) struct Cache {
    lifetime: Duration,
    logins_max: usize,
    /// The fingerprint of the password file's entry.
    verified: HashMap<Key, u64>,
    /// Oldest first; each key once.
    ends: VecDeque<(Time, Key)>,
}

impl Cache {
    pub(super) fn new(lifetime: Duration, logins_max: usize) -> Self {
        Self { lifetime, logins_max, verified: HashMap::default(), ends: VecDeque::new() }
    }

    pub(super) fn find(&mut self, key: &Key, now: Time) -> Option<u64> {
        self.forget(now);
        self.verified.get(key).copied()
    }

    /// Notes a success. One that is known already keeps its end: in the end it is hashed again.
    pub(super) fn note(&mut self, key: Key, fingerprint: u64, now: Time) {
        self.forget(now);
        if self.verified.insert(key, fingerprint).is_some() {
            return;
        }
        self.ends.push_back((now.after(self.lifetime), key));
        if self.ends.len() > self.logins_max {
            self.drop_oldest();
        }
    }

    pub(super) fn clear(&mut self) {
        self.verified.clear();
        self.ends.clear();
    }

    fn forget(&mut self, now: Time) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.ends.pop_front() {
            self.verified.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u32) -> Time {
        Time::ZERO.after_seconds(seconds)
    }

    #[test]
    fn a_success_is_known_for_its_time_and_not_prolonged() {
        let mut cache = Cache::new(Duration::from_secs(30), 10);
        cache.note([1; 32], 7, at(0));
        assert_eq!(cache.find(&[1; 32], at(29)), Some(7));
        assert_eq!(cache.find(&[2; 32], at(29)), None);
        cache.note([1; 32], 8, at(29));
        assert_eq!(cache.find(&[1; 32], at(29)), Some(8));
        assert_eq!(cache.find(&[1; 32], at(30)), None);
        assert!(cache.verified.is_empty() && cache.ends.is_empty());
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut cache = Cache::new(Duration::from_secs(30), 2);
        for key in 0..3 {
            cache.note([key; 32], 0, at(u32::from(key)));
        }
        assert_eq!(cache.find(&[0; 32], at(3)), None);
        assert!(cache.find(&[1; 32], at(3)).is_some() && cache.find(&[2; 32], at(3)).is_some());
        cache.clear();
        assert_eq!(cache.find(&[2; 32], at(3)), None);
    }
}

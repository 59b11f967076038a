//! Addresses from which too many logins fail have to wait.
#![forbid(unsafe_code)]

use crate::base::maps::HashMap;
use crate::base::time::Time;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Within this time so many failures are too many.
const WINDOW: Duration = Duration::from_secs(60);
/// The first wait; each one after it is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LAST_WAIT: Duration = Duration::from_secs(60);
/// After this time without a failure an address is forgotten.
const QUIET: Duration = Duration::from_secs(300);

/// What is known of the failures of each address.
#[derive(Debug)]
pub(super) struct Failures {
    failures_max: u32,
    addresses_max: usize,
    addresses: HashMap<IpAddr, Address>,
}

#[derive(Debug)]
struct Address {
    /// When the window began.
    since: Time,
    failures: u32,
    last: Time,
    /// The last wait; zero before the first.
    wait: Duration,
    until: Time,
}

impl Failures {
    /// After `failures_max` failures an address has to wait; `addresses_max` are remembered.
    pub(super) fn new(failures_max: u32, addresses_max: usize) -> Self {
        Self { failures_max, addresses_max, addresses: HashMap::default() }
    }

    /// Whether `address` has to wait still.
    pub(super) fn is_waiting(&self, address: IpAddr, now: Time) -> bool {
        self.addresses.get(&network(address)).is_some_and(|address| now < address.until)
    }

    /// Notes a failed login; true when the address has to wait for the first time.
    pub(super) fn note(&mut self, address: IpAddr, now: Time) -> bool {
        let key = network(address);
        self.make_room(key, now);
        let fresh =
            Address { since: now, failures: 0, last: now, wait: Duration::ZERO, until: now };
        let address = self.addresses.entry(key).or_insert(fresh);
        if now.since(address.last) >= QUIET {
            address.wait = Duration::ZERO;
        }
        if now.since(address.since) >= WINDOW {
            (address.since, address.failures) = (now, 0);
        }
        address.failures += 1;
        address.last = now;
        let has_waited = !address.wait.is_zero();
        // Logins that were under way when the wait began do not prolong it.
        if now < address.until || !has_waited && address.failures < self.failures_max {
            return false;
        }
        address.wait = (address.wait * 2).clamp(FIRST_WAIT, LAST_WAIT);
        address.until = now.after(address.wait);
        !has_waited
    }

    /// Drops who was quiet, and if need be who was quiet longest.
    fn make_room(&mut self, key: IpAddr, now: Time) {
        if self.addresses.len() < self.addresses_max || self.addresses.contains_key(&key) {
            return;
        }
        self.addresses.retain(|_, address| now.since(address.last) < QUIET);
        if self.addresses.len() >= self.addresses_max {
            let oldest = self.addresses.iter().min_by_key(|(_, address)| address.last);
            let oldest = oldest.map(|(key, _)| *key);
            oldest.map(|key| self.addresses.remove(&key));
        }
    }
}

/// What counts as one address: with IPv6 the 64 bits that one customer has at least.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO.after(Duration::from_millis(milliseconds))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn waits_double_up_to_a_minute() {
        let mut failures = Failures::new(3, 10);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert!(!failures.note(one, at(0)) && !failures.note(one, at(1)));
        assert!(!failures.is_waiting(one, at(2)));
        assert!(failures.note(one, at(2)), "the third one is too many");
        assert!(failures.is_waiting(one, at(3)) && !failures.is_waiting(other, at(3)));
        assert!(!failures.note(one, at(4)), "it was under way");
        let mut now = 1002;
        for wait in [2, 4, 8, 16, 32, 60, 60] {
            assert!(!failures.is_waiting(one, at(now)));
            assert!(!failures.note(one, at(now)), "told only once");
            assert!(failures.is_waiting(one, at(now + wait * 1000 - 1)), "{wait}");
            now += wait * 1000;
        }
    }

    #[test]
    fn who_fails_seldom_or_is_quiet_is_forgotten() {
        let mut failures = Failures::new(3, 10);
        let one = address("192.0.2.1");
        for minute in 0..20 {
            assert!(!failures.note(one, at(minute * 60_000)));
        }
        let mut failures = Failures::new(1, 10);
        assert!(failures.note(one, at(0)));
        assert!(!failures.note(one, at(2000)));
        assert!(failures.note(one, at(400_000)), "begins anew");
        assert!(failures.is_waiting(one, at(400_999)) && !failures.is_waiting(one, at(401_000)));
    }

    #[test]
    fn the_table_is_bounded_and_networks_count_as_one() {
        let mut failures = Failures::new(1, 3);
        for last in 0..9 {
            failures.note(address(&format!("192.0.2.{last}")), at(last));
        }
        assert_eq!(failures.addresses.len(), 3);
        assert!(failures.is_waiting(address("192.0.2.8"), at(9)));
        failures.note(address("2001:db8::1"), at(10));
        assert!(failures.is_waiting(address("2001:db8::ffff:2"), at(11)));
        assert!(!failures.is_waiting(address("2001:db8:0:1::1"), at(11)));
        failures.note(address("::ffff:198.51.100.1"), at(12));
        assert!(failures.is_waiting(address("198.51.100.1"), at(13)));
    }
}

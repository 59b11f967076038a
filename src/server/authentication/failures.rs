//! Failed logins. A user name that fails too often from one address is delayed, and no other.
//! Logins from an address with many failures are verified after those from other addresses.

use crate::access::Login;
use crate::base::time::Time;
use crate::limits::LOGIN_DELAY_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// The time within which failures are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// The first delay; each one after it is twice as long.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The time without a failure after which no delay is left.
const QUIET: Duration = Duration::from_secs(300);

/// A user name, used from an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    network: IpAddr,
    user: u64,
}

/// The records of failures, by claim and by address.
#[derive(Debug)]
pub(super) struct Failures {
    /// The number of failures after which a claim is delayed; 0 delays none.
    failures_max: u32,
    claims: Table<Claim, Record>,
    /// The number of failures since the last success.
    addresses: Table<IpAddr, u32>,
}

/// Records with the times of their last failures. The maps are ordered ones: peers choose the keys,
/// and the record that has to make room is found at once.
#[derive(Debug)]
struct Table<Key, Value> {
    records_max: usize,
    records: BTreeMap<Key, (Time, Value)>,
    /// The keys by the times of their last failures.
    by_time: BTreeSet<(Time, Key)>,
}

#[derive(Debug)]
struct Record {
    /// The begin of the window.
    since: Time,
    failures: u32,
    /// The last delay; zero before the first.
    delay: Duration,
}

impl Claim {
    /// The claim of a login; none on a Unix socket.
    pub(super) fn of(login: &Login) -> Option<Self> {
        login.address.map(|address| Self { network: network(address), user: login.user_number() })
    }
}

impl Claim {
    /// The address, or the network that counts as one.
    pub(super) const fn network(self) -> IpAddr {
        self.network
    }
}

impl Failures {
    /// Makes an empty record. A claim is delayed after `failures_max` failures; `records_max`
    /// claims and as many addresses are remembered.
    pub(super) fn new(failures_max: u32, records_max: usize) -> Self {
        let (claims, addresses) = (Table::new(records_max), Table::new(records_max));
        Self { failures_max, claims, addresses }
    }

    /// The earliest time at which the next login with this claim may be verified; none for at once.
    pub(super) fn due(&self, claim: Claim) -> Option<Time> {
        let record = self.claims.get(claim).filter(|(_, record)| !record.delay.is_zero());
        record.map(|(last, record)| last.after(record.delay))
    }

    /// The number of failed logins from the claim's address since the last success there.
    pub(super) fn of_address(&self, claim: Claim) -> u32 {
        self.addresses.get(claim.network).map_or(0, |(_, failures)| *failures)
    }

    /// Notes a successful login.
    pub(super) fn forgive(&mut self, claim: Claim) {
        self.claims.remove(claim);
        self.addresses.remove(claim.network);
    }

    /// Notes a failed login; true when its claim is delayed from now on.
    pub(super) fn note(&mut self, claim: Claim, now: Time) -> bool {
        let (_, failures) = self.addresses.touch(claim.network, now, || 0);
        *failures = failures.saturating_add(1);
        if self.failures_max == 0 {
            return false;
        }
        let fresh = || Record { since: now, failures: 0, delay: Duration::ZERO };
        let (last, record) = self.claims.touch(claim, now, fresh);
        if now.since(last) >= QUIET {
            record.delay = Duration::ZERO;
        }
        if now.since(record.since) >= WINDOW {
            (record.since, record.failures) = (now, 0);
        }
        record.failures += 1;
        let was_delayed = !record.delay.is_zero();
        // Logins that were under way together count as one.
        let is_late = now.since(last) >= record.delay;
        if is_late && (was_delayed || record.failures >= self.failures_max) {
            record.delay = (record.delay * 2).clamp(FIRST_DELAY, LOGIN_DELAY_MAX);
        }
        !was_delayed && !record.delay.is_zero()
    }
}

impl<Key: Ord + Copy, Value> Table<Key, Value> {
    const fn new(records_max: usize) -> Self {
        Self { records_max, records: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// A record, and the time of its last failure.
    fn get(&self, key: Key) -> Option<&(Time, Value)> {
        self.records.get(&key)
    }

    fn remove(&mut self, key: Key) {
        if let Some((last, _)) = self.records.remove(&key) {
            self.by_time.remove(&(last, key));
        }
    }

    /// The record of a failure, and the time of the failure before: now for a record that is made.
    /// The one whose last failure is longest ago makes room.
    fn touch(&mut self, key: Key, now: Time, make: impl FnOnce() -> Value) -> (Time, &mut Value) {
        if self.records.len() >= self.records_max
            && !self.records.contains_key(&key)
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.records.remove(&oldest);
        }
        let (last, record) = self.records.entry(key).or_insert_with(|| (now, make()));
        let before = std::mem::replace(last, now);
        self.by_time.remove(&(before, key));
        self.by_time.insert((now, key));
        (before, record)
    }
}

/// The address that counts: with IPv6 the network of 64 bits, the least that one customer has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::cmp::Ordering;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO.after(Duration::from_millis(milliseconds))
    }

    fn claim(address: &str, user: &str) -> Claim {
        let (address, user_name) = (Some(address.parse().unwrap()), Some(user.into()));
        Claim::of(&Login { address, user_name, ..Login::default() }).unwrap()
    }

    #[test]
    fn delays_double_and_are_of_one_name_from_one_address() {
        let mut failures = Failures::new(3, 10);
        let one = claim("192.0.2.1", "plug");
        let others = [claim("192.0.2.1", "lamp"), claim("192.0.2.2", "plug")];
        assert!(!failures.note(one, at(0)) && !failures.note(one, at(1)));
        assert_eq!(failures.due(one), None);
        assert!(failures.note(one, at(2)), "the third one is too many");
        let mut now = 2;
        for delay in [1, 2, 4, 8, 8, 8] {
            assert_eq!(failures.due(one), Some(at(now + delay * 1000)));
            now += delay * 1000;
            assert!(!failures.note(one, at(now)), "told only once");
        }
        assert!(others.iter().all(|other| failures.due(*other).is_none()));
        let of_addresses = [one, others[0], others[1]].map(|claim| failures.of_address(claim));
        assert_eq!(of_addresses, [9, 9, 0]);
        failures.forgive(one);
        assert_eq!((failures.due(one), failures.of_address(others[0])), (None, 0));
    }

    #[test]
    fn logins_that_were_under_way_together_are_one_delay() {
        let mut failures = Failures::new(1, 10);
        let one = claim("192.0.2.1", "plug");
        assert!(failures.note(one, at(0)));
        for together in 1..20 {
            assert!(!failures.note(one, at(together)));
        }
        assert_eq!(failures.due(one), Some(at(1019)));
    }

    #[test]
    fn who_fails_seldom_or_is_quiet_is_forgotten() {
        let mut failures = Failures::new(3, 10);
        let one = claim("192.0.2.1", "plug");
        for minute in 0..20 {
            assert!(!failures.note(one, at(minute * 60_000)));
        }
        let mut failures = Failures::new(1, 10);
        assert!(failures.note(one, at(0)));
        assert!(!failures.note(one, at(2000)));
        assert!(failures.note(one, at(400_000)), "begins anew");
        assert_eq!(failures.due(one), Some(at(401_000)));
        let mut failures = Failures::new(0, 10);
        assert!((0..50).all(|failed| !failures.note(one, at(failed))));
        assert_eq!((failures.due(one), failures.of_address(one)), (None, 50));
    }

    #[test]
    fn the_tables_are_bounded_and_networks_count_as_one() {
        let mut failures = Failures::new(1, 3);
        for last in 0..9 {
            failures.note(claim(&format!("192.0.2.{last}"), "plug"), at(last));
        }
        let kept = (failures.claims.records.len(), failures.addresses.records.len());
        assert_eq!(kept, (3, 3));
        let by_time = (failures.claims.by_time.len(), failures.addresses.by_time.len());
        assert_eq!(by_time, (3, 3));
        assert!(failures.due(claim("192.0.2.8", "plug")).is_some());
        assert!(failures.due(claim("192.0.2.5", "plug")).is_none(), "the oldest one made room");
        failures.note(claim("2001:db8::1", "plug"), at(10));
        assert!(failures.due(claim("2001:db8::ffff:2", "plug")).is_some());
        assert!(failures.due(claim("2001:db8:0:1::1", "plug")).is_none());
        failures.note(claim("::ffff:198.51.100.1", "plug"), at(12));
        assert!(failures.due(claim("198.51.100.1", "plug")).is_some());
    }

    thread_local! {
        static COMPARISONS: Cell<usize> = const { Cell::new(0) };
    }

    /// A key that counts how often it is compared.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Counted(u32);

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARISONS.set(COMPARISONS.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    #[test]
    fn a_failure_that_finds_the_table_full_looks_at_few_records() {
        let mut table = Table::new(10_000);
        for number in 0..30_000 {
            COMPARISONS.set(0);
            table.touch(Counted(number), at(u64::from(number) / 100), || ());
            // Each of a few look-ups goes down a tree with 11 keys a node at the most.
            let comparisons = COMPARISONS.get();
            assert!(comparisons < 1000, "{comparisons} comparisons of record {number}");
        }
        assert_eq!((table.records.len(), table.by_time.len()), (10_000, 10_000));
        assert!(table.get(Counted(19_999)).is_none() && table.get(Counted(20_000)).is_some());
    }
}

//! Places: the limits of all workers' connections together, in number and in pace.

use crate::base::time::Time;
use crate::broker::Excess;
use crate::limits::TURNED_AWAY_MAX;
use dashmap::DashMap;
use foldhash::fast::FixedState;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The counts of all workers' connections, and their limits.
#[derive(Debug)]
pub struct Places {
    taken: AtomicUsize,
    limit: usize,
    /// Connections that are open only to hear that they are too many.
    turned_away: AtomicUsize,
    /// Connections by address, where they are limited.
    addresses: DashMap<IpAddr, u32, FixedState>,
    /// The time at which the last connection would have come, had all come at the highest rate.
    paid_ns: AtomicU64,
}

/// The place that one connection takes up.
#[derive(Debug, Default)]
pub struct TakenPlace {
    /// False for a connection beyond the limit.
    is_counted: bool,
    /// The address that the connection is counted for.
    address: Option<IpAddr>,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Places {
    /// Room for `limit` connections. The seed should be unpredictable.
    #[must_use]
    pub fn new(limit: usize, seed: u64) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            limit,
            turned_away: AtomicUsize::new(0),
            addresses: DashMap::with_hasher(FixedState::with_seed(seed)),
            paid_ns: AtomicU64::new(0),
        }
    }

    /// Takes a place for a connection that came at `now`, where so many may come a second, 0 for
    /// any number. The excess, if any, is the limit that the connection breaks; None when the
    /// client cannot even be told.
    #[must_use]
    pub(crate) fn take(&self, now: Time, rate_max: u32) -> Option<(TakenPlace, Option<Excess>)> {
        // Relaxed: the counts guard nothing but themselves.
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return self.turn_away().map(|place| (place, Some(Excess::Connections)));
        }
        let place = TakenPlace { is_counted: true, address: None };
        if self.is_in_time(now, rate_max) {
            return Some((place, None));
        }
        self.give_back(&place);
        self.turn_away().map(|place| (place, Some(Excess::ConnectRate)))
    }

    /// Counts a connection for its address, which may have `limit`, 0 for any number.
    pub(crate) fn count_address(
        &self,
        place: &mut TakenPlace,
        address: IpAddr,
        limit: u32,
    ) -> Option<Excess> {
        if limit == 0 || !place.is_counted {
            return None;
        }
        let mut count = self.addresses.entry(address.to_canonical()).or_insert(0);
        if *count >= limit {
            return Some(Excess::ConnectionsOfAddress);
        }
        *count += 1;
        place.address = Some(address.to_canonical());
        None
    }

    /// Gives back the place of a connection.
    pub(crate) fn give_back(&self, place: &TakenPlace) {
        let count = if place.is_counted { &self.taken } else { &self.turned_away };
        count.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = place.address {
            self.addresses.remove_if_mut(&address, |_, count| {
                *count -= 1;
                *count == 0
            });
        }
    }

    fn turn_away(&self) -> Option<TakenPlace> {
        let count = self.turned_away.fetch_add(1, Ordering::Relaxed);
        if count >= TURNED_AWAY_MAX {
            self.turned_away.fetch_sub(1, Ordering::Relaxed);
        }
        (count < TURNED_AWAY_MAX).then(TakenPlace::default)
    }

    /// True when the connection keeps to the pace; a second's connections may come at once.
    fn is_in_time(&self, now: Time, rate_max: u32) -> bool {
        if rate_max == 0 {
            return true;
        }
        let (now, cost) = (now.nanoseconds(), SECOND_NS / u64::from(rate_max));
        let pay = |paid: u64| {
            let paid = paid.max(now) + cost;
            (paid <= now + SECOND_NS).then_some(paid)
        };
        self.paid_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn above_the_limit_some_are_told_and_the_rest_is_not() {
        let places = Places::new(1, 1);
        let (first, excess) = places.take(Time::ZERO, 0).unwrap();
        assert_eq!(excess, None);
        let told: Vec<_> = (0..TURNED_AWAY_MAX).map(|_| places.take(Time::ZERO, 0)).collect();
        assert!(told.iter().all(|t| matches!(t, Some((_, Some(Excess::Connections))))));
        assert!(places.take(Time::ZERO, 0).is_none());
        places.give_back(&first);
        assert_eq!(places.take(Time::ZERO, 0).unwrap().1, None);
    }

    #[test]
    fn an_address_has_its_own_limit_in_both_its_forms() {
        let places = Places::new(9, 1);
        let take = |address: &str| {
            let (mut place, _) = places.take(Time::ZERO, 0).unwrap();
            let excess = places.count_address(&mut place, address.parse().unwrap(), 1);
            (place, excess)
        };
        let (first, excess) = take("192.0.2.1");
        assert_eq!(excess, None);
        assert_eq!(take("::ffff:192.0.2.1").1, Some(Excess::ConnectionsOfAddress));
        assert_eq!(take("192.0.2.2").1, None);
        places.give_back(&first);
        assert_eq!(take("192.0.2.1").1, None);
        assert_eq!(places.addresses.len(), 2);
    }

    #[test]
    fn a_second_of_connections_may_come_at_once() {
        let places = Places::new(1000, 1);
        let count =
            |now| (0..100).filter(|_| matches!(places.take(now, 10), Some((_, None)))).count();
        assert_eq!(count(Time::from_nanoseconds(1)), 10);
        assert_eq!(count(Time::from_nanoseconds(1).after(Duration::from_millis(500))), 5);
    }
}

//! A limit on a client's publishes a second.

use crate::base::time::Time;
use std::time::Duration;

/// The publishes of one client within the last second.
#[derive(Debug, Default)]
pub(super) struct PublishRate {
    messages: Rate,
    bytes: Rate,
}

impl PublishRate {
    /// Counts a PUBLISH of `length` bytes against limits per second, 0 for none; false above one of
    /// them.
    pub(super) fn count(
        &mut self,
        now: Time,
        length: usize,
        (messages, bytes): (u64, u64),
    ) -> bool {
        self.messages.count(now, 1, messages) && self.bytes.count(now, length as u64, bytes)
    }
}

/// A count against a limit per second; the unused rest of a second may be spent at once.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    /// The time by which all counted publishes would have come at exactly the limit.
    paid: Option<Time>,
}

const SAVED: Duration = Duration::from_secs(1);

impl Rate {
    /// Counts `amount` against a limit of `per_second`, 0 for none; false above the limit.
    fn count(&mut self, now: Time, amount: u64, per_second: u64) -> bool {
        if per_second == 0 {
            return true;
        }
        let nanoseconds = u128::from(amount) * 1_000_000_000 / u128::from(per_second);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let before = self.paid.map_or(now, |paid| paid.max(now));
        // Something larger than a second's worth may pass when nothing came before it.
        let is_within = before == now || before.since(now) + cost <= SAVED;
        if is_within {
            self.paid = Some(before.after(cost));
        }
        is_within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_may_be_spent_at_once_and_comes_back_in_a_second() {
        let mut rate = Rate::default();
        let start = Time::ZERO;
        let passed = (0..100).filter(|_| rate.count(start, 1, 10)).count();
        assert_eq!(passed, 10);
        let half = start.after(Duration::from_millis(500));
        assert_eq!((0..100).filter(|_| rate.count(half, 1, 10)).count(), 5);
        let later = start.after(Duration::from_secs(60));
        assert_eq!((0..100).filter(|_| rate.count(later, 1, 10)).count(), 10);
    }

    #[test]
    fn one_message_above_a_seconds_worth_passes_alone() {
        let mut rate = Rate::default();
        assert!(rate.count(Time::ZERO, 5_000, 1_000));
        assert!(!rate.count(Time::ZERO.after(Duration::from_secs(4)), 1, 1_000_000_000));
        assert!(rate.count(Time::ZERO.after(Duration::from_secs(6)), 1, 1_000));
    }

    #[test]
    fn no_limit_is_no_limit() {
        assert!((0..1000).all(|_| Rate::default().count(Time::ZERO, u64::MAX, 0)));
    }
}

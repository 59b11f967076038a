//! Tracking of a stream's messages: lost ones, duplicates, and those out of order.

use std::collections::BTreeMap;

/// Gaps that a tracker remembers. Beyond it the oldest is forgotten: it stays lost.
const GAPS_MAX: usize = 4096;

/// The messages that a stream's receiver has, by sequence numbers.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    /// One above the highest that came.
    next: u32,
    /// The number of messages below `next` that have not come.
    missing: u32,
    /// Start and end of each gap below `next`.
    #[expect(clippy::box_collection, reason = "most trackers never have a gap")]
    gaps: Option<Box<BTreeMap<u32, u32>>>,
}

/// The result of a run of consecutive messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Messages that had not come before.
    pub(crate) fresh: u32,
    /// Fresh messages that filled a gap: later ones had come earlier.
    pub(crate) late: u32,
    /// Messages that had come before.
    pub(crate) duplicates: u32,
    /// Messages before this run that are now missing.
    pub(crate) skipped: u32,
}

impl Tracker {
    /// Takes the `count` messages from `first` on.
    #[inline]
    pub(crate) fn accept(&mut self, first: u32, count: u32) -> Arrival {
        if first == self.next {
            self.next += count;
            return Arrival { fresh: count, ..Arrival::default() };
        }
        self.accept_out_of_line(first, count)
    }

    #[cold]
    fn accept_out_of_line(&mut self, first: u32, count: u32) -> Arrival {
        let mut arrival = Arrival::default();
        if first > self.next {
            arrival.skipped = first - self.next;
            self.open_gap(self.next, first);
            self.next = first;
        }
        for sequence in first..first + count {
            if sequence == self.next {
                self.next += 1;
                arrival.fresh += 1;
            } else if self.fill(sequence) {
                arrival.fresh += 1;
                arrival.late += 1;
            } else {
                arrival.duplicates += 1;
            }
        }
        arrival
    }

    fn open_gap(&mut self, start: u32, end: u32) {
        self.missing += end - start;
        let gaps = self.gaps.get_or_insert_default();
        gaps.insert(start, end);
        if gaps.len() > GAPS_MAX {
            gaps.pop_first();
        }
    }

    fn fill(&mut self, sequence: u32) -> bool {
        let Some(gaps) = &mut self.gaps else { return false };
        let Some((&start, &end)) = gaps.range(..=sequence).next_back() else { return false };
        if sequence >= end {
            return false;
        }
        gaps.remove(&start);
        if start < sequence {
            gaps.insert(start, sequence);
        }
        if sequence + 1 < end {
            gaps.insert(sequence + 1, end);
        }
        self.missing -= 1;
        true
    }

    /// The number of different messages that have come.
    pub(crate) fn seen(&self) -> u32 {
        self.next - self.missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_is_all_fresh() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.accept(0, 3), Arrival { fresh: 3, ..Arrival::default() });
        assert_eq!(tracker.accept(3, 1), Arrival { fresh: 1, ..Arrival::default() });
        assert_eq!(tracker.seen(), 4);
    }

    #[test]
    fn a_gap_is_skipped_until_it_is_filled() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.accept(5, 2), Arrival { fresh: 2, skipped: 5, ..Arrival::default() });
        assert_eq!(tracker.seen(), 2);
        assert_eq!(tracker.accept(2, 1), Arrival { fresh: 1, late: 1, ..Arrival::default() });
        assert_eq!(tracker.accept(0, 2), Arrival { fresh: 2, late: 2, ..Arrival::default() });
        assert_eq!(tracker.accept(3, 2), Arrival { fresh: 2, late: 2, ..Arrival::default() });
        assert_eq!(tracker.seen(), 7);
        assert_eq!(tracker.accept(7, 1).fresh, 1);
    }

    #[test]
    fn what_came_twice_is_a_duplicate() {
        let mut tracker = Tracker::default();
        tracker.accept(0, 4);
        assert_eq!(tracker.accept(2, 1), Arrival { duplicates: 1, ..Arrival::default() });
        assert_eq!(tracker.accept(3, 2), Arrival { fresh: 1, duplicates: 1, ..Arrival::default() });
        tracker.accept(9, 1);
        tracker.accept(7, 1);
        assert_eq!(tracker.accept(7, 1), Arrival { duplicates: 1, ..Arrival::default() });
        assert_eq!(tracker.seen(), 7);
    }

    #[test]
    fn any_order_gives_the_same_count() {
        let mut state = 12345_u32;
        for _ in 0..50 {
            let mut tracker = Tracker::default();
            let mut seen = [false; 64];
            for _ in 0..200 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let sequence = state >> 26;
                let is_new = !std::mem::replace(&mut seen[sequence as usize], true);
                let arrival = tracker.accept(sequence, 1);
                assert_eq!(arrival.fresh == 1, is_new);
                assert_eq!(arrival.duplicates == 0, is_new);
            }
            assert_eq!(tracker.seen() as usize, seen.iter().filter(|seen| **seen).count());
        }
    }

    #[test]
    fn forgotten_gaps_stay_lost() {
        let mut tracker = Tracker::default();
        for index in 0..GAPS_MAX as u32 + 1 {
            tracker.accept(2 * index + 1, 1);
        }
        assert_eq!(tracker.accept(0, 1).duplicates, 1);
        assert_eq!(tracker.accept(2, 1).late, 1);
        assert_eq!(tracker.seen() as usize, GAPS_MAX + 2);
    }
}

//! The journal's own time, which counts only time that has passed.
//!
//! A wall clock may be wrong when a process starts and be set later, so a point in time taken from
//! it says little after a restart. The journal notes now and then its own time and the times of the
//! machine's clocks; the next process finds from the last note how much time has passed.

use super::batch::Epoch;
use super::record::ClockNote;
use crate::base::time::Time;
use crate::limits::{CLOCK_NOTE_MS, WALL_PLAUSIBLE_MS};

/// A reading of the machine's clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock, in milliseconds since 1970.
    pub wall_ms: u64,
    /// Names the boot of the machine; zeros when it is not known.
    pub boot: [u8; 16],
    /// Since the boot, suspension included, in milliseconds: no step of the wall clock moves it.
    pub boot_ms: u64,
}

impl Reading {
    /// The note that the journal's time is `journal_ms` now.
    #[must_use]
    pub const fn note(self, journal_ms: u64) -> ClockNote {
        let Self { wall_ms, boot, boot_ms } = self;
        ClockNote { journal_ms, wall_ms, boot, boot_ms }
    }

    /// The journal's time now. `last` is its last note. Without one, `earliest_ms` is the earliest
    /// point in time that the journal speaks of, if any: no time has passed then.
    #[must_use]
    pub fn journal_ms(self, last: Option<&ClockNote>, earliest_ms: Option<u64>) -> u64 {
        match (last, earliest_ms) {
            (Some(note), _) => note.journal_ms.saturating_add(self.passed_ms(note)),
            (None, Some(earliest_ms)) => self.wall_ms.min(earliest_ms.saturating_sub(1)),
            (None, None) => self.wall_ms,
        }
    }

    /// The time that has certainly passed since the note was made. Within one boot the clock that
    /// counts from it is exact. Across boots there is only the wall clock, which says nothing where
    /// it goes backwards or was never set.
    fn passed_ms(self, note: &ClockNote) -> u64 {
        if self.boot == note.boot && self.boot != [0; 16] {
            return self.boot_ms.saturating_sub(note.boot_ms);
        }
        if self.wall_ms.min(note.wall_ms) < WALL_PLAUSIBLE_MS {
            return 0;
        }
        self.wall_ms.saturating_sub(note.wall_ms)
    }
}

impl Epoch {
    /// The epoch of a process whose clock says `now` when the journal's time is `journal_ms`.
    #[must_use]
    pub(crate) const fn at(journal_ms: u64, now: Time) -> Self {
        Self(journal_ms.saturating_sub(now.nanoseconds() / 1_000_000))
    }
}

impl ClockNote {
    /// True when so much time has passed since this note that a commit takes along the `next` one.
    #[must_use]
    pub(crate) const fn is_old(&self, next: &Self) -> bool {
        next.journal_ms.saturating_sub(self.journal_ms) >= CLOCK_NOTE_MS
    }

    /// True when the wall clock was set between this note and the `next` one.
    #[must_use]
    pub(crate) const fn has_stepped(&self, next: &Self) -> bool {
        let before = self.wall_ms as i64 - self.journal_ms as i64;
        let after = next.wall_ms as i64 - next.journal_ms as i64;
        before.abs_diff(after) > CLOCK_NOTE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const THIS_BOOT: [u8; 16] = [1; 16];
    const THAT_BOOT: [u8; 16] = [2; 16];
    const NOW: u64 = WALL_PLAUSIBLE_MS + 400 * DAY;

    /// The time that is taken to have passed between two readings.
    fn passed(before: (u64, [u8; 16], u64), after: (u64, [u8; 16], u64)) -> u64 {
        let reading = |(wall_ms, boot, boot_ms)| Reading { wall_ms, boot, boot_ms };
        let note = reading(before).note(5_000);
        reading(after).journal_ms(Some(&note), Some(1)) - 5_000
    }

    #[test]
    fn time_that_passed_is_never_taken_for_more_than_the_clocks_can_show() {
        let table = [
            ("one boot", (NOW, THIS_BOOT, 10), (NOW + 90, THIS_BOOT, 100), 90),
            ("one boot, set right", (0, THIS_BOOT, 10), (NOW, THIS_BOOT, 100), 90),
            ("one boot, set back", (NOW, THIS_BOOT, 10), (NOW - DAY, THIS_BOOT, 100), 90),
            ("one boot, set forward", (NOW, THIS_BOOT, 10), (NOW + DAY, THIS_BOOT, 100), 90),
            ("a machine restored", (NOW, THIS_BOOT, 100), (NOW + DAY, THIS_BOOT, 10), 0),
            ("a boot later", (NOW, THIS_BOOT, 100), (NOW + DAY, THAT_BOOT, 10), DAY),
            ("a boot later, set back", (NOW, THIS_BOOT, 100), (NOW - DAY, THAT_BOOT, 10), 0),
            ("never set before", (DAY, THIS_BOOT, 100), (NOW, THAT_BOOT, 10), 0),
            ("not set yet", (NOW, THIS_BOOT, 100), (DAY, THAT_BOOT, 10), 0),
            ("never set", (DAY, THIS_BOOT, 100), (3 * DAY, THAT_BOOT, 10), 0),
            ("boots unknown", (NOW, [0; 16], 100), (NOW + DAY, [0; 16], 200), DAY),
        ];
        for (name, before, after, expected) in table {
            assert_eq!(passed(before, after), expected, "{name}");
        }
    }

    #[test]
    fn without_a_note_no_time_has_passed_and_a_new_journal_begins_at_the_wall_clock() {
        let now = Reading { wall_ms: NOW, boot: THIS_BOOT, boot_ms: 10 };
        assert_eq!(now.journal_ms(None, None), NOW);
        assert_eq!(now.journal_ms(None, Some(DAY)), DAY - 1);
        assert_eq!(now.journal_ms(None, Some(NOW + DAY)), NOW);
    }

    #[test]
    fn a_note_is_due_after_a_second_and_when_the_wall_clock_was_set() {
        let note =
            |journal_ms, wall_ms| ClockNote { journal_ms, wall_ms, boot: [1; 16], boot_ms: 0 };
        let first = note(10, NOW);
        assert!(!first.is_old(&note(1_009, NOW)) && first.is_old(&note(1_010, NOW)));
        assert!(!first.has_stepped(&note(DAY, NOW + DAY)));
        assert!(first.has_stepped(&note(20, NOW + 2 * CLOCK_NOTE_MS)));
        assert!(first.has_stepped(&note(20, DAY)));
    }
}

//! How much of the memory that the broker may have is in use.

use crate::base::time::Time;
use crate::broker::Pressure;
use crate::io::memory;
use crate::limits::{
    FREED_BYTES_MIN, GIVE_BACK_DELAY, MEMORY_BACK_PERCENT, MEMORY_FULL_PERCENT,
    MEMORY_SHORT_PERCENT, MEMORY_TIGHT_PERCENT,
};

/// A worker's look at the memory of the process.
#[derive(Debug)]
pub(super) struct MemoryGauge {
    /// The bytes that the broker may have.
    limit: u64,
    pressure: Pressure,
    /// The most bytes that were in use since memory was last given back to the kernel.
    greatest: u64,
    /// The time at which memory is to be given back.
    give_back_at: Option<Time>,
}

impl MemoryGauge {
    pub(super) const fn new(limit: u64) -> Self {
        Self { limit, pressure: Pressure::None, greatest: 0, give_back_at: None }
    }

    /// Goes by another limit.
    pub(super) const fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// The bytes in use, and the pressure if it is another one than at the last look.
    #[inline]
    pub(super) fn look(&mut self) -> Option<(u64, Pressure)> {
        let used = memory::in_use();
        self.greatest = self.greatest.max(used);
        let before = self.pressure;
        self.pressure = judge(used, self.limit, before);
        (self.pressure != before).then_some((used, self.pressure))
    }

    /// Gives memory back to the kernel, some time after much of it was freed: the allocator frees
    /// pages late, and only while its thread goes on allocating.
    pub(super) fn give_back(&mut self, now: Time) {
        let used = memory::in_use();
        match self.give_back_at {
            // What it costs grows with what is in use.
            None if used + FREED_BYTES_MIN.max(self.greatest / 8) < self.greatest => {
                self.give_back_at = Some(now.after(GIVE_BACK_DELAY));
            }
            Some(due) if due <= now => {
                memory::give_back();
                (self.greatest, self.give_back_at) = (used, None);
            }
            _ => {}
        }
    }

    /// The time at which [`Self::give_back`] has something to do.
    pub(super) const fn deadline(&self) -> Option<Time> {
        self.give_back_at
    }
}

/// The pressure with so many bytes in use. A pressure that is already there lasts until memory has
/// fallen clearly below its border.
fn judge(used: u64, limit: u64, before: Pressure) -> Pressure {
    let hundredth = limit / 100;
    let is_over = |percent: u64, pressure: Pressure| {
        let back = if before >= pressure { MEMORY_BACK_PERCENT } else { 0 };
        used >= hundredth * (percent - back)
    };
    match () {
        () if is_over(MEMORY_FULL_PERCENT, Pressure::Full) => Pressure::Full,
        () if is_over(MEMORY_SHORT_PERCENT, Pressure::Short) => Pressure::Short,
        () if is_over(MEMORY_TIGHT_PERCENT, Pressure::Tight) => Pressure::Tight,
        () => Pressure::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pressure_begins_at_its_border_and_ends_clearly_below() {
        let levels = [Pressure::None, Pressure::Tight, Pressure::Short, Pressure::Full];
        let borders = [0, 7000, 8500, 9500, 10_001];
        for (level, border) in levels.into_iter().zip(borders.windows(2)) {
            for used in [border[0], border[1] - 1] {
                assert_eq!(judge(used, 10_000, Pressure::None), level, "{used}");
            }
        }
        for (before, border) in levels.into_iter().zip(borders).skip(1) {
            assert_eq!(judge(border - 200, 10_000, before), before);
            assert!(judge(border - 201, 10_000, before) < before);
        }
    }
}

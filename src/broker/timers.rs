//! The times at which links and sessions have to be looked after: one for each at most.

use crate::base::time::Time;
use crate::base::visits::visit;
use std::collections::BTreeSet;

/// The slot of the link or session that a timer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKey {
    Link(u32),
    Session(u32),
}

/// All timers. A link or session that goes has its timer taken off first.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Time, TimerKey)>,
    /// The times, by slot.
    of_links: Vec<Option<Time>>,
    /// The times, by slot.
    of_sessions: Vec<Option<Time>>,
}

impl Timers {
    /// Sets the timer of `key`, instead of the one that it may have; None takes it off.
    pub(super) fn set(&mut self, key: TimerKey, due: Option<Time>) {
        let before = std::mem::replace(self.place(key), due);
        if before == due {
            return;
        }
        visit(usize::from(before.is_some()) + usize::from(due.is_some()));
        if let Some(before) = before {
            self.by_time.remove(&(before, key));
        }
        if let Some(due) = due {
            self.by_time.insert((due, key));
        }
    }

    /// The bytes that the timers take; nodes of the set are two thirds full.
    pub(super) fn memory(&self) -> usize {
        let by_time = self.by_time.len() * size_of::<(Time, TimerKey)>() * 3 / 2;
        let slots = self.of_links.capacity() + self.of_sessions.capacity();
        by_time + slots * size_of::<Option<Time>>()
    }

    /// True when `key` has a timer.
    pub(super) fn is_set(&mut self, key: TimerKey) -> bool {
        self.place(key).is_some()
    }

    /// The next time that is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Takes off the next timer that is due by `now`.
    pub(super) fn take_due(&mut self, now: Time) -> Option<(Time, TimerKey)> {
        let &(due, key) = self.by_time.first().filter(|(due, _)| *due <= now)?;
        self.set(key, None);
        Some((due, key))
    }

    fn place(&mut self, key: TimerKey) -> &mut Option<Time> {
        let (times, slot) = match key {
            TimerKey::Link(slot) => (&mut self.of_links, slot as usize),
            TimerKey::Session(slot) => (&mut self.of_sessions, slot as usize),
        };
        if slot >= times.len() {
            times.resize(slot + 1, None);
        }
        &mut times[slot]
    }
}

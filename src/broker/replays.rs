//! The replays of one session.

use super::replay::Replay;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The replays that a session is still owed, in the order in which they began; one a filter.
#[derive(Debug, Default)]
pub(super) struct Replays {
    by_number: BTreeMap<u32, Replay>,
    /// By filter.
    numbers: BTreeMap<Arc<str>, u32>,
}

impl Replays {
    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// Adds a replay, which has a greater number than all before it. A replay of the same filter
    /// ends: the new one asks for its rest as well.
    pub(super) fn begin(&mut self, replay: Replay) {
        let (number, filter) = (replay.number, replay.filter().clone());
        if let Some(before) = self.numbers.insert(filter, number) {
            self.by_number.remove(&before);
        }
        self.by_number.insert(number, replay);
    }

    /// Ends the replay of a filter.
    pub(super) fn end(&mut self, filter: &str) {
        if let Some(number) = self.numbers.remove(filter) {
            self.by_number.remove(&number);
        }
    }

    /// The replay of a filter.
    pub(super) fn of(&self, filter: &str) -> Option<&Replay> {
        self.by_number.get(self.numbers.get(filter)?)
    }

    /// The replay with a number.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Replay> {
        self.by_number.get_mut(&number)
    }

    /// The replay whose messages are sent next.
    pub(super) fn first_mut(&mut self) -> Option<&mut Replay> {
        self.by_number.values_mut().next()
    }

    /// Takes the first replay, all of which was sent.
    pub(super) fn take_first(&mut self) -> Option<Replay> {
        let (_, replay) = self.by_number.pop_first()?;
        self.numbers.remove(replay.filter());
        Some(replay)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Replay> {
        self.by_number.values_mut()
    }
}

//! The replays of one session.

use super::delivery::Delivery;
use super::live_retained::LiveRetained;
use super::replay::Replay;
use crate::base::ids::MessageId;
use crate::store::Message;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The replays that a session is still owed, in the order in which they began; one a filter.
#[derive(Debug, Default)]
pub(super) struct Replays {
    by_number: BTreeMap<u32, Replay>,
    /// By filter.
    numbers: BTreeMap<Arc<str>, u32>,
    /// The retained messages that the session was sent live meanwhile; none without a replay.
    live: LiveRetained,
}

impl Replays {
    pub(super) fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// The bytes that the replays take, without messages, if filters have so many bytes.
    pub(super) fn memory(&self, filter_bytes: usize) -> usize {
        let filter = size_of::<[usize; 2]>() + filter_bytes;
        // Nodes of a tree that grows at its end are half full, others two thirds.
        let entry = 2 * size_of::<(u32, Replay)>() + size_of::<(Arc<str>, u32)>() * 3 / 2;
        self.by_number.len() * (entry + filter) + self.live.memory()
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
            self.forget_live();
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

    /// Takes the next message of a source of the first replay, with the number of the replay; None
    /// when the message is not to be sent.
    pub(super) fn take_next(&mut self, source: usize) -> Option<(u32, Delivery)> {
        let (number, replay) = self.by_number.iter_mut().next()?;
        Some((*number, replay.take_next(source, &self.live)?))
    }

    /// Takes the first replay, all of which was sent.
    pub(super) fn take_first(&mut self) -> Option<Replay> {
        let (_, replay) = self.by_number.pop_first()?;
        self.numbers.remove(replay.filter());
        self.forget_live();
        Some(replay)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Replay> {
        self.by_number.values_mut()
    }

    /// The number of the replay that began last: a live message from now on overtakes the replays
    /// up to that one.
    pub(super) fn last_number(&self) -> Option<u32> {
        self.by_number.last_key_value().map(|(number, _)| *number)
    }

    /// Notes that the session was sent a retained message live, which overtakes the replays up to
    /// the number `last`.
    pub(super) fn note_live(&mut self, live: &Arc<Message>, last: u32) {
        if let Some((&first, _)) = self.by_number.first_key_value() {
            self.live.note(live, first, last);
        }
    }

    /// The ids of the noted live messages for the journal: under the number of a replay those that
    /// overtake that replay and all before it, but none behind it.
    pub(super) fn overtaken(&self) -> BTreeMap<u32, Vec<MessageId>> {
        let mut overtaken: BTreeMap<u32, Vec<MessageId>> = BTreeMap::new();
        for (id, last) in self.live.ids() {
            if let Some((&number, _)) = self.by_number.range(..=last).next_back() {
                overtaken.entry(number).or_default().push(id);
            }
        }
        overtaken
    }

    fn forget_live(&mut self) {
        if self.is_empty() {
            self.live = LiveRetained::default();
        }
    }
}

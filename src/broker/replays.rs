//! The replays of one session.

use super::deferred::ResponseId;
use super::delivery::Delivery;
use super::live_retained::LiveRetained;
use super::replay::{Replay, Terms};
use crate::base::ids::{LinkId, MessageId};
use crate::base::visits::{Planted, is_planted, visit};
use crate::store::Message;
use crate::store::record::Owed;
use crate::topics::Place;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The replays that a session is still owed, by number, which is the order in which they came; one
/// a filter. A replay begins when no other is before it. Until then its terms are all there is of
/// it, since a client may ask for any number of replays.
#[derive(Debug, Default)]
pub(super) struct Replays {
    terms: BTreeMap<u32, Terms>,
    /// Replays that have begun, in this process or an earlier one.
    begun: BTreeMap<u32, Replay>,
    /// The responses that go before some of the replays, in the order of these.
    responses: VecDeque<Before>,
    /// The retained messages that the session was sent live meanwhile; none without a replay.
    live: LiveRetained,
}

/// A SUBACK that must go before the replays from one number to another, and its link.
#[derive(Debug)]
struct Before {
    first: u32,
    last: u32,
    link: LinkId,
    response: ResponseId,
}

impl Replays {
    pub(super) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The bytes that the replays take, without messages.
    pub(super) fn memory(&self) -> usize {
        // Nodes of a tree that grows at its end are half full.
        let terms = 2 * self.terms.len() * size_of::<(u32, Terms)>();
        let begun = 2 * self.begun.len() * size_of::<(u32, Replay)>();
        terms + begun + self.live.memory()
    }

    /// Adds a replay. The one with the number `before` ends, if that is still owed: the new one of
    /// the same filter asks for its rest as well.
    pub(super) fn add(&mut self, number: u32, terms: Terms, before: u32) {
        visit(1);
        let before = match is_planted(Planted::ReplayScan) {
            true => self.find(terms.place).unwrap_or(0),
            false => before,
        };
        self.terms.remove(&before);
        self.begun.remove(&before);
        self.terms.insert(number, terms);
    }

    /// Makes a replay, which is the last one, wait for a response.
    pub(super) fn wait_for(&mut self, number: u32, link: LinkId, response: ResponseId) {
        match self.responses.back_mut() {
            Some(last) if (last.link, last.response) == (link, response) => last.last = number,
            _ => self.responses.push_back(Before { first: number, last: number, link, response }),
        }
    }

    /// The response that must go before the first replay.
    pub(super) fn first_waits_for(&mut self) -> Option<(LinkId, ResponseId)> {
        let (first, _) = self.first()?;
        while self.responses.front().is_some_and(|before| before.last < first) {
            visit(1);
            self.responses.pop_front();
        }
        let before = self.responses.front().filter(|before| before.first <= first)?;
        Some((before.link, before.response))
    }

    /// Ends the replay with a number, if that is still owed.
    pub(super) fn end(&mut self, number: u32) {
        visit(1);
        if self.terms.remove(&number).is_some() {
            self.begun.remove(&number);
            self.forget_what_is_over();
        }
    }

    /// The progress of the replay with a number, for the journal, with the messages that
    /// `overtaken` names; None when all was sent.
    pub(super) fn owed(
        &self,
        number: u32,
        overtaken: &mut BTreeMap<u32, Vec<MessageId>>,
    ) -> Option<Owed<'static>> {
        visit(1);
        self.terms.get(&number)?;
        let after = self.begun.get(&number).map_or("", Replay::after).to_owned().into();
        Some(Owed { number, after, overtaken: overtaken.remove(&number).unwrap_or_default() })
    }

    /// The number and the terms of the replay whose messages are sent next.
    pub(super) fn first(&self) -> Option<(u32, Terms)> {
        self.terms.first_key_value().map(|(number, terms)| (*number, *terms))
    }

    /// Begins a replay.
    pub(super) fn begin(&mut self, replay: Replay) {
        visit(1);
        self.begun.insert(replay.number(), replay);
    }

    /// The replay with a number, if it has begun.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Replay> {
        visit(1);
        self.begun.get_mut(&number)
    }

    /// The first replay, if it has begun.
    pub(super) fn first_mut(&mut self) -> Option<&mut Replay> {
        visit(1);
        let (number, _) = self.first()?;
        self.begun.get_mut(&number)
    }

    /// Takes the next message of a source of the first replay, with the number of the replay; None
    /// when the message is not to be sent.
    pub(super) fn take_next(&mut self, source: usize) -> Option<(u32, Delivery)> {
        visit(1);
        let (number, _) = self.first()?;
        Some((number, self.begun.get_mut(&number)?.take_next(source, &self.live)?))
    }

    /// Takes the first replay, all of which was sent.
    pub(super) fn take_first(&mut self) -> Option<Replay> {
        visit(1);
        let (number, _) = self.terms.pop_first()?;
        let replay = self.begun.remove(&number);
        self.forget_what_is_over();
        replay
    }

    /// The replays that have begun.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Replay> {
        self.begun.values_mut().inspect(|_| visit(1))
    }

    /// The number of the replay that came last: a live message from now on overtakes the replays up
    /// to that one.
    pub(super) fn last_number(&self) -> Option<u32> {
        self.terms.last_key_value().map(|(number, _)| *number)
    }

    /// Notes that the session was sent a retained message live, which overtakes the replays up to
    /// the number `last`.
    pub(super) fn note_live(&mut self, live: &Arc<Message>, last: u32) {
        let Some((first, _)) = self.first() else { return };
        let last = match is_planted(Planted::LiveInEachReplay) {
            true => self.greatest_up_to(last).unwrap_or(last),
            false => last,
        };
        self.live.note(live, first, last);
    }

    /// The greatest number up to `last` of a replay that is owed, by a look at each.
    fn greatest_up_to(&self, last: u32) -> Option<u32> {
        let each = self.terms.range(..=last).inspect(|_| visit(1));
        each.map(|(number, _)| *number).max()
    }

    /// The number of the replay that is owed for the subscription at a place.
    fn find(&self, place: Place) -> Option<u32> {
        let mut all = self.terms.iter().inspect(|_| visit(1));
        all.find(|(_, terms)| terms.place == place).map(|(number, _)| *number)
    }

    /// The ids of the noted live messages for the journal: under the number of a replay those that
    /// overtake that replay and all before it, but none behind it.
    pub(super) fn overtaken(&self) -> BTreeMap<u32, Vec<MessageId>> {
        let mut overtaken: BTreeMap<u32, Vec<MessageId>> = BTreeMap::new();
        for (id, last) in self.live.ids() {
            visit(1);
            if let Some((&number, _)) = self.terms.range(..=last).next_back() {
                overtaken.entry(number).or_default().push(id);
            }
        }
        overtaken
    }

    fn forget_what_is_over(&mut self) {
        if self.is_empty() {
            self.live = LiveRetained::default();
            self.responses = VecDeque::new();
        }
    }
}

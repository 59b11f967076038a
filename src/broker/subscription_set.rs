//! The subscriptions of a session, by their places in the index.

use crate::base::visits::{Planted, is_planted, visit};
use crate::topics::Place;
use std::collections::BTreeMap;

/// The places of a session's subscriptions, each with the number of the replay that began there
/// last, or 0; and what there is a limit for.
#[derive(Debug)]
pub(super) struct SubscriptionSet {
    places: Places,
    /// The bytes of all filters.
    filter_bytes: u32,
    /// The number of shared subscriptions.
    shared: u32,
}

/// A list while the places are few, as in nearly all sessions. The tree has an allocation of its
/// own, so that all other sessions are smaller.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "few sessions have it")]
enum Places {
    Few(Vec<(Place, u32)>),
    Many(Box<BTreeMap<Place, u32>>),
}

/// The length of a list that is searched as fast as a tree.
const FEW: usize = 32;

impl SubscriptionSet {
    pub(super) const fn new() -> Self {
        Self { places: Places::Few(Vec::new()), filter_bytes: 0, shared: 0 }
    }

    /// Adds the place of a filter with so many bytes, unless it is there.
    pub(super) fn insert(&mut self, place: Place, filter_bytes: usize) {
        if self.replay_mut(place).is_some() {
            return;
        }
        self.filter_bytes += filter_bytes as u32;
        self.shared += u32::from(place.group().is_some());
        match &mut self.places {
            Places::Few(list) if list.len() < FEW => list.push((place, 0)),
            Places::Few(list) => {
                visit(FEW);
                let all = list.iter().copied().chain([(place, 0)]).collect();
                self.places = Places::Many(Box::new(all));
            }
            Places::Many(tree) => drop(tree.insert(place, 0)),
        }
    }

    /// Removes the place of a filter with so many bytes, and returns the number of its replay.
    pub(super) fn remove(&mut self, place: Place, filter_bytes: usize) -> u32 {
        self.look_for(place);
        let replay = match &mut self.places {
            Places::Few(list) => {
                let known = list.iter().position(|(known, _)| *known == place);
                known.map(|known| list.remove(known).1)
            }
            Places::Many(tree) => tree.remove(&place),
        };
        let Some(replay) = replay else { return 0 };
        self.filter_bytes -= filter_bytes as u32;
        self.shared -= u32::from(place.group().is_some());
        replay
    }

    /// The number of the replay that began last at a place, or 0. The replay may be over.
    pub(super) fn replay(&self, place: Place) -> u32 {
        self.look_for(place);
        let replay = match &self.places {
            Places::Few(list) => list.iter().find(|(known, _)| *known == place).map(|(_, n)| n),
            Places::Many(tree) => tree.get(&place),
        };
        replay.copied().unwrap_or(0)
    }

    /// Sets the number of the replay at a place, and returns the one before.
    pub(super) fn set_replay(&mut self, place: Place, number: u32) -> u32 {
        self.replay_mut(place).map_or(0, |replay| std::mem::replace(replay, number))
    }

    fn replay_mut(&mut self, place: Place) -> Option<&mut u32> {
        self.look_for(place);
        match &mut self.places {
            Places::Few(list) => list.iter_mut().find(|(known, _)| *known == place).map(|(_, n)| n),
            Places::Many(tree) => tree.get_mut(&place),
        }
    }

    /// Counts a look-up.
    #[inline(always)]
    fn look_for(&self, place: Place) {
        match &self.places {
            Places::Few(list) => visit(list.len()),
            Places::Many(_) if is_planted(Planted::SubscriptionScan) => {
                self.iter().any(|known| known == place);
            }
            Places::Many(_) => visit(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.places {
            Places::Few(list) => list.len(),
            Places::Many(tree) => tree.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of all filters.
    pub(super) const fn filter_bytes(&self) -> usize {
        self.filter_bytes as usize
    }

    /// The number of shared subscriptions.
    pub(super) const fn shared(&self) -> usize {
        self.shared as usize
    }

    /// The bytes that the places take; nodes of a tree are two thirds full.
    pub(super) fn memory(&self) -> usize {
        let room = match &self.places {
            Places::Few(list) => list.capacity(),
            Places::Many(tree) => tree.len() * 3 / 2,
        };
        room * size_of::<(Place, u32)>()
    }

    /// Takes any of the places of a session that is over.
    pub(super) fn pop(&mut self) -> Option<Place> {
        visit(1);
        let popped = match &mut self.places {
            Places::Few(list) => list.pop(),
            Places::Many(tree) => tree.pop_first(),
        };
        popped.map(|(place, _)| place)
    }

    /// The places of shared subscriptions.
    pub(super) fn shared_places(&self) -> impl Iterator<Item = Place> {
        let (list, tree) = match &self.places {
            Places::Few(list) => (Some(list), None),
            Places::Many(tree) => (None, Some(tree)),
        };
        let list = list.into_iter().flatten().map(|(place, _)| *place);
        let tree = tree.into_iter().flat_map(|tree| tree.range(Place::FIRST_SHARED..));
        let all = list.chain(tree.map(|(place, _)| *place)).inspect(|_| visit(1));
        all.filter(|place| place.group().is_some())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Place> {
        let (list, tree) = match &self.places {
            Places::Few(list) => (Some(list), None),
            Places::Many(tree) => (None, Some(tree)),
        };
        let list = list.into_iter().flatten().map(|(place, _)| *place);
        let all = list.chain(tree.into_iter().flat_map(|tree| tree.keys().copied()));
        all.inspect(|_| visit(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::WorkerId;
    use crate::mqtt::{SubscriptionOptions, TopicFilter};
    use crate::topics::{Extras, Subscriber, Subscriptions};
    use std::collections::BTreeSet;

    #[test]
    fn few_and_many_places_are_kept_once_until_they_are_removed() {
        let mut index = Subscriptions::new(WorkerId(0), 1);
        let (extras, options) = (Extras::default(), SubscriptionOptions::default());
        let subscriber = Subscriber { session: 0, extras, options };
        let mut place = |number: usize| {
            let share = if number.is_multiple_of(2) { "$share/g/" } else { "" };
            let filter = format!("{share}{number}");
            index.subscribe(TopicFilter::parse(&filter, 1).unwrap(), subscriber).place
        };
        let places: Vec<_> = (0..3 * FEW).map(&mut place).collect();
        for count in [1, FEW, FEW + 1, 3 * FEW] {
            let mut set = SubscriptionSet::new();
            for _ in 0..2 {
                places[..count].iter().for_each(|&place| set.insert(place, 3));
            }
            for (number, place) in (1..).zip(&places[..count]) {
                assert_eq!(set.set_replay(*place, number), 0);
            }
            let all: BTreeSet<_> = set.iter().collect();
            assert_eq!(
                (set.iter().count(), all),
                (count, places[..count].iter().copied().collect())
            );
            let (gone, left) = places[..count].split_at(count / 2);
            for (number, place) in (1..).zip(gone) {
                assert_eq!((set.replay(*place), set.remove(*place, 3)), (number, number));
                assert_eq!((set.replay(*place), set.remove(*place, 3)), (0, 0));
            }
            assert_eq!((set.len(), set.filter_bytes()), (left.len(), 3 * left.len()));
            assert_eq!(set.iter().collect::<BTreeSet<_>>(), left.iter().copied().collect());
            let shared: BTreeSet<_> = set.shared_places().collect();
            let expected = left.iter().copied().filter(|place| place.group().is_some());
            assert_eq!((shared.len(), shared), (set.shared(), expected.collect()));
        }
    }
}

//! The subscriptions of a session, by their places in the index.

use crate::topics::Place;
use std::collections::BTreeSet;

/// The places of a session's subscriptions, and what there is a limit for.
#[derive(Debug)]
pub(super) struct SubscriptionSet {
    places: Places,
    /// The bytes of all filters.
    filter_bytes: u32,
    /// The number of shared subscriptions.
    shared: u32,
}

/// A list while the places are few, as in nearly all sessions.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "all sessions would be larger for the few with many")]
enum Places {
    Few(Vec<Place>),
    Many(Box<BTreeSet<Place>>),
}

/// The length of a list that is searched as fast as a tree.
const FEW: usize = 32;

impl SubscriptionSet {
    pub(super) const fn new() -> Self {
        Self { places: Places::Few(Vec::new()), filter_bytes: 0, shared: 0 }
    }

    /// Adds the place of a filter with so many bytes, unless it is there.
    pub(super) fn insert(&mut self, place: Place, filter_bytes: usize) {
        let is_new = match &mut self.places {
            Places::Few(list) if list.contains(&place) => false,
            Places::Few(list) if list.len() < FEW => {
                list.push(place);
                true
            }
            Places::Few(list) => {
                let all = list.iter().copied().chain([place]).collect();
                self.places = Places::Many(Box::new(all));
                true
            }
            Places::Many(tree) => tree.insert(place),
        };
        if is_new {
            self.filter_bytes += filter_bytes as u32;
            self.shared += u32::from(place.group().is_some());
        }
    }

    /// Removes the place of a filter with so many bytes.
    pub(super) fn remove(&mut self, place: Place, filter_bytes: usize) {
        let was_there = match &mut self.places {
            Places::Few(list) => {
                let found = list.iter().position(|known| *known == place);
                found.map(|index| list.remove(index)).is_some()
            }
            Places::Many(tree) => tree.remove(&place),
        };
        if was_there {
            self.filter_bytes -= filter_bytes as u32;
            self.shared -= u32::from(place.group().is_some());
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
        room * size_of::<Place>()
    }

    /// Takes any of the places of a session that is over.
    pub(super) fn pop(&mut self) -> Option<Place> {
        match &mut self.places {
            Places::Few(list) => list.pop(),
            Places::Many(tree) => tree.pop_first(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Place> {
        let (list, tree) = match &self.places {
            Places::Few(list) => (Some(list), None),
            Places::Many(tree) => (None, Some(tree)),
        };
        list.into_iter().flatten().chain(tree.into_iter().flat_map(|tree| tree.iter())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::WorkerId;
    use crate::mqtt::{SubscriptionOptions, TopicFilter};
    use crate::topics::{Extras, Subscriber, Subscriptions};

    #[test]
    fn few_and_many_places_are_kept_once_until_they_are_removed() {
        let mut index = Subscriptions::new(WorkerId(0), 1);
        let (extras, options) = (Extras::default(), SubscriptionOptions::default());
        let subscriber = Subscriber { session: 0, extras, options };
        let mut place = |number: usize| {
            let filter = number.to_string();
            index.subscribe(TopicFilter::parse(&filter, 1).unwrap(), subscriber).place
        };
        let places: Vec<_> = (0..3 * FEW).map(&mut place).collect();
        for count in [1, FEW, FEW + 1, 3 * FEW] {
            let mut set = SubscriptionSet::new();
            for _ in 0..2 {
                places[..count].iter().for_each(|&place| set.insert(place, 3));
            }
            let all: BTreeSet<_> = set.iter().collect();
            assert_eq!(
                (set.iter().count(), all),
                (count, places[..count].iter().copied().collect())
            );
            let (gone, left) = places[..count].split_at(count / 2);
            for _ in 0..2 {
                gone.iter().for_each(|&place| set.remove(place, 3));
            }
            assert_eq!(
                (set.len(), set.filter_bytes(), set.shared()),
                (left.len(), 3 * left.len(), 0)
            );
            assert_eq!(set.iter().collect::<BTreeSet<_>>(), left.iter().copied().collect());
        }
    }
}

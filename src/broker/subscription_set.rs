//! The subscriptions of a session, by their places in the index.

use crate::topics::Place;
use std::collections::BTreeSet;

/// The places of a session's subscriptions: a list while they are few, as in nearly all sessions.
#[derive(Debug)]
pub(super) enum SubscriptionSet {
    Few(Vec<Place>),
    Many(BTreeSet<Place>),
}

/// The length of a list that is searched as fast as a tree.
const FEW: usize = 32;

impl SubscriptionSet {
    pub(super) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    /// Adds a place, unless it is there.
    pub(super) fn insert(&mut self, place: Place) {
        match self {
            Self::Few(list) if list.contains(&place) => {}
            Self::Few(list) if list.len() < FEW => list.push(place),
            Self::Few(list) => {
                *self = Self::Many(list.iter().copied().chain([place]).collect());
            }
            Self::Many(tree) => {
                tree.insert(place);
            }
        }
    }

    pub(super) fn remove(&mut self, place: Place) {
        match self {
            Self::Few(list) => list.retain(|known| *known != place),
            Self::Many(tree) => {
                tree.remove(&place);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(list) => list.is_empty(),
            Self::Many(tree) => tree.is_empty(),
        }
    }

    /// Takes any of the places.
    pub(super) fn pop(&mut self) -> Option<Place> {
        match self {
            Self::Few(list) => list.pop(),
            Self::Many(tree) => tree.pop_first(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Place> {
        let (list, tree) = match self {
            Self::Few(list) => (Some(list), None),
            Self::Many(tree) => (None, Some(tree)),
        };
        list.into_iter().flatten().chain(tree.into_iter().flatten()).copied()
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
                places[..count].iter().for_each(|&place| set.insert(place));
            }
            let all: BTreeSet<_> = set.iter().collect();
            assert_eq!(
                (set.iter().count(), all),
                (count, places[..count].iter().copied().collect())
            );
            let (gone, left) = places[..count].split_at(count / 2);
            gone.iter().for_each(|&place| set.remove(place));
            assert_eq!(set.iter().collect::<BTreeSet<_>>(), left.iter().copied().collect());
        }
    }
}

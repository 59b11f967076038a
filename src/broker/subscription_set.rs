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

    pub(super) fn iter(&self) -> impl Iterator<Item = Place> {
        let (list, tree) = match self {
            Self::Few(list) => (Some(list), None),
            Self::Many(tree) => (None, Some(tree)),
        };
        list.into_iter().flatten().chain(tree.into_iter().flatten()).copied()
    }
}

//! The subscribers of one filter: a dense list for the loop that delivers, with an index once they
//! are many.

use crate::base::maps::HashMap;
use crate::base::visits::{Planted, is_planted, visit};
use crate::mqtt::SubscriptionOptions;
use smallvec::SmallVec;

/// One session's subscription to one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscriber {
    /// The slot of the session.
    pub session: u32,
    /// The Subscription Identifier and the check of its deliveries.
    pub extras: Extras,
    /// The options of the SUBSCRIBE.
    pub options: SubscriptionOptions,
}

/// A Subscription Identifier, and whether each message is checked against the client's permission
/// to read. Both share one word, so the loop that delivers sees at once that a subscriber has
/// neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extras(u32);

/// The bit of the check; identifiers have 28 bits.
const CHECKED: u32 = 1 << 31;

impl Extras {
    /// Makes extras; `subscription_id` is at most 268,435,455, or 0 for none.
    #[must_use]
    pub(crate) const fn new(subscription_id: u32, is_checked: bool) -> Self {
        Self(subscription_id | if is_checked { CHECKED } else { 0 })
    }

    /// True without an identifier and without a check.
    #[inline]
    #[must_use]
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The Subscription Identifier.
    #[must_use]
    pub(crate) fn subscription_id(self) -> Option<u32> {
        Some(self.0 & !CHECKED).filter(|&id| id != 0)
    }

    /// True when the client may lack permission to read some topics of the filter.
    #[must_use]
    pub(crate) const fn is_checked(self) -> bool {
        self.0 & CHECKED != 0
    }

    /// The extras with another value for the check.
    #[must_use]
    pub(crate) const fn with_checked(self, is_checked: bool) -> Self {
        Self::new(self.0 & !CHECKED, is_checked)
    }
}

/// Subscribers in no order.
#[derive(Debug, Default)]
pub struct Subscribers {
    list: SmallVec<[Subscriber; 1]>,
    /// Each session's place in `list`, from [`INDEX_FROM`] subscribers on.
    places: Option<Box<HashMap<u32, u32>>>,
}

/// The number of subscribers up to which a walk through the list is as fast as a look-up.
const INDEX_FROM: usize = 32;

impl Subscribers {
    /// All subscribers, dense.
    #[must_use]
    pub fn as_slice(&self) -> &[Subscriber] {
        &self.list
    }

    /// The subscription of `session`.
    #[must_use]
    pub(crate) fn get(&self, session: u32) -> Option<&Subscriber> {
        self.place(session).map(|place| &self.list[place])
    }

    /// Sets whether deliveries to `session` are checked.
    pub(crate) fn set_checked(&mut self, session: u32, is_checked: bool) {
        if let Some(place) = self.place(session) {
            let extras = &mut self.list[place].extras;
            *extras = extras.with_checked(is_checked);
        }
    }

    /// Adds a subscriber, or replaces its subscription; true when the session was subscribed
    /// already.
    pub(crate) fn insert(&mut self, subscriber: Subscriber) -> bool {
        if let Some(place) = self.place(subscriber.session) {
            self.list[place] = subscriber;
            return true;
        }
        if let Some(places) = &mut self.places {
            places.insert(subscriber.session, self.list.len() as u32);
        }
        self.list.push(subscriber);
        if self.places.is_none() && self.list.len() == INDEX_FROM {
            visit(INDEX_FROM);
            let places = self.list.iter().enumerate().map(|(i, s)| (s.session, i as u32));
            self.places = Some(Box::new(places.collect()));
        }
        false
    }

    /// Removes the subscription of `session`, and returns it.
    pub(crate) fn remove(&mut self, session: u32) -> Option<Subscriber> {
        let place = self.place(session)?;
        let gone = self.list.swap_remove(place);
        if let Some(places) = &mut self.places {
            places.remove(&session);
            if let Some(moved) = self.list.get(place) {
                places.insert(moved.session, place as u32);
            }
        }
        if self.list.is_empty() {
            *self = Self::default();
        }
        Some(gone)
    }

    /// Swaps the subscribers at two places.
    pub(super) fn swap(&mut self, one: usize, other: usize) {
        self.list.swap(one, other);
        visit(2);
        if let Some(places) = &mut self.places {
            for place in [one, other] {
                places.insert(self.list[place].session, place as u32);
            }
        }
    }

    /// The place of the subscription of `session`.
    pub(super) fn place(&self, session: u32) -> Option<usize> {
        let is_it = |subscriber: &Subscriber| {
            visit(1);
            subscriber.session == session
        };
        match &self.places {
            Some(places) if !is_planted(Planted::SubscriberScan) => {
                visit(1);
                places.get(&session).map(|&place| place as usize)
            }
            _ => self.list.iter().position(is_it),
        }
    }
}

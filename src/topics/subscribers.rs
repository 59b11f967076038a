//! The subscribers of one filter: dense, for the loop that delivers; indexed once they are many.

use crate::base::maps::HashMap;
use crate::mqtt::SubscriptionOptions;

/// One session's subscription to one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscriber {
    /// The slot of the session.
    pub session: u32,
    /// The Subscription Identifier; 0 is none.
    pub subscription_id: u32,
    /// As the session asked for.
    pub options: SubscriptionOptions,
}

/// Subscribers in no order.
#[derive(Debug, Default)]
pub struct Subscribers {
    list: Vec<Subscriber>,
    /// Session → place in `list`, from [`INDEX_FROM`] subscribers on.
    places: Option<Box<HashMap<u32, u32>>>,
}

/// Up to here a walk through the list is as fast as a look-up.
const INDEX_FROM: usize = 32;

impl Subscribers {
    /// All of them, dense.
    #[must_use]
    pub fn as_slice(&self) -> &[Subscriber] {
        &self.list
    }

    /// The subscription of `session`.
    #[must_use]
    pub fn get(&self, session: u32) -> Option<&Subscriber> {
        self.place(session).map(|place| &self.list[place])
    }

    /// Adds a subscriber, or replaces its subscription; true when it was there already.
    pub fn insert(&mut self, subscriber: Subscriber) -> bool {
        if let Some(place) = self.place(subscriber.session) {
            self.list[place] = subscriber;
            return true;
        }
        if let Some(places) = &mut self.places {
            places.insert(subscriber.session, self.list.len() as u32);
        }
        self.list.push(subscriber);
        if self.places.is_none() && self.list.len() == INDEX_FROM {
            let places = self.list.iter().enumerate().map(|(i, s)| (s.session, i as u32));
            self.places = Some(Box::new(places.collect()));
        }
        false
    }

    /// Takes the subscription of `session` out.
    pub fn remove(&mut self, session: u32) -> Option<Subscriber> {
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

    fn place(&self, session: u32) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(&session).map(|&place| place as usize),
            None => self.list.iter().position(|subscriber| subscriber.session == session),
        }
    }
}

//! The retained messages that live on this worker, ordered by topic so that a reader can stop
//! anywhere and go on from there.

use crate::base::time::Time;
use crate::mqtt;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// What the store must know of a message; the broker's message implements it.
pub trait RetainedMessage {
    /// The topic name.
    fn topic(&self) -> &str;
    /// The order of two messages on one topic: the greater one stands.
    fn version(&self) -> (u64, u32);
    /// True when the message clears the topic: its payload is empty.
    fn clears(&self) -> bool;
    /// When it expires.
    fn expires(&self) -> Option<Time>;
}

/// One part of the messages that match a filter.
#[derive(Debug)]
pub struct Page<M> {
    /// In the order of their topics; perhaps none, although there are more.
    pub messages: Vec<Arc<M>>,
    /// Where the next part begins: after this topic. None at the end.
    pub next: Option<Arc<str>>,
}

/// Topic → the message retained on it.
#[derive(Debug)]
pub struct Retained<M> {
    messages: BTreeMap<Arc<str>, Arc<M>>,
    expiring: BTreeSet<(Time, Arc<str>)>,
}

impl<M> Default for Retained<M> {
    fn default() -> Self {
        Self { messages: BTreeMap::new(), expiring: BTreeSet::new() }
    }
}

impl<M: RetainedMessage> Retained<M> {
    /// Stores the message, or clears its topic when its payload is empty, unless what stands there
    /// is newer. Returns whether it did.
    // [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-7]
    pub fn store(&mut self, message: Arc<M>) -> bool {
        let known = self.messages.get_key_value(message.topic());
        let topic = match known {
            Some((_, stands)) if stands.version() > message.version() => return false,
            Some((topic, stands)) => {
                let topic = topic.clone();
                if let Some(expires) = stands.expires() {
                    self.expiring.remove(&(expires, topic.clone()));
                }
                topic
            }
            None if message.clears() => return false,
            None => message.topic().into(),
        };
        if message.clears() {
            self.messages.remove(&topic);
            return true;
        }
        if let Some(expires) = message.expires() {
            self.expiring.insert((expires, topic.clone()));
        }
        self.messages.insert(topic, message);
        true
    }

    /// The next at most `count_max` messages that match the valid `filter`, after the topic
    /// `after`, looking at no more than `visits_max` of them.
    #[must_use]
    pub fn page(
        &self,
        filter: &str,
        after: Option<&str>,
        count_max: usize,
        visits_max: usize,
    ) -> Page<M> {
        let Some(wildcard) = filter.find(['+', '#']) else {
            let messages = self.messages.get(filter).cloned().into_iter().collect();
            return Page { messages, next: None };
        };
        // `a/#` also matches `a`, so the slash before a wildcard is not part of the prefix.
        let prefix = filter[..wildcard].strip_suffix('/').unwrap_or(&filter[..wildcard]);
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut messages = Vec::new();
        let candidates = self.messages.range::<str, _>((from, Bound::Unbounded));
        for (visits, (topic, message)) in candidates.enumerate() {
            if !topic.starts_with(prefix) {
                break;
            }
            if mqtt::matches(filter, topic) {
                messages.push(message.clone());
            }
            if messages.len() == count_max || visits + 1 == visits_max {
                return Page { messages, next: Some(topic.clone()) };
            }
        }
        Page { messages, next: None }
    }

    /// When the first message expires.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.expiring.first().map(|(expires, _)| *expires)
    }

    /// Drops what has expired; returns how many.
    // [MQTT-3.3.2-5]
    pub fn expire(&mut self, now: Time) -> usize {
        let before = self.messages.len();
        while let Some((expires, _)) = self.expiring.first()
            && *expires <= now
        {
            let (_, topic) = self.expiring.pop_first().expect("there is a first");
            self.messages.remove(&topic);
        }
        before - self.messages.len()
    }

    /// How many topics have a message.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// True when no topic has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

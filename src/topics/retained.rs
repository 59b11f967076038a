//! The retained messages of this worker, ordered by topic so that a reader can stop anywhere and go
//! on from there.

use crate::base::time::Time;
use crate::mqtt;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// The properties of a message that the store needs; the broker's message implements them.
pub trait RetainedMessage {
    /// The topic name.
    fn topic(&self) -> &str;
    /// The topic as bytes, where they cost less: messages are ordered by them.
    fn topic_bytes(&self) -> &[u8] {
        self.topic().as_bytes()
    }
    /// True when the message clears the topic: its payload is empty.
    fn clears(&self) -> bool;
    /// The time at which the message expires.
    fn expires(&self) -> Option<Time>;
}

/// One part of the messages that match a filter.
#[derive(Debug)]
pub struct Page<M> {
    /// The messages, in the order of their topics; perhaps none, although more follow.
    pub messages: Vec<Arc<M>>,
    /// The topic after which the next part begins. None at the end.
    pub next: Option<Arc<str>>,
}

/// The message retained on a topic, which is its key; or the message that cleared the topic.
#[derive(Debug)]
struct Entry<M>(Arc<M>);

/// The messages by their topics. A message that cleared a topic stays, unseen, until it is
/// forgotten.
#[derive(Debug)]
pub struct Retained<M> {
    messages: BTreeSet<Entry<M>>,
    expiring: BTreeSet<(Time, Arc<str>)>,
    /// The number of messages that have cleared a topic.
    clears: usize,
}

impl<M: RetainedMessage> Default for Retained<M> {
    fn default() -> Self {
        Self { messages: BTreeSet::new(), expiring: BTreeSet::new(), clears: 0 }
    }
}

impl<M: RetainedMessage> Retained<M> {
    /// Stores the message in place of an older one on its topic; a message with an empty payload
    /// clears the topic.
    // [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-7]
    pub fn store(&mut self, message: Arc<M>) {
        if let Some(Entry(stood)) = self.messages.replace(Entry(message.clone())) {
            self.clears -= usize::from(stood.clears());
            if let Some(expires) = stood.expires().filter(|_| !stood.clears()) {
                self.expiring.remove(&(expires, stood.topic().into()));
            }
        }
        if message.clears() {
            self.clears += 1;
        } else if let Some(expires) = message.expires() {
            self.expiring.insert((expires, message.topic().into()));
        }
    }

    /// Forgets that this message cleared its topic, unless another message was stored there since.
    pub fn forget_cleared(&mut self, message: &Arc<M>) {
        let topic = message.topic_bytes();
        if self.messages.get(topic).is_some_and(|entry| Arc::ptr_eq(&entry.0, message)) {
            self.messages.remove(topic);
            self.clears -= 1;
        }
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
            let stands = self.messages.get(filter.as_bytes()).filter(|entry| !entry.0.clears());
            let messages = stands.map(|entry| entry.0.clone()).into_iter().collect();
            return Page { messages, next: None };
        };
        // `a/#` also matches `a`, so the slash before a wildcard is not part of the prefix.
        let prefix = filter[..wildcard].strip_suffix('/').unwrap_or(&filter[..wildcard]);
        let first = Bound::Included(prefix.as_bytes());
        let from = after.map_or(first, |after| Bound::Excluded(after.as_bytes()));
        let mut messages = Vec::new();
        let candidates = self.messages.range::<[u8], _>((from, Bound::Unbounded));
        for (visits, Entry(message)) in candidates.enumerate() {
            let topic = message.topic();
            if !topic.starts_with(prefix) {
                break;
            }
            if !message.clears() && mqtt::matches(filter, topic) {
                messages.push(message.clone());
            }
            if messages.len() == count_max || visits + 1 == visits_max {
                return Page { messages, next: Some(topic.into()) };
            }
        }
        Page { messages, next: None }
    }

    /// The next at most `count_max` messages after the topic `after`, with any filter; messages
    /// that cleared a topic and are not forgotten are among them.
    pub(crate) fn after(
        &self,
        after: Option<&str>,
        count_max: usize,
    ) -> impl Iterator<Item = &Arc<M>> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_bytes()));
        let messages = self.messages.range::<[u8], _>((from, Bound::Unbounded));
        messages.take(count_max).map(|entry| &entry.0)
    }

    /// The time at which the next message expires.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.expiring.first().map(|(expires, _)| *expires)
    }

    /// Drops the messages that have expired.
    // [MQTT-3.3.2-5]
    pub(crate) fn expire(&mut self, now: Time) {
        while let Some((expires, _)) = self.expiring.first()
            && *expires <= now
        {
            let (_, topic) = self.expiring.pop_first().expect("there is a first");
            self.messages.remove(topic.as_bytes());
        }
    }

    /// The number of topics with a message.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.messages.len() - self.clears
    }
}

impl<M: RetainedMessage> Borrow<[u8]> for Entry<M> {
    fn borrow(&self) -> &[u8] {
        self.0.topic_bytes()
    }
}

impl<M: RetainedMessage> Ord for Entry<M> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.topic_bytes().cmp(other.0.topic_bytes())
    }
}

impl<M: RetainedMessage> PartialOrd for Entry<M> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<M: RetainedMessage> PartialEq for Entry<M> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<M: RetainedMessage> Eq for Entry<M> {}

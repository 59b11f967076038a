//! The retained messages of this worker, ordered by topic so that a reader can stop anywhere and go
//! on from there.

use crate::base::time::Time;
use crate::base::visits::{Planted, is_planted, visit};
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
    /// The bytes of the payload.
    fn payload_len(&self) -> usize;
    /// The time at which the message expires.
    fn expires(&self) -> Option<Time>;
    /// The bytes that the message takes.
    fn memory(&self) -> usize {
        self.topic_bytes().len()
    }
}

/// One part of the messages that match a filter.
#[derive(Debug)]
pub struct Page<M> {
    /// The messages, in the order of their topics; perhaps none, although more follow.
    pub messages: Vec<Arc<M>>,
    /// The topic after which the next part begins. None at the end.
    pub next: Option<Arc<str>>,
    /// The number of topics that were looked at.
    pub visits: usize,
}

/// One name on a level of the topics with a retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// The name.
    pub name: String,
    /// The bytes of the payload of the message that is retained right here, if one is.
    pub message_bytes: Option<usize>,
    /// A topic with this one above it has a message.
    pub has_more: bool,
}

/// Names on one level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels {
    /// The names, each once, in no particular order.
    pub levels: Vec<Level>,
    /// True when there are more names than these.
    pub is_cut: bool,
    /// The number of topics that were looked at.
    pub visits: usize,
}

/// The outcome of a look at a topic, in a search for those that match a filter.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Match,
    /// The topic does not match; the next one may.
    Next,
    /// No topic between this one and the one that is named matches.
    From(String),
    /// Neither this topic nor one after it matches.
    End,
}

/// Compares a topic with a filter that has wildcards. Topics are in the order of their bytes, so
/// those below `a` stand together, from `a/` on and before `a0`, the character behind the slash.
// [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.2-1]
fn look(filter: &str, topic: &str) -> Look {
    let mut levels = filter.split('/').peekable();
    // Where the topic's present level begins; beyond its end behind the last level.
    let mut start = 0;
    while let Some(level) = levels.next() {
        if matches!(level, "+" | "#") && start == 0 && topic.starts_with('$') {
            return Look::From("%".to_owned());
        }
        if level == "#" {
            return Look::Match;
        }
        let Some(rest) = topic.get(start..) else { return Look::Next };
        let text = rest.split('/').next().unwrap_or_default();
        if level != "+" && text != level {
            let wanted = [&topic[..start], level].concat();
            let below = [&wanted, "/"].concat();
            return if topic < &*wanted {
                Look::From(wanted)
            } else if levels.peek().is_some() && topic < &*below {
                Look::From(below)
            } else {
                behind(topic[..start].strip_suffix('/'))
            };
        }
        start += text.len() + 1;
    }
    if start > topic.len() { Look::Match } else { behind(topic.get(..start - 1)) }
}

/// A look at a topic below `above` that tells that no other one there matches either.
fn behind(above: Option<&str>) -> Look {
    above.map_or(Look::End, |above| Look::From([above, "0"].concat()))
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
    /// The bytes that all messages take.
    bytes: usize,
}

impl<M: RetainedMessage> Default for Retained<M> {
    fn default() -> Self {
        Self { messages: BTreeSet::new(), expiring: BTreeSet::new(), clears: 0, bytes: 0 }
    }
}

impl<M: RetainedMessage> Retained<M> {
    /// Stores the message in place of an older one on its topic, which is returned; a message with
    /// an empty payload clears the topic.
    // [MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-7]
    pub fn store(&mut self, message: Arc<M>) -> Option<Arc<M>> {
        visit(1);
        self.bytes += message.memory();
        let stood = self.messages.replace(Entry(message.clone())).map(|entry| entry.0);
        self.bytes -= stood.as_ref().map_or(0, |stood| stood.memory());
        self.clears -= usize::from(stood.as_ref().is_some_and(|stood| stood.clears()));
        let stood = stood.filter(|stood| !stood.clears());
        if let Some((stood, expires)) = stood.as_ref().and_then(|m| Some((m, m.expires()?))) {
            visit(1);
            self.expiring.remove(&(expires, stood.topic().into()));
        }
        if message.clears() {
            self.clears += 1;
        } else if let Some(expires) = message.expires() {
            visit(1);
            self.expiring.insert((expires, message.topic().into()));
        }
        stood
    }

    /// Forgets that this message cleared its topic, unless another message was stored there since.
    pub fn forget_cleared(&mut self, message: &Arc<M>) {
        visit(1);
        let topic = message.topic_bytes();
        if self.messages.get(topic).is_some_and(|entry| Arc::ptr_eq(&entry.0, message)) {
            self.messages.remove(topic);
            self.bytes -= message.memory();
            self.clears -= 1;
        }
    }

    /// The message that is retained on a topic.
    #[must_use]
    pub(crate) fn get(&self, topic: &str) -> Option<&Arc<M>> {
        visit(1);
        let entry = self.messages.get(topic.as_bytes());
        entry.map(|entry| &entry.0).filter(|message| !message.clears())
    }

    /// The next at most `count_max` messages that match the valid `filter`, after the topic
    /// `after`, looking at no more than `visits_max` topics. A part of the topics without a match
    /// is passed over at once, whatever its size.
    #[must_use]
    pub fn page(
        &self,
        filter: &str,
        after: Option<&str>,
        count_max: usize,
        visits_max: usize,
    ) -> Page<M> {
        let mut page = self.search(filter, after, count_max, visits_max);
        visit(page.visits);
        if is_planted(Planted::RetainedWalk) {
            page.visits = 0;
        }
        page
    }

    /// As [`Self::page`], which counts the visits.
    fn search(
        &self,
        filter: &str,
        after: Option<&str>,
        count_max: usize,
        visits_max: usize,
    ) -> Page<M> {
        let mut page = Page { messages: Vec::new(), next: None, visits: 1 };
        let Some(wildcard) = filter.find(['+', '#']) else {
            let is_behind = after.is_none_or(|after| after < filter);
            let stands = self.messages.get(filter.as_bytes()).filter(|_| is_behind);
            let stands = stands.filter(|entry| !entry.0.clears());
            page.messages.extend(stands.map(|entry| entry.0.clone()));
            return page;
        };
        // `a/#` also matches `a`, so the slash before a wildcard is not part of the prefix.
        let prefix = filter[..wildcard].strip_suffix('/').unwrap_or(&filter[..wildcard]);
        let mut from = match after {
            None => Bound::Included(prefix.to_owned()),
            Some(after) => Bound::Excluded(after.to_owned()),
        };
        loop {
            let bound = from.as_ref().map(|topic| topic.as_bytes());
            let mut candidates = self.messages.range::<[u8], _>((bound, Bound::Unbounded));
            from = loop {
                let Some(Entry(message)) = candidates.next() else { return page };
                let topic = message.topic();
                page.visits += 1;
                let look = look(filter, topic);
                if look == Look::Match && !message.clears() {
                    page.messages.push(message.clone());
                }
                if page.messages.len() == count_max || page.visits > visits_max {
                    page.next = Some(topic.into());
                    return page;
                }
                match look {
                    Look::Match | Look::Next => {}
                    _ if is_planted(Planted::RetainedWalk) => {}
                    Look::From(topic) => break Bound::Included(topic),
                    Look::End => return page,
                }
            };
        }
    }

    /// The names on the level below the topic `below`, or on the first one, that begin with
    /// `begins`: at most `count_max` of them, from looks at no more than `visits_max` topics.
    #[must_use]
    pub fn levels(
        &self,
        below: Option<&str>,
        begins: &str,
        (count_max, visits_max): (usize, usize),
    ) -> Levels {
        let above = below.map(|below| [below, "/"].concat()).unwrap_or_default();
        let wanted = [&above, begins].concat();
        let mut found = Levels::default();
        let mut from = Bound::Included(wanted.clone());
        while let Some(message) = self.first(from.as_ref().map(String::as_str), &mut found.visits) {
            let topic = message.topic();
            if !topic.starts_with(&wanted) {
                break;
            }
            if found.levels.len() == count_max || found.visits > visits_max {
                found.is_cut = true;
                break;
            }
            let name = topic[above.len()..].split('/').next().unwrap_or_default();
            let here = [&above, name].concat();
            let (lower, behind) = ([&here, "/"].concat(), [&here, "0"].concat());
            let is_here = topic == here;
            // Names such as `a-b` stand between `a` and the topics below it.
            let is_known = !is_here && self.get(&here).is_some();
            from = if is_here { Bound::Excluded(here) } else { Bound::Included(behind) };
            if is_known {
                continue;
            }
            let next = Bound::Included(lower.as_str());
            let next = if is_here { self.first(next, &mut found.visits) } else { Some(message) };
            found.levels.push(Level {
                name: name.to_owned(),
                message_bytes: is_here.then(|| message.payload_len()),
                has_more: next.is_some_and(|next| next.topic().starts_with(&lower)),
            });
        }
        visit(found.visits);
        found
    }

    /// The first message from there on that did not clear its topic.
    fn first(&self, from: Bound<&str>, visits: &mut usize) -> Option<&Arc<M>> {
        let from = from.map(str::as_bytes);
        let messages = self.messages.range::<[u8], _>((from, Bound::Unbounded));
        let first = messages.inspect(|_| *visits += 1).find(|entry| !entry.0.clears());
        first.map(|entry| &entry.0)
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
        messages.take(count_max).inspect(|_| visit(1)).map(|entry| &entry.0)
    }

    /// The time at which the next message expires.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.expiring.first().map(|(expires, _)| *expires)
    }

    /// Takes out a message that has expired, if there is one.
    // [MQTT-3.3.2-5]
    pub(crate) fn expire_one(&mut self, now: Time) -> Option<Arc<M>> {
        self.deadline().filter(|expires| *expires <= now)?;
        visit(1);
        let (_, topic) = self.expiring.pop_first()?;
        let expired = self.messages.take(topic.as_bytes())?.0;
        self.bytes -= expired.memory();
        Some(expired)
    }

    /// The bytes that the messages and their order take.
    #[must_use]
    pub(crate) fn memory(&self) -> usize {
        let expiring = self.expiring.len() * 2 * size_of::<(Time, Arc<str>)>();
        // The nodes of a tree are two thirds full.
        self.bytes + self.messages.len() * size_of::<Entry<M>>() * 3 / 2 + expiring
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use crate::mqtt;

    #[derive(Debug)]
    struct Topic(String);

    impl RetainedMessage for Topic {
        fn topic(&self) -> &str {
            &self.0
        }
        fn clears(&self) -> bool {
            false
        }
        fn payload_len(&self) -> usize {
            1
        }
        fn expires(&self) -> Option<Time> {
            None
        }
    }

    fn store<'a>(topics: impl IntoIterator<Item = &'a str>) -> Retained<Topic> {
        let mut retained = Retained::default();
        for topic in topics {
            retained.store(Arc::new(Topic(topic.to_owned())));
        }
        retained
    }

    /// All matches, read in parts, and the number of visits.
    fn search(
        retained: &Retained<Topic>,
        filter: &str,
        (count_max, visits_max): (usize, usize),
    ) -> (Vec<String>, usize) {
        let (mut found, mut visits, mut after) = (Vec::new(), 0, None::<Arc<str>>);
        loop {
            let page = retained.page(filter, after.as_deref(), count_max, visits_max);
            assert!(page.messages.len() <= count_max && page.visits <= visits_max + 1);
            found.extend(page.messages.iter().map(|message| message.0.clone()));
            visits += page.visits;
            after = page.next;
            if after.is_none() {
                return (found, visits);
            }
        }
    }

    #[test]
    fn a_search_finds_what_matches_whatever_it_passes_over() {
        let mut prng = Prng::new(7);
        let mut pick = |from: &[&'static str]| from[prng.next() as usize % from.len()];
        let texts = ["", "a", "b", "a-", "a0", "a.b", "$", "$a", "~"];
        let levels = ["", "a", "b", "a-", "a0", "+", "+", "+", "$a"];
        let counts = ["1", "2", "3", "4"];
        for _ in 0..3000 {
            let mut path = |from: &[&'static str]| {
                let count = pick(&counts).parse().unwrap();
                (0..count).map(|_| pick(from)).collect::<Vec<_>>().join("/")
            };
            let mut topics: Vec<_> = (0..40).map(|_| path(&texts)).collect();
            topics.retain(|topic| !topic.is_empty());
            let mut filter = path(&levels);
            if pick(&["+", "#"]) == "#" {
                filter = if filter.is_empty() { "#".to_owned() } else { filter + "/#" };
            }
            if filter.is_empty() {
                continue;
            }
            topics.sort_unstable();
            topics.dedup();
            let retained = store(topics.iter().map(String::as_str));
            topics.retain(|topic| mqtt::matches(&filter, topic));
            for limits in [(1, 1), (3, 2), (100, 100)] {
                assert_eq!(search(&retained, &filter, limits).0, topics, "{filter}");
            }
        }
    }

    #[test]
    fn levels_are_the_names_below_a_topic() {
        let topics = ["a", "a-b", "a-b/c", "a/b", "a/c/d", "a/c/e", "b/c", "/x", "$SYS/u"];
        let retained = store(topics);
        let names = |below: Option<&str>, begins: &str, max: usize| {
            let found = retained.levels(below, begins, (max, 100));
            let levels = found.levels.into_iter();
            let mut names: Vec<_> =
                levels.map(|l| (l.name, l.message_bytes.is_some(), l.has_more)).collect();
            names.sort();
            (names, found.is_cut)
        };
        let list = |all: &[(&str, bool, bool)]| {
            all.iter().map(|(name, here, more)| ((*name).to_owned(), *here, *more)).collect()
        };
        let first = list(&[
            ("", false, true),
            ("$SYS", false, true),
            ("a", true, true),
            ("a-b", true, true),
            ("b", false, true),
        ]);
        assert_eq!(names(None, "", 100), (first, false));
        assert_eq!(
            names(Some("a"), "", 100),
            (list(&[("b", true, false), ("c", false, true)]), false)
        );
        assert_eq!(names(Some("a"), "c", 100), (list(&[("c", false, true)]), false));
        assert_eq!(names(Some("a/c"), "", 1), (list(&[("d", true, false)]), true));
        assert_eq!(names(Some("nothing"), "", 1), (list(&[]), false));
    }

    #[test]
    fn a_search_never_visits_topics_below_a_level_that_cannot_match() {
        let topics: Vec<_> = (0..10_000).map(|i| format!("house/{}/room/{i}", i % 10)).collect();
        let retained = store(topics.iter().map(String::as_str));
        for filter in ["+/none", "+/none/#", "house/+", "+/+/none/+", "house/+/room/+/+/none"] {
            let (found, visits) = search(&retained, filter, (256, 512));
            let most = if filter.ends_with("+/+/none") { 25_000 } else { 40 };
            assert!(found.is_empty() && visits <= most, "{filter}: {visits} visits");
        }
        assert_eq!(search(&retained, "+/3/#", (256, 512)).0.len(), 1000);
    }
}

//! Retained messages on their way to a new subscription: a part at a time, as fast as the client
//! takes them, however many there are.
//!
//! The store is read in the order of topics, so a reader may stop anywhere. Messages that live on
//! another worker are asked for in parts, each when the part before it is used up. A live message
//! may overtake a part with an older message of its topic, and even the query for the part, when
//! the live message waits for a full ring on its way into the store. So `fresh` and the parts are
//! compared, and the older message is not sent.

use super::deferred::ResponseId;
use super::delivery::Delivery;
use super::record_ref::RecordRef;
use crate::base::ids::{LinkId, WorkerId};
use crate::mqtt::{self, QoS};
use crate::store::Message;
use crate::store::record::Owed;
use crate::topics::RetainedMessage as _;
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// The retained messages still to be sent for one subscription, in the order of their topics.
#[derive(Debug)]
pub(super) struct Replay {
    /// The number of the replay, unique within the session; from 1.
    pub(super) number: u32,
    filter: Arc<str>,
    qos: QoS,
    subscription_id: u32,
    /// Whether an earlier process has sent a part: then QoS 0 messages are not sent again.
    is_restored: bool,
    /// The SUBACK that must go first, and the link on which it goes.
    pub(super) waits_for: Option<(LinkId, ResponseId)>,
    /// The workers on which matching topics live.
    sources: SmallVec<[Source; 1]>,
    /// The last topic that is done.
    after: Arc<str>,
    /// The messages that were delivered live, as far as an older message of their topics could
    /// follow.
    fresh: BTreeSet<Fresh>,
}

/// A worker with some of the retained messages.
#[derive(Debug)]
struct Source {
    worker: WorkerId,
    state: Asked,
    /// The next messages, in the order of their topics.
    page: VecDeque<Arc<Message>>,
}

/// The state of the query to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// The worker is to be asked for messages after this topic.
    UpTo(Arc<str>),
    /// The answer is on its way.
    Now,
    /// The worker has no more messages.
    All,
}

/// Messages of one topic that were delivered live: the latest at the topic's home, and those still
/// on their way there.
#[derive(Debug)]
struct Fresh(SmallVec<[Arc<Message>; 1]>);

/// The subscription's terms for its retained messages.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The number, as in [`Replay::number`].
    pub(super) number: u32,
    pub(super) filter: Arc<str>,
    pub(super) qos: QoS,
    pub(super) subscription_id: u32,
}

impl Replay {
    /// Makes a replay of the retained messages on `workers`, from the point of `owed`, which an
    /// earlier process may have reached. Topics in `live` were delivered live, so older messages of
    /// theirs are left out.
    pub(super) fn new(
        wanted: Wanted,
        owed: &Owed<'_>,
        live: impl Iterator<Item = Arc<Message>>,
        workers: impl Iterator<Item = WorkerId>,
    ) -> Self {
        let Wanted { number, filter, qos, subscription_id } = wanted;
        let after: Arc<str> = (*owed.after).into();
        let state = || Asked::UpTo(after.clone());
        let sources =
            workers.map(|worker| Source { worker, state: state(), page: VecDeque::new() });
        Self {
            number,
            filter,
            qos,
            subscription_id,
            is_restored: false,
            waits_for: None,
            sources: sources.collect(),
            after,
            fresh: live.map(Fresh::from).collect(),
        }
    }

    /// Notes that an earlier process has sent a part of the replay.
    pub(super) fn mark_restored(&mut self) {
        self.is_restored = true;
    }

    /// Notes that a live message has overtaken the retained one of its topic; false when the live
    /// message does not match.
    pub(super) fn note_live(&mut self, live: &Arc<Message>) -> bool {
        if !mqtt::matches(&self.filter, live.topic()) {
            return false;
        }
        let mut fresh = Fresh(SmallVec::from_elem(live.clone(), 1));
        if let Some(Fresh(known)) = self.fresh.take(live.topic_bytes()) {
            fresh.0.extend(known);
            let latest = fresh.0.iter().filter_map(|message| message.version()).max();
            fresh.0.retain(|message| message.version().is_none_or(|v| Some(v) == latest));
        }
        self.fresh.insert(fresh);
        true
    }

    pub(super) fn take_page(
        &mut self,
        from: WorkerId,
        messages: Vec<Arc<Message>>,
        next: Option<Arc<str>>,
    ) {
        let Some(source) = self.sources.iter_mut().find(|source| source.worker == from) else {
            return;
        };
        source.state = next.map_or(Asked::All, Asked::UpTo);
        source.page.extend(messages);
    }

    /// The source of the next message; None at the end.
    ///
    /// # Errors
    /// The place in `sources` of a worker whose answer is needed first.
    pub(super) fn next_source(&self) -> Result<Option<usize>, usize> {
        let mut first: Option<usize> = None;
        for (place, source) in self.sources.iter().enumerate() {
            match source.page.front() {
                None if source.state == Asked::All => {}
                None => return Err(place),
                Some(message) => {
                    let is_first = first.is_none_or(|known| {
                        let known = self.sources[known].page.front();
                        known.is_some_and(|known| message.topic() < known.topic())
                    });
                    first = if is_first { Some(place) } else { first };
                }
            }
        }
        Ok(first)
    }

    /// The QoS of the next message of a source.
    pub(super) fn next_qos(&self, source: usize) -> Option<QoS> {
        self.sources[source].page.front().map(|message| self.qos.min(message.qos))
    }

    /// Takes the next message of a source; None when the message is not to be sent.
    pub(super) fn take_next(&mut self, source: usize) -> Option<Delivery> {
        let message = self.sources[source].page.pop_front()?;
        self.after = message.topic().into();
        let overtaken = self.fresh.get(message.topic_bytes());
        let is_overtaken =
            overtaken.is_some_and(|live| live.0.iter().any(|live| !is_newer(&message, live)));
        let qos = self.qos.min(message.qos);
        if is_overtaken || self.is_restored && qos == QoS::AtMostOnce {
            return None;
        }
        let subscription_id = self.subscription_id;
        // [MQTT-3.3.1-8]
        Some(Delivery {
            message,
            record: RecordRef::NONE,
            more: None,
            subscription_id,
            qos,
            retain: true,
        })
    }

    /// The subscription's whole filter.
    pub(super) const fn filter(&self) -> &Arc<str> {
        &self.filter
    }

    /// The empty sources that have more messages, each with the topic behind which to ask. They
    /// count as asked from now on.
    pub(super) fn ask(&mut self) -> SmallVec<[(WorkerId, Arc<str>); 1]> {
        let sources = self.sources.iter_mut().filter(|source| source.page.is_empty());
        let questions = sources.filter_map(|source| {
            let Asked::UpTo(after) = &source.state else { return None };
            let after = after.clone();
            source.state = Asked::Now;
            Some((source.worker, after))
        });
        questions.collect()
    }

    /// The number of sources.
    pub(super) fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// The parts that have come.
    pub(super) fn pages_mut(&mut self) -> impl Iterator<Item = &mut VecDeque<Arc<Message>>> {
        self.sources.iter_mut().map(|source| &mut source.page)
    }

    /// The progress of the replay, for the journal.
    pub(super) fn owed(&self) -> Owed<'static> {
        let live = self.fresh.iter().flat_map(|fresh| &fresh.0);
        let overtaken = live.map(|live| live.id).filter(|id| !id.is_none());
        Owed {
            number: self.number,
            after: self.after.to_string().into(),
            overtaken: overtaken.collect(),
        }
    }
}

impl From<Arc<Message>> for Fresh {
    fn from(message: Arc<Message>) -> Self {
        Self(SmallVec::from_elem(message, 1))
    }
}

/// True when a retained message came to its topic's home after a live one. A live message without a
/// version has yet to come there.
pub(super) fn is_newer(retained: &Message, live: &Message) -> bool {
    live.version().is_some() && retained.version() > live.version()
}

impl Borrow<[u8]> for Fresh {
    fn borrow(&self) -> &[u8] {
        self.0.first().map_or(&[], |message| message.topic_bytes())
    }
}

impl Ord for Fresh {
    fn cmp(&self, other: &Self) -> Ordering {
        Borrow::<[u8]>::borrow(self).cmp(other.borrow())
    }
}

impl PartialOrd for Fresh {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Fresh {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Fresh {}

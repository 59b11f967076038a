//! Retained messages on their way to a new subscription: a part at a time, as fast as the client
//! takes them, however many there are.
//!
//! The store is read in the order of topics, so a reader may stop anywhere. Messages that live on
//! another worker are asked for in parts, each when the part before it is used up. A live message
//! may overtake a part with an older message of its topic, and even the query for the part, when
//! the live message waits for a full ring on its way into the store. So the session's live messages
//! and the parts are compared, and the older message is not sent.

use super::delivery::Delivery;
use super::live_retained::LiveRetained;
use super::record_ref::RecordRef;
use crate::base::ids::WorkerId;
use crate::mqtt::QoS;
use crate::store::Message;
use crate::topics::Place;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// A replay that has begun: the retained messages still to be sent for one subscription, in the
/// order of their topics.
#[derive(Debug)]
pub(super) struct Replay {
    /// The number of the replay, unique within the session; from 1.
    number: u32,
    terms: Terms,
    filter: Arc<str>,
    /// The workers on which matching topics live.
    sources: SmallVec<[Source; 1]>,
    /// The last topic that is done.
    after: Arc<str>,
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

/// A subscription's terms for its retained messages: all there is of a replay that waits for
/// others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) place: Place,
    pub(super) qos: QoS,
    pub(super) subscription_id: u32,
    /// Whether an earlier process may have sent a part: then QoS 0 messages are not sent again.
    pub(super) is_restored: bool,
}

impl Replay {
    /// Makes a replay of the retained messages on `workers` behind the topic `after`, which an
    /// earlier process may have reached.
    pub(super) fn new(
        (number, terms): (u32, Terms),
        filter: Arc<str>,
        after: &str,
        workers: impl Iterator<Item = WorkerId>,
    ) -> Self {
        let after: Arc<str> = after.into();
        let state = || Asked::UpTo(after.clone());
        let sources =
            workers.map(|worker| Source { worker, state: state(), page: VecDeque::new() });
        Self { number, terms, filter, sources: sources.collect(), after }
    }

    /// The number.
    pub(super) const fn number(&self) -> u32 {
        self.number
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
        self.sources[source].page.front().map(|message| self.terms.qos.min(message.qos))
    }

    /// Takes the next message of a source; None when the message is not to be sent. `live` messages
    /// may have overtaken it.
    pub(super) fn take_next(&mut self, source: usize, live: &LiveRetained) -> Option<Delivery> {
        let message = self.sources[source].page.pop_front()?;
        self.after = message.topic().into();
        let is_overtaken = live.overtakes(&message, self.number);
        let qos = self.terms.qos.min(message.qos);
        if is_overtaken || self.terms.is_restored && qos == QoS::AtMostOnce {
            return None;
        }
        let subscription_id = self.terms.subscription_id;
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

    /// The last topic that is done; empty for none.
    pub(super) fn after(&self) -> &str {
        &self.after
    }
}

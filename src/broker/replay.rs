//! Retained messages on their way to a new subscription: a part at a time, as fast as the client
//! takes them, however many there are.
//!
//! The store is read in the order of topics, so a reader may stop anywhere. Of messages that live
//! on another worker one part is asked for when the part before it is used up. A live message may
//! overtake a part that holds an older one of its topic, and even the question for it, where it
//! waits for a full ring on its way into the store: `fresh` and the parts are compared, and the
//! older one is not sent.
#![expect(clippy::mutable_key_type, reason = "the order is that of topics, which stay")]

use super::clients::Clients;
use super::link::ResponseId;
use super::mesh_message::{MeshMessage, RetainedPage, RetainedQuery};
use super::message::Message;
use super::record_ref::RecordRef;
use super::session::{Delivery, Session};
use super::shard::Shard;
use crate::base::ids::{SessionId, WorkerId};
use crate::limits::{PUMP_MESSAGES_MAX, RETAINED_PAGE_MESSAGES, RETAINED_PAGE_VISITS};
use crate::mqtt::{self, QoS};
use crate::store::record::Owed;
use crate::topics::RetainedMessage as _;
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// The retained messages that one subscription is owed, in the order of their topics.
#[derive(Debug)]
pub(super) struct Replay {
    /// Unlike that of any other of the session; from 1.
    pub(super) number: u32,
    filter: Arc<str>,
    qos: QoS,
    subscription_id: u32,
    /// An earlier process has sent a part of it: what needs no acknowledgement does not come again.
    is_restored: bool,
    /// The SUBACK that must go first, as the link knows it.
    pub(super) waits_for: Option<ResponseId>,
    /// The workers on which topics live that match.
    sources: SmallVec<[Source; 1]>,
    /// Topics up to this one are done with.
    after: Arc<str>,
    /// The messages that were delivered as they were published, as far as an older one of their
    /// topics could follow.
    fresh: BTreeSet<Fresh>,
}

/// A worker that has some of what a subscription is owed.
#[derive(Debug)]
struct Source {
    worker: WorkerId,
    state: Asked,
    /// The next messages, in the order of their topics.
    page: VecDeque<Arc<Message>>,
}

/// How far a worker has been asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// It is to be asked for what comes after this topic.
    UpTo(Arc<str>),
    /// The answer is on its way.
    Now,
    /// It has no more.
    All,
}

/// Messages of one topic that were delivered as they were published: the one that is the latest at
/// the topic's home, and those that have not come there yet.
#[derive(Debug)]
struct Fresh(SmallVec<[Arc<Message>; 1]>);

/// What a subscription asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// As [`Replay::number`].
    pub(super) number: u32,
    pub(super) filter: Arc<str>,
    pub(super) qos: QoS,
    pub(super) subscription_id: u32,
}

impl Replay {
    /// A live message overtakes the retained one of its topic.
    fn note_live(&mut self, live: &Arc<Message>) {
        let mut fresh = Fresh(SmallVec::from_elem(live.clone(), 1));
        if let Some(Fresh(known)) = self.fresh.take(live.topic_bytes()) {
            fresh.0.extend(known);
            let latest = fresh.0.iter().filter_map(|message| message.version()).max();
            fresh.0.retain(|message| message.version().is_none_or(|v| Some(v) == latest));
        }
        self.fresh.insert(fresh);
    }

    fn take_page(&mut self, from: WorkerId, messages: Vec<Arc<Message>>, next: Option<Arc<str>>) {
        let Some(source) = self.sources.iter_mut().find(|source| source.worker == from) else {
            return;
        };
        source.state = next.map_or(Asked::All, Asked::UpTo);
        source.page.extend(messages);
    }

    /// The source of the next message; None when there is no more.
    ///
    /// # Errors
    /// A place in `sources`: it has to say first what it has.
    fn next_source(&self) -> Result<Option<usize>, usize> {
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

    /// Takes the next message of a source; None when it is not to be sent.
    fn take_next(&mut self, source: usize) -> Option<Delivery> {
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
    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    /// How far it has come, for the journal.
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

/// True when a retained message came to its topic's home after one that was delivered live. One
/// that has no version yet is still to come there.
fn is_newer(retained: &Message, live: &Message) -> bool {
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

impl Session {
    /// What its subscription to `filter` is still owed.
    pub(super) fn owed(&self, filter: &str) -> Option<Owed<'static>> {
        let replays = self.rare.iter().flat_map(|rare| &rare.replays);
        replays.filter(|replay| replay.filter() == filter).map(Replay::owed).next()
    }
}

impl Clients {
    /// A message that is retained is delivered live: no older one of its topic may follow. Those
    /// that have not been sent yet, because they waited for the disk, are over. The numbers of the
    /// replays that it overtakes.
    pub(super) fn note_live(&mut self, slot: u32, live: &Arc<Message>) -> SmallVec<[u32; 1]> {
        let session = &mut self.sessions[slot];
        if !session.is_replaying() {
            return SmallVec::new();
        }
        let mut overtaken = SmallVec::new();
        for replay in session.replays() {
            if mqtt::matches(&replay.filter, live.topic()) {
                replay.note_live(live);
                overtaken.push(replay.number);
            }
        }
        let is_old = |old: &Message| old.topic() == live.topic() && !is_newer(old, live);
        for packet_id in session.in_flight.waiting_replays(is_old) {
            self.complete(slot, packet_id);
        }
        overtaken
    }
}

impl Shard {
    /// The subscription is owed what is retained, once the response `waits_for` has gone.
    pub(super) fn begin_replay(
        &mut self,
        id: SessionId,
        wanted: Wanted,
        waits_for: Option<ResponseId>,
    ) {
        let number = wanted.number;
        self.replay(id, wanted, &Owed { number, ..Owed::default() }, BTreeSet::new());
        if let Some(replay) = self.clients.sessions[id.slot].replays().last_mut() {
            replay.waits_for = waits_for;
        }
    }

    /// An earlier process has not sent all that was retained for the subscription. `live`: what of
    /// it was delivered as it was published.
    pub(super) fn owe_replay(
        &mut self,
        id: SessionId,
        wanted: Wanted,
        owed: &Owed<'_>,
        live: impl Iterator<Item = Arc<Message>>,
    ) {
        let fresh = live.map(|message| Fresh(SmallVec::from_elem(message, 1))).collect();
        self.replay(id, wanted, owed, fresh);
        let rare = self.clients.sessions[id.slot].rare();
        rare.replays_begun = rare.replays_begun.max(owed.number);
        if let Some(replay) = rare.replays.last_mut() {
            replay.is_restored = true;
        }
    }

    fn replay(&mut self, id: SessionId, wanted: Wanted, owed: &Owed<'_>, fresh: BTreeSet<Fresh>) {
        let Wanted { number, filter, qos, subscription_id } = wanted;
        let is_exact = !filter.contains(['+', '#']);
        let home = is_exact.then(|| self.topic_home(&filter));
        let workers = WorkerId::all(self.workers);
        let workers = workers.filter(|worker| home.is_none_or(|home| home == *worker));
        let after: Arc<str> = (*owed.after).into();
        let sources = workers.map(|worker| Source {
            worker,
            state: Asked::UpTo(after.clone()),
            page: VecDeque::new(),
        });
        let rare = self.clients.sessions[id.slot].rare();
        // Subscribing again asks anew; what the question before it still owed is part of it.
        rare.replays.retain(|replay| replay.filter != filter);
        rare.replays.push(Replay {
            number,
            filter,
            qos,
            subscription_id,
            is_restored: false,
            waits_for: None,
            sources: sources.collect(),
            after,
            fresh,
        });
        self.clients.refresh_route(id);
    }

    /// The filter is not subscribed to any more: nothing more is owed for it.
    pub(super) fn end_replay(&mut self, id: SessionId, filter: &str) {
        let session = &mut self.clients.sessions[id.slot];
        if session.is_replaying() {
            session.rare().replays.retain(|replay| &*replay.filter != filter);
            self.clients.refresh_route(id);
        }
    }

    /// Sends as many retained messages as the client's window and one turn allow.
    pub(super) fn pump_replays(&mut self, id: SessionId) {
        let Some(route) = self.clients.open_route(id) else { return };
        for _ in 0..PUMP_MESSAGES_MAX {
            let session = &mut self.clients.sessions[id.slot];
            let Some(replay) = session.replays().first() else { return };
            if replay.waits_for.is_some() {
                return;
            }
            let source = match replay.next_source() {
                Ok(Some(source)) => source,
                // A newer live message may still overtake what waits for the disk.
                Ok(None) if !session.in_flight.has_waiting_replay() => {
                    self.end_first(id);
                    continue;
                }
                Ok(None) => return,
                Err(_) if self.ask_sources(id) => continue,
                Err(_) => return,
            };
            let message = replay.sources[source].page.front();
            let is_acknowledged = message.is_some_and(|m| replay.qos.min(m.qos) > QoS::AtMostOnce);
            if is_acknowledged && (!session.has_window() || self.clients.waits_for_hand_over(id)) {
                return;
            }
            if self.clients.has_enough(route, id) {
                return;
            }
            let replay = &mut self.clients.sessions[id.slot].replays()[0];
            let number = replay.number;
            if let Some(delivery) = replay.take_next(source) {
                self.clients.send_kept(id, route, delivery, number);
            }
        }
        self.clients.pump_later(id.slot);
    }

    /// All of the first replay has been sent.
    fn end_first(&mut self, id: SessionId) {
        let replay = self.clients.sessions[id.slot].rare().replays.remove(0);
        self.clients.refresh_route(id);
        self.note_replayed(id, &replay.filter);
    }

    /// Asks the workers of which nothing is left for the next part of the first replay; true when
    /// an answer is there already.
    fn ask_sources(&mut self, id: SessionId) -> bool {
        let mut is_answered = false;
        let count = self.clients.sessions[id.slot].replays()[0].sources.len();
        let part = RETAINED_PAGE_MESSAGES.div_ceil(count);
        for place in 0..count {
            let replay = &mut self.clients.sessions[id.slot].replays()[0];
            let source = &mut replay.sources[place];
            if !source.page.is_empty() {
                continue;
            }
            let Asked::UpTo(after) = source.state.clone() else { continue };
            source.state = Asked::Now;
            let worker = source.worker;
            let query = Box::new(RetainedQuery {
                session: id,
                replay: replay.number,
                filter: replay.filter.clone(),
                after: Some(after).filter(|after| !after.is_empty()),
                part,
            });
            if self.workers == 1 {
                let page = self.answer(&query);
                self.take_page(worker, page);
                is_answered = true;
            } else if worker == self.index {
                self.queries.push((worker, query));
            } else {
                self.mesh(worker, MeshMessage::RetainedQuery(query));
            }
        }
        is_answered
    }

    /// The next part that the query asks for.
    pub(super) fn answer(&self, query: &RetainedQuery) -> RetainedPage {
        let page = self.retained.page(
            &query.filter,
            query.after.as_deref(),
            query.part,
            RETAINED_PAGE_VISITS,
        );
        RetainedPage {
            session: query.session,
            replay: query.replay,
            messages: page.messages,
            next: page.next,
        }
    }

    /// Leaves out of the parts that have come what their publishers may not write any more.
    pub(super) fn judge_replays(&mut self, id: SessionId) {
        let count = self.clients.sessions[id.slot].replays().len();
        for index in 0..count {
            let sources = &mut self.clients.sessions[id.slot].replays()[index].sources;
            let mut sources = std::mem::take(sources);
            for source in &mut sources {
                let mut messages = Vec::from(std::mem::take(&mut source.page));
                self.retain_permitted(&mut messages);
                source.page = messages.into();
            }
            self.clients.sessions[id.slot].replays()[index].sources = sources;
        }
    }

    /// A part has come.
    pub(super) fn take_page(&mut self, from: WorkerId, page: RetainedPage) {
        let RetainedPage { session: id, replay, mut messages, next } = page;
        self.retain_permitted(&mut messages);
        let Some(session) = self.clients.sessions.get_mut(id) else { return };
        if let Some(replay) = session.replays().iter_mut().find(|known| known.number == replay) {
            replay.take_page(from, messages, next);
        }
    }
}

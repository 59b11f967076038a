//! Retained messages on their way to a new subscription: a part at a time, as fast as the client
//! takes them, however many there are.
//!
//! The store is read in the order of topics, so a reader may stop anywhere. Of messages that live
//! on another worker one part is asked for when the part before it is used up. A live message may
//! overtake a part that holds an older one of its topic, and even the question for it, where it
//! waits for a full ring on its way into the store: `fresh` and the parts are compared, and the
//! older one is not sent.

use super::mesh_message::{MeshMessage, RetainedPage, RetainedQuery};
use super::message::Message;
use super::session::{Delivery, Session, SessionId};
use super::shard::Shard;
use crate::limits::{RETAINED_PAGE_MESSAGES, RETAINED_PAGE_VISITS};
use crate::mqtt::QoS;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The retained messages that one subscription is owed.
#[derive(Debug)]
pub(super) struct Replay {
    /// Unlike that of any other of the session.
    pub(super) number: u32,
    filter: Arc<str>,
    qos: QoS,
    subscription_id: u32,
    /// An earlier process has sent a part of it: what needs no acknowledgement does not come again.
    is_restored: bool,
    /// The SUBACK that must go first, as the link knows it.
    pub(super) waits_for: Option<u32>,
    /// Workers still to be asked; the last one is being read.
    workers: Vec<usize>,
    after: Option<Arc<str>>,
    /// A question is on its way.
    is_asking: bool,
    page: VecDeque<Arc<Message>>,
    /// Topic → version of the live retained message that came last.
    fresh: BTreeMap<Box<str>, (u64, u32)>,
}

/// What a subscription asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) filter: Arc<str>,
    pub(super) qos: QoS,
    pub(super) subscription_id: u32,
}

impl Replay {
    /// A live message overtakes the retained one of its topic.
    fn note_live(&mut self, live: &Arc<Message>) {
        let is_older = |m: &Arc<Message>| m.topic() == live.topic() && m.version <= live.version;
        self.page.retain(|message| !is_older(message));
        let version = self.fresh.entry(live.topic().into()).or_default();
        *version = live.version.max(*version);
    }

    fn take_page(&mut self, messages: Vec<Arc<Message>>, next: Option<Arc<str>>) {
        self.is_asking = false;
        let fresh = &self.fresh;
        let is_newest = |message: &Arc<Message>| {
            fresh.get(message.topic()).is_none_or(|&version| version < message.version)
        };
        let is_left = |m: &Arc<Message>| !self.is_restored || self.qos.min(m.qos) > QoS::AtMostOnce;
        self.page.extend(messages.into_iter().filter(is_newest).filter(is_left));
        if next.is_none() {
            self.workers.pop();
        }
        self.after = next;
    }

    fn delivery(&self, message: Arc<Message>) -> Delivery {
        let qos = self.qos.min(message.qos);
        let subscription_id = self.subscription_id;
        // [MQTT-3.3.1-8]
        Delivery { message, record: 0, more: None, subscription_id, qos, retain: true }
    }

    /// The subscription's whole filter.
    pub(super) fn filter(&self) -> &str {
        &self.filter
    }
}

impl Session {
    /// A live retained message is delivered: no older one of its topic may follow. Those exchanges
    /// with one that have not been sent yet, because they waited for the disk, are over.
    pub(super) fn note_live(&mut self, live: &Arc<Message>) -> SmallVec<[u16; 1]> {
        for replay in self.replays() {
            replay.note_live(live);
        }
        self.waiting_replays(|old| old.topic() == live.topic() && old.version <= live.version)
    }
}

impl Shard {
    /// The subscription is owed what is retained, once the response `waits_for` has gone.
    pub(super) fn begin_replay(&mut self, id: SessionId, wanted: Wanted, waits_for: Option<u32>) {
        let is_exact = !wanted.filter.contains(['+', '#']);
        let workers = if is_exact {
            vec![self.topic_home(&wanted.filter)]
        } else {
            (0..self.workers).rev().collect()
        };
        let rare = self.clients.sessions[id.slot].rare();
        rare.replays_begun = rare.replays_begun.wrapping_add(1);
        // Subscribing again asks anew; what the question before it still owed is part of it.
        rare.replays.retain(|replay| replay.filter != wanted.filter);
        rare.replays.push(Replay {
            number: rare.replays_begun,
            filter: wanted.filter,
            qos: wanted.qos,
            subscription_id: wanted.subscription_id,
            is_restored: false,
            waits_for,
            workers,
            after: None,
            is_asking: false,
            page: VecDeque::new(),
            fresh: BTreeMap::new(),
        });
        self.clients.refresh_route(id);
    }

    /// An earlier process has not sent all that was retained for the subscription.
    pub(super) fn owe_replay(
        &mut self,
        id: SessionId,
        filter: &str,
        qos: QoS,
        subscription_id: u32,
    ) {
        self.begin_replay(id, Wanted { filter: filter.into(), qos, subscription_id }, None);
        if let Some(replay) = self.clients.sessions[id.slot].replays().last_mut() {
            replay.is_restored = true;
        }
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
        loop {
            let session = &mut self.clients.sessions[id.slot];
            let Some(replay) = session.replays().first() else { return };
            if replay.waits_for.is_some() || replay.is_asking {
                return;
            }
            let Some(message) = replay.page.front() else {
                let worker = replay.workers.last().copied();
                match worker {
                    Some(worker) => self.ask(id, worker),
                    // A newer live message may still overtake what waits for the disk.
                    None if session.waiting_replays(|_| true).is_empty() => self.end_first(id),
                    None => return,
                }
                continue;
            };
            let is_acknowledged = replay.qos.min(message.qos) > QoS::AtMostOnce;
            if is_acknowledged && !session.has_window() {
                return;
            }
            if self.clients.has_enough(route, id) {
                return;
            }
            let replay = &mut self.clients.sessions[id.slot].replays()[0];
            let message = replay.page.pop_front().expect("it was there");
            let delivery = replay.delivery(message);
            self.clients.send_waiting(id, route, delivery);
        }
    }

    /// All of the first replay has been sent.
    fn end_first(&mut self, id: SessionId) {
        let replay = self.clients.sessions[id.slot].rare().replays.remove(0);
        self.clients.refresh_route(id);
        self.note_replayed(id, &replay.filter);
    }

    /// Asks a worker for the next part of the first replay.
    fn ask(&mut self, id: SessionId, worker: usize) {
        let replay = &mut self.clients.sessions[id.slot].replays()[0];
        replay.is_asking = true;
        let query = Box::new(RetainedQuery {
            session: id,
            replay: replay.number,
            filter: replay.filter.clone(),
            after: replay.after.clone(),
        });
        if self.workers == 1 {
            let page = self.answer(&query);
            self.take_page(page);
        } else if worker == self.index {
            self.queries.push((worker, query));
        } else {
            self.mesh(worker, MeshMessage::RetainedQuery(query));
        }
    }

    /// The next part that the query asks for.
    pub(super) fn answer(&self, query: &RetainedQuery) -> RetainedPage {
        let page = self.retained.page(
            &query.filter,
            query.after.as_deref(),
            RETAINED_PAGE_MESSAGES,
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
            let page = &mut self.clients.sessions[id.slot].replays()[index].page;
            let mut messages = Vec::from(std::mem::take(page));
            self.retain_permitted(&mut messages);
            self.clients.sessions[id.slot].replays()[index].page = messages.into();
        }
    }

    /// A part has come.
    pub(super) fn take_page(&mut self, page: RetainedPage) {
        let RetainedPage { session: id, replay, mut messages, next } = page;
        self.retain_permitted(&mut messages);
        let Some(session) = self.clients.sessions.get_mut(id) else { return };
        if let Some(replay) = session.replays().iter_mut().find(|known| known.number == replay) {
            replay.take_page(messages, next);
        }
    }
}

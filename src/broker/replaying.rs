//! The sending of retained messages to a subscription: see [`Replay`](super::replay::Replay).

use super::clients::{Clients, Route};
use super::deferred::ResponseId;
use super::live_retained::is_newer;
use super::mesh_message::{MeshMessage, RetainedPage, RetainedQuery};
use super::permission::permitted;
use super::purse::RETAINED_STEPS;
use super::replay::{Replay, Terms};
use super::session::Session;
use super::shard::Shard;
use crate::base::ids::{LinkId, MessageId, SessionId, WorkerId};
use crate::limits::{
    PUMP_MESSAGES_MAX, PUMP_STEPS_MAX, RETAINED_PAGE_MESSAGES, RETAINED_PAGE_VISITS,
};
use crate::metrics::Withdrawn;
use crate::mqtt::QoS;
use crate::store::Message;
use crate::store::record::Owed;
use crate::topics::Place;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Session {
    /// The replay of the session's subscription at `place`, for the journal; None when all was
    /// sent. `overtaken` is the rest of [`Self::overtaken`].
    pub(super) fn owed(
        &self,
        place: Place,
        overtaken: &mut BTreeMap<u32, Vec<MessageId>>,
    ) -> Option<Owed<'static>> {
        self.rare.as_ref()?.replays.owed(self.subscriptions.replay(place), overtaken)
    }

    /// Adds a replay, which is owed from now on.
    fn add_replay(&mut self, number: u32, terms: Terms) {
        let before = self.subscriptions.set_replay(terms.place, number);
        self.rare().replays.add(number, terms, before);
    }

    /// As [`Replays::overtaken`](super::replays::Replays::overtaken).
    pub(super) fn overtaken(&self) -> BTreeMap<u32, Vec<MessageId>> {
        self.rare.as_ref().map_or_else(BTreeMap::new, |rare| rare.replays.overtaken())
    }
}

impl Clients {
    /// Notes that a session was sent a retained message live, which overtakes the replays up to the
    /// number `last`: no older message of its topic may follow in them. Older ones that wait for
    /// the disk, or since an earlier process, are ended.
    pub(super) fn note_live(&mut self, slot: u32, live: &Arc<Message>, last: u32) {
        let session = &mut self.sessions[slot];
        session.rare().replays.note_live(live, last);
        let is_old = |old: &Message| old.topic() == live.topic() && !is_newer(old, live);
        let ended = session.in_flight.waiting_replays(live.topic(), is_old);
        let queued = session.take_queued_replays(live.topic(), is_old);
        self.counters.withdraw(Withdrawn::Replaced, (ended.len() + queued.len()) as u64);
        for delivery in queued {
            self.note_done(slot, &delivery);
        }
        for packet_id in &ended {
            self.complete(slot, *packet_id);
        }
        if !ended.is_empty() {
            // The window has room for what waits, perhaps for the live message.
            self.pump_later(slot);
        }
    }

    /// True while the response that goes before the first replay is still to be sent on the
    /// session's link.
    fn waits_for_response(&mut self, id: SessionId, route: Route) -> bool {
        let rare = self.sessions[id.slot].rare.as_mut();
        let waits_for = rare.and_then(|rare| rare.replays.first_waits_for());
        waits_for.is_some_and(|(link, response)| {
            link == route.link
                && self.link(link).is_some_and(|link| link.deferred_mut().contains(response))
        })
    }
}

impl Shard {
    /// Owes the client the replays of new subscriptions, once the response `waits_for` has gone.
    pub(super) fn add_replays(
        &mut self,
        id: SessionId,
        wanted: Vec<(u32, Terms)>,
        waits_for: Option<(LinkId, ResponseId)>,
    ) {
        let session = &mut self.clients.sessions[id.slot];
        for (number, terms) in wanted {
            session.add_replay(number, terms);
            if let Some((link, response)) = waits_for {
                session.rare().replays.wait_for(number, link, response);
            }
        }
        self.clients.refresh_route(id);
    }

    /// Owes the client the rest of a replay that an earlier process has not finished. The messages
    /// of `live` overtake this replay and all before it.
    pub(super) fn owe_replay(
        &mut self,
        id: SessionId,
        terms: Terms,
        owed: &Owed<'_>,
        live: impl Iterator<Item = Arc<Message>>,
    ) {
        let session = &mut self.clients.sessions[id.slot];
        session.add_replay(owed.number, terms);
        let replays = &mut session.rare().replays;
        live.for_each(|live| replays.note_live(&live, owed.number));
        if !owed.after.is_empty() {
            self.begin_replay(id, (owed.number, terms), &owed.after);
        }
        self.clients.refresh_route(id);
    }

    /// Begins a replay behind the topic `after`.
    fn begin_replay(&mut self, id: SessionId, (number, terms): (u32, Terms), after: &str) {
        let filter = self.subscriptions.filter(terms.place);
        let is_exact = !filter.contains(['+', '#']);
        let home = is_exact.then(|| self.topic_home(&filter));
        let workers = WorkerId::all(self.workers);
        let workers = workers.filter(|worker| home.is_none_or(|home| home == *worker));
        let replay = Replay::new((number, terms), filter, after, workers);
        self.clients.sessions[id.slot].rare().replays.begin(replay);
    }

    /// Begins the first replay, unless it has begun.
    fn begin_first(&mut self, id: SessionId) {
        let replays = &mut self.clients.sessions[id.slot].rare().replays;
        if replays.first_mut().is_none()
            && let Some(first) = replays.first()
        {
            self.begin_replay(id, first, "");
        }
    }

    /// Ends the replay with the number of a subscription that is no more.
    pub(super) fn end_replay(&mut self, id: SessionId, number: u32) {
        let session = &mut self.clients.sessions[id.slot];
        if session.is_replaying() {
            session.rare().replays.end(number);
            self.clients.refresh_route(id);
        }
    }

    /// Sends as many retained messages as the client's window and one turn allow.
    pub(super) fn pump_replays(&mut self, id: SessionId) {
        let Some(route) = self.clients.open_route(id) else { return };
        let begun = self.clients.outbox.purse().total();
        for _ in 0..PUMP_MESSAGES_MAX {
            if self.clients.waits_for_response(id, route) {
                return;
            }
            if self.clients.outbox.purse().total() - begun > PUMP_STEPS_MAX {
                break;
            }
            if !self.clients.sessions[id.slot].is_replaying() {
                return;
            }
            if self.clients.has_enough(route, id) {
                return;
            }
            self.begin_first(id);
            let session = &mut self.clients.sessions[id.slot];
            let Some(replay) = session.first_replay() else { return };
            let source = match replay.next_source() {
                Ok(Some(source)) => source,
                // A newer live message may still overtake what waits for the disk.
                Ok(None) if !session.has_waiting_replay() => {
                    self.end_first(id);
                    continue;
                }
                Ok(None) => return,
                Err(_) if self.ask_sources(id) => continue,
                Err(_) => return,
            };
            let is_acknowledged = replay.next_qos(source).is_some_and(|qos| qos > QoS::AtMostOnce);
            if is_acknowledged && (!session.has_window() || self.clients.waits_for_hand_over(id)) {
                return;
            }
            let replays = &mut self.clients.sessions[id.slot].rare().replays;
            if let Some((number, delivery)) = replays.take_next(source) {
                self.clients.counters.messages_owed += 1;
                self.clients.send_kept(id, route, delivery, number);
            }
        }
        self.clients.pump_later(id.slot);
    }

    /// Ends the first replay, all of which has been sent.
    fn end_first(&mut self, id: SessionId) {
        let first = self.clients.sessions[id.slot].rare().replays.take_first();
        let Some(replay) = first else { return };
        self.clients.refresh_route(id);
        self.note_replayed(id, replay.filter());
    }

    /// Asks the workers without a part for the next part of the first replay; true when an answer
    /// is there already.
    fn ask_sources(&mut self, id: SessionId) -> bool {
        let mut is_answered = false;
        let Some(replay) = self.clients.sessions[id.slot].first_replay() else { return false };
        let part = RETAINED_PAGE_MESSAGES.div_ceil(replay.source_count());
        let (number, filter) = (replay.number(), replay.filter().clone());
        for (worker, after) in replay.ask() {
            let query = Box::new(RetainedQuery {
                session: id,
                replay: number,
                filter: filter.clone(),
                after: Some(after).filter(|after| !after.is_empty()),
                part,
            });
            if self.workers == 1 {
                let page = self.answer(&query);
                self.take_page(worker, page);
                is_answered = true;
            } else if worker == self.index {
                self.neighbours.ask(worker, query);
            } else {
                self.mesh(worker, MeshMessage::RetainedQuery(query));
            }
        }
        is_answered
    }

    /// The part that the query asks for.
    pub(super) fn answer(&mut self, query: &RetainedQuery) -> RetainedPage {
        let page = self.retained.page(
            &query.filter,
            query.after.as_deref(),
            query.part,
            RETAINED_PAGE_VISITS,
        );
        self.clients.outbox.purse().spend(RETAINED_STEPS * page.visits);
        RetainedPage {
            session: query.session,
            replay: query.replay,
            messages: page.messages,
            next: page.next,
        }
    }

    /// Removes from the received parts the messages whose publishers may no longer write to their
    /// topics.
    pub(super) fn judge_replays(&mut self, id: SessionId) {
        let Self { policies, clients, .. } = self;
        let Some(rare) = &mut clients.sessions[id.slot].rare else { return };
        let mut is_permitted = permitted(policies);
        for page in rare.replays.iter_mut().flat_map(Replay::pages_mut) {
            page.retain(&mut is_permitted);
        }
    }

    /// Takes a part that has come.
    pub(super) fn take_page(&mut self, from: WorkerId, page: RetainedPage) {
        let RetainedPage { session: id, replay, mut messages, next } = page;
        messages.retain(permitted(&self.policies));
        let Some(session) = self.clients.sessions.get_mut(id) else { return };
        let replays = session.rare.as_mut().map(|rare| &mut rare.replays);
        if let Some(replay) = replays.and_then(|replays| replays.get_mut(replay)) {
            replay.take_page(from, messages, next);
        }
    }
}

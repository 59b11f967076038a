//! DISCONNECT, and every other way in which a client loses its connection or its session.

use super::audited::SessionEnd;
use super::mesh_message::News;
use super::peer::Peer;
use super::purse::{MOVED_BYTES, SUBSCRIPTION_STEPS, filter_steps};
use super::shard::Shard;
use super::told::Departure;
use crate::base::ids::SessionId;
use crate::base::visits::{Planted, is_planted};
use crate::metrics::Withdrawn;
use crate::mqtt::{Disconnect, Frame, ProtocolError, ReasonCode, Sender};
use crate::topics::Place;

impl Shard {
    pub(super) fn handle_disconnect(
        &mut self,
        peer: Peer,
        frame: &Frame<'_>,
    ) -> Result<(), ProtocolError> {
        let disconnect = Disconnect::decode(frame, peer.version, Sender::Client)?;
        let session = &mut self.clients.sessions[peer.session.slot];
        if let Some(expiry_s) = disconnect.session_expiry_s {
            if session.expiry_s == 0 && expiry_s > 0 {
                // 3.1.2.11.2
                return Err(ProtocolError::protocol("a session expiry where CONNECT had none"));
            }
            let has_name = session.user().is_some();
            session.expiry_s = expiry_s.min(self.clients.options.expiry_max_s(has_name));
            session.count(session.quota.clone());
        }
        // [MQTT-3.14.4-3]
        let keeps_will = disconnect.code != ReasonCode::Success;
        self.tell_departure(peer.link, &Departure::Said(disconnect.code));
        self.close(peer.link);
        self.lose_link(peer.session, keeps_will);
        Ok(())
    }

    /// The session's connection is gone. `keeps_will`: without a normal DISCONNECT.
    pub(super) fn lose_link(&mut self, id: SessionId, keeps_will: bool) {
        let now = self.clients.now;
        let Some(session) = self.clients.sessions.get_mut(id) else { return };
        session.link = None;
        if !keeps_will {
            session.will = None;
        }
        if let Some(will) = &mut session.will {
            will.due = Some(now.after_seconds(will.delay_s));
        }
        if session.expiry_s != u32::MAX {
            session.ends = Some(now.after_seconds(session.expiry_s));
        }
        let ends_now = session.expiry_s == 0;
        self.clients.refresh_route(id);
        self.tell_online(id, false);
        if ends_now {
            return self.end_session(id);
        }
        self.clients.note_session(id);
        let session = &mut self.clients.sessions[id.slot];
        if session.has_shared_queue() {
            self.clients.outbox.purse().spend_at_once(session.held());
        }
        let (number, waiting) = (session.number, session.take_shared_queue(false));
        self.clients.counters.withdraw(Withdrawn::PassedOn, waiting.len() as u64);
        self.redistribute(number, waiting);
        self.session_due(id);
        if self.clients.has_session(id) {
            self.clients.refresh_session_timer(id);
        }
    }

    /// Ends the session: its subscriptions go, its will is published if it is still to come, and
    /// messages that other members of its shared groups can take go to them.
    // [MQTT-3.1.2-8], [MQTT-4.1.0-2]
    pub(super) fn end_session(&mut self, id: SessionId) {
        let Some(mut session) = self.clients.end_session(id) else { return };
        debug_assert!(session.link.is_none());
        self.clients.note_end(&session);
        self.leave_groups(id);
        self.clear_away();
        if let Some(will) = session.will.take() {
            self.send_will(session.author(), will);
        }
        // A step for each exchange and delivery, and one for the gap that may be behind it.
        self.clients.outbox.purse().spend_at_once(2 * session.held());
        let before = session.waiting_len() as u64;
        let (mut lost, passed_on) = session.take_shared_in_flight();
        let queued = session.take_shared_queue(true);
        let passed_on = passed_on + queued.len() as u64;
        self.clients.counters.withdraw(Withdrawn::PassedOn, passed_on);
        self.clients.counters.withdraw(Withdrawn::SessionOver, before - passed_on);
        lost.extend(queued);
        self.redistribute(session.number, lost);
    }

    /// Takes a session that is over out of its shared groups, whose messages go to other members
    /// from now on.
    fn leave_groups(&mut self, id: SessionId) {
        let subscriptions = &mut self.clients.sessions[id.slot].subscriptions;
        let shared: Vec<Place> = subscriptions.shared_places().collect();
        let mut news = Vec::new();
        for place in shared {
            let filter = self.subscriptions.filter(place);
            subscriptions.remove(place, filter.len());
            self.clients.outbox.purse().spend_at_once(filter_steps(&filter));
            let gone = self.subscriptions.remove(id.slot, place);
            news.extend(gone.and_then(|gone| gone.news).map(News::new));
        }
        self.pay_for_moves();
        self.tell_interest(news, None);
    }

    /// Takes out the subscriptions of sessions that are over, as far as the turn allows.
    pub(super) fn clear_away(&mut self) {
        let is_at_once = is_planted(Planted::EndAtOnce);
        let mut news = Vec::new();
        while let Some(&id) = self.clients.over.front() {
            let session = &mut self.clients.sessions[id.slot];
            while (is_at_once || !self.clients.outbox.purse().is_empty())
                && let Some(place) = session.subscriptions.pop()
            {
                let gone = self.subscriptions.remove(id.slot, place);
                let gone = gone.and_then(|gone| gone.news);
                // Only a filter that nobody else has is put together from the nodes of the tree.
                let steps = gone.as_ref().map_or(SUBSCRIPTION_STEPS, |gone| filter_steps(&gone.0));
                let moved = self.subscriptions.take_moved_bytes() / MOVED_BYTES;
                if !is_at_once {
                    self.clients.outbox.purse().spend(steps + moved);
                }
                news.extend(gone.map(News::new));
            }
            if !session.subscriptions.is_empty() {
                break;
            }
            self.clients.sessions.remove(id);
            self.clients.over.pop_front();
        }
        self.tell_interest(news, None);
    }

    /// Publishes the session's will, or ends the session, where its time has come.
    pub(super) fn session_due(&mut self, id: SessionId) {
        let now = self.clients.now;
        let Some(session) = self.clients.sessions.get_mut(id) else { return };
        if session.ends.is_some_and(|ends| ends <= now) {
            self.clients.counters.sessions_expired += 1;
            self.clients.audit_session_end(id, SessionEnd::Expired);
            return self.end_session(id);
        }
        if let Some(will) = session.will.take_if(|will| will.due.is_some_and(|due| due <= now)) {
            let author = session.author();
            self.clients.note_session(id);
            self.send_will(author, will);
        }
    }
}

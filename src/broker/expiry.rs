//! Expiry as time passes: of silent peers, of sessions and of messages.

use super::boundary::Output;
use super::link::State;
use super::purse::{RETAINED_STEPS, TIMER_STEPS};
use super::shard::Shard;
use super::timers::TimerKey;
use super::told::Departure;
use crate::base::ids::LinkId;
use crate::limits::{LOOK_AGAIN, LOOKS_MAX, TURN_LATE};
use crate::mqtt::{ProtocolError, ReasonCode};
use std::time::Duration;

impl Shard {
    pub(super) fn tick(&mut self) {
        let now = self.clients.now;
        self.clients.refill_purse();
        self.go_on_with_mesh();
        while !self.clients.outbox.purse().is_empty()
            && let Some((due, key)) = self.clients.timers.take_due(now)
        {
            self.clients.outbox.purse().spend(TIMER_STEPS);
            match key {
                TimerKey::Link(slot) => {
                    let link = self.clients.links[slot as usize].as_ref().map(|link| link.id);
                    link.into_iter().for_each(|id| self.link_due(id, now.since(due)));
                }
                TimerKey::Session(slot) => {
                    let session = self.clients.sessions.id_at(slot);
                    session.into_iter().for_each(|id| self.session_timer(id));
                }
            }
        }
        while !self.clients.outbox.purse().is_empty()
            && let Some(expired) = self.retained.expire_one(now)
        {
            self.clients.outbox.purse().spend(RETAINED_STEPS);
            expired.set_retained(false);
            self.quotas.of(expired.user()).take_retained();
        }
        self.clients.refill_purse();
        self.take_turns();
        self.clients.refill_purse();
        if !self.neighbours.is_busy() {
            self.clear_away();
        }
        self.shed();
        self.go_on_with_census();
        self.clients.refill_purse();
        self.clients.drops.tell(now);
        for _ in 0..self.clients.unfinished.len() {
            if self.clients.outbox.is_over() || self.clients.outbox.purse().is_empty() {
                break;
            }
            let Some(id) = self.clients.unfinished.pop_front() else { break };
            if let Some(session) = self.clients.sessions.get_mut(id) {
                session.is_unfinished = false;
                self.pump(id);
            }
        }
    }

    /// A link's time has come, and so long ago: its peer was silent for too long, as far as is
    /// known here.
    // [MQTT-3.1.2-22]
    fn link_due(&mut self, id: LinkId, late: Duration) {
        let now = self.clients.now;
        let patience = self.clients.patience();
        let is_kept_waiting = self.is_kept_waiting(id);
        let Some(link) = self.clients.link(id) else { return };
        if is_kept_waiting {
            (link.heard, link.awaited) = (now, now);
        }
        let expires = link.expires();
        let is_ending = link.state == State::Closing || link.is_finished;
        match (link.state, link.due(patience)) {
            // What it waits for may have come during a turn that was late.
            _ if is_ending && late > TURN_LATE && link.looks < LOOKS_MAX => {
                link.looks += 1;
                self.clients.set_link_timer(id, Some(now.after(LOOK_AGAIN)));
            }
            (State::Closing, _) => {
                link.forget_deferred();
                self.finish(id);
            }
            _ if link.is_finished && !link.pauses.login => {
                self.hang_up_finished(id);
            }
            (State::Connected { .. }, None) => {}
            (_, Some(due)) if due > now => self.clients.set_link_timer(id, Some(due)),
            // A peer that comes in has to be answered to go on, which a late turn has not done.
            (State::Fresh { .. } | State::Authenticating, _) if late > LOOK_AGAIN => {
                self.clients.set_link_timer(id, Some(now.after(late.min(patience))));
            }
            (State::Connected { .. }, _) if expires.is_some_and(|expires| expires <= now) => {
                let error = ProtocolError::new(ReasonCode::NotAuthorized, "its token has expired");
                self.disconnect(id, Departure::Refused(error));
            }
            // Whoever does not read its responses keeps the broker from reading.
            _ if link.pauses.backlog => self.end_silent(id),
            // The turn may be late: what has come since may still wait.
            _ => self.clients.outputs.push_back(Output::LookForInput { link: id }),
        }
    }

    /// The driver has looked for input of a silent peer.
    pub(super) fn looked(&mut self, id: LinkId, has_input: bool) {
        let now = self.clients.now;
        let patience = self.clients.patience();
        let has_timer = self.clients.timers.is_set(TimerKey::Link(id.slot));
        let Some(link) = self.clients.link(id) else { return };
        if has_timer || link.state == State::Closing {
            // Input that came meanwhile has set another time.
            return;
        }
        let next = match link.due(patience) {
            _ if link.is_held_up() => Some(now.after(LOOK_AGAIN)),
            due if due.is_none_or(|due| due > now) => {
                link.looks = 0;
                due
            }
            _ if has_input && link.looks < LOOKS_MAX => {
                link.looks += 1;
                Some(now.after(LOOK_AGAIN))
            }
            _ => return self.end_silent(id),
        };
        self.clients.set_link_timer(id, next);
    }

    /// Closes a link whose peer was silent for too long.
    fn end_silent(&mut self, id: LinkId) {
        let Some(link) = self.clients.link(id) else { return };
        match link.state {
            State::Fresh { .. } => {
                tracing::info!(peer = %link.origin, "Client closed: no CONNECT in time");
                self.clients.audit_unheard_for(id, "no CONNECT in time");
                self.close(id);
            }
            State::Authenticating => {
                let cause = "it did not log in in time";
                let error = ProtocolError::new(ReasonCode::NotAuthorized, cause);
                self.hang_up(id, &Departure::Refused(error));
            }
            State::Connected { .. } => self.disconnect(id, Departure::Silent),
            State::Closing => {}
        }
    }
}

//! What the passing of time does: peers that are silent, sessions and messages that expire.

use super::boundary::LinkId;
use super::clients::TimerKey;
use super::link::State;
use super::shard::Shard;
use crate::limits::CONNECT_TIME_MAX;
use crate::mqtt::ReasonCode;

impl Shard {
    pub(super) fn tick(&mut self) {
        let now = self.clients.now;
        self.go_on_with_mesh();
        while let Some(&(due, key)) = self.clients.timers.first()
            && due <= now
        {
            self.clients.timers.pop_first();
            match key {
                TimerKey::Link(id) => self.link_due(id),
                TimerKey::Session(id) => {
                    if let Some(session) = self.clients.sessions.get_mut(id) {
                        session.timer = None;
                    }
                    self.session_timer(id);
                }
            }
        }
        self.retained.expire(now);
        for _ in 0..self.clients.unfinished.len() {
            let Some(id) = self.clients.unfinished.pop_front() else { break };
            if let Some(session) = self.clients.sessions.get_mut(id) {
                session.is_unfinished = false;
                self.pump(id);
            }
        }
    }

    /// Closes a link whose peer was silent for too long.
    // [MQTT-3.1.2-22]
    fn link_due(&mut self, id: LinkId) {
        let now = self.clients.now;
        let is_kept_waiting = self.is_kept_waiting(id);
        let Some(link) = self.clients.link(id) else { return };
        link.timer = None;
        if is_kept_waiting {
            // What a paused link has received may still be waiting.
            link.heard = now;
        }
        let is_expired = link.due() != link.silent_at();
        match (link.state, link.due()) {
            (State::Closing, _) => {
                link.forget_held();
                self.finish(id);
            }
            _ if link.is_finished => {
                self.hang_up(id);
            }
            (State::Fresh { .. } | State::Authenticating, _) if is_kept_waiting => {
                self.clients.set_link_timer(id, Some(now.after(CONNECT_TIME_MAX)));
            }
            (State::Fresh { .. }, _) => {
                tracing::info!(peer = %link.origin, "Client closed: no CONNECT in time");
                self.close(id);
            }
            (State::Authenticating, _) => {
                tracing::info!(peer = %link.origin, "Client closed: it did not log in in time");
                self.close(id);
            }
            (State::Connected { .. }, Some(due)) if due > now => {
                self.clients.set_link_timer(id, Some(due));
            }
            (State::Connected { .. }, Some(_)) if is_expired => {
                self.disconnect(id, ReasonCode::NotAuthorized, Some("its token has expired"));
            }
            (State::Connected { .. }, Some(_)) => {
                let reason = Some("nothing came for one and a half keep alive periods");
                self.disconnect(id, ReasonCode::KeepAliveTimeout, reason);
            }
            (State::Connected { .. }, None) => {}
        }
    }
}

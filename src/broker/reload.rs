//! New settings while clients are connected: logins and permissions are judged anew.

use super::handle_auth::NOT_ANY_MORE;
use super::permission::{policy, worth_keeping};
use super::purse::SUBSCRIPTION_STEPS;
use super::shard::Shard;
use super::told::Departure;
use crate::access::Policy;
use crate::base::ids::{LinkId, SessionId};
use crate::mqtt::TopicFilter;
use crate::options::Options;
use std::sync::Arc;

impl Shard {
    pub(super) fn reload(&mut self, options: Arc<Options>, policies: Arc<[Policy]>) {
        self.clients.options = options;
        self.policies = policies;
        let sessions: Vec<SessionId> = self.clients.sessions.iter().map(|(id, _)| id).collect();
        let outlaws: Vec<LinkId> = sessions.into_iter().filter_map(|id| self.judge(id)).collect();
        // What they leave behind goes to others, by the rights that these have now.
        for link in outlaws {
            self.disconnect(link, Departure::Removed(NOT_ANY_MORE));
        }
    }

    /// Gives a session the rights that its client has now; the connection of a client that would
    /// not be let in any more.
    fn judge(&mut self, id: SessionId) -> Option<LinkId> {
        let session = self.clients.sessions.get_mut(id)?;
        let policy = policy(&self.policies, session.listener);
        let identity = session
            .identity
            .clone()
            .unwrap_or_else(|| Arc::new(policy.anonymous(&session.client_id)));
        session.grants = policy.grants(&identity);
        let stands = policy.still_holds(&identity);
        session.identity = worth_keeping(identity, policy, session.grants.as_ref());
        session.count(Some(self.quotas.of(session.user())));
        if !stands {
            // Nobody speaks for whoever has left it any more.
            session.will = None;
        }
        let link = session.link.filter(|_| !stands);
        if !stands {
            self.clients.note_session(id);
        }
        self.judge_subscriptions(id);
        self.judge_replays(id);
        link
    }

    /// Decides anew which of the session's subscriptions need a check for each delivery. One that
    /// reaches nothing stays, so that a right given back works again, and is checked.
    pub(super) fn judge_subscriptions(&mut self, id: SessionId) {
        let session = &self.clients.sessions[id.slot];
        let steps = SUBSCRIPTION_STEPS * session.subscriptions.len();
        self.clients.outbox.purse().spend_at_once(steps);
        let judged: Vec<_> = session
            .subscriptions
            .iter()
            .map(|place| {
                let text = self.subscriptions.filter(place);
                let filter = TopicFilter::parsed(&text).filter;
                (place, session.check_of(filter).unwrap_or(true))
            })
            .collect();
        for (place, is_checked) in judged {
            self.subscriptions.set_checked(id.slot, place, is_checked);
        }
    }
}

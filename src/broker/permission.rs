//! Permissions on every path: may this client write, or read, this topic?
//!
//! A subscription is judged once, when the client asks for it. If all its topics are permitted, its
//! deliveries cost nothing. If some are, each delivery is checked. If none are, the subscription is
//! refused. A delayed message (queued, in flight, retained) is checked when it is sent, since
//! rights may have changed meanwhile. A reload judges all subscriptions anew.

use super::clients::Clients;
use super::session::Session;
use super::shard::Shard;
use crate::access::{Grants, Identity, Policy, Reach};
use crate::base::ids::{ListenerId, SessionId};
use crate::metrics::Dropped;
use crate::store::{Message, Source};
use crate::topics::Extras;
use std::sync::Arc;

impl Session {
    /// True when the client may publish to the topic now.
    pub(super) fn may_write(&self, topic: &str) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.may_write(topic))
    }

    /// True when the client may be sent messages published to the topic now.
    pub(super) fn may_read(&self, topic: &str) -> bool {
        self.grants.as_ref().is_none_or(|grants| grants.may_read(topic))
    }

    /// Whether deliveries for a subscription to `filter` are checked; None when the client may read
    /// none of its topics.
    pub(super) fn check_of(&self, filter: &str) -> Option<bool> {
        match self.grants.as_ref().map_or(Reach::All, |grants| grants.reach(filter)) {
            Reach::All => Some(false),
            Reach::Part => Some(true),
            Reach::None => None,
        }
    }
}

impl Clients {
    /// True when the client of the session in `slot` may be sent messages published to `topic`.
    pub(super) fn may_read(&self, slot: u32, topic: &str) -> bool {
        self.sessions[slot].may_read(topic)
    }

    /// Judges a delayed message, as [`Self::may_read`] does, and counts a denial.
    pub(super) fn may_still_read(&mut self, slot: u32, topic: &str) -> bool {
        let may = self.may_read(slot, topic);
        if !may {
            self.count_drops(slot, Dropped::Denied, 1);
        }
        may
    }
}

impl Shard {
    /// The extras of a subscription that a client asks for; None when it is not permitted.
    pub(super) fn extras(
        &mut self,
        session: SessionId,
        filter: &str,
        subscription_id: u32,
    ) -> Option<Extras> {
        let check = self.clients.sessions[session.slot].check_of(filter);
        self.clients.counters.subscriptions_denied += u64::from(check.is_none());
        check.map(|is_checked| Extras::new(subscription_id, is_checked))
    }

    /// The extras of a subscription that an earlier process has permitted. A subscription whose
    /// topics are no longer permitted is checked, as after a reload.
    pub(super) fn restored_extras(&self, id: SessionId, filter: &str, id_given: u32) -> Extras {
        let check = self.clients.sessions[id.slot].check_of(filter);
        Extras::new(id_given, check.unwrap_or(true))
    }
}

/// Makes a test for retained messages: true when the publisher may still write to the topic. One
/// look-up judges successive messages of one publisher.
pub(super) fn permitted(policies: &[Policy]) -> impl FnMut(&Arc<Message>) -> bool {
    let mut last: Option<(Arc<Identity>, Option<Arc<Grants>>)> = None;
    move |message| {
        let Some(Source { identity, listener }) = &message.source else { return true };
        if !last.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, identity)) {
            let grants = policy(policies, *listener).grants(identity);
            last = Some((Arc::clone(identity), grants));
        }
        let grants = last.as_ref().and_then(|(_, grants)| grants.as_ref());
        grants.is_none_or(|grants| grants.may_write(message.topic()))
    }
}

/// Returns the identity, unless it is anonymous and its listener tells no clients apart.
pub(super) fn worth_keeping(
    identity: Arc<Identity>,
    policy: &Policy,
    grants: Option<&Arc<Grants>>,
) -> Option<Arc<Identity>> {
    let is_told_apart = identity.user.is_some() || grants.is_some() || !policy.admits_all();
    is_told_apart.then_some(identity)
}

/// The policy of a listener.
pub(super) fn policy(policies: &[Policy], listener: ListenerId) -> &Policy {
    &policies[listener.index()]
}

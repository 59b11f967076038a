//! The logins of a link's client.

use super::connect_request::ConnectRequest;
use crate::access::ScramExchange;
use crate::base::time::Time;
use std::sync::{Arc, Weak};

/// A link's knowledge of its client's logins: of the one that is not over, and of the last.
#[derive(Debug, Default)]
pub(super) struct LinkLogin {
    pending: Option<Box<PendingLogin>>,
    method: Option<Arc<str>>,
    expires: Option<Time>,
}

/// A login that is not over.
#[derive(Debug, Default)]
pub(super) struct PendingLogin {
    /// The client's request; None when a connected client authenticates again.
    pub(super) request: Option<ConnectRequest>,
    /// The permit for a large CONNECT, of which there may be few.
    pub(super) permit: Option<Arc<()>>,
    /// The exchange as the last step left it; None while the authenticator has it.
    pub(super) exchange: Option<Box<ScramExchange>>,
    /// The token that lives as long as the link waits for the verdict, so that the authenticator
    /// sees it; None before the login is handed out.
    pub(super) waits: Option<Arc<()>>,
    /// The time at which the authenticator got the login.
    pub(super) since: Option<Time>,
}

impl LinkLogin {
    /// Keeps a login until its next step.
    pub(super) fn keep(&mut self, pending: PendingLogin) {
        self.pending = Some(Box::new(pending));
    }

    /// Takes the login that is not over.
    pub(super) fn take(&mut self) -> Option<PendingLogin> {
        self.pending.take().map(|pending| *pending)
    }

    /// The client's request, while its login is being verified.
    pub(super) fn request(&self) -> Option<&ConnectRequest> {
        self.pending.as_ref()?.request.as_ref()
    }

    /// The exchange as the last step left it, on its way to the authenticator.
    pub(super) fn take_exchange(&mut self) -> Option<Box<ScramExchange>> {
        self.pending.as_mut()?.exchange.take()
    }

    /// The login that is not over goes to the authenticator; dangles once nobody waits for its
    /// verdict any more.
    pub(super) fn hand_out(&mut self, now: Time) -> Option<Weak<()>> {
        let pending = self.pending.as_mut()?;
        pending.since = Some(now);
        Some(Arc::downgrade(pending.waits.get_or_insert_default()))
    }

    /// The client is let in: by `method`, if it named one, and until then, if its proof ends.
    pub(super) fn note_let_in(&mut self, method: Option<Arc<str>>, expires: Option<Time>) {
        (self.method, self.expires) = (method, expires);
    }

    /// The client has logged in anew.
    pub(super) const fn renew(&mut self, expires: Option<Time>) {
        self.expires = expires;
    }

    /// The authentication method of CONNECT, once the client is let in.
    pub(super) const fn method(&self) -> Option<&Arc<str>> {
        self.method.as_ref()
    }

    /// The time at which the client's proof of itself expires.
    pub(super) const fn expires(&self) -> Option<Time> {
        self.expires
    }
}

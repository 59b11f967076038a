//! Entries of the audit log about clients. Each function does nothing when there is no audit log.
//!
//! No entry has a payload, a password, a token or authentication data: what is told is what the
//! link, the session and the request of CONNECT know, and none of these keeps a secret.

use super::audit_trail::AuditTrail;
use super::clients::Clients;
use super::connect_request::ConnectRequest;
use super::link::Link;
use super::link_login::LinkLogin;
use super::ongoing::FilterTally;
use super::origin::Origin;
use super::session::Session;
use super::shard::Shard;
use super::told::Departure;
use super::will::Author;
use crate::audit::{Entry, Trail};
use crate::base::ids::{LinkId, ListenerId, SessionId};
use crate::mqtt::{ProtocolError, Publish};

/// The reason for which a session ends without its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// The session's time was over.
    Expired,
    /// A client came with a clean start.
    CleanStart,
    /// Another user came with the same client identifier.
    OtherUser,
}

impl SessionEnd {
    const fn words(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::CleanStart => "clean start",
            Self::OtherUser => "another user came",
        }
    }
}

impl Shard {
    /// Tells the audit log of clients from now on. Must come first.
    pub fn keep_audit(&mut self, trail: Trail) {
        self.clients.audit = Some(Box::new(AuditTrail::new(trail)));
    }
}

impl Clients {
    /// True when there is an audit log.
    pub(super) const fn is_audited(&self) -> bool {
        self.audit.is_some()
    }

    /// A tally for the filters of one packet, if there is an audit log.
    pub(super) fn new_tally(&self) -> Option<Box<FilterTally>> {
        self.audit.as_ref().map(|_| Box::default())
    }

    /// The link, while it is there.
    pub(super) fn known_link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(id.slot as usize)?.as_deref().filter(|link| link.id == id)
    }

    fn listener(&self, listener: ListenerId) -> String {
        let listener = self.options.listeners.get(listener.index());
        listener.map(ToString::to_string).unwrap_or_default()
    }

    /// Adds where a connection comes from.
    fn from(&self, entry: Entry, origin: &Origin) -> Entry {
        let peer = origin.peer.map(|peer| peer.to_string());
        let entry = entry.text("peer", peer.as_deref().unwrap_or("a Unix socket"));
        entry.text("listener", &self.listener(origin.listener))
    }

    /// An entry about a client that was let in, with the connection that it has.
    fn about(&self, event: &'static str, session: &Session) -> Entry {
        let entry = Entry::new(event).text("client_id", &session.client_id);
        let entry = entry.maybe("user", session.user());
        match session.link.and_then(|link| self.known_link(link)) {
            Some(link) => self.from(entry, &link.origin),
            None => entry,
        }
    }

    /// Notes what the client of a session has caused, within its allowance.
    fn note_of(&mut self, session: SessionId, entry: impl FnOnce(&Self, &Session) -> Entry) {
        let Some(mut audit) = self.audit.take() else { return };
        let known = &self.sessions[session.slot];
        if let Some(link) = known.link {
            audit.note_of(self.now, link, || entry(self, known));
        }
        self.audit = Some(audit);
    }

    /// A client is let in.
    pub(super) fn audit_login(&self, request: &ConnectRequest, id: SessionId, is_resumed: bool) {
        let Some(audit) = &self.audit else { return };
        let session = &self.sessions[id.slot];
        let mut entry = self.about("login", session);
        if session.user().is_none() {
            entry = entry.maybe("unverified_user", request.user_name.as_deref());
        }
        let entry = entry
            .maybe("method", request.authentication_method.as_deref())
            .text("protocol", request.version.name())
            .flag("clean_start", request.clean_start)
            .text("session", if is_resumed { "resumed" } else { "created" })
            .number("expiry_s", session.expiry_s.into());
        audit.note(&entry);
    }

    /// A client is not let in; `owner` has its client identifier, if that is why.
    pub(super) fn audit_refused(
        &self,
        id: LinkId,
        request: Option<&ConnectRequest>,
        error: &ProtocolError,
        owner: Option<&str>,
    ) {
        let (Some(audit), Some(link)) = (&self.audit, self.known_link(id)) else { return };
        let client_id = request.map(|request| &*request.client_id);
        let user = request.and_then(|request| request.user_name.as_deref());
        let entry = Entry::new("login_refused").maybe("client_id", client_id);
        let entry = self.from(entry.maybe("unverified_user", user), &link.origin);
        let entry = entry
            .maybe("protocol", request.map(|request| request.version.name()))
            .number("reason_code", error.code as u64)
            .text("reason", error.code.name())
            .text("cause", error.cause);
        audit.note(&if owner.is_some() { entry.maybe("owner", owner) } else { entry });
    }

    /// A client is not let in whose login is being verified.
    pub(super) fn audit_refused_login(&self, id: LinkId, error: &ProtocolError) {
        let login = self.known_link(id).and_then(Link::login);
        self.audit_refused(id, login.and_then(LinkLogin::request), error, None);
    }

    /// A connected client has logged in anew.
    pub(super) fn audit_renewed(&self, id: SessionId) {
        let Some(audit) = &self.audit else { return };
        audit.note(&self.about("login_renewed", &self.sessions[id.slot]));
    }

    /// A connection ends on which no client was let in, for a reason of the broker's.
    pub(super) fn audit_unheard(&self, id: LinkId, departure: &Departure) {
        let cause = match departure {
            Departure::Refused(error) => error.cause,
            Departure::Garbled(cause) => cause,
            Departure::Removed(cause) => cause,
            // Nobody has come.
            _ => return,
        };
        self.audit_unheard_for(id, cause);
    }

    /// The same, with the reason in words.
    pub(super) fn audit_unheard_for(&self, id: LinkId, cause: &str) {
        let (Some(audit), Some(link)) = (&self.audit, self.known_link(id)) else { return };
        let entry = self.from(Entry::new("connection_refused"), &link.origin);
        audit.note(&entry.text("cause", cause));
    }

    /// Another connection takes over the session.
    pub(super) fn audit_taken_over(&self, id: SessionId, by: LinkId) {
        let (Some(audit), Some(by)) = (&self.audit, self.known_link(by)) else { return };
        let entry = self.about("session_taken_over", &self.sessions[id.slot]);
        let peer = by.origin.peer.map(|peer| peer.to_string());
        audit.note(&entry.text("by", peer.as_deref().unwrap_or("a Unix socket")));
    }

    /// A session ends without its connection.
    pub(super) fn audit_session_end(&self, id: SessionId, end: SessionEnd) {
        let Some(audit) = &self.audit else { return };
        let entry = self.about("session_ended", &self.sessions[id.slot]);
        audit.note(&entry.text("cause", end.words()));
    }

    /// A client goes that was let in. A SUBSCRIBE of it that was not done with is told before.
    pub(super) fn audit_departed(&mut self, link: LinkId, id: SessionId, departure: &Departure) {
        if !self.is_audited() {
            return;
        }
        if let Some(tally) = self.link(link).and_then(Link::take_tally) {
            self.audit_subscribed(id, &tally);
        }
        let left_out = self.audit.as_mut().map_or(0, |audit| audit.forget(link));
        let Some(audit) = &self.audit else { return };
        let session = &self.sessions[id.slot];
        let mut entry = self
            .about("disconnect", session)
            .text("reason", departure.kind().name())
            .text("detail", &departure.to_string())
            .text("session", if session.expiry_s == 0 { "ended" } else { "kept" });
        if left_out > 0 {
            entry = entry.number("left_out_before", left_out);
        }
        audit.note(&entry);
    }

    /// The filters of a SUBSCRIBE: those that were subscribed to, and those that were refused.
    pub(super) fn audit_subscribed(&mut self, id: SessionId, tally: &FilterTally) {
        let FilterTally { granted, refused } = tally;
        if !granted.is_empty() {
            self.note_of(id, |of, session| of.about("subscribe", session).filters(granted));
        }
        if !refused.is_empty() {
            self.note_of(id, |of, session| of.about("subscribe_denied", session).filters(refused));
        }
    }

    /// The filters of an UNSUBSCRIBE that were subscribed to.
    pub(super) fn audit_unsubscribed(&mut self, id: SessionId, tally: &FilterTally) {
        let filters = &tally.granted;
        if !filters.is_empty() {
            self.note_of(id, |of, session| of.about("unsubscribe", session).filters(filters));
        }
    }

    /// A PUBLISH is refused.
    pub(super) fn audit_publish_denied(&mut self, id: SessionId, topic: &str, reason: &str) {
        self.note_of(id, |of, session| {
            of.about("publish_denied", session).text("topic", topic).text("reason", reason)
        });
    }

    /// A client publishes what clears the retained message of a topic, if it does.
    pub(super) fn audit_if_cleared(&mut self, id: SessionId, publish: &Publish<'_>) {
        if publish.retain && publish.payload.is_empty() {
            let topic = publish.topic;
            self.note_of(id, |of, known| of.about("retained_deleted", known).text("topic", topic));
        }
    }

    /// A will is not published, or clears the retained message of a topic.
    pub(super) fn audit_will(&self, event: &'static str, author: &Author, topic: &str) {
        let Some(audit) = &self.audit else { return };
        let identity = author.source.as_ref().map(|source| &source.identity);
        let entry = Entry::new(event).maybe("client_id", identity.map(|i| &*i.client_id));
        let entry = entry.maybe("user", identity.and_then(|i| i.user.as_deref()));
        audit.note(&entry.flag("is_will", true).text("topic", topic));
    }
}

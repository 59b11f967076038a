//! Authentication of a client: at CONNECT, perhaps in steps by AUTH, and again when the client
//! wants.
//!
//! The shard verifies nothing itself, since that may take long: the shard hands a [`Login`] out and
//! goes on when the [`Verdict`] comes. Until then the link keeps the request of CONNECT.

use super::boundary::Output;
use super::connect_request::ConnectRequest;
use super::handle_connect::Verified;
use super::link::State;
use super::link_login::{LinkLogin, PendingLogin};
use super::peer::Peer;
use super::permission::{policy, worth_keeping};
use super::shard::Shard;
use super::told::{self, Departure};
use crate::access::{Identity, Login, Verdict};
use crate::base::ids::{LinkId, SessionId};
use crate::limits::LARGE_LOGINS_MAX;
use crate::metrics::record;
use crate::mqtt::{
    Auth, Disconnect, Frame, Packet, PacketType, ProtocolError, ReasonCode, Sender, Version,
};
use std::sync::Arc;
use std::time::Duration;

pub(super) const NOT_ANY_MORE: &str = "the client would not be let in any more";

impl Shard {
    /// Identifies a client by `login`, then lets the client in or not. `is_large`: its CONNECT is
    /// one of those that may be few.
    pub(super) fn authenticate(
        &mut self,
        id: LinkId,
        request: ConnectRequest,
        login: Login,
        is_large: bool,
    ) {
        let Some(link) = self.clients.link(id) else { return };
        link.state = State::Authenticating;
        let pending = PendingLogin { request: Some(request), ..PendingLogin::default() };
        let policy = policy(&self.policies, login.listener);
        if let Some(verdict) = policy.verify_at_once(&login) {
            return self.go_on_connecting(id, pending, verdict);
        }
        let permit = is_large.then(|| Arc::clone(&self.large_logins));
        if Arc::strong_count(&self.large_logins) > LARGE_LOGINS_MAX + 1 {
            let code = ReasonCode::ServerBusy;
            let cause = "too many large CONNECT packets at once";
            return self.go_on_connecting(id, pending, Verdict::Refuse { code, cause });
        }
        self.keep_login(id, PendingLogin { permit, ..pending });
        self.verify(id, login);
    }

    /// Hands a login out. Nothing more is taken from the client until the verdict comes, but for
    /// one that authenticates again and goes on meanwhile.
    fn verify(&mut self, id: LinkId, mut login: Login) {
        let now = self.clients.now;
        login.waits = self.clients.link(id).and_then(|link| link.login_mut().hand_out(now));
        if login.current.is_none() {
            self.clients.pause(id, |pauses| pauses.login = true);
        }
        self.clients.outputs.push_back(Output::Authenticate { link: id, login: Box::new(login) });
    }

    pub(super) fn authenticated(&mut self, id: LinkId, verdict: Verdict) {
        let Some(link) = self.clients.link(id) else { return };
        let Some(pending) = link.login_mut().take() else { return };
        if let Some(since) = pending.since {
            record(&mut self.histograms.login, self.clients.now.since(since), 1);
        }
        let Some(link) = self.clients.link(id) else { return };
        match link.state {
            State::Authenticating => self.go_on_connecting(id, pending, verdict),
            State::Connected { session } => self.go_on_again(id, session, pending, verdict),
            State::Fresh { .. } | State::Closing => {}
        }
        let resumes = self.clients.resume(id, |pauses| {
            (pauses.login, pauses.early) = (false, false);
        });
        let now = self.clients.now;
        let awaited = self.clients.link(id).filter(|link| link.state == State::Authenticating);
        if let Some(link) = awaited {
            // The next step is the client's.
            (link.heard, link.awaited) = (now, now);
            self.clients.refresh_link_timer(id);
        }
        if resumes {
            self.go_on(id);
        }
    }

    fn go_on_connecting(&mut self, id: LinkId, pending: PendingLogin, verdict: Verdict) {
        let PendingLogin { request: Some(request), permit, waits, since, .. } = pending else {
            return;
        };
        match verdict {
            Verdict::Accept { identity, data, valid_for } => {
                self.admit(id, request, identity, (data, valid_for));
            }
            Verdict::Continue { data, exchange } => {
                self.demand(id, request.authentication_method.as_deref(), &data);
                let (request, exchange) = (Some(request), Some(exchange));
                self.keep_login(id, PendingLogin { request, permit, exchange, waits, since });
            }
            Verdict::Refuse { code, cause } => {
                self.refuse_login(id, &request, &ProtocolError::new(code, cause));
            }
        }
    }

    fn go_on_again(
        &mut self,
        id: LinkId,
        session: SessionId,
        pending: PendingLogin,
        verdict: Verdict,
    ) {
        let Some(link) = self.clients.link(id) else { return };
        let method = link.login_mut().method().cloned();
        match verdict {
            Verdict::Accept { identity, data, valid_for } => {
                self.renew(id, session, identity, valid_for);
                let (method, data) = (method.as_deref(), data.as_deref());
                self.send_auth(id, ReasonCode::Success, method, data);
            }
            Verdict::Continue { data, exchange } => {
                self.demand(id, method.as_deref(), &data);
                self.keep_login(id, PendingLogin { exchange: Some(exchange), ..pending });
            }
            // [MQTT-4.12.1-2]
            Verdict::Refuse { code, cause } => {
                self.clients.counters.logins_refused += 1;
                self.refuse(id, ProtocolError::new(code, cause));
            }
        }
    }

    fn keep_login(&mut self, id: LinkId, pending: PendingLogin) {
        if let Some(link) = self.clients.link(id) {
            link.login_mut().keep(pending);
        }
    }

    /// A connected client has logged in anew.
    fn renew(
        &mut self,
        id: LinkId,
        session: SessionId,
        identity: Arc<Identity>,
        valid_for: Option<Duration>,
    ) {
        let now = self.clients.now;
        let known = &mut self.clients.sessions[session.slot];
        let policy = policy(&self.policies, known.listener);
        if !policy.still_holds(&identity) {
            return self.refuse(id, ProtocolError::new(ReasonCode::NotAuthorized, NOT_ANY_MORE));
        }
        let grants = policy.grants(&identity);
        known.identity = Some(identity);
        known.grants = grants;
        self.judge_subscriptions(session);
        self.clients.audit_renewed(session);
        if let Some(link) = self.clients.link(id) {
            link.login_mut().renew(valid_for.map(|time| now.after(time)));
            self.clients.refresh_link_timer(id);
        }
    }

    fn admit(
        &mut self,
        id: LinkId,
        request: ConnectRequest,
        identity: Arc<Identity>,
        (data, valid_for): (Option<Box<[u8]>>, Option<Duration>),
    ) {
        let Some(link) = self.clients.link(id) else { return };
        let policy = policy(&self.policies, link.origin.listener);
        if !policy.still_holds(&identity) {
            // The policy was replaced while the verdict was on its way.
            let error = ProtocolError::new(ReasonCode::NotAuthorized, NOT_ANY_MORE);
            return self.refuse_login(id, &request, &error);
        }
        let grants = policy.grants(&identity);
        let identity = worth_keeping(identity, policy, grants.as_ref());
        self.accept(id, request, &Verified { identity, grants, data, valid_for });
    }

    fn refuse_login(&mut self, id: LinkId, request: &ConnectRequest, error: &ProtocolError) {
        self.clients.counters.logins_refused += 1;
        self.refuse_connect(id, Some(request), error);
    }

    /// Tells the log that a client goes whose login is not over.
    pub(super) fn tell_refused_login(&mut self, id: LinkId, departure: &Departure) {
        let Some(link) = self.clients.link(id) else { return };
        match (departure, link.login().and_then(LinkLogin::request)) {
            (Departure::Refused(error), Some(request)) => {
                told::refused(&link.origin, Some(request), error);
                self.clients.audit_refused_login(id, error);
            }
            _ => {
                told::ended(&link.origin, departure);
                self.clients.audit_unheard(id, departure);
            }
        }
    }

    // [MQTT-4.12.0-2]
    fn demand(&mut self, id: LinkId, method: Option<&str>, data: &[u8]) {
        self.send_auth(id, ReasonCode::ContinueAuthentication, method, Some(data));
    }

    fn send_auth(
        &mut self,
        id: LinkId,
        code: ReasonCode,
        method: Option<&str>,
        data: Option<&[u8]>,
    ) {
        let auth = Auth {
            code,
            authentication_method: method,
            authentication_data: data,
            ..Auth::default()
        };
        self.clients.respond(id, &Packet::Auth(auth));
    }

    /// Handles a packet that comes while it is being found out who the client is.
    // [MQTT-3.1.2-30]
    pub(super) fn handle_unauthenticated(
        &mut self,
        id: LinkId,
        frame: &Frame<'_>,
    ) -> Result<(), ProtocolError> {
        let Some(link) = self.clients.link(id) else { return Ok(()) };
        let Some(request) = link.login().and_then(LinkLogin::request) else { return Ok(()) };
        let version = request.version;
        match frame.kind() {
            Some(PacketType::Disconnect) => {
                Disconnect::decode(frame, version, Sender::Client)?;
                self.close(id);
                return Ok(());
            }
            Some(PacketType::Auth) => {}
            _ => return Err(ProtocolError::protocol("a packet before CONNACK")),
        }
        let step = step(frame, version, request.authentication_method.as_deref());
        let step = step.and_then(|auth| match auth.code {
            ReasonCode::ContinueAuthentication => Ok(auth),
            _ => Err(ProtocolError::protocol("AUTH that continues nothing")),
        });
        let auth = match step {
            Ok(auth) => auth,
            Err(error) => {
                told::refused(&link.origin, Some(request), &error);
                self.clients.audit_refused_login(id, &error);
                self.turn_away(id, &error);
                return Ok(());
            }
        };
        let mut login = request.login(&link.origin);
        login.data = auth.authentication_data.map(Into::into);
        login.exchange = link.login_mut().take_exchange();
        self.verify(id, login);
        Ok(())
    }

    /// Handles AUTH of a connected client, which wants to log in anew.
    // [MQTT-4.12.1-1]
    pub(super) fn handle_auth(
        &mut self,
        peer: Peer,
        frame: &Frame<'_>,
    ) -> Result<(), ProtocolError> {
        let Peer { link: id, session, version } = peer;
        let Some(link) = self.clients.link(id) else { return Ok(()) };
        let Some(method) = link.login().and_then(LinkLogin::method).cloned() else {
            return Err(ProtocolError::protocol("AUTH without an authentication method"));
        };
        let auth = step(frame, version, Some(&method))?;
        let pending = link.login_mut().take();
        let exchange = match (auth.code, pending) {
            (ReasonCode::ReAuthenticate, None) => None,
            (ReasonCode::ContinueAuthentication, Some(pending)) if pending.exchange.is_some() => {
                pending.exchange
            }
            _ => return Err(ProtocolError::protocol("AUTH out of order")),
        };
        let origin = link.origin.clone();
        let known = &self.clients.sessions[session.slot];
        let login = Login {
            listener: known.listener,
            address: origin.peer.map(|peer| peer.ip()),
            client_id: (&*known.client_id).into(),
            certificate: origin.certificate_user,
            method: Some(method),
            data: auth.authentication_data.map(Into::into),
            exchange,
            current: known.identity.clone(),
            ..Login::default()
        };
        self.keep_login(id, PendingLogin::default());
        self.verify(id, login);
        Ok(())
    }
}

/// An AUTH of the method that CONNECT named.
// [MQTT-4.12.0-5]
fn step<'a>(
    frame: &Frame<'a>,
    version: Version,
    method: Option<&str>,
) -> Result<Auth<'a>, ProtocolError> {
    let auth = Auth::decode(frame, version)?;
    match method.is_some() && auth.authentication_method == method {
        true => Ok(auth),
        false => Err(ProtocolError::protocol("AUTH with another authentication method")),
    }
}

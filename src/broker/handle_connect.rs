//! CONNECT: the client's session, the worker where that lives, and the terms of both sides.

use super::audited::SessionEnd;
use super::boundary::Output;
use super::connect_request::ConnectRequest;
use super::link::State;
use super::origin::Excess;
use super::pressure::NO_MEMORY;
use super::session::Session;
use super::shard::Shard;
use super::told::{self, Departure};
use crate::access::{Grants, Identity, Login, Secret};
use crate::base::ids::{LinkId, ListenerId, SessionId, SessionNumber};
use crate::limits::UNAUTHENTICATED_BYTES_MAX;
use crate::metrics::RefusedConnect;
use crate::mqtt::{
    ConnAck, Connect, ConnectError, Frame, Packet, PacketType, ProtocolError, ReasonCode, Version,
    level_count,
};
use crate::options::{ClientIdOwner, ClientIdSource, ListenerOptions, MqttVersion, Options};
use crate::store::qos;
use std::sync::Arc;
use std::time::Duration;

/// A client was verified.
#[derive(Debug)]
pub(super) struct Verified {
    /// None where nothing tells clients apart.
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) grants: Option<Arc<Grants>>,
    /// The last of the authentication data.
    pub(super) data: Option<Box<[u8]>>,
    pub(super) valid_for: Option<Duration>,
}

impl Shard {
    /// Refuses bytes that are no CONNECT at once, instead of waiting for the whole packet.
    // [MQTT-3.1.0-1]
    pub(super) const fn check_first(bytes: &[u8]) -> Result<(), ProtocolError> {
        match bytes {
            // No CONNECT is as short.
            [0x16] | [0x16, 3, ..] => Err(ProtocolError::malformed("TLS on a port without TLS")),
            [0x10..0x20, ..] => Ok(()),
            [b'A'..=b'Z', ..] => {
                Err(ProtocolError::malformed("HTTP or a PROXY header on an MQTT port"))
            }
            _ => Err(ProtocolError::protocol("the first packet is not CONNECT")),
        }
    }

    /// Handles the first packet of a connection, which must be CONNECT. `rest` begins with it.
    // [MQTT-3.1.0-1]
    pub(super) fn handle_first(
        &mut self,
        id: LinkId,
        frame: &Frame<'_>,
        rest: &[u8],
    ) -> Result<(), ProtocolError> {
        if frame.kind() != Some(PacketType::Connect) {
            return Err(ProtocolError::protocol("the first packet is not CONNECT"));
        }
        let connect = match Connect::decode(frame) {
            Ok(connect) => connect,
            Err(ConnectError::Malformed(error)) => return Err(error),
            Err(ConnectError::Refused { version, packet_bytes_max, error }) => {
                self.note_terms(id, version, packet_bytes_max);
                self.refuse_connect(id, None, &error);
                return Ok(());
            }
            Err(ConnectError::UnsupportedVersion { .. }) => {
                // [MQTT-3.1.2-2]: in words that clients of any version understand.
                self.note_terms(id, Version::V311, None);
                let code = ReasonCode::UnsupportedProtocolVersion;
                let error = ProtocolError::new(code, "protocol level not supported");
                self.refuse_connect(id, None, &error);
                return Ok(());
            }
        };
        self.note_terms(id, connect.version, connect.packet_bytes_max);
        if let Some(link) = self.clients.link(id) {
            link.is_bridge = connect.is_bridge;
        }
        let chosen = match self.choose_client_id(id, &connect) {
            Ok(chosen) => chosen,
            Err(error) => {
                let request = ConnectRequest::new(&connect, None);
                self.refuse_connect(id, Some(&request), &error);
                return Ok(());
            }
        };
        let home = self.client_home(chosen.as_deref().unwrap_or(connect.client_id));
        if home == self.index {
            let Some(link) = self.clients.link(id) else { return Ok(()) };
            let request = ConnectRequest::new(&connect, chosen.as_deref());
            let login = Login {
                password: connect.password.map(Secret::new),
                data: connect.authentication_data.map(Into::into),
                ..request.login(&link.origin)
            };
            let is_large = frame.length > UNAUTHENTICATED_BYTES_MAX;
            self.authenticate(id, request, login, is_large);
        } else if let Some(link) = self.clients.remove_link(id) {
            let (origin, received) = (link.origin, rest.to_vec());
            // It is counted where it goes.
            self.clients.counters.received_bytes -= received.len() as u64;
            self.clients.counters.packets_received -= 1;
            self.neighbours.note_sent();
            let handover = Output::Handover { link: id, to: home, origin, received };
            self.clients.outputs.push_back(handover);
        }
        Ok(())
    }

    /// Notes the terms of a CONNECT on which every answer to it depends.
    fn note_terms(&mut self, id: LinkId, version: Version, packet_bytes_max: Option<u32>) {
        if let Some(link) = self.clients.link(id) {
            link.version = version;
            link.packet_bytes_max = packet_bytes_max.unwrap_or(u32::MAX);
        }
    }

    // [MQTT-3.1.4-2], [MQTT-3.2.2-7]
    pub(super) fn refuse_connect(
        &mut self,
        id: LinkId,
        request: Option<&ConnectRequest>,
        error: &ProtocolError,
    ) {
        if let Some(link) = self.clients.link(id) {
            told::refused(&link.origin, request, error);
        }
        self.clients.audit_refused(id, request, error, None);
        self.turn_away(id, error);
    }

    /// The client hears that it is not let in.
    pub(super) fn turn_away(&mut self, id: LinkId, error: &ProtocolError) {
        let reason = refusal_kind(error.code);
        self.clients.counters.connects_refused[reason.place()] += 1;
        let connack = ConnAck { code: error.code, reason: Some(error.cause), ..ConnAck::default() };
        self.clients.send(id, &Packet::ConnAck(connack));
        self.close(id);
    }

    /// The client identifier that counts instead of CONNECT's own, if one does.
    fn choose_client_id(
        &mut self,
        id: LinkId,
        connect: &Connect<'_>,
    ) -> Result<Option<String>, ProtocolError> {
        self.check_excess(id)?;
        self.check_terms(id, connect)?;
        let by_user = self.client_id_by_user(id, connect)?;
        self.check_connect(connect, by_user.is_some())?;
        let is_left_to_broker = by_user.is_none() && connect.client_id.is_empty();
        Ok(if is_left_to_broker { Some(self.assign_client_id(id)) } else { by_user })
    }

    /// Too many connections: the client was let in only to hear that.
    fn check_excess(&mut self, id: LinkId) -> Result<(), ProtocolError> {
        let Some(excess) = self.clients.link(id).and_then(|link| link.origin.excess) else {
            return Ok(());
        };
        self.clients.counters.excess_refused += 1;
        let (code, cause) = match excess {
            Excess::Connections => (ReasonCode::QuotaExceeded, "too many connections"),
            Excess::ConnectionsOfAddress => {
                (ReasonCode::QuotaExceeded, "too many connections from this address")
            }
            Excess::ConnectRate => {
                (ReasonCode::ConnectionRateExceeded, "too many connections at once")
            }
        };
        Err(ProtocolError::new(code, cause))
    }

    /// Refuses a client that the listener does not serve.
    fn check_terms(&mut self, id: LinkId, connect: &Connect<'_>) -> Result<(), ProtocolError> {
        let Some(listener) = self.listener_options(id) else { return Ok(()) };
        let version = match connect.version {
            Version::V31 => MqttVersion::V31,
            Version::V311 => MqttVersion::V311,
            Version::V5 => MqttVersion::V5,
        };
        let refuse = |code, cause| Err(ProtocolError::new(code, cause));
        if !listener.mqtt_versions.is_empty() && !listener.mqtt_versions.contains(&version) {
            // [MQTT-3.1.2-2]
            let cause = "the listener does not speak this version of MQTT";
            return refuse(ReasonCode::UnsupportedProtocolVersion, cause);
        }
        let client_id = match connect.client_id {
            "" if !listener.allow_empty_client_id => {
                // [MQTT-3.1.3-8]
                let cause = "the listener gives out no client identifiers";
                return refuse(ReasonCode::ClientIdentifierNotValid, cause);
            }
            "" => &*listener.assigned_client_id_prefix,
            client_id => client_id,
        };
        let prefixes = &listener.client_id_prefixes;
        if !prefixes.is_empty() && !prefixes.iter().any(|it| client_id.starts_with(&**it)) {
            let cause = "client identifiers begin otherwise here: see --client-id-prefix";
            return refuse(ReasonCode::NotAuthorized, cause);
        }
        if connect.will.as_ref().is_some_and(|will| will.qos as u8 > listener.max_qos) {
            // [MQTT-3.2.2-12]
            return refuse(ReasonCode::QoSNotSupported, "the will's QoS is above the maximum");
        }
        Ok(())
    }

    /// The client identifier where the listener makes it of the user's name: of the one that the
    /// client claims, which is verified later.
    fn client_id_by_user(
        &mut self,
        id: LinkId,
        connect: &Connect<'_>,
    ) -> Result<Option<String>, ProtocolError> {
        if !self.takes_user_name(id) {
            return Ok(None);
        }
        let link = self.clients.link(id);
        let certified = link.and_then(|link| link.origin.certificate_user.as_deref());
        match certified.or(connect.user_name).filter(|name| !name.is_empty()) {
            Some(name) => Ok(Some(name.to_owned())),
            None => {
                let cause = "client identifiers are user names here, and it has none";
                Err(ProtocolError::new(ReasonCode::NotAuthorized, cause))
            }
        }
    }

    /// The listener that the connection came by; the first one for a connection that has gone.
    fn listener_of(&mut self, id: LinkId) -> ListenerId {
        self.clients.link(id).map_or_else(ListenerId::default, |link| link.origin.listener)
    }

    /// The options of that listener; None for a bridge of the broker's own.
    fn listener_options(&mut self, id: LinkId) -> Option<&ListenerOptions> {
        let listener = self.listener_of(id).index();
        self.clients.options.listeners.get(listener)
    }

    /// True when the listener makes client identifiers of user names.
    fn takes_user_name(&mut self, id: LinkId) -> bool {
        let listener = self.listener_options(id);
        listener.is_some_and(|listener| listener.client_id == ClientIdSource::UserName)
    }

    /// `has_client_id`: the client's own does not count.
    fn check_connect(
        &self,
        connect: &Connect<'_>,
        has_client_id: bool,
    ) -> Result<(), ProtocolError> {
        let options = &self.clients.options;
        let refuse = |code, cause| Err(ProtocolError::new(code, cause));
        let is_empty = connect.client_id.is_empty() && !has_client_id;
        if is_empty
            && (connect.version == Version::V31 || !connect.clean_start)
            && !connect.version.is_v5()
        {
            // [MQTT-3.1.3-8]
            let cause = "an empty client identifier needs a clean session";
            return refuse(ReasonCode::ClientIdentifierNotValid, cause);
        }
        let Some(will) = &connect.will else { return Ok(()) };
        if will.retain && !options.retain_available {
            // [MQTT-3.2.2-13]
            return refuse(ReasonCode::RetainNotSupported, "retained messages are turned off");
        }
        if options.has_too_large(will.payload) {
            let cause = "the will's payload is larger than --max-payload-size";
            return refuse(ReasonCode::PacketTooLarge, cause);
        }
        if level_count(will.topic) > options.max_topic_levels as usize {
            return refuse(ReasonCode::TopicNameInvalid, "the will topic has too many levels");
        }
        if super::route::is_reserved(will.topic) {
            return refuse(ReasonCode::NotAuthorized, "$SYS and $CONTROL are the broker's own");
        }
        Ok(())
    }

    /// A client identifier that no client has, and whose session lives here.
    // [MQTT-3.1.3-6]
    fn assign_client_id(&mut self, id: LinkId) -> String {
        let prefix = self.listener_options(id).map(|it| it.assigned_client_id_prefix.clone());
        let prefix = prefix.unwrap_or_default();
        loop {
            let client_id = format!("{prefix}{:016x}", self.prng.next());
            let is_here = self.client_home(&client_id) == self.index;
            if is_here && self.clients.find_session(&client_id).is_none() {
                return client_id;
            }
        }
    }

    /// The client is let in.
    pub(super) fn accept(&mut self, id: LinkId, mut request: ConnectRequest, verified: &Verified) {
        if let Some(will) = &request.will
            && verified.grants.as_ref().is_some_and(|grants| !grants.may_write(&will.topic))
        {
            self.clients.counters.publishes_denied += 1;
            let cause = "the client may not publish its will";
            let error = ProtocolError::new(ReasonCode::NotAuthorized, cause);
            return self.refuse_connect(id, Some(&request), &error);
        }
        if let Err(error) = self.check_owner(id, &request, verified) {
            return self.turn_away(id, &error);
        }
        if self.connack(id, &request, false, verified).is_empty() {
            // Not even CONNACK is small enough for it: nothing is done for such a client.
            return;
        }
        let known = self.clients.find_session(&request.client_id);
        if known.is_none() && self.lacks_room_for_session(request.session_expiry_s > 0) {
            self.clients.counters.refused_memory += 1;
            return self.refuse_connect(id, Some(&request), &NO_MEMORY);
        }
        if let Err(error) = self.check_sessions(known, &request, verified) {
            self.count_refused(1, error);
            return self.refuse_connect(id, Some(&request), &error);
        }
        let is_noted = request.session_expiry_s > 0 || request.will.is_some();
        if is_noted && self.clients.ledger.as_ref().is_some_and(|ledger| ledger.is_full()) {
            let cause = "the disk does not keep up with what waits to be written";
            let error = ProtocolError::new(ReasonCode::ServerUnavailable, cause);
            return self.refuse_connect(id, Some(&request), &error);
        }
        let mark = self.clients.mark();
        if let Some(session) = known {
            // What one user has left behind is not for another who knows the client identifier.
            let end = match self.is_of_another(session, verified) {
                true => Some(SessionEnd::OtherUser),
                false => request.clean_start.then_some(SessionEnd::CleanStart),
            };
            self.take_over(session, id, end);
        }
        let kept = known.filter(|known| self.clients.has_session(*known));
        let session = kept.unwrap_or_else(|| self.make_session(&request.client_id));
        self.attach(id, session, &mut request, verified);
        self.clients.note_session(session);
        let waits = self.clients.is_noted_since(mark);
        if waits {
            // Nothing may overtake CONNACK.
            self.set_blocked(id, |blocks| blocks.connack = true);
        }
        let answer = self.connack(id, &request, kept.is_some(), verified);
        self.clients.count_response(answer.len());
        if waits {
            self.clients.defer_response(id, 0, true, answer);
        } else {
            self.clients.send_bytes(id, &answer);
        }
        if let Some(link) = self.clients.link(id) {
            told::connected(&link.origin, &request, verified.user());
        }
        self.clients.audit_login(&request, session, kept.is_some());
        self.clients.counters.connects_accepted[request.version as usize] += 1;
        if kept.is_some() {
            self.judge_subscriptions(session);
        }
        self.clients.sessions[session.slot].in_flight.forget_sent();
        self.pump(session);
    }

    /// True when a session belongs to another user. A session that no user in particular has made
    /// is every user's, so that no client is locked out when users are told apart from now on.
    fn is_of_another(&self, session: SessionId, verified: &Verified) -> bool {
        let owner = self.clients.sessions[session.slot].user();
        let is_owned = self.clients.options.client_id_owner != ClientIdOwner::None;
        is_owned && owner.is_some() && owner != verified.user()
    }

    /// Refuses a client identifier that is another user's, and tells whose.
    fn check_owner(
        &mut self,
        id: LinkId,
        request: &ConnectRequest,
        verified: &Verified,
    ) -> Result<(), ProtocolError> {
        let takes_user_name = self.takes_user_name(id);
        let Some(link) = self.clients.link(id) else { return Ok(()) };
        let origin = link.origin.clone();
        let client_id = &*request.client_id;
        if takes_user_name && verified.user().is_some_and(|user| user != client_id) {
            let cause = "the user is another one than the client identifier says";
            let error = ProtocolError::new(ReasonCode::NotAuthorized, cause);
            told::refused(&origin, Some(request), &error);
            self.clients.audit_refused(id, Some(request), &error, None);
            return Err(error);
        }
        let known = self.clients.find_session(client_id);
        let Some(known) = known.filter(|known| self.is_of_another(*known, verified)) else {
            return Ok(());
        };
        let session = &self.clients.sessions[known.slot];
        let is_connected = session.link.is_some();
        if !is_connected && self.clients.options.client_id_owner != ClientIdOwner::Session {
            return Ok(());
        }
        let owner = session.user().unwrap_or_default();
        told::refused_for(&origin, request, owner, is_connected);
        let cause = "the client identifier is another user's";
        let error = ProtocolError::new(ReasonCode::ClientIdentifierNotValid, cause);
        self.clients.audit_refused(id, Some(request), &error, Some(owner));
        Err(error)
    }

    /// Refuses a client whose user has as many sessions as it may, unless its session is `known` as
    /// one of them.
    fn check_sessions(
        &self,
        known: Option<SessionId>,
        request: &ConnectRequest,
        verified: &Verified,
    ) -> Result<(), ProtocolError> {
        let max = self.clients.options.max_sessions;
        let is_counted = |known: SessionId| self.clients.sessions[known.slot].is_counted;
        if max == 0 || request.session_expiry_s == 0 || known.is_some_and(is_counted) {
            return Ok(());
        }
        if self.quotas.of(verified.user()).sessions() < max {
            return Ok(());
        }
        let cause = "the user has as many sessions as it may: see --max-sessions";
        Err(ProtocolError::new(ReasonCode::QuotaExceeded, cause))
    }

    /// The connection that has the session now, if any, is closed, since `by` came; with an `end`
    /// the session ends. Afterwards the session is there only if it is to be gone on with.
    // [MQTT-3.1.4-3], [MQTT-3.1.2-4]
    fn take_over(&mut self, id: SessionId, by: LinkId, end: Option<SessionEnd>) {
        if let Some(link) = self.clients.sessions[id.slot].link {
            self.clients.counters.takeovers += 1;
            self.clients.audit_taken_over(id, by);
            // What it is still owed would come after the new connection's CONNACK.
            if let Some(link) = self.clients.link(link) {
                link.forget_deferred();
            }
            self.disconnect(link, Departure::TakenOver);
        }
        if let Some(end) = end.filter(|_| self.clients.has_session(id)) {
            self.clients.audit_session_end(id, end);
            self.end_session(id);
        }
    }

    fn make_session(&mut self, client_id: &str) -> SessionId {
        let number = self.clients.next_number();
        self.clients.insert_session(Session::new(client_id, SessionNumber(number)))
    }

    /// The session belongs to the link from now on.
    fn attach(
        &mut self,
        id: LinkId,
        session_id: SessionId,
        request: &mut ConnectRequest,
        verified: &Verified,
    ) {
        let options = self.clients.options.clone();
        let server_keep_alive_s = request.server_keep_alive_s(options.max_keep_alive);
        let now = self.clients.now;
        let listener = self.listener_of(id);
        let max_qos = options.listeners.get(listener.index()).map_or(2, |it| it.max_qos);
        let session = &mut self.clients.sessions[session_id.slot];
        session.link = Some(id);
        session.departed = None;
        session.listener = listener;
        session.max_qos = qos(max_qos);
        session.identity = verified.identity.clone();
        session.grants = verified.grants.clone();
        session.ends = None;
        // [MQTT-3.1.3-9]: back before the delay is over, so the will before is not published.
        session.will = request.will.take();
        session.expiry_s = verified.expiry_s(request, &options);
        session.count(Some(self.quotas.of(verified.user())));
        session.window = request.receive_maximum.min(options.max_inflight);
        session.window_bytes = u32::try_from(options.max_queued_bytes).unwrap_or(u32::MAX);
        self.clients.refresh_session_timer(session_id);
        let Some(link) = self.clients.link(id) else { return };
        link.state = State::Connected { session: session_id };
        link.awaited = now;
        let aliases = request.topic_alias_max.min(options.max_topic_alias);
        if aliases > 0 {
            link.aliases_mut().allow(aliases);
        }
        if request.authentication_method.is_some() || verified.valid_for.is_some() {
            let expires = verified.valid_for.map(|time| now.after(time));
            link.login_mut().note_let_in(request.authentication_method.clone(), expires);
        }
        link.keep_alive_s = server_keep_alive_s.unwrap_or(request.keep_alive_s);
        self.clients.refresh_link_timer(id);
        self.clients.refresh_route(session_id);
        self.tell_online(session_id, true);
    }

    /// CONNACK, which is not counted yet; nothing when the packet is larger than the client takes.
    fn connack(
        &mut self,
        id: LinkId,
        request: &ConnectRequest,
        session_present: bool,
        verified: &Verified,
    ) -> Vec<u8> {
        let options = self.clients.options.clone();
        let client_id = &*request.client_id;
        let session_expiry_s = verified.expiry_s(request, &options);
        let is_response_topic = !client_id.contains(['+', '#']);
        let response_information = (request.wants_response_information && is_response_topic)
            .then(|| format!("response/{client_id}"));
        let shorter = session_expiry_s != request.session_expiry_s;
        let connack = ConnAck {
            session_present,
            code: ReasonCode::Success,
            session_expiry_s: shorter.then_some(session_expiry_s),
            receive_maximum: Some(options.receive_maximum).filter(|max| *max < u16::MAX),
            maximum_qos: self.listener_options(id).map(|it| it.max_qos).filter(|qos| *qos < 2),
            retain_available: (!options.retain_available).then_some(false),
            packet_bytes_max: Some(options.max_packet_size),
            assigned_client_id: request.is_assigned.then_some(client_id),
            topic_alias_max: Some(options.max_topic_alias).filter(|max| *max > 0),
            server_keep_alive_s: request.server_keep_alive_s(options.max_keep_alive),
            response_information: response_information.as_deref(),
            // [MQTT-4.12.0-5]
            authentication_method: request.authentication_method.as_deref(),
            authentication_data: verified.data.as_deref(),
            ..ConnAck::default()
        };
        self.clients.encode_uncounted(id, &Packet::ConnAck(connack))
    }
}

/// The kind of a refusal, for the count of them.
const fn refusal_kind(code: ReasonCode) -> RefusedConnect {
    match code {
        ReasonCode::BadUserNameOrPassword
        | ReasonCode::BadAuthenticationMethod
        | ReasonCode::NotAuthorized => RefusedConnect::Credentials,
        ReasonCode::ClientIdentifierNotValid => RefusedConnect::Identifier,
        ReasonCode::UnsupportedProtocolVersion => RefusedConnect::Version,
        ReasonCode::MalformedPacket | ReasonCode::ProtocolError => RefusedConnect::Protocol,
        ReasonCode::QuotaExceeded | ReasonCode::ConnectionRateExceeded => RefusedConnect::Limit,
        ReasonCode::ServerUnavailable | ReasonCode::ServerBusy => RefusedConnect::Unavailable,
        _ => RefusedConnect::Other,
    }
}

impl Verified {
    fn user(&self) -> Option<&str> {
        self.identity.as_ref().and_then(|identity| identity.user.as_deref())
    }

    /// Seconds for which the client's session outlives its connection.
    fn expiry_s(&self, request: &ConnectRequest, options: &Options) -> u32 {
        request.session_expiry_s.min(options.expiry_max_s(self.user().is_some()))
    }
}

//! Lines in the log about clients: which came, which were not let in, and which went and why; in
//! the words of Mosquitto 2.1 where it has them.

use super::accounts::Accounts;
use super::connect_request::ConnectRequest;
use super::origin::Origin;
use crate::base::ids::WorkerId;
use crate::limits::LOG_TEXT_CHARS_MAX;
use crate::metrics::Departed;
use crate::mqtt::{Disconnect, ProtocolError, ReasonCode, Version};
use crate::store::kept_bytes;
use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;

/// The target of events whose words repeat their fields.
pub const TOLD: &str = "ringmq::told";

/// A text of a peer's as a log line shows it: not too long, and nothing in it that is more than
/// text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a>(pub(super) &'a str);

impl Shown<'_> {
    /// The characters that are shown, and whether there are more.
    pub(super) fn cut(self) -> (&'static str, usize) {
        let end = self.0.char_indices().nth(LOG_TEXT_CHARS_MAX).map(|(at, _)| at);
        (if end.is_some() { "…" } else { "" }, end.unwrap_or(self.0.len()))
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (more, end) = self.cut();
        write!(formatter, "{}{more}", self.0[..end].escape_debug())
    }
}

/// The reason for which an operator sends clients away, as a 5.0 client is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    /// The reason code, one that a server may send in DISCONNECT.
    pub code: ReasonCode,
    /// Another server that the client should use, for the codes 0x9C and 0x9D.
    pub server_reference: Option<Arc<str>>,
}

/// The reason for which a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Departure {
    /// Another connection has the session now.
    TakenOver,
    /// Nothing came for one and a half keep-alive periods.
    Silent,
    /// The peer has closed it.
    Closed,
    /// The network has lost it.
    Failed(io::ErrorKind),
    /// The bytes that came make no sense below MQTT.
    Garbled(Box<str>),
    /// DISCONNECT came, with this code.
    Said(ReasonCode),
    /// The client broke the protocol, or a limit.
    Refused(ProtocolError),
    /// The client may not be here any more.
    Removed(&'static str),
    /// An operator sends the client away.
    SentAway(Farewell),
    /// The broker stops.
    Stop,
}

impl Departure {
    /// The packet by which the client is told, if it is to be.
    pub(super) fn packet(&self) -> Option<Disconnect<'_>> {
        let (code, reason) = match self {
            Self::TakenOver => (ReasonCode::SessionTakenOver, Some("another connection took over")),
            Self::Silent => (
                ReasonCode::KeepAliveTimeout,
                Some("nothing came for one and a half keep alive periods"),
            ),
            Self::Refused(error) => (error.code, Some(error.cause)),
            Self::Removed(cause) => (ReasonCode::NotAuthorized, Some(*cause)),
            Self::SentAway(farewell) => (farewell.code, None),
            Self::Stop => (ReasonCode::ServerShuttingDown, None),
            Self::Closed | Self::Failed(_) | Self::Garbled(_) | Self::Said(_) => return None,
        };
        let server_reference = match self {
            Self::SentAway(farewell) => farewell.server_reference.as_deref(),
            _ => None,
        };
        Some(Disconnect { code, reason, server_reference, ..Disconnect::default() })
    }
}

impl Departure {
    /// The kind of the departure, for the count of them.
    pub(super) const fn kind(&self) -> Departed {
        match self {
            Self::TakenOver => Departed::TakenOver,
            Self::Silent => Departed::KeepAlive,
            Self::Closed => Departed::Closed,
            Self::Failed(_) => Departed::Network,
            Self::Garbled(_) => Departed::Protocol,
            Self::Said(_) => Departed::Disconnect,
            Self::Refused(ProtocolError { code, .. }) => match code {
                ReasonCode::MalformedPacket | ReasonCode::ProtocolError => Departed::Protocol,
                ReasonCode::NotAuthorized => Departed::Administrative,
                _ => Departed::Limit,
            },
            Self::Removed(_) | Self::SentAway(_) => Departed::Administrative,
            Self::Stop => Departed::Shutdown,
        }
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakenOver => formatter.write_str("session taken over"),
            Self::Silent => formatter.write_str("exceeded timeout"),
            Self::Closed => formatter.write_str("connection closed by client"),
            Self::Failed(kind) => write!(formatter, "network error: {kind}"),
            Self::Garbled(cause) => formatter.write_str(cause),
            Self::Said(ReasonCode::Success) => formatter.write_str("DISCONNECT received"),
            Self::Said(code) => write!(formatter, "DISCONNECT received: {code}"),
            Self::Refused(error) => write!(formatter, "{}: {}", words(error.code), error.cause),
            Self::Removed(cause) => write!(formatter, "administrative action: {cause}"),
            Self::SentAway(Farewell { code, .. }) => {
                write!(formatter, "administrative action: an operator: {code}")
            }
            Self::Stop => formatter.write_str("shutdown"),
        }
    }
}

/// Mosquitto's words for a reason code, or MQTT's.
const fn words(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::NotAuthorized => "not authorised",
        ReasonCode::PacketTooLarge => "oversize packet",
        code => code.name(),
    }
}

/// The client that CONNECT names.
#[derive(Debug, Clone, Copy)]
struct Claim<'a> {
    request: &'a ConnectRequest,
    /// The name that the client was let in by, or else the one that it gives itself.
    user: Option<&'a str>,
}

impl<'a> Claim<'a> {
    /// `user` is the verified name, if there is one.
    fn new(request: &'a ConnectRequest, user: Option<&'a str>) -> Self {
        Self { request, user: user.or(request.user_name.as_deref()) }
    }

    fn client_id(&self) -> Shown<'a> {
        Shown(&self.request.client_id)
    }

    const fn protocol(&self) -> u8 {
        match self.request.version {
            Version::V31 => 3,
            Version::V311 => 4,
            Version::V5 => 5,
        }
    }
}

impl fmt::Display for Claim<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnectRequest { clean_start, keep_alive_s, .. } = *self.request;
        let (protocol, clean_start) = (self.protocol(), u8::from(clean_start));
        write!(formatter, "{} (p{protocol}, c{clean_start}", self.client_id())?;
        write!(formatter, ", k{keep_alive_s}")?;
        if let Some(user) = self.user {
            write!(formatter, ", u'{}'", Shown(user))?;
        }
        formatter.write_char(')')
    }
}

/// A client is let in, by the verified name `user` if it has one.
pub(super) fn connected(origin: &Origin, request: &ConnectRequest, user: Option<&str>) {
    let claim = Claim::new(request, user);
    tracing::info!(
        target: TOLD,
        client_id = %claim.client_id(),
        peer = %origin,
        protocol = claim.protocol(),
        clean_start = request.clean_start,
        keep_alive_s = request.keep_alive_s,
        user = claim.user.map(Shown).map(display),
        "New client connected from {origin} as {claim}."
    );
}

/// A client is not let in because its identifier is another user's, who `is_connected`, or has a
/// session.
pub(super) fn refused_for(
    origin: &Origin,
    request: &ConnectRequest,
    owner: &str,
    is_connected: bool,
) {
    let claim = Claim::new(request, None);
    let why = match is_connected {
        true => "who is connected",
        false => {
            "whose session is kept until it expires, or is ended by a clean start with no session \
             expiry"
        }
    };
    tracing::info!(
        target: TOLD,
        client_id = %claim.client_id(),
        peer = %origin,
        user = claim.user.map(Shown).map(display),
        owner = %Shown(owner),
        reason_code = ReasonCode::ClientIdentifierNotValid as u8,
        "CONNECT refused from {origin} as {claim}: its client identifier is that of user '{}', \
         {why}.",
        Shown(owner)
    );
}

/// A client is not let in. Its CONNECT may be too wrong to name the client.
pub(super) fn refused(origin: &Origin, request: Option<&ConnectRequest>, error: &ProtocolError) {
    let ProtocolError { code, cause } = *error;
    let reason_code = code as u8;
    let Some(claim) = request.map(|request| Claim::new(request, None)) else {
        tracing::info!(
            target: TOLD,
            peer = %origin,
            reason = cause,
            reason_code,
            "CONNECT refused from {origin}: {}: {cause}.",
            words(code)
        );
        return;
    };
    tracing::info!(
        target: TOLD,
        client_id = %claim.client_id(),
        peer = %origin,
        protocol = claim.protocol(),
        user = claim.user.map(Shown).map(display),
        reason = cause,
        reason_code,
        "CONNECT refused from {origin} as {claim}: {}: {cause}.",
        words(code)
    );
}

/// A client that was let in is gone.
pub(super) fn departed(origin: &Origin, client_id: &str, departure: &Departure) {
    let client_id = Shown(client_id);
    tracing::info!(
        target: TOLD,
        client_id = %client_id,
        peer = %origin,
        reason = %departure,
        "Client {client_id} [{origin}] disconnected: {departure}."
    );
}

/// A connection ends on which no client was let in.
pub(super) fn ended(peer: &Origin, departure: &Departure) {
    match departure {
        Departure::Refused(ProtocolError { code: reason, cause }) => {
            tracing::info!(%peer, %reason, "Client refused: {cause}");
        }
        Departure::Garbled(cause) => tracing::info!(%peer, "Client closed: {cause}"),
        Departure::Removed(cause) => tracing::info!(%peer, "Client closed: {cause}"),
        // Nobody has come: a port was looked at, or the broker stops.
        other => tracing::debug!(%peer, "Closed before a client came: {other}"),
    }
}

/// A PUBLISH goes nowhere.
pub(super) fn publish_denied(client_id: &str, topic: &str, reason: &str) {
    let (client_id, topic) = (Shown(client_id), Shown(topic));
    tracing::debug!(%client_id, %topic, reason, "Denied PUBLISH");
}

/// A client is disconnected because it holds more than others, and memory is short.
pub(super) fn swells(client_id: &str, held_bytes: usize) {
    let client_id = Shown(client_id);
    tracing::warn!(
        %client_id,
        held_bytes,
        "Client {client_id} is disconnected: of those that do not take what waits for them it \
         holds most, and memory is short (see --max-memory)"
    );
}

/// The memory of a worker, by owner.
pub(super) fn accounts(worker: WorkerId, accounts: &Accounts) {
    let (worker, messages) = (worker.0, kept_bytes() / 1000);
    tracing::info!("Memory of worker {worker}: {accounts}; messages of all workers {messages} kB");
}

/// Messages of a user are not retained any more on further topics.
pub(super) fn too_many_retained(user: Option<&str>, reason: &str) {
    let user = user.map_or(Shown("clients without a name"), Shown);
    tracing::warn!(%user, reason, "Messages of {user} are not retained: {reason}");
}

/// So many filters of one packet are not subscribed to, for one reason.
pub(super) fn filters_refused(client_id: &str, count: u64, reason: &str) {
    let client_id = Shown(client_id);
    tracing::warn!(%client_id, count, reason, "Refused {count} filters of {client_id}: {reason}");
}

/// A filter is not subscribed to.
pub(super) fn subscribe_denied(client_id: &str, filter: &str, reason: &str) {
    let (client_id, filter) = (Shown(client_id), Shown(filter));
    tracing::debug!(%client_id, %filter, reason, "Denied SUBSCRIBE");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v45_texts_of_peers_are_cut_at_64_characters_and_escaped() {
        let long = "\u{200b}".repeat(21_000);
        assert_eq!(Shown(&long).to_string(), "\\u{200b}".repeat(64) + "…");
        assert_eq!(Shown(&"é".repeat(64)).to_string(), "é".repeat(64));
        let nasty = "a\r\n\u{1b}[31m\u{7f}\u{85}\u{2028}\u{202e}";
        let shown = Shown(nasty).to_string();
        assert!(shown.chars().all(|shown| (' '..'\u{7f}').contains(&shown)), "{shown:?}");
    }

    #[test]
    fn each_departure_has_words_of_its_own() {
        let limit = ProtocolError::new(ReasonCode::MessageRateTooHigh, "too much");
        let words = [
            (Departure::TakenOver, "session taken over"),
            (Departure::Silent, "exceeded timeout"),
            (Departure::Closed, "connection closed by client"),
            (Departure::Failed(io::ErrorKind::TimedOut), "network error: timed out"),
            (Departure::Said(ReasonCode::Success), "DISCONNECT received"),
            (
                Departure::Said(ReasonCode::DisconnectWithWill),
                "DISCONNECT received: disconnect with will message (0x04)",
            ),
            (Departure::Refused(ProtocolError::protocol("two")), "protocol error: two"),
            (Departure::Refused(limit), "message rate too high: too much"),
            (Departure::Removed("gone"), "administrative action: gone"),
            (Departure::Stop, "shutdown"),
        ];
        for (departure, words) in words {
            assert_eq!(departure.to_string(), words);
        }
    }
}

//! A client's login, and its verdict.

use super::keyed_hash::{process_hash, process_number};
use super::rules::Rules;
use super::scram::ScramExchange;
use super::secret::Secret;
use crate::base::ids::ListenerId;
use crate::mqtt::ReasonCode;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The credentials that a client presented in CONNECT or in AUTH.
#[derive(Default)]
pub struct Login {
    /// The index of the listener's policy.
    pub listener: ListenerId,
    /// The client's own address, also behind a proxy; none on a Unix socket.
    pub address: Option<IpAddr>,
    /// The client identifier, given or assigned.
    pub client_id: Arc<str>,
    /// The user name of CONNECT, not yet verified.
    pub user_name: Option<Arc<str>>,
    /// The password of CONNECT.
    pub password: Option<Secret>,
    /// The user named by the verified client certificate, on listeners that take names from
    /// certificates.
    pub certificate: Option<Box<str>>,
    /// The authentication method.
    pub method: Option<Arc<str>>,
    /// The authentication data.
    pub data: Option<Box<[u8]>>,
    /// The state of the exchange, from the last [`Verdict::Continue`].
    pub exchange: Option<Box<ScramExchange>>,
    /// The client's identity before it authenticates again: it cannot become another user.
    pub current: Option<Arc<Identity>>,
    /// Dangles once the client no longer waits for the verdict; none when a client always waits.
    pub waits: Option<Weak<()>>,
}

impl Login {
    /// True while the client waits for the verdict.
    #[must_use]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waits.as_ref().is_none_or(|waits| waits.strong_count() > 0)
    }

    /// A number for the user name that this login claims. No one outside this process can find
    /// another name with the same number.
    #[must_use]
    pub(crate) fn user_number(&self) -> u64 {
        let name = self.certificate.as_deref().or(self.user_name.as_deref());
        let known = self.current.as_ref().and_then(|identity| identity.user.as_deref());
        let name = name.or(known).map_or(&b""[..], |name| name.as_bytes());
        process_number(&[b"user", name])
    }

    /// A key for the user name and plain password of this login; none when the login is of another
    /// kind. No one outside this process can tell the password from the key.
    #[must_use]
    pub(crate) fn key(&self) -> Option<[u8; 32]> {
        let is_plain =
            self.certificate.is_none() && self.method.is_none() && self.current.is_none();
        let (user, password) = self.user_name.as_ref().zip(self.password.as_ref())?;
        let listener = self.listener.0.to_le_bytes();
        is_plain.then(|| process_hash(&[b"login", &listener, user.as_bytes(), password.bytes()]))
    }
}

/// `Debug` leaves out password, data and exchange, so no log line can hold them.
impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Login")
            .field("listener", &self.listener)
            .field("address", &self.address)
            .field("client_id", &self.client_id)
            .field("user_name", &self.user_name)
            .field("certificate", &self.certificate)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// A client's verified identity.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The verified user name; none for an anonymous client.
    pub user: Option<Box<str>>,
    /// The client identifier.
    pub client_id: Box<str>,
    /// The evidence for the name.
    pub proof: Proof,
    /// Rules from a token or from the hook; they replace the ACL file.
    pub rules: Option<Arc<Rules>>,
    /// Whether the hook allowed this client everything.
    pub is_superuser: bool,
}

impl Identity {
    pub(super) fn new(client_id: &str, user: Option<&str>, proof: Proof) -> Self {
        let user = user.map(Into::into);
        Self { user, client_id: client_id.into(), proof, rules: None, is_superuser: false }
    }

    pub(super) fn accepted(self) -> Verdict {
        Verdict::Accept { identity: Arc::new(self), data: None, valid_for: None }
    }
}

/// The evidence for a verified name, so that a reload can tell whether the name still stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: the client is anonymous.
    None,
    /// A client certificate.
    Certificate,
    /// A password; holds a fingerprint of the password file's entry.
    Password(u64),
    /// A token; holds a fingerprint of the key and the algorithm that verified it.
    Token(u64),
    /// The hook's answer.
    Hook,
    /// Any evidence, seen by an earlier process; the next connection shows it anew.
    Earlier,
}

/// The answer to a login.
#[derive(Debug)]
pub enum Verdict {
    /// The client is let in.
    Accept {
        /// The client's identity.
        identity: Arc<Identity>,
        /// Authentication data for CONNACK or AUTH: the server's last SCRAM message.
        data: Option<Box<[u8]>>,
        /// The time for which the proof lasts; None when it has no end.
        valid_for: Option<Duration>,
    },
    /// The client has to answer first.
    Continue {
        /// Authentication data for AUTH.
        data: Box<[u8]>,
        /// The state of the exchange, for the next [`Login`] of this client.
        exchange: Box<ScramExchange>,
    },
    /// The client is refused.
    Refuse {
        /// The reason code for CONNACK or DISCONNECT.
        code: ReasonCode,
        /// The cause for the log; never holds the client's data.
        cause: &'static str,
    },
}

impl Verdict {
    pub(super) const fn bad_password(cause: &'static str) -> Self {
        Self::Refuse { code: ReasonCode::BadUserNameOrPassword, cause }
    }

    pub(super) const fn not_authorized(cause: &'static str) -> Self {
        Self::Refuse { code: ReasonCode::NotAuthorized, cause }
    }
}

/// The result of [`Policy::verify`](super::Policy::verify).
#[derive(Debug)]
pub enum Step {
    /// The verdict is final.
    Done(Verdict),
    /// The hook has to decide; [`Policy::heed_hook`](super::Policy::heed_hook) takes its answer.
    AskHook(Login),
}

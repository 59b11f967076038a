//! What a client presents, and what comes of it.

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

/// What a client presented in CONNECT or in AUTH.
#[derive(Default)]
pub struct Login {
    /// The index of the listener's policy.
    pub listener: ListenerId,
    /// Where the client really is; none on a Unix socket.
    pub address: Option<IpAddr>,
    /// The client identifier, given or assigned.
    pub client_id: Arc<str>,
    /// The user name of CONNECT, not yet verified.
    pub user_name: Option<Arc<str>>,
    /// The password of CONNECT.
    pub password: Option<Secret>,
    /// The user that the verified client certificate stands for, where the listener asks for that.
    pub certificate: Option<Box<str>>,
    /// The authentication method.
    pub method: Option<Arc<str>>,
    /// The authentication data.
    pub data: Option<Box<[u8]>>,
    /// What the last [`Verdict::Continue`] left.
    pub exchange: Option<Box<ScramExchange>>,
    /// Who the client is already, when it authenticates again: it cannot become another user.
    pub current: Option<Arc<Identity>>,
    /// Dangles once nobody waits for the verdict any more; none when that cannot happen.
    pub waits: Option<Weak<()>>,
}

impl Login {
    /// True while somebody waits for the verdict.
    #[must_use]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waits.as_ref().is_none_or(|waits| waits.strong_count() > 0)
    }

    /// Stands for the name that this login claims. Nobody outside this process can find another
    /// name that has the same number.
    #[must_use]
    pub(crate) fn user_number(&self) -> u64 {
        let name = self.certificate.as_deref().or(self.user_name.as_deref());
        let known = self.current.as_ref().and_then(|identity| identity.user.as_deref());
        let name = name.or(known).map_or(&b""[..], |name| name.as_bytes());
        process_number(&[b"user", name])
    }

    /// Names what this login would prove by a plain password; none when it would do so otherwise.
    /// Nobody outside this process can tell the password from it.
    #[must_use]
    pub(crate) fn key(&self) -> Option<[u8; 32]> {
        let is_plain =
            self.certificate.is_none() && self.method.is_none() && self.current.is_none();
        let (user, password) = self.user_name.as_ref().zip(self.password.as_ref())?;
        let listener = self.listener.0.to_le_bytes();
        is_plain.then(|| process_hash(&[b"login", &listener, user.as_bytes(), password.bytes()]))
    }
}

/// Password, data and exchange are left out, so that no log line can hold them.
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

/// Who a client is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The verified user name; none for an anonymous client.
    pub user: Option<Box<str>>,
    /// The client identifier.
    pub client_id: Box<str>,
    /// What the name rests on.
    pub proof: Proof,
    /// Rules that came with a token or from the hook; they are used instead of the ACL file.
    pub rules: Option<Arc<Rules>>,
    /// The hook said that this client may do everything.
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

/// What a verified name rests on, so that a reload can tell whether it still does.
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
    /// The hook's word.
    Hook,
    /// Whatever it was, a process before this one saw it; the next connection shows it anew.
    Earlier,
}

/// What is to be answered to a login.
#[derive(Debug)]
pub enum Verdict {
    /// The client is who it says.
    Accept {
        /// Who that is.
        identity: Arc<Identity>,
        /// Authentication data for CONNACK or AUTH: the server's last SCRAM message.
        data: Option<Box<[u8]>>,
        /// How long the proof lasts; none when it has no end.
        valid_for: Option<Duration>,
    },
    /// The client has to answer first.
    Continue {
        /// Authentication data for AUTH.
        data: Box<[u8]>,
        /// Belongs into the next [`Login`] of this client.
        exchange: Box<ScramExchange>,
    },
    /// The client is not let in.
    Refuse {
        /// For CONNACK or DISCONNECT.
        code: ReasonCode,
        /// For the log; never holds what the client sent.
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

/// What [`Policy::verify`](super::Policy::verify) came to.
#[derive(Debug)]
pub enum Step {
    /// The verdict stands.
    Done(Verdict),
    /// Only the hook knows; [`Policy::heed_hook`](super::Policy::heed_hook) takes its answer.
    AskHook(Login),
}

//! Where a policy comes from.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where one listener's policy comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Whether clients without a user name are let in.
    pub allow_anonymous: bool,
    /// Users and their passwords' hashes.
    pub password_file: Option<PathBuf>,
    /// Whether clients get their user names from their certificates.
    pub certificates_name_users: bool,
    /// What each user may do; without it everyone may do everything.
    pub acl_file: Option<PathBuf>,
    /// How tokens are verified.
    pub jwt: Option<JwtSource>,
    /// The service that is asked about users who are not in the password file.
    pub hook: Option<HookSource>,
}

/// How JSON Web Tokens are verified.
#[derive(Debug, Clone)]
pub struct JwtSource {
    /// The public key in PEM, or the secret itself for [`Algorithm::Hs256`].
    pub key_file: PathBuf,
    /// The only algorithm that is accepted.
    pub algorithm: Algorithm,
    /// The claim with the user's name; by default `username`, or else `sub`.
    pub user_claim: Option<Box<str>>,
    /// Who tokens must be meant for; without it a token that names an audience is refused.
    pub audience: Option<Box<str>>,
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// RSA with SHA-256.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
}

/// The service that is asked about logins.
#[derive(Clone, PartialEq, Eq)]
pub struct HookSource {
    /// Where to POST to: `http://` or `https://`.
    pub url: Box<str>,
    /// Milliseconds after which a request has failed.
    pub timeout_ms: u32,
}

/// A URL may hold a password.
impl fmt::Debug for HookSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HookSource")
            .field("timeout_ms", &self.timeout_ms)
            .finish_non_exhaustive()
    }
}

impl HookSource {
    /// Whether passwords would cross a network unencrypted.
    pub(super) fn sends_in_clear(&self) -> bool {
        let Some(rest) = self.url.strip_prefix("http://") else { return false };
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        !is_loopback && !host.eq_ignore_ascii_case("localhost")
    }
}

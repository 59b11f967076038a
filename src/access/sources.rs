//! The files and services that a policy comes from.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// The files and services of one listener's policy.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Whether clients without a user name are let in.
    pub allow_anonymous: bool,
    /// Users and their passwords' hashes.
    pub password_file: Option<PathBuf>,
    /// Whether clients get their user names from their certificates.
    pub certificates_name_users: bool,
    /// The ACL file, with the permissions of each user; without it everyone may do everything.
    pub acl_file: Option<PathBuf>,
    /// Whether clients may not read `$SYS` unless something grants it to them.
    pub hides_sys: bool,
    /// The verification of tokens.
    pub jwt: Option<JwtSource>,
    /// The service that is asked about users who are not in the password file.
    pub hook: Option<HookSource>,
}

/// The verification of JSON Web Tokens.
#[derive(Debug, Clone)]
pub struct JwtSource {
    /// The public key in PEM, or the secret itself for [`Algorithm::Hs256`].
    pub key_file: PathBuf,
    /// The only algorithm that is accepted.
    pub algorithm: Algorithm,
    /// The claim with the user's name; none for `username`, or else `sub`.
    pub user_claim: Option<Box<str>>,
    /// The audience that a token has to name; none refuses tokens that name an audience.
    pub audience: Option<Box<str>>,
}

/// The algorithm that signs a token.
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
    /// The URL for the POST request: `http://` or `https://`.
    pub url: Box<str>,
    /// Milliseconds after which a request has failed.
    pub timeout_ms: u32,
}

/// `Debug` leaves out the URL, which may hold a password.
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

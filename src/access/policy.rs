//! One listener's policy.

use super::grants::Grants;
use super::login::{Identity, Login, Proof, Step, Verdict};
use std::path::PathBuf;
use std::sync::Arc;

/// Where one listener's policy comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Whether clients without a user name are let in.
    pub allow_anonymous: bool,
    /// Users and their passwords' hashes.
    pub password_file: Option<PathBuf>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSource {
    /// Where to POST to: `http://` or `https://`.
    pub url: Box<str>,
    /// Milliseconds after which a request has failed.
    pub timeout_ms: u32,
}

/// Who may enter by one listener, and what they may do there.
#[derive(Debug)]
pub struct Policy {}

/// Memory for hashing, kept from one login to the next.
#[derive(Debug, Default)]
pub struct Workspace {}

impl Policy {
    /// Everyone may do everything, and nobody has a name.
    #[must_use]
    pub fn open() -> Self {
        Self {}
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// One line with the file, the line in it, the cause and the fix. Whatever is wrong in a file
    /// refuses all of it: half a policy may allow what the other half denies.
    pub fn load(_sources: &Sources) -> Result<Self, String> {
        Ok(Self {})
    }

    /// Whether there is nothing to verify: a client without a certificate's name and without an
    /// authentication method is [`Policy::anonymous`] at once.
    #[must_use]
    pub fn admits_all(&self) -> bool {
        true
    }

    /// Somebody who has no verified name.
    #[must_use]
    pub fn anonymous(&self, client_id: &str) -> Identity {
        Identity {
            user: None,
            client_id: client_id.into(),
            proof: Proof::None,
            rules: None,
            is_superuser: false,
        }
    }

    /// What can be said of a login without hashing, tokens or the hook: clients with a
    /// certificate's name and anonymous ones. None when [`Policy::verify`] has to be asked.
    #[must_use]
    pub fn verify_at_once(&self, _login: &Login) -> Option<Verdict> {
        None
    }

    /// Verifies a login at `now_s` seconds since 1970. May hash for 50 ms, so it is never called on
    /// a worker.
    #[must_use]
    pub fn verify(&self, login: Login, _now_s: u64, _workspace: &mut Workspace) -> Step {
        Step::Done(Verdict::accept(self.anonymous(&login.client_id)))
    }

    /// What `identity` may do; none when that is everything.
    #[must_use]
    pub fn grants(&self, _identity: &Identity) -> Option<Arc<Grants>> {
        None
    }

    /// Whether `identity`, established under an earlier policy, would stand under this one.
    #[must_use]
    pub fn still_holds(&self, _identity: &Identity) -> bool {
        true
    }

    /// What may not be meant so; one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

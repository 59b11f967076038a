//! Clients' identities and permissions.
//!
//! A [`Policy`] belongs to a listener. A policy turns a [`Login`] into a [`Verdict`], and an
//! [`Identity`] into [`Grants`]. Nothing here does I/O, but for [`Policy::load`], which reads
//! files; nothing starts a thread. Hashing a password takes up to 50 ms, so callers run
//! [`Policy::verify`] away from the packet path.
#![forbid(unsafe_code)]

mod acl_file;
mod admin_tokens;
mod claims;
mod error;
mod files;
mod grants;
mod hook;
mod keyed_hash;
mod login;
mod overlap;
mod password_file;
mod password_hash;
mod policy;
mod rules;
mod scram;
mod secret;
mod sources;
mod token;

pub use admin_tokens::{Tokens, Trust};
pub use error::PolicyError;
pub use grants::{Grants, Reach};
pub use hook::{HookAnswer, hook_question};
pub use login::{Identity, Login, Proof, Step, Verdict};
pub use password_hash::{HashMethod, Workspace, hash_password};
pub use policy::Policy;
pub use rules::Rules;
pub use scram::ScramExchange;
pub use secret::Secret;
pub use sources::{Algorithm, HookSource, JwtSource, Sources};

/// Whether a text can be a user's name: names go into logs, files and rules.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

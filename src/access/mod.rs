//! Who a client is, and what it may do.
//!
//! A [`Policy`] belongs to a listener. It turns a [`Login`] into a [`Verdict`], and an [`Identity`]
//! into [`Grants`]. Nothing here does I/O, but for [`Policy::load`], which reads files; nothing
//! starts a thread. Hashing a password takes up to 50 ms, so whoever calls [`Policy::verify`] does
//! it away from the packet path.
#![forbid(unsafe_code)]

mod grants;
mod login;
mod policy;
mod rules;
mod scram;
mod secret;

pub use grants::{Grants, Reach};
pub use login::{Identity, Login, Proof, Step, Verdict};
pub use policy::{Algorithm, HookSource, JwtSource, Policy, Sources, Workspace};
pub use rules::Rules;
pub use scram::Exchange;
pub use secret::Secret;

//! The audit log without I/O: entries, the chain of hashes that their lines make, and its
//! verification. `docs/AUDIT.md` has the format.
#![forbid(unsafe_code)]

mod chain;
mod entry;
mod verify;

pub(crate) use chain::{Chain, Hash, Line, Sealed};
pub use entry::{Entry, Filters, Trail};
pub(crate) use verify::{Place, Verified, Verifier};

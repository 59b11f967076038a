//! The thread that makes records durable: it runs tokio-uring, and no worker ever waits for it.
#![forbid(unsafe_code)]

mod compact;
mod directory;
mod disk;
mod error;
mod faults;
mod place;
mod runtime;
mod thread;

pub(crate) use compact::compact;
pub(crate) use directory::{Directory, Segment, recover};
pub(crate) use error::JournalError;
pub(crate) use faults::wall_ms;
pub(crate) use place::place;
pub(crate) use runtime::block_on;
pub(crate) use thread::{JournalSetup, Status, start};

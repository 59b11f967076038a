//! The thread that makes records durable: it runs tokio-uring, and no worker ever waits for it.
#![forbid(unsafe_code)]

mod compact;
mod directory;
mod disk;
mod faults;
mod thread;

pub use compact::compact;
pub use directory::{Directory, Segment, recover};
pub(crate) use faults::wall_ms;
pub use thread::{End, Setup, start};

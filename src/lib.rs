//! ringmq: an MQTT broker for Linux servers, built for high fan-out.
//!
//! Dependencies point downward only; `tests/tidy.rs` holds the table.
//!
//! ```text
//! main → server → worker, journal → broker → topics, store, access → mqtt | mesh, io, transport
//!          server → transfer → store
//! all → base, limits, options
//! ```

pub mod access;
pub mod audit;
pub mod base;
mod bridge;
pub mod broker;
pub mod io;
mod journal;
pub mod limits;
pub mod mesh;
pub mod metrics;
pub mod options;
pub mod server;
pub mod store;
#[doc(hidden)]
pub mod testing;
pub mod topics;
pub mod transfer;
pub mod transport;
pub mod worker;

pub use ringmq_mqtt as mqtt;

//! One worker: a thread that owns its ring, its connections, its shard and its end of the mesh.
//!
//! ```text
//!              ┌─────────── turn ────────────┐
//! kernel ───▶ events ─▶ shard ─▶ outputs, outbox ─▶ one send per link ─▶ kernel
//! other workers ─▶ mesh ─▶ │ ─▶ mesh ─▶ other workers
//! ```
#![forbid(unsafe_code)]

mod accept;
mod closing;
mod connection;
mod exchange;
mod journal;
mod layers;
mod notices;
mod places;
mod receive;
mod report;
mod transmit;
#[expect(clippy::module_inception, reason = "the loop is what the module is about")]
mod worker;

pub use exchange::Parcel;
pub use journal::Journal;
pub use notices::{Desk, Notice, Settings};
pub use places::{Place, Places};
pub use report::Report;
pub use worker::{Setup, Worker};

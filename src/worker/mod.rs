//! One worker: a thread that owns its ring, its connections, its shard and its end of the mesh.
//!
//! ```text
//!              ┌─────────── turn ────────────┐
//! kernel ───▶ events ─▶ shard ─▶ outputs, outbox ─▶ one send per link ─▶ kernel
//! other workers ─▶ mesh ─▶ │ ─▶ mesh ─▶ other workers
//! ```
#![forbid(unsafe_code)]

mod closing;
mod connection;
mod engine;
mod journal_line;
mod links;
mod memory_gauge;
mod notices;
mod parcel;
mod places;
mod receiving;
mod report;
mod transmit;
#[expect(clippy::module_inception, reason = "the loop is what the module is about")]
mod worker;

pub use journal_line::JournalLine;
pub use notices::{Announcement, LoginSender, Notice, Question, Reply, Settings};
pub use parcel::Parcel;
pub use places::{Places, TakenPlace};
pub use report::Report;
pub use worker::{Setup, Worker};

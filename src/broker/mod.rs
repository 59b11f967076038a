//! One worker's broker: bytes and time in, bytes and requests out.
#![forbid(unsafe_code)]

mod boundary;
mod clients;
mod counters;
mod deliver;
mod drops;
mod expiry;
mod flow;
mod gathering;
mod handle_acks;
mod handle_auth;
mod handle_connect;
mod handle_disconnect;
mod handle_mesh;
mod handle_publish;
mod handle_subscribe;
mod in_flight;
mod journal;
mod ledger;
mod link;
mod mesh_message;
mod message;
mod outbox;
mod pass;
mod permission;
mod publication;
mod pump;
mod rate;
mod reload;
mod replay;
mod restore;
mod route;
mod session;
mod shard;
mod share;
mod told;
mod will;

pub use boundary::{Excess, Input, LinkId, Origin, Output};
pub use counters::Counters;
pub use ledger::{Promise, Unwritten};
pub use mesh_message::{MeshMessage, Ticket};
pub use message::Message;
pub use outbox::{Outbox, Segments, Unsent};
pub use restore::{Homes, Past};
pub use shard::Shard;
pub use told::TOLD;

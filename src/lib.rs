//! ringmq: an MQTT broker for Linux servers, built for high fan-out.
//!
//! Dependencies point downward only; `tests/tidy.rs` holds the table.
//!
//! ```text
//! main → server → worker → broker → topics → mqtt | mesh, io → base, limits, options
//! sim sees broker, topics, mqtt, base; never worker or io
//! ```

pub mod base;
pub mod broker;
pub mod limits;
pub mod mqtt;
pub mod options;
pub mod sim;
pub mod topics;

//! What everything else may stand on: it knows no MQTT, no ring and no socket.
#![forbid(unsafe_code)]

pub mod causes;
pub mod ids;
pub mod maps;
pub(crate) mod operator_file;
pub(crate) mod prng;
pub(crate) mod queue;
pub(crate) mod random;
pub mod time;

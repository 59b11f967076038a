//! Foundations of all other modules, without knowledge of MQTT, rings or sockets.
#![forbid(unsafe_code)]

pub(crate) mod balance;
pub mod causes;
pub mod ids;
pub mod maps;
pub(crate) mod operator_file;
pub(crate) mod prng;
pub(crate) mod queue;
pub(crate) mod random;
pub mod time;
pub(crate) mod visits;

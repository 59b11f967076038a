//! What knows neither MQTT nor the kernel.
#![forbid(unsafe_code)]

pub mod ids;
pub mod maps;
pub(crate) mod operator_file;
pub(crate) mod prng;
pub(crate) mod queue;
pub mod time;

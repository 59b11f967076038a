//! What knows neither MQTT nor the kernel.
#![forbid(unsafe_code)]

pub mod ids;
pub mod maps;
pub mod operator_file;
pub mod prng;
pub mod queue;
pub mod time;

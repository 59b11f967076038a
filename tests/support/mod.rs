//! What several integration tests need.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod bare;
pub mod broker;
pub mod vectors;

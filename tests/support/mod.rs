//! What several integration tests need.
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]

pub mod bare;
pub mod broker;
pub mod vectors;

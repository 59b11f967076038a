//! What several integration tests need.
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]
#![allow(clippy::disallowed_methods, reason = "a test may look at the clock")]

pub mod bare;
pub mod broker;
pub mod vectors;

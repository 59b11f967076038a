//! SCRAM-SHA-256, the server's side.

use std::fmt;

/// An exchange that has begun.
pub struct Exchange {}

/// Holds keys, and shows none.
impl fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[exchange]")
    }
}

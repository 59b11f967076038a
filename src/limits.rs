//! Every bound that is not an option, in one place, with the relations that must hold between them.

/// Bytes of receive memory held for a peer that has not completed CONNECT.
pub const UNAUTHENTICATED_BYTES_MAX: usize = 16 * 1024;

//! How far a worker has come with what it writes anew.

use crate::base::ids::SessionId;
use std::sync::Arc;

/// How far a rewrite has come.
#[derive(Debug)]
pub(super) enum Rewrite {
    /// These sessions are still to be written.
    Sessions(Vec<SessionId>),
    /// Retained messages after this topic are.
    Retained(Option<Arc<str>>),
}

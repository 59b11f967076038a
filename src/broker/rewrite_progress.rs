//! The progress of a worker that writes its part of the journal anew.

use crate::base::ids::SessionId;
use std::sync::Arc;

/// The progress of a rewrite.
#[derive(Debug)]
pub(super) enum Rewrite {
    /// The sessions that are still to be written.
    Sessions(Vec<SessionId>),
    /// The topic after which retained messages are still to be written; None for all of them.
    Retained(Option<Arc<str>>),
}

//! What one client may do.

use super::rules::Rules;
use std::sync::Arc;

/// What one client may read and write: rules, and the identifiers that their patterns speak of.
#[derive(Debug)]
pub struct Grants {
    #[expect(dead_code, reason = "types first")]
    rules: Arc<Rules>,
}

/// What of a filter's messages a client may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every topic that the filter can match: no delivery need be checked.
    All,
    /// Perhaps some: every delivery has to be checked.
    Part,
    /// No topic that the filter can match.
    None,
}

impl Grants {
    /// Whether the client may publish to `topic`.
    #[must_use]
    pub fn may_write(&self, _topic: &str) -> bool {
        false
    }

    /// Whether the client may receive what is published to `topic`.
    #[must_use]
    pub fn may_read(&self, _topic: &str) -> bool {
        false
    }

    /// What the client may read of a subscription's messages; `filter` has no share name.
    #[must_use]
    pub fn reach(&self, _filter: &str) -> Reach {
        Reach::None
    }
}

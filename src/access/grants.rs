//! The permissions of one client.

use super::rules::{Action, Names, Rules};
use std::sync::Arc;

/// The permissions of one client: rules, and the identifiers that their patterns refer to.
#[derive(Debug)]
pub struct Grants {
    rules: Arc<Rules>,
    names: Names,
}

/// The part of a filter's messages that a client may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All topics that the filter can match: no delivery need be checked.
    All,
    /// Perhaps some topics: every delivery has to be checked.
    Part,
    /// No topic that the filter can match.
    None,
}

impl Reach {
    pub(super) const fn of(some_allowed: bool, some_denied: bool) -> Self {
        match (some_allowed, some_denied) {
            (true, false) => Self::All,
            (true, true) => Self::Part,
            (false, _) => Self::None,
        }
    }
}

impl Grants {
    pub(super) const fn new(rules: Arc<Rules>, names: Names) -> Self {
        Self { rules, names }
    }

    /// Everything but to read the broker's own topics.
    pub(super) fn without_sys() -> Self {
        let rules = Rules::all_but_reading("$SYS/#").expect("a valid filter");
        Self::new(Arc::new(rules), Names::new("", None))
    }

    /// Whether the client may publish to `topic`.
    #[must_use]
    pub fn may_write(&self, topic: &str) -> bool {
        self.rules.permits(Action::Write, &self.names, topic)
    }

    /// Whether the client may receive messages published to `topic`.
    #[must_use]
    pub fn may_read(&self, topic: &str) -> bool {
        self.rules.permits(Action::Read, &self.names, topic)
    }

    /// The part of a subscription's messages that the client may read; `filter` has no share name.
    ///
    /// [`Reach::All`] and [`Reach::None`] are certain. When several rules together cover a filter,
    /// the result is [`Reach::Part`], although a closer look might find more.
    #[must_use]
    pub fn reach(&self, filter: &str) -> Reach {
        self.rules.reach(&self.names, filter)
    }
}

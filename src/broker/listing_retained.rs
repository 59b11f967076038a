//! Retained messages of this worker as an operator sees them: a page, or a level of the tree, at a
//! time.

use super::listing::LOOKS_MAX;
use super::purse::RETAINED_STEPS;
use super::shard::Shard;
use crate::store::Message;
use crate::topics::Levels;
use std::time::Duration;

/// The retained messages that an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedAsked {
    /// A valid filter, not a shared one.
    pub filter: String,
    /// The topic behind which the page begins.
    pub after: Option<String>,
    /// The messages on the page, at least 1 and at most 1000.
    pub count: usize,
    /// Whether the payloads are wanted.
    pub has_payloads: bool,
}

/// Some retained messages of a worker, in the order of their topics' bytes.
#[derive(Debug, Clone, Default)]
pub struct RetainedRows {
    /// The messages.
    pub rows: Vec<RetainedRow>,
    /// The topic behind which the next page begins; None at the end.
    pub next: Option<String>,
}

/// One retained message.
#[derive(Debug, Clone)]
pub struct RetainedRow {
    /// The topic.
    pub topic: String,
    /// The QoS with which the message came.
    pub qos: u8,
    /// The bytes of the payload.
    pub bytes: usize,
    /// The verified name of the publisher's user.
    pub user: Option<String>,
    /// The time since the message came, to this process at least.
    pub age: Duration,
    /// Seconds until the message expires.
    pub expiry_s: Option<u32>,
    /// The payload, if it was asked for.
    pub payload: Option<Box<[u8]>>,
}

/// The names that one level shows.
const LEVELS_MAX: usize = 1000;

impl Shard {
    /// The next retained messages that match.
    #[must_use]
    pub fn retained_rows(&mut self, asked: &RetainedAsked) -> RetainedRows {
        let after = asked.after.as_deref();
        let page = self.retained.page(&asked.filter, after, asked.count, LOOKS_MAX);
        self.clients.outbox.purse().spend_at_once(RETAINED_STEPS * page.visits);
        let now = self.clients.now;
        let row = |message: &Message| RetainedRow {
            topic: message.topic().to_owned(),
            qos: message.qos as u8,
            bytes: message.payload().len(),
            user: message.user().map(ToOwned::to_owned),
            age: now.since(message.received),
            expiry_s: message.expires.map(|expires| expires.left_s(now)),
            payload: asked.has_payloads.then(|| message.payload().into()),
        };
        RetainedRows {
            rows: page.messages.iter().map(|message| row(message)).collect(),
            next: page.next.map(|next| next.to_string()),
        }
    }

    /// The names on the level below a topic, or on the first one, that begin with `begins`.
    #[must_use]
    pub fn retained_levels(&mut self, below: Option<&str>, begins: &str) -> Levels {
        let found = self.retained.levels(below, begins, (LEVELS_MAX, 2 * LEVELS_MAX));
        self.clients.outbox.purse().spend_at_once(RETAINED_STEPS * found.visits);
        found
    }
}

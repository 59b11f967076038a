//! How full the memory is, and what that means: see [`Pressure`].

use crate::base::time::Time;
use crate::mqtt::{ProtocolError, ReasonCode};

/// How much of the memory that the broker may have is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Pressure {
    /// Enough is left.
    #[default]
    None,
    /// New retained topics, new stored sessions and new subscriptions are refused, and publishers
    /// wait whose messages only fill queues.
    Tight,
    /// Besides, those clients that hold most lose what waits for them.
    Short,
    /// Besides, no new client comes in, and no message.
    Full,
}

/// The search for clients that hold much.
#[derive(Debug, Default)]
pub(super) struct Shedding {
    /// The next session slot.
    pub(super) next: usize,
    /// The greatest number of bytes that one client held, in the last round and in this one.
    pub(super) greatest: usize,
    pub(super) greatest_so_far: usize,
    /// The bytes that were taken from clients in this round.
    pub(super) freed: usize,
    /// The time of the next look.
    pub(super) due: Option<Time>,
}

/// A refusal of one more retained topic.
pub(super) const TOO_MANY_RETAINED: ProtocolError = ProtocolError::new(
    ReasonCode::QuotaExceeded,
    "as many topics have a message of the user's as may: see --max-retained",
);

/// A refusal for lack of memory.
pub(super) const NO_MEMORY: ProtocolError = ProtocolError::new(
    ReasonCode::QuotaExceeded,
    "the broker has too little memory left: see --max-memory",
);

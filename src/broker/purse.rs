//! The purse of a turn: the work that a shard does before its output is sent.
//!
//! Work is counted in steps, not in time, so that it is the same in every run: a step is about what
//! ten nanoseconds do. What may take many steps is done a piece at a time; each piece is paid for,
//! and while the purse is empty nothing begins that can wait for the next turn.

use crate::base::visits;
use crate::limits::{SHARE_PROBES_MAX, TURN_STEPS_MAX};
use crate::mqtt::level_count;

/// The most steps of one piece of work.
const PIECE_STEPS_MAX: usize = 32 * 1024;

/// Steps of visiting one node of a tree of filters.
pub(super) const NODE_STEPS: usize = 4;
/// Steps of a subscription that is added or taken out, besides those of its levels.
pub(super) const SUBSCRIPTION_STEPS: usize = 96;
/// Steps of one level of its filter.
const LEVEL_STEPS: usize = 16;
/// Bytes of other filters' levels that one step pays for, where a change of the tree moves them.
pub(super) const MOVED_BYTES: usize = visits::MOVED_BYTES;
/// Steps of looking at one retained topic.
pub(super) const RETAINED_STEPS: usize = 16;
/// Steps of sending a message from a queue, from the retained store or from flight.
pub(super) const KEPT_STEPS: usize = 32;
/// Steps of a timer that is due.
pub(super) const TIMER_STEPS: usize = 64;
/// Steps of looking at what one client holds, or of dropping one message of it.
pub(super) const HOLDER_STEPS: usize = 16;
/// Steps of handling a PUBLISH, besides its way to subscribers.
pub(super) const PUBLISH_STEPS: usize = 16;
/// Steps of picking a member of a shared group.
pub(super) const SHARE_STEPS: usize = 16;
/// Deliveries at QoS 0 that one step pays for; at QoS 1 and 2 each takes one. They cost more, but
/// sending what has come of them costs far more than that, once for all of a turn.
pub(super) const PLAIN_DELIVERIES: usize = 8;

/// Visits of elements (see [`visits`]) that one input may cause besides those that it pays for: one
/// with each step, and those below. Lists become indexes, drops are told, sessions are looked at
/// that have nothing to do. All tests, with 2,000 simulated runs, come to 1,500.
const INPUT_VISITS_MAX: u64 = 4096;
/// The same for each exchange that a session may have: the gaps among them are closed at once.
const EXCHANGE_VISITS: u64 = 4;
/// Visits that each byte pays for: four bytes of an acknowledgement end an exchange, which is found
/// and leaves list and index.
const BYTE_VISITS: u64 = 4;
/// Visits that each delivery of a fan-out pays for: it looks for room in a queue, for a packet
/// identifier, and for a member of a group that can take it.
const DELIVERY_VISITS: u64 = SHARE_PROBES_MAX as u64;

/// Steps of adding a subscription to the tree, or of taking it out.
pub(super) fn filter_steps(filter: &str) -> usize {
    SUBSCRIPTION_STEPS + LEVEL_STEPS * level_count(filter)
}

/// The steps of the present turn, and of all turns.
#[derive(Debug)]
pub(super) struct Purse {
    /// The steps of a turn, [`TURN_STEPS_MAX`] but in tests.
    steps_max: usize,
    spent: usize,
    /// The steps of work that is done in pieces.
    total: u64,
    /// The visits that everything else has paid for; counted with debug assertions only.
    visits: u64,
}

impl Default for Purse {
    fn default() -> Self {
        Self { steps_max: TURN_STEPS_MAX, spent: 0, total: 0, visits: 0 }
    }
}

impl Purse {
    /// Changes the steps of a turn.
    pub(super) const fn limit(&mut self, steps_max: usize) {
        self.steps_max = steps_max;
    }

    /// Pays for a piece of work that can be continued in another turn.
    #[inline]
    pub(super) const fn spend(&mut self, steps: usize) {
        self.spent += steps;
        self.total += steps as u64;
    }

    /// Pays for work that is not cut: the way of one publish to its subscribers, whose length is
    /// theirs, and what another worker has done a piece of already.
    #[inline]
    pub(super) const fn spend_at_once(&mut self, steps: usize) {
        self.spent += steps;
        if cfg!(debug_assertions) {
            self.visits += steps as u64;
        }
    }

    /// Notes so many deliveries among the work that is not cut: for [`Self::paid_visits`].
    #[inline]
    pub(super) const fn deliver(&mut self, count: usize) {
        if cfg!(debug_assertions) {
            self.visits += DELIVERY_VISITS * count as u64;
        }
    }

    /// Notes bytes that came, or that have waited and are handled now: for [`Self::paid_visits`].
    #[inline]
    pub(super) const fn take_bytes(&mut self, count: usize) {
        if cfg!(debug_assertions) {
            self.visits += BYTE_VISITS * count as u64;
        }
    }

    /// True when nothing more is to begin in this turn.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.spent >= self.steps_max
    }

    /// Nothing more is to begin in this turn.
    pub(super) const fn empty(&mut self) {
        self.spent = self.steps_max;
    }

    /// A turn begins, or the part of it in which what has waited is gone on with.
    pub(super) const fn refill(&mut self) {
        self.spent = 0;
    }

    /// The most steps that one input may cost, besides those of its bytes: the five parts of a tick
    /// have a purse each, and a piece that has begun may cost more than is left.
    pub(super) const fn input_max(&self) -> u64 {
        (5 * (self.steps_max + PIECE_STEPS_MAX)) as u64
    }

    /// The visits of elements that everything so far has paid for.
    pub(super) const fn paid_visits(&self) -> u64 {
        self.total + self.visits
    }

    /// The visits that one input need not pay for, where a session may have so many exchanges.
    pub(super) const fn unpaid_visits(exchanges_max: u16) -> u64 {
        INPUT_VISITS_MAX + EXCHANGE_VISITS * exchanges_max as u64
    }

    /// All steps so far but those of work that is not cut.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }
}

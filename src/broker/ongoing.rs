//! A packet with many filters, which is handled a piece at a time.

use super::deferred::ResponseId;
use crate::audit::Filters;

/// A SUBSCRIBE or UNSUBSCRIBE of which some filters are done. The packet stays first among the
/// bytes that its link has received, and the packets behind it wait.
#[derive(Debug)]
pub(super) struct Ongoing {
    /// The place of the next filter in the packet's body.
    pub(super) position: usize,
    /// The reason codes of the filters that are done.
    pub(super) codes: Vec<u8>,
    /// The response, which waits for the rest of the packet as well.
    pub(super) response: ResponseId,
    /// The filters that are done, for the audit log; None when there is none.
    pub(super) tally: Option<Box<FilterTally>>,
}

/// The filters of a packet for the audit log: those with an effect, and those that were refused.
#[derive(Debug, Default)]
pub(super) struct FilterTally {
    pub(super) granted: Filters,
    pub(super) refused: Filters,
}

impl Ongoing {
    /// The codes so far, the response, and the tally.
    pub(super) fn parts(self) -> (Vec<u8>, Option<ResponseId>, Option<Box<FilterTally>>) {
        (self.codes, Some(self.response), self.tally)
    }
}

/// How far a packet is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The packet is done with.
    Done,
    /// The packet waits for the link's next turn.
    Paused,
}

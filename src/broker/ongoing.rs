//! A packet with many filters, which is handled a piece at a time.

use super::deferred::ResponseId;

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
}

impl Ongoing {
    /// The codes so far, and the response.
    pub(super) fn parts(self) -> (Vec<u8>, Option<ResponseId>) {
        (self.codes, Some(self.response))
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

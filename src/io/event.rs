//! Events: the reports of a ring.
#![forbid(unsafe_code)]

use super::buffers::Lent;
use crate::base::ids::LinkId;
use std::io;

/// An event reports that a request to the ring has done something.
#[derive(Debug)]
pub enum Event<B> {
    /// Connections wait to be accepted. Nothing further is reported until asked again.
    Acceptable,
    /// Bytes came in; `None` when the peer will send no more. Without `more` nothing further is
    /// received until asked again: `ENOBUFS` and `ECANCELED` mean only that, and lose nothing.
    Received {
        /// The link that receives.
        link: LinkId,
        /// The buffer with the bytes.
        bytes: io::Result<Option<Lent>>,
        /// True when receiving goes on.
        more: bool,
    },
    /// A backlog's front was sent, or could not be.
    Drained {
        /// The link that sends.
        link: LinkId,
        /// The error after which the socket takes no more bytes, if any.
        result: io::Result<()>,
        /// The rest of the backlog.
        backlog: B,
    },
    /// Another thread called `Waker::wake`. Without `more` the ring has to watch again.
    Woken {
        /// True when watching goes on.
        more: bool,
    },
}

/// A send that the kernel did not take whole.
#[derive(Debug)]
pub struct SendFailure {
    /// The link that sends.
    pub link: LinkId,
    /// The bytes that went out before the socket was full, or the cause of the connection's loss.
    pub sent: io::Result<usize>,
}

/// Bytes that wait until a socket takes them, in chunks.
///
/// While a ring sends the front, the ring owns the backlog and calls nothing on it, so the chunk
/// stays where it is.
pub trait Backlog {
    /// The next bytes; `None` when nothing is left. Never empty.
    fn front(&self) -> Option<&[u8]>;
    /// Forgets the first `count` bytes of the front.
    fn advance(&mut self, count: usize);
}

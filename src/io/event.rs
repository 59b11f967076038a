//! What a ring reports.
#![forbid(unsafe_code)]

use super::buffers::Lent;
use crate::base::ids::{LinkId, ListenerId};
use std::io;
use std::os::fd::OwnedFd;

/// Something that was asked for has happened.
#[derive(Debug)]
pub enum Event<B> {
    /// A listener has a new connection, or could not accept one. Without `more` it accepts no
    /// further ones until asked again.
    Accepted {
        /// The number that `Ring::accept` was given.
        listener: ListenerId,
        /// The new connection.
        socket: io::Result<OwnedFd>,
        /// Whether accepting goes on.
        more: bool,
    },
    /// Bytes came in; `None` when the peer will send no more. Without `more` nothing further is
    /// received until asked again: `ENOBUFS` and `ECANCELED` mean only that, and lose nothing.
    Received {
        /// The link it was asked for.
        link: LinkId,
        /// The buffer with the bytes.
        bytes: io::Result<Option<Lent>>,
        /// Whether receiving goes on.
        more: bool,
    },
    /// A backlog's front was sent, or could not be.
    Drained {
        /// The link it was sent on.
        link: LinkId,
        /// Whether the socket still takes bytes.
        result: io::Result<()>,
        /// What is left.
        backlog: B,
    },
    /// Another thread called `Waker::wake`. Without `more` the ring has to watch again.
    Woken {
        /// Whether watching goes on.
        more: bool,
    },
}

/// A send that the kernel did not take whole.
#[derive(Debug)]
pub struct SendFailure {
    /// The link it was for.
    pub link: LinkId,
    /// How many bytes went out before the socket was full, or why the connection is lost.
    pub sent: io::Result<usize>,
}

/// Bytes that wait until a socket takes them, in chunks.
///
/// While a ring sends the front, it owns the backlog and calls nothing on it, so the chunk stays
/// where it is.
pub trait Backlog {
    /// The next bytes; `None` when nothing is left. Never empty.
    fn front(&self) -> Option<&[u8]>;
    /// Forgets the first `count` bytes of the front.
    fn advance(&mut self, count: usize);
}

//! The listeners of one worker, whose connections are accepted without a wait.
//!
//! The ring watches an epoll of the listeners, not the sockets themselves. A request holds its file
//! until the kernel has torn down the ring, which for a process that was killed is after its end,
//! and the later the more connections it had. Until then a listener would go on taking connections
//! that nobody serves, and the address would not be free for the next process. An epoll does not
//! hold the sockets that it watches, so they go with the process.
#![forbid(unsafe_code)]

use super::socket::Listener;
use crate::base::ids::ListenerId;
use rustix::event::{Timespec, epoll};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The listeners of one worker.
#[derive(Debug)]
pub struct Listeners {
    epoll: OwnedFd,
    listeners: Vec<Listener>,
}

/// A new connection.
#[derive(Debug)]
pub struct Accepted {
    /// The listener that it came to.
    pub listener: ListenerId,
    /// The connection.
    pub socket: OwnedFd,
    /// The address of its peer; None for a Unix socket.
    pub peer: Option<SocketAddr>,
}

impl Listeners {
    /// The listeners, numbered from 0 on in their order.
    ///
    /// # Errors
    /// The lack of a descriptor or of memory.
    pub fn new(listeners: Vec<Listener>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, listener) in listeners.iter().enumerate() {
            let index = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, listener, index, epoll::EventFlags::IN)?;
        }
        Ok(Self { epoll, listeners })
    }

    /// The next connection, of each listener in turn; None when none waits, or when the next one
    /// has ended meanwhile. Never waits.
    ///
    /// # Errors
    /// The lack of a descriptor or of memory, which keeps all connections waiting.
    pub fn accept(&self) -> io::Result<Option<Accepted>> {
        let mut events = [MaybeUninit::uninit()];
        let (events, _) = epoll::wait(&self.epoll, &mut events, Some(&Timespec::default()))?;
        let Some(ready) = events.first() else { return Ok(None) };
        let listener = ListenerId::at(ready.data.u64() as usize);
        match self.listeners[listener.index()].accept() {
            Ok((socket, peer)) => Ok(Some(Accepted { listener, socket, peer })),
            Err(error) if concerns_one_connection(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Listeners {
    /// The epoll: readable while connections wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// True for errors of a connection that ended before it was accepted, or that another worker has
/// accepted from the same socket.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO | libc::ENETDOWN)
    )
}

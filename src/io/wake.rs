//! The waker of a worker that sleeps in the kernel.
#![forbid(unsafe_code)]

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A counter in the kernel (`eventfd`) that a ring watches and other threads add to.
#[derive(Debug)]
pub struct Waker {
    descriptor: OwnedFd,
}

impl Waker {
    /// A new counter.
    ///
    /// # Errors
    /// The lack of a descriptor.
    pub fn new() -> io::Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { descriptor })
    }

    /// Wakes the ring that watches.
    ///
    /// Adding cannot fail before the counter is near 2⁶⁴: the counter is never read, because every
    /// addition wakes a watching poll.
    pub fn wake(&self) {
        let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

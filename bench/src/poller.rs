//! epoll, edge-triggered: one event for each readiness, one read for each event.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::sync::Arc;

/// Events that one wait returns at most.
const EVENTS_MAX: usize = 1024;

/// The token of the wake-up.
const WAKE: u64 = u64::MAX;

/// Waits for sockets, and for other threads.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// The cause for which a wait returned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ready {
    /// Another thread woke this one.
    Woken,
    /// A socket can be read, written or is closed.
    Socket { token: usize, readiness: Readiness },
}

/// The operations that a socket is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) is_readable: bool,
    pub(crate) is_writable: bool,
    /// The peer sends no more: no other event will say so.
    pub(crate) is_ending: bool,
}

/// Ends another thread's wait.
#[derive(Debug, Clone)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(crate) fn new() -> Result<Self, Errno> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        Ok(Self(Arc::new(eventfd(0, flags)?)))
    }

    pub(crate) fn wake(&self) {
        // It fails only when the counter is full: then the thread wakes anyway.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Poller {
    /// A poller whose waits `waker` ends.
    pub(crate) fn new(waker: &Waker) -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // Edge-triggered: it is never read, each write is an event.
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &*waker.0, EventData::new_u64(WAKE), flags)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Reports `socket` as `token` from now on, until it is closed.
    pub(crate) fn add(&self, socket: impl AsFd, token: usize) -> Result<(), Errno> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(token as u64), flags)
    }

    /// Waits until something is ready, or for `timeout_ns`; returns how many things are.
    pub(crate) fn wait(&mut self, timeout_ns: u64) -> Result<usize, Errno> {
        let timeout = Timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as i64,
            tv_nsec: (timeout_ns % 1_000_000_000) as i64,
        };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(count) => Ok(count),
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// One of the things that the last wait returned.
    #[inline]
    pub(crate) fn ready(&self, index: usize) -> Ready {
        let event = self.events[index];
        let token = event.data.u64();
        if token == WAKE {
            return Ready::Woken;
        }
        let closed = EventFlags::HUP | EventFlags::ERR | EventFlags::RDHUP;
        let flags = event.flags;
        let readiness = Readiness {
            is_readable: flags.intersects(EventFlags::IN | closed),
            is_writable: flags.intersects(EventFlags::OUT),
            is_ending: flags.intersects(closed),
        };
        Ready::Socket { token: token as usize, readiness }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_ends_one_wait() {
        let waker = Waker::new().unwrap();
        let mut poller = Poller::new(&waker).unwrap();
        assert_eq!(poller.wait(0).unwrap(), 0);
        waker.wake();
        assert_eq!(poller.wait(1_000_000_000).unwrap(), 1);
        assert!(matches!(poller.ready(0), Ready::Woken));
        assert_eq!(poller.wait(0).unwrap(), 0);
        waker.wake();
        assert_eq!(poller.wait(0).unwrap(), 1);
    }
}

//! Doorbells: a worker sleeps without missing a message, and is woken at most once.
//!
//! A sleeper and a sender each write one place, then read the other's:
//!
//! ```text
//! sleeper                                sender
//! asleep = true                          push (or pop) moves a ring's tail (or head)
//! fence(SeqCst)                          fence(SeqCst)
//! rings empty? then sleep in the kernel  asleep? then asleep = false, and write the eventfd
//! ```
//!
//! The two fences are ordered one way or the other. If the sleeper's comes first, the sender reads
//! `asleep == true` and wakes it; if the sender's comes first, the sleeper sees the ring's new tail
//! and does not sleep. Were there no fences, both could read old values. The wake itself is kept in
//! the kernel, so that one between the check and the sleep is not lost. The same holds for room in
//! a ring that a sleeper waits for: `waiting_for` is written before the sleeper's fence, the head
//! before the sender's. `asleep` needs no ordering of its own: the messages are published by the
//! rings.

use crate::base::ids::WorkerId;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// A doorbell, by which others get a worker's attention.
pub struct Doorbell {
    asleep: Padded<AtomicBool>,
    stopped: AtomicBool,
    finished: AtomicBool,
    waiting_for: Box<[AtomicBool]>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A field that is written often, kept away from its neighbours' cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Doorbell").field("asleep", &self.asleep).finish_non_exhaustive()
    }
}

impl Doorbell {
    /// The doorbell of one of `workers` workers; `wake` ends the worker's sleep, also when called
    /// shortly before the sleep begins.
    #[must_use]
    pub fn new(workers: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            asleep: Padded::default(),
            stopped: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            waiting_for: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            wake: Box::new(wake),
        }
    }

    /// Tells the worker to stop, from any thread.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.call();
    }

    /// Wakes the worker, from any thread, after something was put where the worker looks before it
    /// sleeps.
    pub(crate) fn call(&self) {
        fence(Ordering::SeqCst);
        self.ring();
    }

    /// True when the worker was told to stop.
    #[inline]
    #[must_use]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Notes whether the worker, which stops, has nothing left to do. A thread that reads this note
    /// finds all that the worker has sent before.
    pub(super) fn set_finished(&self, finished: bool) {
        self.finished.store(finished, Ordering::Release);
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Notes that the worker has woken up, or does not sleep after all.
    pub(crate) fn stay_awake(&self) {
        self.asleep.0.store(false, Ordering::Relaxed);
    }

    /// Wakes the worker if it sleeps. Two threads that ring at the same time wake it once.
    pub(super) fn ring(&self) {
        if self.asleep.0.load(Ordering::Relaxed) && self.asleep.0.swap(false, Ordering::Relaxed) {
            (self.wake)();
        }
    }

    pub(super) fn announce_sleep(&self) {
        self.asleep.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(super) fn set_waiting_for(&self, worker: WorkerId, waiting: bool) {
        self.waiting_for[worker.index()].store(waiting, Ordering::Relaxed);
    }

    pub(super) fn is_waiting_for(&self, worker: WorkerId) -> bool {
        self.waiting_for[worker.index()].load(Ordering::Relaxed)
    }
}

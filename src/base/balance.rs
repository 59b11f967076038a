//! A sum of bytes that many threads add to and take from.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::thread::LocalKey;

/// The bytes up to which a thread keeps its part for itself.
const UNTOLD_BYTES: i64 = 16 * 1024;

/// A thread's part of a sum that it has not told yet.
pub(crate) type Untold = LocalKey<Cell<i64>>;

/// The sum of all threads' parts, off by at most [`UNTOLD_BYTES`] a thread.
#[derive(Debug)]
pub(crate) struct Balance(AtomicI64);

impl Balance {
    /// Makes a sum of 0.
    pub(crate) const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// Adds bytes, or takes them when they are negative: to the thread's part, and from there to
    /// the sum when that part has become large.
    #[inline]
    pub(crate) fn add(&self, untold: &'static Untold, bytes: i64) {
        untold.with(|untold| {
            let part = untold.get() + bytes;
            if part.abs() < UNTOLD_BYTES {
                return untold.set(part);
            }
            untold.set(0);
            self.0.fetch_add(part, Relaxed);
        });
    }

    /// The sum.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed).max(0) as u64
    }
}

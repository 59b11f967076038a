//! The choice of the way to the kernel.

use super::failure::Failure;
use super::kernel;
use super::memory::{self, Rings};
use crate::io::setup::{Features, RingEngine, RingError, RingSizes, probe};
use crate::options::EngineChoice;
use std::fmt;

/// The engine of all rings.
#[derive(Debug, Clone, Copy)]
pub(super) enum Chosen {
    /// io_uring, with what this kernel's has.
    IoUring(Features),
    /// Readiness.
    Poll,
}

impl Chosen {
    pub(super) const fn engine(self) -> RingEngine {
        match self {
            Self::IoUring(_) => RingEngine::IoUring,
            Self::Poll => RingEngine::Poll,
        }
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::IoUring(features) = self else {
            return formatter.write_str("epoll: readiness, a call for each receive and send");
        };
        formatter.write_str("io_uring: deferred task work, multishot receive, provided buffers")?;
        formatter.write_str(if features.no_submission_array { ", no submission array" } else { "" })
    }
}

/// The engine, and the rings of so many workers. Where io_uring is forbidden, missing or too old,
/// and nothing else was asked for, it is readiness, and a line in the log says so.
///
/// # Errors
/// The kernel's refusal of the engine that was asked for.
pub(super) fn choose(choice: EngineChoice, workers: usize) -> Result<(Chosen, Rings), Failure> {
    let by_readiness = (Chosen::Poll, Rings { sizes: RingSizes::default(), workers });
    if choice == EngineChoice::Poll {
        return Ok(by_readiness);
    }
    match refusal() {
        None => {
            let rings = memory::plan_rings(workers);
            Ok((Chosen::IoUring(probe().map_err(Failure::start)?), rings))
        }
        Some(refusal) if choice == EngineChoice::Auto => {
            tracing::warn!(
                "Sockets are served by epoll, which takes more CPU a delivery: {refusal}"
            );
            Ok(by_readiness)
        }
        Some(refusal) => Err(refusal),
    }
}

/// The refusal of io_uring that no limit of this process would change, if there is one.
fn refusal() -> Option<Failure> {
    match kernel::check() {
        Err(failure) => Some(failure),
        Ok(()) => probe().err().filter(is_lasting).map(Failure::start),
    }
}

/// True for a refusal that no other limit would change.
const fn is_lasting(error: &RingError) -> bool {
    matches!(error, RingError::Forbidden | RingError::Missing | RingError::Old)
}

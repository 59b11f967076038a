//! The runtime of a thread that awaits files and connections.
#![forbid(unsafe_code)]

use crate::io::setup::RingEngine;
use std::io;
use tokio::task::LocalSet;

/// Runs a future on this thread to its end, with files and connections by the engine.
///
/// # Errors
/// The lack of a descriptor or of memory; with io_uring, the kernel's refusal.
pub(crate) fn block_on<F: Future>(engine: RingEngine, future: F) -> io::Result<F::Output> {
    match engine {
        RingEngine::IoUring => {
            Ok(tokio_uring::Runtime::new(&tokio_uring::builder())?.block_on(future))
        }
        RingEngine::Poll => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(LocalSet::new().block_on(&runtime, future))
        }
    }
}

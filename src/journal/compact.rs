//! Makes the journal of a stopped broker as small as it can be.

use super::directory::{Directory, cut_torn_tails};
use super::disk::Files;
use super::error::JournalError;
use super::runtime::block_on;
use crate::io::setup::RingEngine;
use crate::store::{self, Limits, Log, Recovered};

/// Replaces all segments by one with their state, and returns its length in bytes. `salt` is for a
/// journal that has not begun yet.
///
/// # Errors
/// The cause. The journal then holds the same state as before.
pub(crate) fn compact(
    directory: Directory,
    recovered: Recovered,
    salt: u64,
) -> Result<u64, JournalError> {
    let path = directory.path().to_owned();
    let cannot = |error| JournalError::at(&path, "cannot compact the journal in", error);
    cut_torn_tails(&directory, &recovered.faults)?;
    // Nothing else runs meanwhile.
    let engine = RingEngine::Poll;
    let compacted = block_on(engine, async move {
        let files = Files { directory, engine };
        let mut log = Log::new(files, recovered.end, true, salt, Limits::USUAL);
        store::compact(&mut log, &recovered.state).await?;
        Ok(log.bytes())
    });
    compacted.flatten().map_err(cannot)
}

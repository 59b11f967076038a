//! Makes the journal of a stopped broker as small as it can be.

use super::directory::{Directory, cut_torn_tails};
use super::disk::Files;
use super::error::JournalError;
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
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder()).map_err(cannot)?;
    runtime.block_on(async move {
        let mut log = Log::new(Files { directory }, recovered.end, true, salt, Limits::USUAL);
        store::compact(&mut log, &recovered.state).await.map_err(cannot)?;
        Ok(log.bytes())
    })
}

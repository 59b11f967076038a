//! Makes a journal as small as it can be.

use super::commit::CommitWriter;
use super::log::{Disk, Log};
use super::state::State;
use crate::limits::REWRITE_SLICE_BYTES;
use std::io;

/// Writes a state into a new segment, and removes all older ones when that is safe. `log` is not
/// open, and goes on after the segments that the state was read from; a journal that a crash leaves
/// has the same state.
///
/// # Errors
/// An error of the disk. Nothing is lost then.
pub async fn compact<D: Disk>(log: &mut Log<D>, state: &State) -> io::Result<()> {
    log.begin_rewrite().await?;
    let mut writer = CommitWriter::new(log.next_stamp(), Vec::new());
    for record in state.records() {
        writer.write(&record);
        if writer.len() > REWRITE_SLICE_BYTES {
            log.commit(writer.finish()).await.0?;
            writer = CommitWriter::new(log.next_stamp(), Vec::new());
        }
    }
    if !writer.is_empty() {
        log.commit(writer.finish()).await.0?;
    }
    log.end_rewrite().await
}

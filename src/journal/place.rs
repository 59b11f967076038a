//! Places a state from elsewhere in a directory that has none.

use super::directory::Directory;
use super::disk::Files;
use super::error::JournalError;
use super::runtime::block_on;
use crate::io::setup::RingEngine;
use crate::store::{self, Limits, Log, LogEnd, State};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;

/// The folder in which the journal is written before it counts.
const STAGING: &str = "importing";

/// Writes the journal of a state, and returns its length in bytes. All of it is there at once: the
/// journal has one segment, whatever its length, which gets its name when it is whole.
///
/// # Errors
/// The directory has data already, or cannot be written.
pub(crate) fn place(directory: &Directory, state: &State, salt: u64) -> Result<u64, JournalError> {
    let path = directory.path();
    if !directory.segments()?.is_empty() {
        return Err(JournalError::new(format!(
            "the data directory {} holds data already: choose an empty one",
            path.display()
        )));
    }
    let cannot = |error| JournalError::at(path, "cannot write the journal in", error);
    let staging = path.join(STAGING);
    remove(&staging).map_err(cannot)?;
    let bytes = write(Directory::open(&staging)?, state, salt).map_err(cannot)?;
    let name = directory.segment_path(1);
    fs::rename(Directory::peek(&staging).segment_path(1), name).map_err(cannot)?;
    File::open(path).and_then(|names| names.sync_all()).map_err(cannot)?;
    remove(&staging).map_err(cannot)?;
    Ok(bytes)
}

/// Removes what an earlier attempt has left.
fn remove(staging: &Path) -> io::Result<()> {
    match fs::remove_dir_all(staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write(directory: Directory, state: &State, salt: u64) -> io::Result<u64> {
    // Nothing else runs meanwhile.
    let engine = RingEngine::Poll;
    let write = move || {
        let written = block_on(engine, async move {
            let files = Files { directory, engine };
            let limits = Limits { segment_bytes_max: u64::MAX, ..Limits::USUAL };
            let mut log = Log::new(files, LogEnd::default(), true, salt, limits);
            store::compact(&mut log, state).await?;
            Ok(log.bytes())
        });
        written.flatten()
    };
    // A start awaits other things on its own thread.
    thread::scope(|scope| {
        let written = scope.spawn(write).join();
        written.unwrap_or_else(|_| Err(io::Error::other("the thread that writes has failed")))
    })
}

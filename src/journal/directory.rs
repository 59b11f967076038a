//! The directory of a journal: its lock and its segments.

use crate::store::{Epoch, Fault, Found, Reader, Recovered};
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory that no other process uses.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: Option<File>,
}

/// A segment's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl Directory {
    /// Makes the directory if need be, and keeps other processes out.
    ///
    /// # Errors
    /// One line with the cause and the fix.
    pub fn open(path: &Path) -> Result<Self, String> {
        let unusable =
            |error: io::Error| format!("cannot use the data directory {}: {error}", path.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let name = path.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let lock = options.open(&name).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "the data directory {} is in use by another ringmq: stop that one, or choose \
                 another directory",
                path.display()
            )),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// The directory as it is, to be looked at while it may be in use.
    #[must_use]
    pub fn peek(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where segment `number` is, or would be.
    #[must_use]
    pub fn segment_path(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016}.journal"))
    }

    /// Its segments, in order.
    ///
    /// # Errors
    /// One line with the cause.
    pub fn segments(&self) -> Result<Vec<Segment>, String> {
        let unreadable =
            |error| format!("cannot read the data directory {}: {error}", self.path.display());
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let is_segment = path.extension().is_some_and(|extension| extension == "journal");
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if let Some(number) = number.filter(|_| is_segment) {
                segments.push(Segment { number, path });
            }
        }
        segments.sort_by_key(|segment| segment.number);
        Ok(segments)
    }
}

impl Segment {
    /// All of it.
    ///
    /// # Errors
    /// One line with the cause.
    pub fn read(&self) -> Result<Found, String> {
        let bytes = fs::read(&self.path)
            .map_err(|error| format!("cannot read {}: {error}", self.path.display()))?;
        Ok(Found { number: self.number, bytes })
    }

    /// Cuts it off, for good.
    fn cut(&self, end: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.set_len(end)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.sync_all()
    }
}

/// Reads a journal; `progress` hears how many of how many segments are read. Its points in time
/// become those of a clock with another epoch by [`State::set_epoch`](crate::store::State).
///
/// # Errors
/// One line with the cause and the fix.
pub fn recover(
    directory: &Directory,
    mut progress: impl FnMut(usize, usize),
) -> Result<Recovered, String> {
    let segments = directory.segments()?;
    let mut reader = Reader::new(Epoch(0));
    for (index, segment) in segments.iter().enumerate() {
        progress(index, segments.len());
        let refused = |newer| format!("cannot use the data directory: {newer}");
        reader.read(segment.read()?).map_err(refused)?;
    }
    Ok(reader.finish())
}

/// Cuts off what a crash has torn, so that nothing of it is ever read again.
///
/// # Errors
/// One line with the cause.
pub(super) fn cut_torn_tails(directory: &Directory, faults: &[Fault]) -> Result<(), String> {
    for fault in faults {
        if let Fault::TornTail { segment, offset, .. } = *fault {
            let path = directory.segment_path(segment);
            Segment { number: segment, path: path.clone() }
                .cut(offset)
                .map_err(|error| format!("cannot cut off {}: {error}", path.display()))?;
        }
    }
    Ok(())
}

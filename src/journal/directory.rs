//! The directory of a journal: its lock and its segments.

use super::error::JournalError;
use crate::store::{Epoch, Fault, Found, Reader, Recovered};
use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory that no other process uses.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// The lock; none in a directory that is only read.
    held: Option<Held>,
}

/// The files that stay open as long as the directory is used.
#[derive(Debug)]
struct Held {
    /// The directory itself, even when its path leads elsewhere meanwhile.
    directory: File,
    identity: Identity,
    /// The lock file, locked.
    _lock: File,
}

/// The identity of a file, unique as long as the file is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A segment's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The segment's number.
    pub number: u64,
    /// The segment's path.
    pub path: PathBuf,
}

impl Directory {
    /// Makes the directory if it is missing, and keeps other processes out.
    ///
    /// # Errors
    /// The directory cannot be used, or another process uses it.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let unusable = |error| JournalError::at(path, "cannot use the data directory", error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let name = path.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let lock = options.open(&name).map_err(unusable)?;
        let directory = File::open(path).map_err(unusable)?;
        let in_use = || {
            JournalError::new(format!(
                "the data directory {} is in use by another ringmq: stop that one, or choose \
                 another directory",
                path.display()
            ))
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        // Somebody may have removed the lock of a broker that runs. Not every file system locks
        // directories.
        if let Err(TryLockError::WouldBlock) = directory.try_lock() {
            return Err(in_use());
        }
        let identity = Identity::of(&directory.metadata().map_err(unusable)?);
        Ok(Self { path: path.to_owned(), held: Some(Held { directory, identity, _lock: lock }) })
    }

    /// The directory without its lock, to be read while a broker may use it.
    #[must_use]
    pub(crate) fn peek(path: &Path) -> Self {
        Self { path: path.to_owned(), held: None }
    }

    /// The directory's path.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of segment `number`, which may not exist.
    #[must_use]
    pub(crate) fn segment_path(&self, number: u64) -> PathBuf {
        self.path.join(segment_name(number))
    }

    /// The path of segment `number` within the opened directory itself, wherever that was moved.
    pub(super) fn held_path(&self, number: u64) -> PathBuf {
        let Some(held) = &self.held else { return self.segment_path(number) };
        let directory = PathBuf::from(format!("/proc/self/fd/{}", held.directory.as_raw_fd()));
        match directory.exists() {
            true => directory.join(segment_name(number)),
            false => self.segment_path(number),
        }
    }

    /// Opens the directory, whose sync makes the names of its files durable.
    pub(super) fn names(&self) -> io::Result<File> {
        match &self.held {
            Some(held) => held.directory.try_clone(),
            None => File::open(&self.path),
        }
    }

    /// Fails when the path leads to another directory than the opened one, or to none.
    ///
    /// # Errors
    /// The event, and the fix.
    pub(super) fn check(&self) -> io::Result<()> {
        let Some(held) = &self.held else { return Ok(()) };
        let path = self.path.display();
        let cause = match fs::metadata(&self.path) {
            Ok(metadata) if Identity::of(&metadata) == held.identity => return Ok(()),
            Ok(_) => "was replaced by another one".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "is gone".to_owned(),
            Err(error) => format!("cannot be reached: {error}"),
        };
        Err(io::Error::other(format!(
            "the data directory {path} {cause}: put it back, or stop the broker, which then loses \
             all changes that it has not acknowledged"
        )))
    }

    /// Fails when the path of segment `number` does not lead to a file of at least `bytes`
    /// bytes; and, where `identity` is given, to that file.
    ///
    /// # Errors
    /// The event, and the fix.
    pub(super) fn check_segment(
        &self,
        number: u64,
        bytes: u64,
        identity: Option<Identity>,
    ) -> io::Result<()> {
        let path = self.segment_path(number);
        let cause = match fs::metadata(&path) {
            Ok(metadata) if identity.is_some_and(|known| Identity::of(&metadata) != known) => {
                "was replaced by another file".to_owned()
            }
            Ok(metadata) if metadata.len() >= bytes => return Ok(()),
            Ok(_) => "was cut off".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "is gone".to_owned(),
            Err(error) => format!("cannot be reached: {error}"),
        };
        Err(io::Error::other(format!("the segment {} {cause}: put it back", path.display())))
    }

    /// The segments, in order.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn segments(&self) -> Result<Vec<Segment>, JournalError> {
        let unreadable =
            |error| JournalError::at(&self.path, "cannot read the data directory", error);
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

fn segment_name(number: u64) -> String {
    format!("{number:016}.journal")
}

impl Segment {
    /// Reads the whole segment.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read(&self) -> Result<Found, JournalError> {
        let bytes = fs::read(&self.path)
            .map_err(|error| JournalError::at(&self.path, "cannot read", error))?;
        Ok(Found { number: self.number, bytes })
    }

    /// Cuts the segment off at `end`, durably.
    fn cut(&self, end: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.set_len(end)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.sync_all()
    }
}

/// Reads a journal; `progress` gets the index of each segment and their number.
/// [`State::set_epoch`](crate::store::State) converts the journal's points in time to a clock with
/// another epoch.
///
/// # Errors
/// A segment cannot be read, or another version wrote it.
pub(crate) fn recover(
    directory: &Directory,
    mut progress: impl FnMut(usize, usize),
) -> Result<Recovered, JournalError> {
    let segments = directory.segments()?;
    let mut reader = Reader::new(Epoch(0));
    for (index, segment) in segments.iter().enumerate() {
        progress(index, segments.len());
        reader.read(segment.read()?)?;
    }
    Ok(reader.finish())
}

/// Cuts off the torn ends that a crash has left, so that they are never read again.
///
/// # Errors
/// A segment cannot be cut off.
pub(super) fn cut_torn_tails(directory: &Directory, faults: &[Fault]) -> Result<(), JournalError> {
    for fault in faults {
        if let Fault::TornTail { segment, offset, .. } = *fault {
            let path = directory.segment_path(segment);
            Segment { number: segment, path: path.clone() }
                .cut(offset)
                .map_err(|error| JournalError::at(&path, "cannot cut off", error))?;
        }
    }
    Ok(())
}

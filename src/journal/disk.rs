//! A directory as a [`Disk`], through io_uring or by calls that wait.

use super::directory::{Directory, Identity};
use super::faults;
use crate::io::setup::RingEngine;
use crate::store::{Disk, Sealed};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use tokio_uring::fs::File;

/// Segments in a directory.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) directory: Directory,
    pub(super) engine: RingEngine,
}

/// A file that is written and synced by one of the engines. The thread has nothing else to do while
/// a call waits.
#[derive(Debug)]
enum Writable {
    Uring(File),
    Waiting(fs::File),
}

impl Writable {
    fn new(engine: RingEngine, file: fs::File) -> Self {
        match engine {
            RingEngine::IoUring => Self::Uring(File::from_std(file)),
            RingEngine::Poll => Self::Waiting(file),
        }
    }

    async fn write_all_at(&self, bytes: Vec<u8>, offset: u64) -> (io::Result<()>, Vec<u8>) {
        match self {
            Self::Uring(file) => file.write_all_at(bytes, offset).await,
            Self::Waiting(file) => (file.write_all_at(&bytes, offset), bytes),
        }
    }

    async fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Uring(file) => file.sync_data().await,
            Self::Waiting(file) => file.sync_data(),
        }
    }

    async fn sync_all(&self) -> io::Result<()> {
        match self {
            Self::Uring(file) => file.sync_all().await,
            Self::Waiting(file) => file.sync_all(),
        }
    }
}

/// A segment that is open for writing.
#[derive(Debug)]
pub(super) struct OpenSegment {
    file: Writable,
    identity: Identity,
}

impl Disk for Files {
    type File = OpenSegment;

    async fn create(&mut self, number: u64) -> io::Result<OpenSegment> {
        let path = self.directory.held_path(number);
        // Opening a new file does not wait for the disk.
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).truncate(true).write(true).mode(0o600).open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        let identity = Identity::of(&file.metadata()?);
        Ok(OpenSegment { file: Writable::new(self.engine, file), identity })
    }

    async fn write(
        &mut self,
        segment: &OpenSegment,
        bytes: Vec<u8>,
        offset: u64,
    ) -> (io::Result<()>, Vec<u8>) {
        segment.file.write_all_at(bytes, offset).await
    }

    async fn sync(&mut self, segment: &OpenSegment) -> io::Result<()> {
        faults::reach("written");
        if faults::has("no-sync") {
            return Ok(());
        }
        segment.file.sync_data().await
    }

    async fn sync_names(&mut self) -> io::Result<()> {
        Writable::new(self.engine, self.directory.names()?).sync_all().await?;
        faults::reach("segment-created");
        Ok(())
    }

    async fn remove(&mut self, number: u64) -> io::Result<()> {
        let path = self.directory.held_path(number);
        match self.engine {
            RingEngine::IoUring => tokio_uring::fs::remove_file(path).await?,
            RingEngine::Poll => fs::remove_file(path)?,
        }
        faults::reach("segment-deleted");
        Ok(())
    }

    /// Checks the directory and its segments. The calls wait for the disk only for names that are
    /// not in memory.
    async fn look(
        &mut self,
        open: Option<(u64, &OpenSegment)>,
        older: &[Sealed],
    ) -> io::Result<()> {
        self.directory.check()?;
        if let Some((number, segment)) = open {
            self.directory.check_segment(number, 0, Some(segment.identity))?;
        }
        let mut counting = older.iter().filter(|sealed| sealed.end > 0);
        counting
            .try_for_each(|&Sealed { number, end }| self.directory.check_segment(number, end, None))
    }
}

//! A directory as a [`Disk`], through io_uring.

use super::directory::{Directory, Identity};
use super::faults;
use crate::store::{Disk, Sealed};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use tokio_uring::fs::File;

/// Segments in a directory.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) directory: Directory,
}

/// A segment that is open for writing.
#[derive(Debug)]
pub(super) struct OpenSegment {
    file: File,
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
        Ok(OpenSegment { file: File::from_std(file), identity })
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
        File::from_std(self.directory.names()?).sync_all().await?;
        faults::reach("segment-created");
        Ok(())
    }

    async fn remove(&mut self, number: u64) -> io::Result<()> {
        tokio_uring::fs::remove_file(self.directory.held_path(number)).await?;
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

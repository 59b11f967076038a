//! A directory as a [`Disk`], through io_uring.

use super::directory::Directory;
use super::faults;
use crate::store::Disk;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use tokio_uring::fs::File;

/// Segments in a directory.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) directory: Directory,
}

impl Disk for Files {
    type File = File;

    async fn create(&mut self, number: u64) -> io::Result<File> {
        let path = self.directory.segment_path(number);
        // Opening a new file does not wait for the disk.
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).truncate(true).write(true).mode(0o600).open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(File::from_std(file))
    }

    async fn write(
        &mut self,
        file: &File,
        bytes: Vec<u8>,
        offset: u64,
    ) -> (io::Result<()>, Vec<u8>) {
        file.write_all_at(bytes, offset).await
    }

    async fn sync(&mut self, file: &File) -> io::Result<()> {
        faults::pass("written");
        if faults::has("no-sync") {
            return Ok(());
        }
        file.sync_data().await
    }

    async fn sync_names(&mut self) -> io::Result<()> {
        File::from_std(fs::File::open(self.directory.path())?).sync_all().await?;
        faults::pass("segment-created");
        Ok(())
    }

    async fn remove(&mut self, number: u64) -> io::Result<()> {
        tokio_uring::fs::remove_file(self.directory.segment_path(number)).await?;
        faults::pass("segment-deleted");
        Ok(())
    }
}

//! Files that an operator names: configuration, passwords, rules, certificates, keys and lists. No
//! other module reads them. Only regular files are read, also behind symbolic links, and only up to
//! a limit, so that no read waits for a writer and no file fills the memory.

use std::fmt;
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The contents of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// All bytes of the file.
    pub bytes: Vec<u8>,
    /// The permission bits of the file.
    pub mode: u32,
}

impl Contents {
    /// True when every user of the machine can read the file.
    #[must_use]
    pub(crate) const fn is_public(&self) -> bool {
        self.mode & 0o004 != 0
    }
}

/// The cause for which a file cannot be used, and its remedy.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The kernel refuses to read the file.
    Io(io::Error),
    /// The path names something else than a regular file; this is its name.
    NotRegular(&'static str),
    /// The file has more than this many bytes.
    TooLarge(u64),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(formatter),
            Self::NotRegular(kind) => {
                write!(formatter, "it is {kind}; give a regular file, or a link to one")
            }
            Self::TooLarge(limit) if *limit >= 1 << 20 => {
                write!(formatter, "it has more than {} MiB; give a smaller file", limit >> 20)
            }
            Self::TooLarge(limit) => {
                write!(formatter, "it has more than {limit} bytes; give a smaller file")
            }
        }
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its text is the error's own already.
            Self::Io(error) => error.source(),
            Self::NotRegular(_) | Self::TooLarge(_) => None,
        }
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads all of a file, which may have `bytes_max`.
///
/// # Errors
/// The file cannot be read, is not a regular file, or is larger.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Contents, Unreadable> {
    read_open(&open(path)?, bytes_max)
}

/// Opens a regular file for reading. Other kinds of file are not even opened: a device may act upon
/// that, a FIFO waits for its writer.
///
/// # Errors
/// The file cannot be opened, or is not a regular file.
pub(crate) fn open(path: &Path) -> Result<File, Unreadable> {
    check(&std::fs::metadata(path)?)?;
    // Another file may have come to its place meanwhile.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Reads all of a file that [`open`] has opened.
///
/// # Errors
/// The file cannot be read, or has more than `bytes_max`.
pub(crate) fn read_open(file: &File, bytes_max: u64) -> Result<Contents, Unreadable> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(Unreadable::TooLarge(bytes_max));
    }
    Ok(Contents { bytes, mode: file.metadata()?.mode() & 0o777 })
}

fn check(metadata: &Metadata) -> Result<(), Unreadable> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(Unreadable::NotRegular(kind(metadata.file_type()))),
    }
}

fn kind(file: FileType) -> &'static str {
    match file {
        _ if file.is_dir() => "a folder",
        _ if file.is_fifo() => "a FIFO",
        _ if file.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    #[test]
    fn only_regular_files_are_read_and_only_up_to_their_limit() {
        let folder = std::env::temp_dir().join(format!("ringmq-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let refused = |path: &Path| read(path, 9).unwrap_err().to_string();
        assert!(refused(Path::new("/dev/zero")).contains("a device"));
        assert!(refused(&folder).contains("a folder"));
        assert!(refused(&folder.join("nothing")).contains("No such file"));
        let fifo = folder.join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert!(refused(&fifo).contains("a FIFO"));
        let _listener = UnixListener::bind(folder.join("socket")).unwrap();
        assert!(refused(&folder.join("socket")).contains("a socket"));
        let (file, link) = (folder.join("file"), folder.join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::fs::write(&file, "123456789").unwrap();
        assert_eq!(read(&link, 9).unwrap().bytes, b"123456789");
        std::fs::write(&file, "1234567890").unwrap();
        assert_eq!(refused(&link), "it has more than 9 bytes; give a smaller file");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

//! The files of the audit log: the one that is written, and the old ones behind it, `FILE.1` the
//! newest.

use crate::audit::{Chain, Line};
use crate::limits::{AUDIT_KEEP_MAX, AUDIT_TAIL_BYTES_MAX};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A failure of the audit log's files at the start.
#[derive(Debug)]
pub(super) struct AuditError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Io(io::Error),
    NotRegular,
    InUse,
    /// The file has no line of an audit log at its end.
    Foreign,
}

impl fmt::Display for AuditError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Io(_) => write!(out, "cannot use the audit log {path}"),
            Cause::NotRegular => {
                write!(out, "the audit log {path} is not a regular file; name one")
            }
            Cause::InUse => write!(
                out,
                "the audit log {path} is in use by another ringmq: stop that one, or choose \
                 another file"
            ),
            Cause::Foreign => write!(
                out,
                "the end of {path} is no audit log: choose another file, or move this one away \
                 (ringmq audit verify tells what is wrong with it)"
            ),
        }
    }
}

impl std::error::Error for AuditError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl AuditError {
    pub(super) fn at(path: &Path, error: io::Error) -> Self {
        Self { path: path.into(), cause: Cause::Io(error) }
    }
}

/// The end of what earlier processes have written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) chain: Chain,
    /// Bytes behind the last line that are no line, as a crash leaves them.
    pub(super) torn: Vec<u8>,
    /// The torn bytes stand in the file that is written now, and lack a newline.
    pub(super) lacks_newline: bool,
}

/// The file that is written.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl LogFile {
    /// Opens the file at the start, and finds the end of the chain in it, or in the newest old one.
    ///
    /// # Errors
    /// The file cannot be used, or has something else in it.
    pub(super) fn begin(path: &Path) -> Result<(Self, Tail), AuditError> {
        let failed = |cause| AuditError { path: path.into(), cause };
        let file = Self::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => failed(Cause::NotRegular),
            io::ErrorKind::WouldBlock => failed(Cause::InUse),
            _ => failed(Cause::Io(error)),
        })?;
        let (end, torn) = end_of(&file.file, file.length).map_err(|e| failed(Cause::Io(e)))?;
        let lacks_newline = torn.last().is_some_and(|byte| *byte != b'\n');
        if let Some(chain) = end {
            return Ok((file, Tail { chain, torn, lacks_newline }));
        }
        // Only the first line of a file can be torn without a line before it.
        if torn.len() as u64 != file.length || torn.contains(&b'\n') || !is_begun(&torn) {
            return Err(failed(Cause::Foreign));
        }
        let old = old_path(path, 1);
        let at_old = |cause| AuditError { path: old.clone(), cause };
        let before = match File::open(&old) {
            Ok(old) => old,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((file, Tail { chain: Chain::EMPTY, torn, lacks_newline }));
            }
            Err(error) => return Err(at_old(Cause::Io(error))),
        };
        let length = before.metadata().map_err(|e| at_old(Cause::Io(e)))?.len();
        let (end, mut all_torn) = end_of(&before, length).map_err(|e| at_old(Cause::Io(e)))?;
        let chain = end.ok_or_else(|| at_old(Cause::Foreign))?;
        all_torn.extend(torn);
        Ok((file, Tail { chain, torn: all_torn, lacks_newline }))
    }

    /// Opens a file for appending, and keeps other processes out. What is no regular file is an
    /// invalid input; what another process has locked would block.
    fn open(path: &Path) -> io::Result<Self> {
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true).mode(0o600);
        // Neither a FIFO without a reader nor a terminal holds the start up.
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = options.open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if is_new {
            sync_names(path)?;
        }
        Ok(Self { path: path.into(), file, length: metadata.len() })
    }

    /// The bytes of the file.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Appends some of the bytes; returns their number, at least 1.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.length += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until all bytes are on the disk.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// True when the path leads to another file now, or to none.
    pub(super) fn has_moved(&self) -> bool {
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let named = fs::metadata(&self.path).map(identity).ok();
        named.is_none() || named != self.file.metadata().map(identity).ok()
    }

    /// Goes on in the file that the path leads to now, or in a new one; the file before is synced,
    /// if the disk can.
    ///
    /// # Errors
    /// The new file cannot be used: the present one goes on.
    pub(super) fn follow(&mut self) -> io::Result<()> {
        if let Err(error) = self.sync() {
            tracing::error!(%error, "Audit log: the old file is perhaps not all on the disk");
        }
        let mut next = Self::open(&self.path)?;
        // A line must not stand behind the rest of another one.
        let mut last = [b'\n'];
        if next.length > 0 {
            next.file.read_exact_at(&mut last, next.length - 1)?;
        }
        if last != [b'\n'] {
            next.append(b"\n")?;
        }
        *self = next;
        Ok(())
    }

    /// Ends the file, which becomes the newest old one, and begins a new one. At most `keep` old
    /// ones stay, or all with 0. Returns the names of the files that were removed.
    ///
    /// # Errors
    /// The names cannot be changed: the present file goes on.
    pub(super) fn rotate(&mut self, keep: u32) -> io::Result<Vec<String>> {
        self.sync()?;
        let mut removed = Vec::new();
        if !self.has_moved() {
            removed = shift(&self.path, keep)?;
        }
        self.follow()?;
        sync_names(&self.path)?;
        Ok(removed)
    }
}

/// Gives each old file the next number, and the present one number 1.
fn shift(path: &Path, keep: u32) -> io::Result<Vec<String>> {
    let keep = if keep == 0 { AUDIT_KEEP_MAX } else { keep };
    let count = (1..=AUDIT_KEEP_MAX).take_while(|number| old_path(path, *number).exists()).count();
    let mut removed = Vec::new();
    for number in (1..=count as u32).rev() {
        let old = old_path(path, number);
        if number >= keep {
            fs::remove_file(&old)?;
            removed.push(name(&old));
        } else {
            fs::rename(&old, old_path(path, number + 1))?;
        }
    }
    fs::rename(path, old_path(path, 1))?;
    Ok(removed)
}

/// The path of an old file; 1 is the newest.
fn old_path(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

/// The name of a file without its folders.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn sync_names(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The last line of a file as the end of a chain, and the bytes behind it.
fn end_of(file: &File, length: u64) -> io::Result<(Option<Chain>, Vec<u8>)> {
    let from = length.saturating_sub(AUDIT_TAIL_BYTES_MAX);
    let mut bytes = vec![0; (length - from) as usize];
    file.read_exact_at(&mut bytes, from)?;
    let mut end = bytes.len();
    while let Some(newline) = bytes[..end].iter().rposition(|byte| *byte == b'\n') {
        let start = bytes[..newline].iter().rposition(|byte| *byte == b'\n');
        let start = start.map_or(0, |before| before + 1);
        if let Some(line) = Line::read(&bytes[start..=newline]) {
            return Ok((Some(line.end), bytes.split_off(newline + 1)));
        }
        end = newline;
    }
    Ok((None, bytes))
}

/// True for the beginning of a first line.
fn is_begun(bytes: &[u8]) -> bool {
    let begin = &b"{\"seq\":"[..];
    let shown = bytes.len().min(begin.len());
    bytes[..shown] == begin[..shown] || bytes.iter().all(|byte| *byte == 0)
}

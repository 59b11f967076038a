//! Reading the files of a policy, whole or not at all.

use crate::limits::ACCESS_FILE_BYTES_MAX;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file's bytes, and what may be wrong with who can read it.
pub(super) struct Contents {
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// Reads `path`, which is `what` for whoever reads the error.
pub(super) fn read(path: &Path, what: &str) -> Result<Contents, String> {
    let failed = |error| format!("cannot read the {what} {}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(ACCESS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > ACCESS_FILE_BYTES_MAX {
        let limit = ACCESS_FILE_BYTES_MAX >> 20;
        return Err(format!("the {what} {} has more than {limit} MiB", path.display()));
    }
    Ok(Contents { bytes, mode: metadata.mode() & 0o777 })
}

/// Parses a text line by line; the error names the file, the line, and what is wrong there.
pub(super) fn parse<T>(
    path: &Path,
    bytes: &[u8],
    parse: impl Fn(&str) -> Result<T, (usize, &'static str)>,
) -> Result<T, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        format!("{} line {line}: the text is not UTF-8", path.display())
    })?;
    parse(text).map_err(|(line, cause)| format!("{} line {line}: {cause}", path.display()))
}

//! Reading the files of a policy, whole or not at all.

use super::error::PolicyError;
use crate::base::operator_file::{self, Contents};
use crate::limits::ACCESS_FILE_BYTES_MAX;
use std::path::Path;

/// Reads `path`; the error calls the file a `kind`.
pub(super) fn read(path: &Path, kind: &str) -> Result<Contents, PolicyError> {
    operator_file::read(path, ACCESS_FILE_BYTES_MAX)
        .map_err(|error| PolicyError::unreadable(kind, path, error))
}

/// Parses a text line by line; the error names the file, the line, and the fault.
pub(super) fn parse<T>(
    path: &Path,
    bytes: &[u8],
    parse: impl Fn(&str) -> Result<T, (usize, &'static str)>,
) -> Result<T, PolicyError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        PolicyError::line(Some(path), line, "the text is not UTF-8")
    })?;
    parse(text).map_err(|(line, cause)| PolicyError::line(Some(path), line, cause))
}

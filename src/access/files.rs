//! Reading the files of a policy, whole or not at all.

use crate::base::operator_file::{self, Contents, Unreadable};
use crate::limits::ACCESS_FILE_BYTES_MAX;
use std::path::Path;

/// Reads `path`, which is `what` for whoever reads the error.
pub(super) fn read(path: &Path, what: &str) -> Result<Contents, String> {
    operator_file::read(path, ACCESS_FILE_BYTES_MAX).map_err(|error| match error {
        Unreadable::Io(error) => format!("cannot read the {what} {}: {error}", path.display()),
        error => format!("the {what} {} cannot be used: {error}", path.display()),
    })
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

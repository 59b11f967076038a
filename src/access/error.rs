//! Errors that keep a policy from being loaded.

use crate::base::operator_file::Unreadable;
use std::error::Error;
use std::fmt;
use std::path::Path;

/// An error in a policy's files: the file, the line and the fix, where there are any, and the
/// cause.
#[derive(Debug)]
pub struct PolicyError {
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl PolicyError {
    /// The file at `path`, which is a `kind`, cannot be read.
    pub(super) fn unreadable(kind: &str, path: &Path, error: Unreadable) -> Self {
        let path = path.display();
        let what = match error {
            Unreadable::Io(_) => format!("cannot read the {kind} {path}"),
            _ => format!("the {kind} {path} cannot be used"),
        };
        Self { what, source: Some(error.into()) }
    }

    /// A line is wrong; `path` is its file, none when the text comes from no file.
    pub(super) fn line(path: Option<&Path>, line: usize, cause: &str) -> Self {
        let file = path.map(|path| format!("{} ", path.display())).unwrap_or_default();
        Self { what: format!("{file}line {line}: {cause}"), source: None }
    }

    /// The file at `path` holds no usable key for tokens.
    pub(super) fn token_key(path: &Path, cause: &str) -> Self {
        let what = format!("the token key {} is wrong: {cause}", path.display());
        Self { what, source: None }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)
    }
}

impl Error for PolicyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}

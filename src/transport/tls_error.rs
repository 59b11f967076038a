//! The error of a TLS setup that fails.

use std::error::Error;
use std::fmt;
use std::path::Path;

/// An error in the files of TLS: the file, where it is one's, the fix, and the cause.
#[derive(Debug)]
pub struct TlsError {
    line: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl TlsError {
    /// An error without a source.
    pub(super) fn new(line: impl Into<String>) -> Self {
        Self { line: line.into(), source: None }
    }

    /// An error about the file at `path`.
    pub(super) fn of(path: &Path, cause: impl fmt::Display, fix: &str) -> Self {
        Self::new(about(path, cause, fix))
    }

    /// Adds the source to the error.
    pub(super) fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.line)
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}

/// A line about a file: its path, the cause and the fix.
pub(super) fn about(path: &Path, cause: impl fmt::Display, fix: &str) -> String {
    format!("{}: {cause}; {fix}", path.display())
}

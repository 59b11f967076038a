//! Why TLS cannot be set up.

use std::error::Error;
use std::fmt;
use std::path::Path;

/// What is wrong with the files of TLS: the file, where it is one's, what to do, and the cause.
#[derive(Debug)]
pub struct TlsError {
    line: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl TlsError {
    /// One that has no cause behind it.
    pub(super) fn new(line: impl Into<String>) -> Self {
        Self { line: line.into(), source: None }
    }

    /// The file at `path` cannot be used.
    pub(super) fn of(path: &Path, cause: impl fmt::Display, fix: &str) -> Self {
        Self::new(about(path, cause, fix))
    }

    /// This one, with the cause behind it.
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

/// One line about a file.
pub(super) fn about(path: &Path, cause: impl fmt::Display, fix: &str) -> String {
    format!("{}: {cause}; {fix}", path.display())
}

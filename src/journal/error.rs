//! The error of a journal that cannot be used.

use crate::store::UnknownFormat;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

/// A failed operation on a journal, with its source; the fix is in either of them.
#[derive(Debug)]
pub(crate) struct JournalError {
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl JournalError {
    /// An error without a source.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// An error from the kernel.
    pub(super) fn io(what: impl Into<String>, error: io::Error) -> Self {
        Self { what: what.into(), source: Some(error.into()) }
    }

    /// True when the kernel has denied it to this process's user.
    pub(crate) fn is_denied(&self) -> bool {
        let source = self.source.as_ref().and_then(|source| source.downcast_ref::<io::Error>());
        source.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// An error from the kernel about `path`.
    pub(super) fn at(path: &Path, what: &str, error: io::Error) -> Self {
        Self::io(format!("{what} {}", path.display()), error)
    }
}

impl From<UnknownFormat> for JournalError {
    fn from(error: UnknownFormat) -> Self {
        Self { what: "cannot use the data directory".to_owned(), source: Some(error.into()) }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)
    }
}

impl Error for JournalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}

//! Failures of a start or a reload: one line with the cause and the fix.

use super::logging::{line, write_error};
use crate::base::causes;
use crate::options::LogFormat;
use std::error::Error;
use std::process::ExitCode;
use tracing::Level;

/// One line for the standard error, the exit status, and the line's format.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    line: String,
    status: u8,
    format: LogFormat,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.line)
    }
}

impl Failure {
    /// Makes the failure of wrong options, from an error or a line.
    pub(super) fn usage(error: impl Into<Box<dyn Error>>) -> Self {
        Self::new(&*error.into(), 2)
    }

    /// Makes the failure of right options on a machine that does not allow them, from an error or a
    /// line.
    pub(super) fn start(error: impl Into<Box<dyn Error>>) -> Self {
        Self::new(&*error.into(), 1)
    }

    fn new(error: &dyn Error, status: u8) -> Self {
        Self { line: causes::line(error), status, format: LogFormat::Text }
    }

    /// Sets the format, that of the log's lines.
    pub(super) fn in_format(self, format: LogFormat) -> Self {
        Self { format, ..self }
    }

    /// Prints the line, and returns the exit status.
    pub(super) fn report(self) -> ExitCode {
        let line = match self.format {
            LogFormat::Text => format!("ringmq: {}\n", self.line),
            LogFormat::Json => line(self.format, Level::ERROR, &self.line, &[]),
        };
        write_error(&line);
        ExitCode::from(self.status)
    }

    #[cfg(test)]
    pub(super) fn line(&self) -> &str {
        &self.line
    }
}

//! Why the broker does not start: one line with the cause and the fix.
#![forbid(unsafe_code)]

use super::logging::line;
use crate::options::LogFormat;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use tracing::Level;

/// One line for the standard error, and the exit status.
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
    /// The options are wrong.
    pub(super) fn usage(line: impl Display) -> Self {
        Self { line: line.to_string(), status: 2, format: LogFormat::Text }
    }

    /// The options are right, but the machine does not allow it.
    pub(super) fn start(line: impl Display) -> Self {
        Self { line: line.to_string(), status: 1, format: LogFormat::Text }
    }

    /// The line is to look as those of the log do.
    pub(super) fn in_format(self, format: LogFormat) -> Self {
        Self { format, ..self }
    }

    /// Tells the user.
    pub(super) fn report(self) -> ExitCode {
        let line = match self.format {
            LogFormat::Text => format!("ringmq: {}\n", self.line),
            LogFormat::Json => line(self.format, Level::ERROR, &self.line, &[]),
        };
        let _ = std::io::stderr().write_all(line.as_bytes());
        ExitCode::from(self.status)
    }

    #[cfg(test)]
    pub(super) fn line(&self) -> &str {
        &self.line
    }
}

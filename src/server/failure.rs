//! Why the broker does not start: one line with the cause and the fix.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// One line for the standard error, and the exit status.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    line: String,
    status: u8,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.line)
    }
}

impl Failure {
    /// The options are wrong.
    pub(super) fn usage(line: impl Display) -> Self {
        Self { line: line.to_string(), status: 2 }
    }

    /// The options are right, but the machine does not allow it.
    pub(super) fn start(line: impl Display) -> Self {
        Self { line: line.to_string(), status: 1 }
    }

    /// Tells the user.
    pub(super) fn report(self) -> ExitCode {
        let _ = writeln!(std::io::stderr(), "ringmq: {}", self.line);
        ExitCode::from(self.status)
    }

    #[cfg(test)]
    pub(super) fn line(&self) -> &str {
        &self.line
    }
}

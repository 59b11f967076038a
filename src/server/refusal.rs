//! The answer to arguments that the command line does not take: the help that was asked for, or one
//! line.

use super::failure::Failure;
use clap::error::ErrorKind;
use std::io::Write;
use std::process::ExitCode;

/// Prints a text for whoever asked for it.
pub(super) fn show(text: &str) -> ExitCode {
    // Whoever has closed the standard output does not want it.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Answers arguments of `command`, such as `ringmq journal`, that need what `missing` says.
pub(super) fn refuse(error: &clap::Error, command: &str, missing: &str) -> ExitCode {
    let cause = match error.kind() {
        ErrorKind::DisplayHelp => return show(&error.render().to_string()),
        // clap lists missing arguments on lines of their own.
        ErrorKind::MissingRequiredArgument
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => missing.to_owned(),
        _ => cause(error),
    };
    Failure::usage(format!("{cause}; see {command} --help")).report()
}

/// The cause in clap's own words, on one line.
pub(super) fn cause(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

//! `ringmq check`: reports the faults of a configuration file, and of the files that it names.

use super::configuration::{Contents, example};
use super::refusal::refuse;
use super::{bridges, listening, settings};
use crate::base::causes;
use crate::options::Options;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the command; `arguments` begin with its name, `check`. The exit status is 2 after any
/// fault.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (text, is_right) = match command().try_get_matches_from(arguments) {
        Ok(matches) => answer(&matches),
        Err(error) => return refuse(&error, "ringmq check", "FILE is needed"),
    };
    show(&text, is_right)
}

/// Prints the faults of a file, as the command does.
pub(super) fn report(file: &Path) -> ExitCode {
    let (text, is_right) = check(file);
    show(&text, is_right)
}

fn show(text: &str, is_right: bool) -> ExitCode {
    // Whoever has closed the standard output still gets the status.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if is_right { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

pub(super) fn command() -> Command {
    Command::new("check")
        .bin_name("ringmq check")
        .about(
            "Tells the faults of a configuration file and of the files that it names. \
             Nothing is started; flags and environment variables do not count.",
        )
        .max_term_width(100)
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required_unless_present("example")
                .value_parser(value_parser!(PathBuf))
                .help("TOML, or Mosquitto's format when the name ends in .conf"),
        )
        .arg(
            Arg::new("example")
                .long("example")
                .action(ArgAction::SetTrue)
                .conflicts_with("file")
                .help("Print a configuration file with every option"),
        )
}

fn answer(matches: &ArgMatches) -> (String, bool) {
    match matches.get_one::<PathBuf>("file") {
        Some(file) => check(file),
        None => (example(), true),
    }
}

/// Reports on a file in one line for each finding, with true when the file can be used.
fn check(file: &Path) -> (String, bool) {
    let contents = Contents::read(file);
    let mut report = Report::default();
    contents.warnings.iter().for_each(|warning| report.warn(warning));
    contents.wrong.iter().for_each(|wrong| report.refuse(wrong));
    match Options::build_or_list(&contents.given) {
        // What a broken file names is perhaps not what was meant.
        Ok(options) if report.is_right() => {
            load(&options, &mut report);
            if report.is_right() {
                report.approve(file, &options);
            }
        }
        Ok(_) => {}
        Err(wrong) => wrong.iter().for_each(|wrong| report.refuse(wrong)),
    }
    (report.lines.join("\n") + "\n", report.is_right())
}

/// Reads all files as the broker would.
fn load(options: &Options, report: &mut Report) {
    if let Err(failure) = listening::check_distinct(&options.listeners) {
        report.refuse(failure);
    }
    if let Err(failure) = bridges::check(options) {
        report.refuse(failure);
    }
    for listener in &options.listeners {
        match settings::policy(listener) {
            Ok(policy) => policy.warnings().iter().for_each(|warning| report.warn(warning)),
            Err(error) => report.refuse(causes::line(&error)),
        }
        match settings::protocol(listener, None) {
            Ok(protocol) => {
                let warnings = protocol.tls.iter().flat_map(|tls| tls.warnings());
                warnings.for_each(|warning| report.warn(warning));
            }
            Err(error) => report.refuse(causes::line(&error)),
        }
    }
}

#[derive(Debug, Default)]
struct Report {
    lines: Vec<String>,
    wrong: usize,
}

impl Report {
    const fn is_right(&self) -> bool {
        self.wrong == 0
    }

    fn warn(&mut self, warning: impl Display) {
        self.say(format!("warning: {warning}"));
    }

    fn refuse(&mut self, cause: impl Display) {
        self.wrong += 1;
        self.say(cause.to_string());
    }

    fn approve(&mut self, file: &Path, options: &Options) {
        self.lines.push(format!("{}: nothing is wrong", file.display()));
        let listeners = options.listeners.iter();
        self.lines.extend(listeners.map(|listener| format!("  listens on {listener}")));
        for bridge in &options.bridges {
            let places = bridge.addresses.iter().map(|at| format!("{}:{}", at.host, at.port));
            let places: Vec<String> = places.collect();
            self.lines.push(format!("  bridge {} to {}", bridge.name, places.join(", ")));
        }
    }

    /// Adds a line once: listeners that share a file share the lines about it.
    fn say(&mut self, line: String) {
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_are_refused_and_the_example_is_not() {
        let parse = |arguments: &[&str]| {
            let arguments = ["check"].iter().chain(arguments);
            command().try_get_matches_from(arguments).map(|matches| answer(&matches))
        };
        for wrong in [&[][..], &["a", "b"], &["--nonsense"], &["a", "--example"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse(&["--example"]).unwrap().1);
        let (text, is_right) = parse(&["/nonexistent.toml"]).unwrap();
        assert!(text.starts_with("/nonexistent.toml: cannot read"), "{text}");
        assert!(!is_right);
    }
}

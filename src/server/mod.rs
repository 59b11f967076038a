//! Composition: reads the options, starts the workers, and stops them when told to.
#![forbid(unsafe_code)]

mod adopt;
mod audit;
pub mod authentication;
mod bridges;
mod changes;
mod check;
mod cli;
mod configuration;
mod control;
mod control_group;
mod dashboard;
mod descriptors;
mod durable;
mod effects;
mod engine;
mod failure;
mod journal_command;
mod kernel;
mod listening;
mod logging;
mod memory;
mod observer;
mod passwd;
mod pinning;
mod ports;
mod questions;
mod refusal;
mod reload;
mod resource;
mod service;
mod settings;
mod start;
mod summary;
mod transfer_command;
mod user;
pub mod words;

use crate::io::pages::use_ordinary_pages;
use crate::io::passed::Passed;
use crate::options::{LogFormat, Options};
use cli::Command;
use configuration::Configuration;
use failure::Failure;
use logging::Field;
use refusal::show;
use std::process::ExitCode;

/// Runs the program. The exit status is 0 after an orderly stop, 1 when the start fails or the stop
/// gives up changes, 2 for wrong options.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    match std::env::args_os().nth(1) {
        Some(command) if command == "passwd" => return passwd::run(arguments),
        Some(command) if command == "check" => return check::run(arguments),
        Some(command) if command == "journal" => {
            return match std::env::args_os().nth(2) {
                Some(what) if what == "status" => questions::run(arguments),
                _ => journal_command::run(arguments),
            };
        }
        Some(command) if command == "import" => return transfer_command::import(arguments),
        Some(command) if command == "export" => return transfer_command::export(arguments),
        Some(command) if command == "audit" => return audit::run(arguments),
        Some(command) if questions::COMMANDS.iter().any(|known| command == *known) => {
            return questions::run(arguments);
        }
        Some(command) if command == "help" || command == "version" => {
            let flag = if command == "help" { "--help" } else { "--version" };
            return match cli::parse(["ringmq", flag].map(Into::into).into_iter()) {
                Ok(Command::Show(text)) => show(&text),
                _ => ExitCode::FAILURE,
            };
        }
        Some(word) if !word.to_string_lossy().starts_with('-') => {
            return Failure::usage(no_command(&word.to_string_lossy())).report();
        }
        _ => {}
    }
    match cli::parse(std::env::args_os()) {
        Ok(Command::Run(configuration)) => run(configuration).unwrap_or_else(Failure::report),
        Ok(Command::Show(text)) => show(&text),
        Ok(Command::Check(file)) => check::report(&file),
        Err(failure) => failure.in_format(cli::log_format(std::env::args_os())).report(),
    }
}

/// The words for a command that there is not.
fn no_command(word: &str) -> String {
    let known = ["passwd", "check", "journal", "import", "export", "audit", "help", "version"];
    let known = known.into_iter();
    let known = known.chain(questions::COMMANDS);
    let near = known.map(|known| (strsim::damerau_levenshtein(known, word), known)).min();
    let hint = near.filter(|(distance, _)| *distance <= 2);
    let hint = hint.map(|(_, known)| format!(", but {known} is")).unwrap_or_default();
    format!("{word:?} is no command{hint}; ringmq --help lists them")
}

fn run(configuration: Configuration) -> Result<ExitCode, Failure> {
    // Before anything is opened.
    let passed = Passed::all();
    let contents = configuration.load()?;
    let format = contents.given.log_format().unwrap_or(LogFormat::Text);
    let wrong = |wrong| Failure::usage(wrong).in_format(format);
    let options = Options::build(&contents.given).map_err(wrong)?;
    // What was logged has to be out before a last line may follow: the guard sees to that.
    let started = logging::start(&options);
    let not_started = |error| Failure::start(format!("cannot log: {error}")).in_format(format);
    let (log, _guard) = started.map_err(not_started)?;
    let given = contents.log();
    effects::warn(&given, &options);
    abort_on_panic(options.log_format);
    use_ordinary_pages();
    let not_passed =
        |error| Failure::start(format!("cannot take the service manager's sockets: {error}"));
    let ended = passed
        .map_err(not_passed)
        .and_then(|passed| start::serve(options, given, configuration, log, passed));
    ended.map_err(|failure| failure.in_format(format))
}

/// Aborts the process on a panic: a broken invariant on one worker must not leave the others
/// running without it.
fn abort_on_panic(format: LogFormat) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        let backtrace = std::backtrace::Backtrace::force_capture().to_string();
        let text = format!("this is a bug: thread {name} {panic}; the broker stops");
        let text = match format {
            LogFormat::Text => format!("ringmq: {text}\n{backtrace}\n"),
            LogFormat::Json => {
                let fields = [("backtrace", Field::Text(&backtrace))];
                logging::line(format, tracing::Level::ERROR, &text, &fields)
            }
        };
        logging::write_error(&text);
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    const INJECTED: &str = "RINGMQ_TEST_PANIC";

    /// Runs the test program again in a process of its own, where a worker's thread panics.
    #[test]
    fn v26_a_panic_on_any_thread_stops_the_process() {
        if std::env::var_os(INJECTED).is_some() {
            abort_on_panic(LogFormat::Text);
            let worker = std::thread::Builder::new().name("worker-1".into());
            let _ = worker.spawn(|| panic!("a fault in a handler")).unwrap().join();
            std::process::exit(0);
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("server::tests::v26_a_panic_on_any_thread_stops_the_process")
            .env(INJECTED, "1")
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{error}");
        let first = error.lines().find(|line| line.starts_with("ringmq: ")).unwrap();
        assert!(first.contains("worker-1") && first.contains("mod.rs"), "{first}");
        assert!(error.contains("a fault in a handler"), "{error}");
    }
}

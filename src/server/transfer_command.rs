//! `ringmq import` and `ringmq export`: data into a data directory, and out of it.

use super::durable::read_clocks;
use super::failure::Failure;
use super::refusal::refuse;
use crate::base::{causes, operator_file, random};
use crate::io::clock;
use crate::journal::{self, Directory, JournalError};
use crate::store::{Epoch, Fault, Reader, Recovered};
use crate::transfer::{self, Counts, Imported, Terms};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Attempts to read a directory whose segments a running broker replaces meanwhile.
const ATTEMPTS: usize = 10;

/// Bytes that are read and written at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// Runs `ringmq import`; `arguments` begin with its name. The exit status is 1 for a file that
/// cannot be imported, and for one of which only a part was; 2 for wrong arguments and a directory
/// that cannot be used.
pub(super) fn import(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match import_command().try_get_matches_from(arguments) {
        Ok(matches) => take_in(&matches).unwrap_or_else(Failure::report),
        Err(error) => refuse(&error, "ringmq import", "FILE and DIR are needed"),
    }
}

/// Runs `ringmq export`; `arguments` begin with its name. The exit status is 1 for a damaged
/// journal, whose sound part is written, and 2 when something cannot be read or written.
pub(super) fn export(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match export_command().try_get_matches_from(arguments) {
        Ok(matches) => hand_out(&matches).unwrap_or_else(Failure::report),
        Err(error) => refuse(&error, "ringmq export", "DIR is needed"),
    }
}

fn path(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    Arg::new(id).value_name(name).value_parser(value_parser!(PathBuf)).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn import_command() -> Command {
    Command::new("import")
        .bin_name("ringmq import")
        .about(
            "Takes the sessions, their messages and the retained messages of a file into a data \
             directory that has none: a mosquitto.db, or what ringmq export has written. Stop \
             Mosquitto first, since it writes its file at its end.",
        )
        .max_term_width(100)
        .arg(path("file", "FILE", "A mosquitto.db, or an export").required(true))
        .arg(
            path("directory", "DIR", "The directory of the broker's --data-dir")
                .required_unless_present("dry-run"),
        )
        .arg(flag("dry-run", "Only count what is in the file"))
        .arg(flag("accept-damage", "Take what stands before the damage in a damaged file"))
}

fn export_command() -> Command {
    Command::new("export")
        .bin_name("ringmq export")
        .about(
            "Writes everything in a data directory as lines of JSON, also while a broker runs. \
             ringmq import reads them.",
        )
        .max_term_width(100)
        .arg(path("directory", "DIR", "The directory of the broker's --data-dir").required(true))
        .arg(
            path("output", "FILE", "Write to this file instead of the standard output")
                .long("output"),
        )
}

fn take_in(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let file = matches.get_one::<PathBuf>("file").expect("is required");
    let directory = matches.get_one::<PathBuf>("directory");
    // Nothing is made for a file that cannot be imported.
    if let Some(directory) = directory.filter(|directory| directory.exists()) {
        refuse_data(directory)?;
    }
    let accepts_damage = matches.get_flag("accept-damage");
    let now = read_clocks(clock::boot());
    let terms = Terms { now, expiry_max_s: (u32::MAX, u32::MAX), accepts_damage };
    let Imported { state, counts, damage } = read(file, &terms)?;
    let place = match directory.filter(|_| !matches.get_flag("dry-run")) {
        Some(directory) => {
            let opened = Directory::open(directory).map_err(Failure::usage)?;
            journal::place(&opened, &state, random::number()).map_err(Failure::usage)?;
            directory.display().to_string()
        }
        None => "nothing is written".to_owned(),
    };
    say(&format!("{place}: {counts}\n"));
    let Some(damage) = damage else { return Ok(ExitCode::SUCCESS) };
    let cause = causes::line(&damage);
    Ok(Failure::start(format!("{}: {cause}; the rest is left out", file.display())).report())
}

/// Refuses a directory that holds data.
fn refuse_data(path: &Path) -> Result<(), Failure> {
    let segments = Directory::peek(path).segments().map_err(Failure::usage)?;
    match segments.is_empty() {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "the data directory {} holds data already: choose an empty one",
            path.display()
        ))),
    }
}

/// Reads a file.
///
/// # Errors
/// One line with the cause, the place and the fix.
fn read(file: &Path, terms: &Terms) -> Result<Imported, Failure> {
    let shown = file.display();
    let input = operator_file::open(file)
        .map_err(|error| Failure::usage(format!("{shown}: cannot be read: {error}")))?;
    transfer::import(BufReader::with_capacity(BUFFER_BYTES, input), terms)
        .map_err(|error| Failure::start(format!("{shown}: {}", causes::line(&error))))
}

fn hand_out(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let path = matches.get_one::<PathBuf>("directory").expect("is required");
    let recovered = recover(path).map_err(Failure::usage)?;
    match matches.get_one::<PathBuf>("output") {
        Some(output) => {
            let written = write_file(&recovered, output);
            let counts = written.map_err(|error| {
                Failure::usage(format!("cannot write {}: {error}", output.display()))
            })?;
            say(&format!("{}: {counts}\n", output.display()));
        }
        None => {
            let out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
            match transfer::export(&recovered.state, out) {
                // The reader has seen enough.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                    return Err(Failure::usage(format!("cannot write: {error}")));
                }
                _ => {}
            }
        }
    }
    let damage = recovered.faults.iter().filter(|fault| !fault.is_torn_tail());
    let told = damage.map(|fault: &Fault| tell(path, fault)).count();
    Ok(if told == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn tell(path: &Path, fault: &impl Display) {
    Failure::start(format!("{}: damage: {fault}", path.display())).report();
}

/// Reads a directory, perhaps while a broker writes to it.
fn recover(path: &Path) -> Result<Recovered, JournalError> {
    let directory = Directory::peek(path);
    let mut attempt = 1;
    'attempts: loop {
        let mut reader = Reader::new(Epoch(0));
        for segment in directory.segments()? {
            match segment.read() {
                Ok(found) => reader.read(found)?,
                // A rewrite has ended meanwhile: the living state is in later segments.
                Err(_) if attempt < ATTEMPTS && !segment.path.exists() => {
                    attempt += 1;
                    continue 'attempts;
                }
                Err(error) => return Err(error),
            }
        }
        return Ok(reader.finish());
    }
}

/// Writes a file that has its name when it is whole. Only its owner may read the messages.
fn write_file(recovered: &Recovered, path: &Path) -> io::Result<Counts> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    // A device or a link is not replaced, nor a file written that somebody else has put there.
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("it is no regular file; use the standard output"));
    }
    match fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let file = options.create_new(true).write(true).mode(0o600).open(&part)?;
    let out = BufWriter::with_capacity(BUFFER_BYTES, &file);
    let written = transfer::export(&recovered.state, out).and_then(|counts| {
        file.sync_all()?;
        fs::rename(&part, path)?;
        Ok(counts)
    });
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

fn say(text: &str) {
    // Whoever has closed the standard output still gets the status.
    let _ = io::stdout().write_all(text.as_bytes());
}

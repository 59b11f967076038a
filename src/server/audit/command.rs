//! `ringmq audit verify`: finds lines of audit logs that were changed, removed or added.

use crate::audit::{Hash, Line, Place, Verified, Verifier};
use crate::limits::AUDIT_LINE_BYTES_MAX;
use crate::server::failure::Failure;
use crate::server::refusal::refuse;
use clap::{Arg, Command, value_parser};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the command; `arguments` begin with its name, `audit`. The exit status is 1 for a fault,
/// and 2 when a file cannot be read.
pub(in crate::server) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error, "ringmq audit", "verify and a file are needed"),
    };
    let Some((_, matches)) = matches.subcommand() else { unreachable!("one is required") };
    let files = matches.get_many::<PathBuf>("file").expect("is required").cloned().collect();
    let wanted = matches.get_one::<Hash>("last-hash").copied();
    verify(files, wanted).unwrap_or_else(Failure::report)
}

pub(in crate::server) fn command() -> Command {
    let files = Arg::new("file")
        .value_name("FILE")
        .num_args(1..)
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("The files of one audit log, in any order");
    let wanted = Arg::new("last-hash")
        .long("last-hash")
        .value_name("HASH")
        .value_parser(|text: &str| text.parse::<Hash>())
        .help("The last hash of an earlier verification: its line has to be there still");
    let verify = Command::new("verify")
        .about("Finds lines that were changed, removed or added; the exit status is 1 then")
        .disable_help_subcommand(true)
        .arg(files)
        .arg(wanted);
    Command::new("audit")
        .bin_name("ringmq audit")
        .about("Verifies the files of an audit log.")
        .max_term_width(100)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(verify)
}

fn verify(files: Vec<PathBuf>, wanted: Option<Hash>) -> Result<ExitCode, Failure> {
    let files = in_order(files)?;
    let mut verifier = Verifier::new(wanted);
    for (index, path) in files.iter().enumerate() {
        verifier.begin_file(index);
        read(path, |line| {
            verifier.take(line);
            true
        })?;
    }
    let verified = verifier.finish();
    let is_lost = wanted.is_some() && verified.found.is_none();
    let text = report(&verified, &files, wanted);
    // Whoever has closed the standard output still gets the status.
    let _ = io::stdout().write_all(text.as_bytes());
    let is_sound = verified.faults_in_all == 0 && !is_lost;
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The files in the order of their first lines' numbers; those without a line come last.
fn in_order(files: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    let mut numbered = Vec::new();
    for path in files {
        let mut first = None;
        read(&path, |line| {
            first = Line::read(line).map(|line| line.end.sequence);
            first.is_none()
        })?;
        numbered.push((first.unwrap_or(u64::MAX), path));
    }
    numbered.sort_by_key(|(number, _)| *number);
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

/// Gives `take` each line of a file, until it returns false. A line beyond the limit comes in
/// parts.
fn read(path: &Path, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), Failure> {
    let failed = |error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let part = (&mut reader).take(AUDIT_LINE_BYTES_MAX as u64).read_until(b'\n', &mut line);
        part.map_err(failed)?;
        if line.is_empty() || !take(&line) {
            return Ok(());
        }
    }
}

fn report(verified: &Verified, files: &[PathBuf], wanted: Option<Hash>) -> String {
    let at = |place: &Place| format!("{}:{}", files[place.file].display(), place.line);
    let mut lines = Vec::new();
    for (place, fault) in &verified.faults {
        lines.push(format!("{}: {fault}", at(place)));
    }
    let more = verified.faults_in_all - verified.faults.len() as u64;
    if more > 0 {
        lines.push(format!("{more} more faults"));
    }
    for (place, bytes) in &verified.torn {
        lines.push(format!("{}: {bytes} torn bytes of a crash, as a line tells", at(place)));
    }
    if let Some((place, bytes)) = &verified.torn_end {
        let why = "a crash leaves that, or a write that is under way";
        lines.push(format!("{}: the last line is torn after {bytes} bytes: {why}", at(place)));
    }
    match (wanted, &verified.found) {
        (Some(hash), None) => lines.push(format!(
            "no line has the hash {hash}: lines at the end were removed, or all was written anew"
        )),
        (Some(_), Some((place, number))) => {
            lines.push(format!("{}: number {number} has the hash that was given", at(place)));
        }
        (None, _) => {}
    }
    if let Some(first) = verified.first.filter(|first| first.end.sequence > 1) {
        let (number, before) = (first.end.sequence, first.before);
        lines.push(format!("begins with number {number}; the line before has the hash {before}"));
    }
    let end = verified.end();
    let verdict = if verified.faults_in_all == 0 { "the chain is whole" } else { "NOT WHOLE" };
    let (count, number, hash) = (verified.lines, end.sequence, end.hash);
    lines.push(format!("{verdict}: {count} lines, the last has number {number}"));
    lines.push(format!("last hash: {hash}\n"));
    lines.join("\n")
}

//! `ringmq journal`: shows a data directory's records, and makes the directory smaller.

use super::failure::Failure;
use super::questions::JOURNAL_STATUS;
use super::refusal::refuse;
use crate::base::ids::DeliveryName;
use crate::base::random;
use crate::journal::{self, Directory, JournalError, Segment};
use crate::store::record::{Attributes, Body, ClockNote, Published, Record, StoredDelivery};
use crate::store::{Epoch, Fault, Found, Reader, Recovered, Watch};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The number of a payload's bytes that are shown.
const SHOWN_BYTES: usize = 32;

/// The arguments that none of the commands goes without.
const MISSING: &str = "verify, dump or compact and a directory are needed, or status";

/// Runs the command; `arguments` begin with its name, `journal`. The exit status is 1 for damage,
/// and 2 when a directory cannot be read or written.
pub(super) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error, "ringmq journal", MISSING),
    };
    let Some((name, matches)) = matches.subcommand() else { unreachable!("one is required") };
    let directory = matches.get_one::<PathBuf>("directory").expect("is required");
    let outcome = match name {
        "verify" => verify(directory),
        "dump" => dump(directory),
        _ => compact(directory, matches),
    };
    outcome.unwrap_or_else(|error| Failure::usage(error).report())
}

pub(super) fn command() -> Command {
    let directory = Arg::new("directory")
        .value_name("DIR")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("The directory of the broker's --data-dir");
    let with = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).arg(directory.clone()).disable_help_subcommand(true)
    };
    let accept = Arg::new("accept-damage")
        .long("accept-damage")
        .action(ArgAction::SetTrue)
        .help("Compact a damaged journal too: the damaged records are lost for good");
    Command::new("journal")
        .bin_name("ringmq journal")
        .about("Shows the records of a data directory, or makes it smaller.")
        .max_term_width(100)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(with(
            "verify",
            "Reads all records and tells every fault; the exit status is 1 for damage",
        ))
        .subcommand(Command::new("status").about(JOURNAL_STATUS))
        .subcommand(with("dump", "Shows every record on a line of its own"))
        .subcommand(
            with("compact", "Keeps only the current state; the broker has to be stopped")
                .arg(accept),
        )
}

/// Reads a directory, perhaps while a broker writes to it; returns its state, the watch and its
/// bytes.
fn read<W: Watch>(directory: &Directory, watch: W) -> Result<(Recovered, W, u64), JournalError> {
    let mut reader = Reader::watched(Epoch(0), watch);
    let mut bytes = 0;
    for segment in directory.segments()? {
        let Some(found) = read_segment(directory, &segment)? else { continue };
        bytes += found.bytes.len() as u64;
        reader.read(found)?;
    }
    let (recovered, watch) = reader.finish_watched();
    Ok((recovered, watch, bytes))
}

/// Reads a segment; none when a running broker has removed it meanwhile.
fn read_segment(directory: &Directory, segment: &Segment) -> Result<Option<Found>, JournalError> {
    match segment.read() {
        Ok(found) => Ok(Some(found)),
        Err(_) if !directory.segment_path(segment.number).exists() => Ok(None),
        Err(error) => Err(error),
    }
}

fn status(recovered: &Recovered) -> ExitCode {
    match recovered.faults.iter().all(Fault::is_torn_tail) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    }
}

fn verify(path: &Path) -> Result<ExitCode, JournalError> {
    let directory = Directory::peek(path);
    let (recovered, tallies, bytes) = read(&directory, Tallies::default())?;
    let mut out = BufWriter::new(io::stdout());
    let said = say_tallies(&mut out, &recovered, &tallies, bytes).and_then(|()| out.flush());
    // Whoever has closed the standard output still gets the status.
    drop(said);
    Ok(status(&recovered))
}

fn say_tallies(
    out: &mut impl Write,
    recovered: &Recovered,
    tallies: &Tallies,
    bytes: u64,
) -> io::Result<()> {
    for segment in &recovered.end.segments {
        let (number, end) = (segment.number, segment.end);
        let found = tallies.0.iter().find(|tally| tally.segment == number);
        let (commits, records) = found.map_or((0, 0), |tally| (tally.commits, tally.records));
        writeln!(out, "segment {number}: {end} bytes, {commits} commits, {records} records")?;
    }
    for fault in &recovered.faults {
        let kind = if fault.is_torn_tail() { "torn tail" } else { "damage" };
        writeln!(out, "{kind}: {fault}")?;
    }
    let state = &recovered.state;
    let (sessions, messages) = (state.sessions.len(), state.messages.len());
    let (retained, live) = (state.retained().count(), recovered.end.live_bytes);
    writeln!(
        out,
        "{sessions} sessions, {messages} messages, {retained} of them retained; about {live} of \
         {bytes} bytes live"
    )
}

/// The counts of each segment, in order.
#[derive(Debug, Default)]
struct Tallies(Vec<Tally>);

#[derive(Debug, Default)]
struct Tally {
    segment: u64,
    commits: u64,
    records: u64,
    last_commit: u64,
}

impl Watch for Tallies {
    fn record(&mut self, segment: u64, _: u64, commit: u64, _: &Record<'_>) {
        if self.0.last().is_none_or(|tally| tally.segment != segment) {
            self.0.push(Tally { segment, ..Tally::default() });
        }
        let Some(tally) = self.0.last_mut() else { return };
        tally.commits += u64::from(tally.last_commit != commit);
        tally.last_commit = commit;
        tally.records += 1;
    }

    fn fault(&mut self, _: &Fault) {}
}

fn dump(path: &Path) -> Result<ExitCode, JournalError> {
    let lines = Lines(BufWriter::new(io::stdout().lock()));
    let (recovered, mut lines, _) = read(&Directory::peek(path), lines)?;
    let _ = lines.0.flush();
    Ok(status(&recovered))
}

/// Writes every record as a line. A closed output is no error: its reader has left.
#[derive(Debug)]
struct Lines<W: Write>(W);

impl<W: Write> Watch for Lines<W> {
    fn record(&mut self, segment: u64, offset: u64, commit: u64, record: &Record<'_>) {
        let _ = writeln!(self.0, "{segment}:{offset} {commit} {}", Shown(record));
    }

    fn fault(&mut self, fault: &Fault) {
        let _ = writeln!(self.0, "# {fault}");
    }
}

fn compact(path: &Path, matches: &ArgMatches) -> Result<ExitCode, JournalError> {
    // Only a directory that is there is opened: nothing is made by mistake.
    Directory::peek(path).segments()?;
    let directory = Directory::open(path)?;
    let (recovered, (), before) = read(&directory, ())?;
    let damage = recovered.faults.iter().find(|fault| !fault.is_torn_tail());
    if let Some(fault) = damage.filter(|_| !matches.get_flag("accept-damage")) {
        let line =
            format!("{fault}: see ringmq journal verify; --accept-damage compacts it all the same");
        return Ok(Failure::start(line).report());
    }
    let segments = recovered.end.segments.len();
    let after = journal::compact(directory, recovered, random::number())?;
    let line = format!("{segments} segments of {before} bytes became one of {after} bytes\n");
    let _ = io::stdout().write_all(line.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// A record as text: its kind, and its fields.
struct Shown<'a>(&'a Record<'a>);

impl Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Record::Session(attributes) => {
                out.write_str("session ")?;
                show_attributes(out, attributes)
            }
            Record::Whole(whole) => {
                out.write_str("whole ")?;
                show_attributes(out, &whole.attributes)?;
                for subscription in &whole.subscriptions {
                    write!(out, " subscription {:?}", subscription.filter)?;
                }
                whole.deliveries.iter().try_for_each(|(message, way)| {
                    write!(out, " message {message}")?;
                    show_way(out, way)
                })?;
                whole.received.iter().try_for_each(|id| write!(out, " received {id}"))
            }
            Record::Ended { session } => write!(out, "ended {session}"),
            Record::Subscribed { session, subscription } => write!(
                out,
                "subscribed {session} {:?} options {:#04x} id {} owed {}",
                subscription.filter,
                subscription.options,
                subscription.subscription_id,
                subscription.owed.is_some()
            ),
            Record::Unsubscribed { session, filter } => {
                write!(out, "unsubscribed {session} {filter:?}")
            }
            Record::Replayed { session, filter } => write!(out, "replayed {session} {filter:?}"),
            Record::Published(published) => show_published(out, published),
            Record::Released { session, delivery } => write!(out, "released {session}:{delivery}"),
            Record::Done(done) => {
                out.write_str("done")?;
                done.iter().try_for_each(|DeliveryName { session, number }| {
                    write!(out, " {session}:{number}")
                })
            }
            Record::Forgotten { session, packet_id } => {
                write!(out, "forgotten {session} packet {packet_id}")
            }
            Record::Sent { session, deliveries } => {
                write!(out, "sent {session}")?;
                deliveries.iter().try_for_each(|(delivery, packet_id)| {
                    write!(out, " {session}:{delivery}")?;
                    show_option(out, "packet", (*packet_id != 0).then_some(packet_id))
                })
            }
            Record::Clock(note) => show_clock(out, note),
        }
    }
}

fn show_clock(out: &mut fmt::Formatter<'_>, note: &ClockNote) -> fmt::Result {
    let ClockNote { journal_ms, wall_ms, boot, boot_ms } = note;
    let boot = u128::from_be_bytes(*boot);
    write!(out, "clock {journal_ms} wall {wall_ms} boot {boot:032x} {boot_ms}")
}

fn show_attributes(out: &mut fmt::Formatter<'_>, attributes: &Attributes<'_>) -> fmt::Result {
    let Attributes { session, client_id, owner, expiry_s, is_connected, .. } = attributes;
    write!(out, "{session} client {client_id:?} expiry {expiry_s} connected {is_connected}")?;
    write!(out, " listener {}", owner.listener)?;
    show_option(out, "user", owner.user.as_ref().map(|user| format!("{user:?}")))?;
    show_option(out, "ends", attributes.ends_ms)?;
    if let Some(will) = &attributes.will {
        write!(out, " will {:?} qos {} ", will.topic, will.qos)?;
        show_bytes(out, &will.payload)?;
    }
    show_option(out, "due", attributes.will_due_ms)
}

fn show_published(out: &mut fmt::Formatter<'_>, published: &Published<'_>) -> fmt::Result {
    write!(out, "published {}", published.message)?;
    if let Some(body) = &published.body {
        show_body(out, body)?;
    }
    show_option(out, "retained version", published.retained)?;
    let received = published.received.map(|(session, packet)| format!("{session} packet {packet}"));
    show_option(out, "received", received)?;
    let taken =
        published.taken.map(|DeliveryName { session, number }| format!("{session}:{number}"));
    show_option(out, "taken", taken)?;
    for group in &published.groups {
        write!(out, " to {:?} qos {} retain {}", group.sessions, group.qos, group.retain)?;
        show_option(out, "packet", (group.packet_id != 0).then_some(group.packet_id))?;
    }
    published.others.iter().try_for_each(|(session, way)| {
        write!(out, " to {session}")?;
        show_way(out, way)
    })
}

fn show_body(out: &mut fmt::Formatter<'_>, body: &Body<'_>) -> fmt::Result {
    let (topic, properties) = (body.lengths.0 as usize, body.lengths.1 as usize);
    let topic_end = topic.min(body.bytes.len());
    let payload = topic.saturating_add(properties).min(body.bytes.len());
    write!(out, " topic {:?}", String::from_utf8_lossy(&body.bytes[..topic_end]))?;
    write!(out, " qos {} ", body.qos)?;
    show_bytes(out, &body.bytes[payload..])?;
    show_option(out, "expires", body.expires.map(|expires| expires.at_ms))
}

fn show_way(out: &mut fmt::Formatter<'_>, way: &StoredDelivery<'_>) -> fmt::Result {
    show_option(out, "as", (!way.number.is_none()).then_some(way.number))?;
    write!(out, " qos {} retain {}", way.qos, way.retain)?;
    show_option(out, "replay", (way.replay != 0).then_some(way.replay))?;
    way.overtakes.iter().try_for_each(|replay| write!(out, " overtakes {replay}"))?;
    show_option(out, "packet", (way.packet_id != 0).then_some(way.packet_id))?;
    if way.is_released {
        out.write_str(" released")?;
    }
    way.subscription_ids.iter().try_for_each(|id| write!(out, " id {id}"))?;
    show_option(out, "share", way.share.as_ref().map(|share| format!("{share:?}")))
}

fn show_option(
    out: &mut fmt::Formatter<'_>,
    name: &str,
    value: Option<impl Display>,
) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(out, " {name} {value}"))
}

fn show_bytes(out: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    write!(
        out,
        "{} bytes \"{}",
        bytes.len(),
        bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii()
    )?;
    out.write_str(if bytes.len() > SHOWN_BYTES { "\"…" } else { "\"" })
}

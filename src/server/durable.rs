//! Opens the data directory: restores an earlier process's state, and starts the journal.

use super::adopt::adopt;
use super::failure::Failure;
use crate::base::{causes, random};
use crate::broker::{Homes, Past, TOLD};
use crate::io::clock::{self, Clock};
use crate::io::setup::RingEngine;
use crate::journal::{self, Directory, JournalError};
use crate::limits::JOURNAL_MESSAGES_MAX;
use crate::mesh::{Doorbell, line};
use crate::options::{Durability, Options};
use crate::store::{Epoch, Reading, Recovered};
use crate::worker::JournalLine;
use rustix::process::{getegid, geteuid};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Notify;

/// The journal while it runs.
#[derive(Debug, Default)]
pub(super) struct Durable {
    /// Each worker's end of the journal and its restored state; empty when all state is in memory.
    pub(super) ends: Vec<(JournalLine, Past)>,
    pub(super) thread: Option<JoinHandle<bool>>,
    pub(super) status: Arc<Mutex<journal::Status>>,
}

/// Opens the data directory, if one is given, for workers that these `doorbells` wake.
///
/// # Errors
/// One line with the cause and the fix.
pub(super) fn open(
    options: &Options,
    engine: RingEngine,
    doorbells: &Arc<[Doorbell]>,
    seed: u64,
    clock: Clock,
) -> Result<Durable, Failure> {
    let Some(path) = &options.data_dir else { return Ok(Durable::default()) };
    let directory = Directory::open(path).map_err(|error| unusable(path, error))?;
    let boot = clock::boot();
    if let Some(database) = &options.mosquitto_db {
        adopt(&directory, database, options, read_clocks(boot))?;
    }
    let mut recovered = recover(&directory, clock)?;
    let state = &mut recovered.state;
    let journal_ms = read_clocks(boot).journal_ms(state.clock.as_ref(), state.earliest_ms());
    let epoch = Epoch::at(journal_ms, clock.now());
    state.set_epoch(epoch);
    let workers = doorbells.len();
    let (worker_ends, lines): (Vec<_>, Vec<_>) =
        (0..workers).map(|_| line(JOURNAL_MESSAGES_MAX)).unzip();
    let bell = Arc::new(Notify::new());
    let doorbells = Arc::clone(doorbells);
    let status = Arc::default();
    let setup = journal::JournalSetup {
        engine,
        directory,
        end: recovered.end,
        faults: recovered.faults,
        epoch,
        clock: Box::new(move || read_clocks(boot).note(epoch.milliseconds(clock.now()))),
        syncs: options.durability != Durability::None,
        salt: random::number(),
        lines: lines.into_iter().collect(),
        wake: Box::new(move |worker| doorbells[worker.index()].call()),
        bell: Arc::clone(&bell),
        status: Arc::clone(&status),
    };
    let thread = journal::start(setup).map_err(|error| unusable(path, error))?;
    let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || bell.notify_one());
    let pasts = Past::divide(recovered.state, &Homes::new(workers, seed));
    let ends = worker_ends.into_iter().map(|end| JournalLine::new(end, Arc::clone(&wake), epoch));
    let ends = ends.zip(pasts.into_values()).collect();
    Ok(Durable { ends, thread: Some(thread), status })
}

/// The failure with the fix, where another user owns the directory or a file in it.
fn unusable(path: &Path, error: JournalError) -> Failure {
    if !error.is_denied() {
        return Failure::start(error);
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let place = path.display();
    let make = if path.exists() { String::new() } else { format!("mkdir -p {place} && ") };
    let cause = causes::line(&error);
    Failure::start(format!("{cause}; as root: {make}chown -R {user}:{group} {place}"))
}

fn recover(directory: &Directory, clock: Clock) -> Result<Recovered, Failure> {
    let began = clock.now();
    let mut told = began;
    let progress = |read: usize, all: usize| {
        let now = clock.now();
        if now.since(told) >= Duration::from_secs(1) {
            told = now;
            tracing::info!(read, all, "Recovering: segments are read");
        }
    };
    let unusable = |error| unusable(directory.path(), error);
    let recovered = journal::recover(directory, progress).map_err(unusable)?;
    for fault in &recovered.faults {
        match fault.is_torn_tail() {
            true => tracing::warn!("Journal: {fault}"),
            false => tracing::error!("Journal: {fault}"),
        }
    }
    if recovered.records > 0 {
        let sessions = recovered.state.sessions.len();
        let messages = recovered.state.messages.len();
        let retained = recovered.state.retained().count();
        let took_ms = clock.now().since(began).as_millis() as u64;
        tracing::info!(
            target: TOLD, sessions, messages, retained, took_ms,
            "Recovered {sessions} sessions and {messages} messages, {retained} of them retained, \
             in {took_ms} ms"
        );
    }
    Ok(recovered)
}

/// Reads the machine's clocks, in this boot.
pub(super) fn read_clocks(boot: [u8; 16]) -> Reading {
    Reading { wall_ms: journal::wall_ms(clock::wall_ms()), boot, boot_ms: clock::boot_ms() }
}

/// A line for the start about the place and the safety of state.
pub(super) fn describe(options: &Options) -> String {
    let Some(path) = options.data_dir.as_deref().map(Path::display) else {
        return "state is in memory: sessions and retained messages end with this process; \
                --data-dir keeps them"
            .into();
    };
    let interval = options.durability_interval_ms;
    match options.durability {
        Durability::Commit => format!("state is in {path}: acknowledged changes are on disk"),
        Durability::Interval => {
            format!("state is in {path}: acknowledged changes are on disk within {interval} ms")
        }
        Durability::None => format!(
            "state is in {path}, never synced: acknowledged changes survive this process after \
             {interval} ms, but not a power cut"
        ),
    }
}

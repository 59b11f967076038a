//! The control thread: waits for signals, stops the workers, collects their reports.

use super::audit::Audit;
use super::failure::Failure;
use super::listening::OwnFile;
use super::observer::{Drain, Observer, Stage};
use super::reload::Reloader;
use super::service;
use super::start::Running;
use crate::audit::Entry;
use crate::limits::{STOP_ALL, STOP_AUDIT};
use crate::options::LogLevel;
use crate::worker::Report;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// The interval between two checks whether the journal or the audit log has ended.
const JOURNAL_INTERVAL: Duration = Duration::from_millis(1);

/// The interval between two checks whether certificates have changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// An operator's order to the control thread.
#[derive(Debug)]
pub(super) enum Order {
    /// Read all files again, for this caller; the answer is the cause for which the old settings
    /// stay.
    Reload(Arc<str>, oneshot::Sender<Result<(), String>>),
    /// Log lines of at least this importance.
    LogLevel(LogLevel),
    /// Send all clients away, then stop.
    Drain(Drain),
}

/// The signals that the broker heeds, and the operators' orders.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    /// Mosquitto's signals, by which nobody's script ends this broker.
    save: Signal,
    summary: Signal,
    reopen: Signal,
    orders: mpsc::Receiver<Order>,
}

impl Signals {
    /// Begins to receive the signals; needs the runtime.
    pub(super) fn heed(orders: mpsc::Receiver<Order>) -> Result<Self, Failure> {
        let heed =
            |kind| signal(kind).map_err(|error| Failure::start(format!("no signals: {error}")));
        Ok(Self {
            interrupt: heed(SignalKind::interrupt())?,
            terminate: heed(SignalKind::terminate())?,
            hang_up: heed(SignalKind::hangup())?,
            save: heed(SignalKind::user_defined1())?,
            summary: heed(SignalKind::user_defined2())?,
            reopen: heed(SignalKind::from_raw(libc::SIGRTMIN()))?,
            orders,
        })
    }

    /// Waits for a signal or an order that ends the broker, and reloads meanwhile. Returns what it
    /// was, and how clients are sent away before.
    async fn stop(
        &mut self,
        reloader: &mut Reloader,
        observer: &Observer,
    ) -> (&'static str, Drain) {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                _ = look.tick(), if reloader.watches_files() => reloader.look_at_files(),
                _ = self.interrupt.recv() => return ("SIGINT", Drain::default()),
                _ = self.terminate.recv() => {
                    let options = Arc::clone(&reloader.current.borrow().settings.options);
                    let over = Duration::from_secs(options.drain_s.into());
                    return ("SIGTERM", Drain { over, ..Drain::default() });
                }
                _ = self.hang_up.recv() => reloader.hang_up(),
                _ = self.save.recv() => tracing::info!(
                    "SIGUSR1: with --data-dir, what is acknowledged is on disk already"
                ),
                _ = self.summary.recv() => observer.log_summary().await,
                _ = self.reopen.recv() => reloader.reopen(),
                Some(order) = self.orders.recv() => match order {
                    // Whoever asked may have gone meanwhile.
                    Order::Reload(actor, answer) => drop(answer.send(reloader.reload(&actor))),
                    Order::LogLevel(level) => reloader.set_log_level(level),
                    Order::Drain(drain) => return ("an operator's order", drain),
                },
            }
        }
    }

    /// Waits for a second signal while the broker ends.
    async fn second(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "a second signal came, SIGINT",
            _ = self.terminate.recv() => "a second signal came, SIGTERM",
        }
    }
}

/// The parts of the broker that are to be stopped.
#[derive(Debug)]
pub(super) struct Stopping {
    /// The workers and all that works for them. The journal ends once it has written the workers'
    /// records, or knows that it cannot.
    pub(super) running: Running,
    /// Sockets in the file system.
    pub(super) files: Vec<OwnFile>,
    /// The stage that health checks see.
    pub(super) stage: watch::Sender<Stage>,
    pub(super) audit: Audit,
    /// The thread that writes the audit log.
    pub(super) audit_thread: Option<JoinHandle<()>>,
}

/// The result of the stop.
#[derive(Debug)]
pub(super) struct Ending {
    /// The reports of the workers that stopped in time.
    pub(super) reports: Vec<Report>,
    /// Whether no change was given up.
    pub(super) is_orderly: bool,
}

/// Runs the broker until a signal comes, then stops all parts. The stop ends when all parts have
/// ended, when its time is over, or at a second signal.
pub(super) async fn run(
    mut signals: Signals,
    mut reloader: Reloader,
    stopping: Stopping,
    observer: Observer,
) -> Ending {
    let (signal, drain) = signals.stop(&mut reloader, &observer).await;
    let Stopping { running, files, stage, audit, audit_thread } = stopping;
    let Running { doorbells, mut reports, bridges, journal, .. } = running;
    if !drain.over.is_zero() {
        stage.send_replace(Stage::Draining);
        service::draining();
        tokio::select! {
            () = observer.drain(&drain) => {}
            signal = signals.second() => tracing::warn!("The drain ends early: {signal}"),
        }
    }
    tracing::info!(signal, "Stopping");
    let deadline = Instant::now() + STOP_ALL;
    stage.send_replace(Stage::Stopping);
    service::stopping();
    // The operators' orders are not heeded any more.
    drop((reloader, bridges));
    for doorbell in &*doorbells {
        doorbell.stop();
    }
    // Whoever is started next makes files of its own.
    drop(files);
    let mut stopped = Vec::new();
    let collect = async {
        while let Some(report) = reports.recv().await {
            stopped.push(report);
        }
        while journal.as_ref().is_some_and(|journal| !journal.is_finished()) {
            sleep(JOURNAL_INTERVAL).await;
        }
    };
    let cut_short = tokio::select! {
        () = collect => None,
        () = sleep_until(deadline) => Some("the time is over"),
        signal = signals.second() => Some(signal),
    };
    stopped.sort_by_key(|report| report.snapshot.worker);
    let is_written = match journal {
        Some(journal) => journal.is_finished() && journal.join().unwrap_or(false),
        None => true,
    };
    let missing = doorbells.len() - stopped.len();
    let given_up = given_up(&stopped, is_written);
    if let Some(cause) = cut_short {
        tracing::error!(missing, given_up, "Ended before everything was done: {cause}");
    } else if given_up > 0 {
        tracing::error!(
            given_up,
            "Some changes are given up that are not in the journal; unless --durability is \
             interval or none, no client was told that they were kept"
        );
    }
    let is_orderly = cut_short.is_none() && given_up == 0;
    audit.note(&Entry::new("stop").text("cause", signal).flag("is_orderly", is_orderly));
    end_audit(&audit, audit_thread, deadline).await;
    Ending { reports: stopped, is_orderly }
}

/// Waits until the audit log is written, for as long as the stop may take.
async fn end_audit(audit: &Audit, thread: Option<JoinHandle<()>>, deadline: Instant) {
    audit.end();
    let ended = async {
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            sleep(JOURNAL_INTERVAL).await;
        }
    };
    let deadline = deadline.max(Instant::now() + STOP_AUDIT);
    if tokio::time::timeout_at(deadline, ended).await.is_err() {
        tracing::error!("The audit log is not written to its end: the time is over");
    }
}

/// The number of changes that the journal lacks.
fn given_up(reports: &[Report], is_written: bool) -> usize {
    let unwritten = reports.iter().map(|report| report.unwritten);
    unwritten.map(|left| left.gathering + if is_written { 0 } else { left.handed_over }).sum()
}

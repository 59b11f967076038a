//! The control thread: waits for signals, stops the workers, collects their reports.
#![forbid(unsafe_code)]

use super::failure::Failure;
use super::reload::Reloader;
use crate::mesh::Doorbell;
use crate::worker::Report;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;

/// Longer than a worker takes to cut off its last connections, shorter than supervisors wait.
const STOP_TIME_MAX: Duration = Duration::from_millis(4700);

/// How often it is looked whether certificates have changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The signals that the broker heeds.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Heeds them from now on; needs the runtime.
    pub(super) fn heed() -> Result<Self, Failure> {
        let heed = |kind| {
            signal(kind).map_err(|error| Failure::start(format_args!("no signals: {error}")))
        };
        Ok(Self {
            interrupt: heed(SignalKind::interrupt())?,
            terminate: heed(SignalKind::terminate())?,
            hang_up: heed(SignalKind::hangup())?,
        })
    }

    /// Waits for one that ends the broker; reloads meanwhile.
    async fn stop(&mut self, mut reloader: Reloader) -> &'static str {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                _ = look.tick(), if reloader.watches_files() => reloader.look_at_files(),
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.hang_up.recv() => reloader.reload(),
            }
        }
    }
}

/// Runs until a signal comes; then gives the reports of the workers that stopped in time.
pub(super) async fn run(
    mut signals: Signals,
    reloader: Reloader,
    doorbells: &[Doorbell],
    mut reports: UnboundedReceiver<Report>,
) -> Vec<Report> {
    let signal = signals.stop(reloader).await;
    tracing::info!(signal, "Stopping");
    for doorbell in doorbells {
        doorbell.stop();
    }
    let mut stopped = Vec::new();
    let collect = async {
        while let Some(report) = reports.recv().await {
            stopped.push(report);
        }
    };
    if tokio::time::timeout(STOP_TIME_MAX, collect).await.is_err() {
        let missing = doorbells.len() - stopped.len();
        tracing::error!(missing, "Workers did not stop in time");
    }
    stopped.sort_by_key(|report| report.worker);
    stopped
}

//! The control thread: waits for signals, stops the workers, collects their reports.
#![forbid(unsafe_code)]

use super::failure::Failure;
use super::start::Running;
use crate::worker::Report;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Longer than a worker takes to cut off its last connections, shorter than supervisors wait.
const STOP_TIME_MAX: Duration = Duration::from_millis(4700);

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

    /// Waits for one that ends the broker.
    async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP ignored: there is nothing to reload");
                }
            }
        }
    }
}

/// Runs until a signal comes; then gives the reports of the workers that stopped in time.
pub(super) async fn run(mut signals: Signals, running: Running) -> Vec<Report> {
    let Running { doorbells, mut reports, .. } = running;
    let signal = signals.stop().await;
    tracing::info!(signal, "Stopping");
    for doorbell in &*doorbells {
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

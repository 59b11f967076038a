//! What is told at the start, on the standard output, and at the end, in the log.
#![forbid(unsafe_code)]

use super::pinning::Plan;
use crate::broker::Counters;
use crate::io::setup::Features;
use crate::options::Options;
use crate::worker::Report;
use hdrhistogram::Histogram;
use std::fmt::{self, Write};
use std::time::Duration;

/// What the start found out.
#[derive(Debug)]
pub(super) struct Started<'a> {
    pub(super) options: &'a Options,
    pub(super) plan: &'a Plan,
    pub(super) release: &'a str,
    pub(super) features: Features,
    pub(super) descriptors: usize,
    pub(super) connections: usize,
}

/// Tells that the broker runs, and with what.
pub(super) fn print(started: &Started<'_>) {
    use std::io::Write;
    // A broker whose standard output nobody reads runs all the same.
    let _ = std::io::stdout().write_all(text(started).as_bytes());
    let _ = std::io::stdout().flush();
}

fn text(started: &Started<'_>) -> String {
    let mut text = String::new();
    write(&mut text, started).expect("writing to a string cannot fail");
    text
}

fn write(text: &mut String, started: &Started<'_>) -> fmt::Result {
    writeln!(text, "ringmq {} on Linux {}", env!("CARGO_PKG_VERSION"), started.release)?;
    for listener in &started.options.listeners {
        writeln!(text, "listening on {listener}")?;
    }
    for (worker, core) in started.plan.cores.iter().enumerate() {
        match core {
            Some(core) => writeln!(text, "worker {worker} on core {core}")?,
            None => writeln!(text, "worker {worker} on any core")?,
        }
    }
    write!(text, "io_uring: deferred task work, multishot accept and receive, provided buffers")?;
    let array = if started.features.no_submission_array { ", no submission array" } else { "" };
    writeln!(text, "{array}")?;
    let Options { max_packet_size, max_queued_messages, max_queued_bytes, .. } = started.options;
    let Started { connections, descriptors, .. } = started;
    writeln!(
        text,
        "limits: {connections} connections ({descriptors} descriptors), packets of \
         {max_packet_size} bytes, {max_queued_messages} queued messages or {max_queued_bytes} \
         bytes per session"
    )?;
    writeln!(text, "{}", super::durable::describe(started.options))
}

/// Logs what the workers counted.
pub(super) fn log_end(reports: &[Report]) {
    let mut counters = Counters::default();
    for report in reports {
        counters.add(&report.counters);
        log_turns(report.worker, &report.turns);
        let (refused, cut) = (report.connections_refused, report.connections_cut);
        if refused > 0 || cut > 0 {
            tracing::warn!(
                worker = report.worker,
                refused,
                cut,
                "Connections not served to the end"
            );
        }
    }
    tracing::info!(?counters, "Stopped");
}

fn log_turns(worker: usize, turns: &Histogram<u64>) {
    let at = |quantile| Duration::from_nanos(turns.value_at_quantile(quantile));
    tracing::info!(
        worker,
        turns = turns.len(),
        p50 = ?at(0.5),
        p99 = ?at(0.99),
        p999 = ?at(0.999),
        max = ?Duration::from_nanos(turns.max()),
        "How long turns took"
    );
}

//! The lines at the start, on the standard output, and at the end, in the log.

use super::engine::Chosen;
use super::logging::{Field, line};
use super::pinning::Plan;
use crate::audit::Entry;
use crate::base::ids::WorkerId;
use crate::metrics::Counters;
use crate::options::{AdminSocket, LogFormat, Options};
use crate::worker::Report;
use hdrhistogram::Histogram;
use std::fmt::{self, Write};
use std::time::Duration;

/// The results of the start.
#[derive(Debug)]
pub(super) struct Started<'a> {
    pub(super) options: &'a Options,
    pub(super) plan: &'a Plan,
    pub(super) release: &'a str,
    pub(super) chosen: Chosen,
    pub(super) descriptors: usize,
    pub(super) connections: usize,
    /// A token of the operator's.
    pub(super) token: Option<&'a str>,
}

impl Started<'_> {
    /// The address of the dashboard, with a token. Whoever reads the standard output has started
    /// the broker.
    fn admin_address(&self) -> Option<String> {
        let address = self.options.admin_listen?;
        let scheme = if self.options.admin_tls_cert.is_some() { "https" } else { "http" };
        let token = self.token.filter(|_| self.options.admin_token_file.is_none());
        let token = token.map(|token| format!("#token={token}")).unwrap_or_default();
        Some(format!("{scheme}://{address}/{token}"))
    }
}

/// Prints that the broker runs, with its listeners, workers and limits.
pub(super) fn print(started: &Started<'_>) {
    use std::io::Write;
    // A broker whose standard output nobody reads runs all the same.
    let text = match started.options.log_format {
        LogFormat::Text => text(started),
        LogFormat::Json => json(started),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
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
    if let Some(address) = started.admin_address() {
        writeln!(text, "dashboard at {address}")?;
    }
    if let AdminSocket::At(path) = &started.options.admin_socket {
        writeln!(text, "ringmq help tells the commands that ask it, at {}", path.display())?;
    }
    if let Some(address) = started.options.metrics_listen {
        writeln!(text, "metrics at http://{address}/metrics")?;
    }
    for (worker, core) in started.plan.cores.iter().enumerate() {
        match core {
            Some(core) => writeln!(text, "worker {worker} on core {core}")?,
            None => writeln!(text, "worker {worker} on any core")?,
        }
    }
    writeln!(text, "{}", started.chosen)?;
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

/// The lines of [`text`], each as a JSON object.
fn json(started: &Started<'_>) -> String {
    use Field::{Number, Text};
    let object = |message: &str, fields: &[(&str, Field<'_>)]| {
        line(LogFormat::Json, tracing::Level::INFO, message, fields)
    };
    let (version, release) = (env!("CARGO_PKG_VERSION"), started.release);
    let mut text = object("ringmq", &[("version", Text(version)), ("linux", Text(release))]);
    for listener in &started.options.listeners {
        text += &object("listening", &[("listener", Text(&listener.to_string()))]);
    }
    if let Some(address) = started.admin_address() {
        text += &object("dashboard", &[("address", Text(&address))]);
    }
    if let Some(address) = started.options.metrics_listen {
        text += &object("metrics", &[("address", Text(&address.to_string()))]);
    }
    for (worker, core) in started.plan.cores.iter().enumerate() {
        let mut fields = vec![("worker", Number(worker as u64))];
        fields.extend(core.map(|core| ("core", Number(core as u64))));
        text += &object("worker", &fields);
    }
    let options = started.options;
    let limits = [
        ("connections", Number(started.connections as u64)),
        ("descriptors", Number(started.descriptors as u64)),
        ("max_packet_size", Number(options.max_packet_size.into())),
        ("max_queued_messages", Number(options.max_queued_messages.into())),
        ("max_queued_bytes", Number(options.max_queued_bytes)),
    ];
    text += &object("limits", &limits);
    text + &object(&super::durable::describe(options), &[])
}

/// The start for the audit log.
pub(super) fn entry(options: &Options) -> Entry {
    let entry = Entry::new("start").text("version", env!("CARGO_PKG_VERSION"));
    let listeners = options.listeners.iter().map(|listener| Entry::cut(&listener.to_string()));
    let entry = entry.number("pid", std::process::id().into());
    entry.value("listeners", &listeners.take(LISTENERS_MAX).collect())
}

/// The listeners that the start names in the audit log.
const LISTENERS_MAX: usize = 20;

/// Logs the workers' counts.
pub(super) fn log_end(reports: &[Report]) {
    let mut counters = Counters::default();
    for report in reports {
        let snapshot = &report.snapshot;
        counters.add(&snapshot.counters);
        log_turns(snapshot.worker, &snapshot.histograms.turn);
        let (refused, cut) = (report.connections_refused, report.connections_cut);
        if refused > 0 || cut > 0 {
            tracing::warn!(
                worker = snapshot.worker.0,
                refused,
                cut,
                "Connections not served to the end"
            );
        }
    }
    log_counters(&counters);
}

/// Logs the counts that are not 0.
fn log_counters(counters: &Counters) {
    let mut text = String::new();
    for (metric, values) in Counters::TABLE.iter().zip(counters.values()) {
        for (label, value) in metric.values.iter().zip(values).filter(|(_, value)| **value > 0) {
            let dot = if label.is_empty() { "" } else { "." };
            let _ = write!(text, "{}{dot}{label}={value} ", metric.name);
        }
    }
    tracing::info!(counts = text.trim_end(), "Stopped");
}

fn log_turns(worker: WorkerId, turns: &Histogram<u64>) {
    let ms = |nanoseconds| Duration::from_nanos(nanoseconds).as_secs_f64() * 1000.0;
    let at = |quantile| ms(turns.value_at_quantile(quantile));
    tracing::info!(
        worker = worker.0,
        turns = turns.len(),
        p50_ms = at(0.5),
        p99_ms = at(0.99),
        p999_ms = at(0.999),
        max_ms = ms(turns.max()),
        "How long turns took"
    );
}

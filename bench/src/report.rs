//! Findings of a run: for people and as JSON.

use crate::clock::{now_ns, unix_ns};
use crate::failure::Result;
use crate::flags::{Flags, Pacing};
use crate::histogram_files::{interval_log, percentile_text, write_file};
use crate::process::Memory;
use crate::run::Snapshot;
use crate::summary::thousands;
use crate::tally::{Troubles, new_histogram};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// The findings of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    scenario: String,
    command: String,
    seconds: f64,
    publishes_per_s: f64,
    deliveries_per_s: f64,
    own_cpu_ns_per_delivery: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<BrokerReport>,
    latency_us: LatencyReport,
    #[serde(skip)]
    histogram: Histogram<u64>,
    #[serde(skip)]
    intervals: Vec<Histogram<u64>>,
    #[serde(skip)]
    start_unix_ns: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    foreign: u64,
    unanswered: u64,
    closed: u64,
    /// Whether the machine or this process stood still, or the broker fell silent: then the rates
    /// mean little, but nothing is wrong with the messages.
    is_interrupted: bool,
}

/// The resources that the broker used for the run.
#[derive(Debug, Serialize)]
struct BrokerReport {
    cpu_ns_per_delivery: f64,
    cpu_share: f64,
    switches_per_s: f64,
    resident_bytes: MemoryReport,
    anonymous_bytes: MemoryReport,
}

/// Memory at three moments.
#[derive(Debug, Default, Serialize)]
struct MemoryReport {
    idle: u64,
    before: u64,
    after: u64,
}

/// Latencies in microseconds.
#[derive(Debug, Default, Serialize)]
struct LatencyReport {
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

impl Report {
    /// The report of a run between two moments.
    pub(crate) fn new(flags: &Flags, before: &Snapshot, after: &Snapshot) -> Self {
        let seconds = (after.time_ns - before.time_ns) as f64 / 1e9;
        let deliveries = (after.totals.delivered - before.totals.delivered) as f64;
        let publishes = (after.totals.published - before.totals.published) as f64;
        let per_delivery = |value: u64| value as f64 / deliveries.max(1.0);
        let broker = before.broker.zip(after.broker).map(|(before, after)| {
            let cpu_ns = after.cpu_ns - before.cpu_ns;
            let (old, new) = (before.memory, after.memory);
            let memory = |before, after| MemoryReport { idle: 0, before, after };
            BrokerReport {
                cpu_ns_per_delivery: per_delivery(cpu_ns),
                cpu_share: cpu_ns as f64 / 1e9 / seconds,
                switches_per_s: (after.switches - before.switches) as f64 / seconds,
                resident_bytes: memory(old.resident_bytes, new.resident_bytes),
                anonymous_bytes: memory(old.anonymous_bytes, new.anonymous_bytes),
            }
        });
        Self {
            scenario: describe(flags),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            seconds,
            publishes_per_s: publishes / seconds,
            deliveries_per_s: deliveries / seconds,
            own_cpu_ns_per_delivery: per_delivery(after.own_cpu_ns - before.own_cpu_ns),
            broker,
            latency_us: LatencyReport::default(),
            histogram: new_histogram(),
            intervals: Vec::new(),
            start_unix_ns: unix_ns().saturating_sub(now_ns() - before.time_ns),
            lost: 0,
            duplicated: 0,
            reordered: 0,
            foreign: 0,
            unanswered: 0,
            closed: 0,
            is_interrupted: (seconds - flags.duration).abs() > flags.duration / 20.0 + 0.02,
        }
    }

    /// The broker's memory before the first connection.
    pub(crate) fn add_idle_memory(&mut self, memory: Option<Memory>) {
        if let Some((broker, memory)) = self.broker.as_mut().zip(memory) {
            broker.resident_bytes.idle = memory.resident_bytes;
            broker.anonymous_bytes.idle = memory.anonymous_bytes;
        }
    }

    /// Adds the latencies of deliveries, in nanoseconds, by interval.
    pub(crate) fn add_latencies(&mut self, intervals: Vec<Histogram<u64>>) {
        for interval in &intervals {
            self.histogram.add(interval).expect("all histograms have the same bounds");
        }
        let histogram = &self.histogram;
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        self.latency_us = LatencyReport {
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p99_9: us(0.999),
            max: histogram.max() as f64 / 1e3,
        };
        self.intervals = intervals;
    }

    /// Writes the latencies to the files that the flags name.
    pub(crate) fn write_files(&self, flags: &Flags) -> Result<()> {
        if let Some(path) = &flags.hgrm {
            write_file(path, percentile_text(&self.histogram))?;
        }
        if let Some(path) = &flags.histogram_log {
            write_file(path, interval_log(&self.intervals, self.start_unix_ns)?)?;
        }
        Ok(())
    }

    /// Adds the troubles of the run.
    pub(crate) fn add_troubles(
        &mut self,
        lost: u64,
        troubles: Troubles,
        unanswered: u64,
        closed: u64,
    ) {
        self.lost = lost;
        self.duplicated = troubles.duplicates;
        self.reordered = troubles.reordered;
        self.foreign = troubles.foreign;
        self.unanswered = unanswered;
        self.closed = closed;
    }

    /// The faults that make the run fail; empty without any.
    pub(crate) fn faults(&self) -> String {
        let faults = [
            (self.lost, "lost"),
            (self.duplicated, "duplicated"),
            (self.reordered, "reordered"),
            (self.foreign, "foreign"),
            (self.unanswered, "publishers left without an answer"),
            (self.closed, "connections closed by the broker"),
            (u64::from(self.deliveries_per_s == 0.0), "measurement without a delivery"),
        ];
        let faults = faults.iter().filter(|(count, _)| *count > 0);
        faults.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }
}

/// The scenario in words.
fn describe(flags: &Flags) -> String {
    let pacing = match flags.pacing() {
        Pacing::Window(window) => format!("window {window}"),
        Pacing::Rate(rate) => format!("{rate} publishes/s"),
    };
    let nap = match flags.nap_us() {
        0 => String::new(),
        nap_us => format!(", nap {nap_us} us"),
    };
    format!("{}, {pacing}{nap}", flags.title())
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}, {:.1} s", self.scenario, self.seconds)?;
        row(out, "deliveries/s", &thousands(self.deliveries_per_s))?;
        row(out, "publishes/s", &thousands(self.publishes_per_s))?;
        if let Some(broker) = &self.broker {
            broker.fmt(out)?;
        }
        let own = format!("{:.0} ns per delivery", self.own_cpu_ns_per_delivery);
        row(out, "own CPU", &own)?;
        let LatencyReport { p50, p90, p99, p99_9, max } = self.latency_us;
        let latency =
            format!("p50 {p50:.0}  p90 {p90:.0}  p99 {p99:.0}  p99.9 {p99_9:.0}  max {max:.0} us");
        row(out, "latency", &latency)?;
        if self.is_interrupted {
            row(out, "INTERRUPTED", "shorter or longer than asked for: the rates mean little")?;
        }
        match self.faults().as_str() {
            "" => row(out, "messages", "none lost, duplicated or reordered"),
            faults => row(out, "FAILED", faults),
        }
    }
}

impl fmt::Display for BrokerReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.cpu_share * 100.0;
        let cpu =
            format!("{:.0} ns per delivery, {share:.0} % of a core", self.cpu_ns_per_delivery);
        row(out, "broker CPU", &cpu)?;
        row(out, "broker switches/s", &thousands(self.switches_per_s))?;
        row(out, "broker resident", &self.resident_bytes.to_string())?;
        row(out, "broker anonymous", &self.anonymous_bytes.to_string())
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (idle, before, after) = (mib(self.idle), mib(self.before), mib(self.after));
        write!(out, "{idle:.1} MiB idle, {before:.1} warm, {after:.1} at the end")
    }
}

/// One line of a summary.
fn row(out: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "  {name:<18}{value}")
}

//! Lines of what was measured, and the medians of several rounds.

use crate::meter::{Latencies, Usage};
use crate::store::Kind;

/// One run of one workload on one store.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) kind: Kind,
    pub(crate) usage: Usage,
    disk_bytes: u64,
    load_average: f64,
    values: Vec<(&'static str, f64)>,
}

impl Row {
    pub(crate) fn new(
        workload: &str,
        kind: Kind,
        usage: Usage,
        disk_bytes: u64,
        load_average: f64,
    ) -> Self {
        let workload = workload.to_string();
        Self { workload, kind, usage, disk_bytes, load_average, values: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &'static str, value: f64) {
        self.values.push((name, value));
    }

    /// Adds what follows from how many messages and recipients were committed in which time.
    pub(crate) fn add_rates(
        &mut self,
        messages: u64,
        recipients: u64,
        seconds: f64,
        commits: &Latencies,
    ) {
        let each = |value: u64| value as f64 / recipients as f64;
        self.add("cpu ns/recipient", each(self.usage.cpu_ns));
        self.add("messages/s", messages as f64 / seconds);
        self.add("recipients/s", recipients as f64 / seconds);
        self.add("written B/recipient", each(self.usage.written_bytes));
        self.add("disk B/recipient", each(self.disk_bytes));
        self.add("seconds", seconds);
        self.add("commits/s", commits.count() as f64 / seconds);
        self.add("commit p50 us", commits.at(0.5) as f64);
        self.add("commit p99 us", commits.at(0.99) as f64);
    }

    /// All of it in one line.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{:<11} {:<17}", self.workload, self.kind.name());
        for (name, value) in &self.values {
            line += &format!(" | {name} {}", digits(*value));
        }
        line += &format!(" | others {:.2} | load {:.2}", self.usage.others, self.load_average);
        line
    }
}

/// The rounds of each workload and store: the median of every value, and the least and the most.
pub(crate) fn summary(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut seen: Vec<(&str, Kind)> = Vec::new();
    for row in rows {
        let key = (&row.workload[..], row.kind);
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let rounds: Vec<&Row> =
            rows.iter().filter(|other| (&other.workload[..], other.kind) == key).collect();
        text += &format!("{:<11} {:<17}", row.workload, row.kind.name());
        for (place, (name, _)) in row.values.iter().enumerate() {
            let mut values: Vec<f64> = rounds.iter().map(|round| round.values[place].1).collect();
            values.sort_by(f64::total_cmp);
            let [least, most] = [values[0], values[values.len() - 1]].map(digits);
            text += &format!(" | {name} {} ({least}-{most})", digits(values[values.len() / 2]));
        }
        text.push('\n');
    }
    text
}

/// Three digits that matter, more of large values.
fn digits(value: f64) -> String {
    let decimals = match value {
        ..0.1 => 3,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

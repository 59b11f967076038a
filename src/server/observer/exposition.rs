//! Metrics as text for Prometheus, version 0.0.4 of its format, or as OpenMetrics 1.0.

use super::View;
use crate::metrics::{Counters, Gauges, Histograms, Kind, Metric, Unit};
use hdrhistogram::Histogram;
use std::fmt::{self, Write};

/// The upper bounds of the buckets, in nanoseconds: from 10 µs to 10 s.
const BUCKETS_NS: [u64; 19] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The format that a scraper asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' own text format.
    Prometheus,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    /// The format for a request's `Accept`.
    pub(super) fn accepted(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// The media type.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics as text: those of workers with the worker's number as a label.
pub(super) fn text(view: &View, format: Format) -> String {
    let mut text = Text { out: String::with_capacity(1 << 16), format };
    text.write(view).expect("writing to a string cannot fail");
    text.out
}

struct Text {
    out: String,
    format: Format,
}

impl Text {
    fn write(&mut self, view: &View) -> fmt::Result {
        self.write_version()?;
        for (metric, values) in view.of_process() {
            self.write_head(metric)?;
            self.write_values(metric, None, values)?;
        }
        for (place, metric) in Counters::TABLE.iter().enumerate() {
            self.write_head(metric)?;
            for snapshot in &view.workers {
                let worker = Some(snapshot.worker.0);
                self.write_values(metric, worker, snapshot.counters.values()[place])?;
            }
        }
        for (place, metric) in Gauges::TABLE.iter().enumerate() {
            self.write_head(metric)?;
            for snapshot in &view.workers {
                let worker = Some(snapshot.worker.0);
                self.write_values(metric, worker, snapshot.gauges.values()[place])?;
            }
        }
        for (place, metric) in Histograms::TABLE.iter().enumerate() {
            self.write_head(metric)?;
            for snapshot in &view.workers {
                let histograms = snapshot.histograms.values()[place];
                for (value, histogram) in metric.values.iter().zip(histograms) {
                    self.write_histogram(metric, snapshot.worker.0, value, histogram)?;
                }
            }
        }
        match self.format {
            Format::Prometheus => Ok(()),
            Format::OpenMetrics => self.out.write_str("# EOF\n"),
        }
    }

    fn write_version(&mut self) -> fmt::Result {
        let name = "ringmq_build_info";
        writeln!(self.out, "# HELP {name} The version that runs, as a label; always 1.")?;
        writeln!(self.out, "# TYPE {name} gauge")?;
        writeln!(self.out, "{name}{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
    }

    fn write_head(&mut self, metric: &Metric) -> fmt::Result {
        let name = metric.prometheus_name();
        // OpenMetrics names the family of a counter without the suffix of its samples.
        let name = match self.format {
            Format::OpenMetrics => name.trim_end_matches("_total"),
            Format::Prometheus => &name,
        };
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::Greatest => "gauge",
            Kind::Histogram => "histogram",
        };
        writeln!(self.out, "# HELP {name} {}", metric.help)?;
        writeln!(self.out, "# TYPE {name} {kind}")?;
        match (self.format, metric.unit) {
            (Format::OpenMetrics, Unit::Bytes) => writeln!(self.out, "# UNIT {name} bytes"),
            (Format::OpenMetrics, Unit::Seconds) => writeln!(self.out, "# UNIT {name} seconds"),
            _ => Ok(()),
        }
    }

    fn write_values(
        &mut self,
        metric: &Metric,
        worker: Option<u16>,
        values: &[u64],
    ) -> fmt::Result {
        let name = metric.prometheus_name();
        for (label, value) in metric.values.iter().zip(values) {
            self.out.write_str(&name)?;
            self.write_labels(metric.label, label, worker, None)?;
            writeln!(self.out, " {value}")?;
        }
        Ok(())
    }

    fn write_histogram(
        &mut self,
        metric: &Metric,
        worker: u16,
        value: &str,
        histogram: &Histogram<u64>,
    ) -> fmt::Result {
        let name = metric.prometheus_name();
        let (mut counts, mut below, mut sum) = ([0; BUCKETS_NS.len()], 0, 0.0);
        for step in histogram.iter_recorded() {
            let (at, count) = (step.value_iterated_to(), step.count_at_value());
            let middle = histogram.median_equivalent(at);
            sum += middle as f64 * count as f64 / 1e9;
            let bucket =
                BUCKETS_NS.partition_point(|&bound| bound < histogram.lowest_equivalent(at));
            if let Some(bucket) = counts.get_mut(bucket) {
                *bucket += count;
            }
        }
        for (bound, count) in BUCKETS_NS.iter().zip(counts) {
            below += count;
            write!(self.out, "{name}_bucket")?;
            self.write_labels(metric.label, value, Some(worker), Some(*bound as f64 / 1e9))?;
            writeln!(self.out, " {below}")?;
        }
        write!(self.out, "{name}_bucket")?;
        self.write_labels(metric.label, value, Some(worker), Some(f64::INFINITY))?;
        writeln!(self.out, " {}", histogram.len())?;
        write!(self.out, "{name}_sum")?;
        self.write_labels(metric.label, value, Some(worker), None)?;
        writeln!(self.out, " {sum}")?;
        write!(self.out, "{name}_count")?;
        self.write_labels(metric.label, value, Some(worker), None)?;
        writeln!(self.out, " {}", histogram.len())
    }

    fn write_labels(
        &mut self,
        label: &str,
        value: &str,
        worker: Option<u16>,
        bound: Option<f64>,
    ) -> fmt::Result {
        let mut labels = Vec::new();
        labels.extend(worker.map(|worker| format!("worker=\"{worker}\"")));
        labels.extend((!label.is_empty()).then(|| format!("{label}=\"{value}\"")));
        labels.extend(bound.map(|bound| match bound.is_finite() {
            true => format!("le=\"{bound:?}\""),
            false => "le=\"+Inf\"".to_owned(),
        }));
        match labels.is_empty() {
            true => Ok(()),
            false => write!(self.out, "{{{}}}", labels.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::WorkerId;
    use crate::metrics::{Process, Snapshot, record};
    use std::time::Duration;

    fn view() -> View {
        let mut histograms = Histograms::default();
        record(&mut histograms.turn, Duration::from_micros(30), 2);
        record(&mut histograms.turn, Duration::from_secs(20), 1);
        let counters = Counters { publishes_received: [1, 2, 3], ..Counters::default() };
        let snapshot =
            Snapshot { worker: WorkerId(1), counters, gauges: Gauges::default(), histograms };
        let process = Process { uptime: 5, ..Process::default() };
        View { process, workers: vec![snapshot], ..View::default() }
    }

    #[test]
    fn counters_have_a_series_for_each_value_of_their_label() {
        let text = text(&view(), Format::Prometheus);
        let line = "ringmq_publishes_received_total{worker=\"1\",qos=\"2\"} 3\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("# TYPE ringmq_publishes_received_total counter\n"), "{text}");
        assert!(text.contains("ringmq_uptime_seconds 5\n"), "{text}");
        assert!(!text.contains("# EOF"));
    }

    #[test]
    fn buckets_are_cumulative_and_the_last_has_all() {
        let text = text(&view(), Format::Prometheus);
        for (bound, count) in [("2.5e-5", 0), ("5e-5", 2), ("10.0", 2), ("+Inf", 3)] {
            let line =
                format!("ringmq_turn_seconds_bucket{{worker=\"1\",le=\"{bound}\"}} {count}\n");
            assert!(text.contains(&line), "{line} {text}");
        }
        assert!(text.contains("ringmq_turn_seconds_count{worker=\"1\"} 3\n"), "{text}");
    }

    #[test]
    fn open_metrics_ends_and_names_families_without_total() {
        let text = text(&view(), Format::OpenMetrics);
        assert!(text.ends_with("# EOF\n"));
        assert!(text.contains("# TYPE ringmq_publishes_received counter\n"), "{text}");
        assert!(text.contains("# UNIT ringmq_turn_seconds seconds\n"), "{text}");
        assert_eq!(Format::accepted("application/openmetrics-text;q=0.5"), Format::OpenMetrics);
        assert_eq!(Format::accepted("text/plain"), Format::Prometheus);
    }
}

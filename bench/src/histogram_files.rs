//! Latencies as files that HdrHistogram's tools read.

use crate::failure::{Failure, Result};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Lines of the percentile text for each halving of the distance to 100 %.
const LINES_PER_HALF: u32 = 5;

/// Seconds of one interval of the log.
pub(crate) const INTERVAL_S: u64 = 1;

const NS_PER_MS: f64 = 1e6;

/// The percentile text: nanoseconds come out as milliseconds, as in most of such files.
pub(crate) fn percentile_text(histogram: &Histogram<u64>) -> String {
    let mut text = String::new();
    write_percentiles(histogram, &mut text).expect("a string takes everything");
    text
}

fn write_percentiles(histogram: &Histogram<u64>, text: &mut String) -> std::fmt::Result {
    writeln!(
        text,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut total = 0;
    for value in histogram.iter_quantiles(LINES_PER_HALF) {
        total += value.count_since_last_iteration();
        let ms = value.value_iterated_to() as f64 / NS_PER_MS;
        let quantile = value.quantile_iterated_to();
        write!(text, "{ms:12.3} {quantile:14.12} {total:10}")?;
        if quantile < 1.0 {
            write!(text, " {:14.2}", 1.0 / (1.0 - quantile))?;
        }
        text.push('\n');
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_MS, histogram.stdev() / NS_PER_MS);
    let max = histogram.max() as f64 / NS_PER_MS;
    writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len())?;
    let (buckets, slots) = (histogram.buckets(), sub_buckets(histogram));
    writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {slots:12}]")
}

/// Values that a bucket tells apart: the power of 2 that the digits need.
fn sub_buckets(histogram: &Histogram<u64>) -> u64 {
    (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two()
}

/// The V2 log of consecutive intervals, the first of which began at `start_unix_ns`.
pub(crate) fn interval_log(intervals: &[Histogram<u64>], start_unix_ns: u64) -> Result<Vec<u8>> {
    let start = UNIX_EPOCH + Duration::from_nanos(start_unix_ns);
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(format_args!("histogram log: {error}"));
    let (mut bytes, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(&mut bytes, &mut serializer)?;
    let interval = Duration::from_secs(INTERVAL_S);
    for (number, histogram) in (0..).zip(intervals) {
        log.write_histogram(histogram, interval * number, interval, None)
            .map_err(|error| failed(&error))?;
    }
    Ok(bytes)
}

/// Writes a whole file.
pub(crate) fn write_file(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(path, bytes)
        .map_err(|error| Failure::new(format_args!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::new_histogram;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn histogram(ms: impl Iterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = new_histogram();
        ms.for_each(|ms| histogram.record(ms * 1_000_000).unwrap());
        histogram
    }

    #[test]
    fn percentiles_end_with_all_and_the_greatest() {
        let text = percentile_text(&histogram(1..=1000));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "");
        let fields = |line: &str| -> Vec<f64> {
            line.split_whitespace().map(|field| field.parse().unwrap()).collect()
        };
        let first = fields(lines[2]);
        assert!((first[0] - 1.0).abs() < 0.001 && first[1] == 0.0 && first[2] == 1.0);
        let median = lines.iter().find(|line| line.contains(" 0.500000000000 ")).unwrap();
        assert!((fields(median)[0] - 500.0).abs() < 1.0);
        assert_eq!(fields(median)[2..], [500.0, 2.0]);
        let last = fields(lines[lines.len() - 4]);
        assert!((last[0] - 1000.0).abs() < 1.0);
        assert_eq!(last[1..], [1.0, 1000.0]);
        assert!(lines[lines.len() - 3].starts_with("#[Mean    =      500."));
        assert!(lines[lines.len() - 2].ends_with("Total count    =         1000]"));
        assert!(lines[lines.len() - 1].ends_with("SubBuckets     =         2048]"));
    }

    #[test]
    fn an_empty_histogram_has_a_text() {
        assert!(percentile_text(&new_histogram()).contains("Total count    =            0]"));
    }

    #[test]
    fn the_log_is_read_back() {
        let intervals = [histogram(1..=3), histogram(5..=5)];
        let bytes = interval_log(&intervals, 1_000_000_000).unwrap();
        let mut starts = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                starts.push(interval.start_timestamp().as_secs());
            }
        }
        assert_eq!(starts, [0, 1]);
    }
}

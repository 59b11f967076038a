//! Findings of a scenario without deliveries from publishers: named figures.

use crate::flags::Flags;
use crate::process::Usage;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// Named figures, in order.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    scenario: String,
    command: String,
    parts: Vec<Part>,
    faults: Vec<String>,
}

/// The findings of one part of the scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    name: String,
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
}

impl Summary {
    /// A summary without a part.
    pub(crate) fn new(flags: &Flags) -> Self {
        Self {
            scenario: flags.title(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            parts: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Adds what a part found out.
    pub(crate) fn add(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// Notes `count` things that make the run fail, if there are any.
    pub(crate) fn fault(&mut self, count: u64, what: &str) {
        if count > 0 {
            self.faults.push(format!("{count} {what}"));
        }
    }

    /// Whether nothing makes the run fail.
    pub(crate) fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Part {
    /// A part without figures.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), figures: Vec::new() }
    }

    /// Adds a figure.
    pub(crate) fn add(&mut self, name: &'static str, value: f64) {
        self.figures.push(Figure { name, value });
    }

    /// Adds percentiles of times in nanoseconds.
    pub(crate) fn add_times(&mut self, histogram: &Histogram<u64>) {
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        self.add("p50 us", us(0.5));
        self.add("p99 us", us(0.99));
        self.add("max us", histogram.max() as f64 / 1e3);
    }

    /// Adds more percentiles of times in nanoseconds.
    pub(crate) fn add_percentiles(&mut self, histogram: &Histogram<u64>) {
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        self.add("p50 us", us(0.5));
        self.add("p90 us", us(0.9));
        self.add("p99 us", us(0.99));
        self.add("p99.9 us", us(0.999));
        self.add("max us", histogram.max() as f64 / 1e3);
    }

    /// Adds the CPU time that the broker used for each of `count` things.
    pub(crate) fn add_broker(&mut self, before: Option<Usage>, after: Option<Usage>, count: f64) {
        let Some((before, after)) = before.zip(after) else { return };
        self.add("broker CPU ns each", (after.cpu_ns - before.cpu_ns) as f64 / count.max(1.0));
    }

    /// Adds how much more memory the broker has for each of `count` things.
    pub(crate) fn add_memory(&mut self, before: Option<Usage>, after: Option<Usage>, count: f64) {
        let Some((before, after)) = before.zip(after) else { return };
        let growth = |before: u64, after: u64| (after as f64 - before as f64) / count.max(1.0);
        let (before, after) = (before.memory, after.memory);
        let resident = growth(before.resident_bytes, after.resident_bytes);
        let anonymous = growth(before.anonymous_bytes, after.anonymous_bytes);
        self.add("broker resident bytes each", resident);
        self.add("broker anonymous bytes each", anonymous);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.scenario)?;
        for part in &self.parts {
            writeln!(out, "  {}", part.name)?;
            for Figure { name, value } in &part.figures {
                writeln!(out, "    {name:<28}{:>14}", thousands(*value))?;
            }
        }
        if self.is_good() { Ok(()) } else { writeln!(out, "  FAILED: {}", self.faults.join(", ")) }
    }
}

/// A number with its digits in groups of three; small ones with a decimal.
pub(crate) fn thousands(value: f64) -> String {
    if value != 0.0 && value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut grouped = if value < 0.0 { "-".to_string() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_groups() {
        assert_eq!(thousands(0.0), "0");
        assert_eq!(thousands(0.44), "0.4");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(thousands(-999_999.7), "-1,000,000");
        assert_eq!(thousands(1_234_567.2), "1,234,567");
    }
}

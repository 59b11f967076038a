//! The table of a test: measured, goal, verdict.

use crate::failure::{Failure, Result};
use crate::histogram_files::write_file;
use crate::summary::thousands;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// The findings of a test.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    test: &'static str,
    sizes: String,
    command: String,
    /// Whether goals in units of time count as well.
    judge_times: bool,
    rows: Vec<Row>,
    skipped: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    what: String,
    measured: f64,
    unit: &'static str,
    goal: Option<Goal>,
    verdict: Verdict,
}

/// The values that are as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// The value has no goal.
    None,
    Ok,
    Failed,
    /// The goal is in a unit of time, is missed, and does not count.
    NotJudged,
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
            Self::Exactly(exact) => value == exact,
        }
    }
}

impl Findings {
    pub(super) fn new(test: &'static str, sizes: String, judge_times: bool) -> Self {
        let command = std::env::args().collect::<Vec<_>>().join(" ");
        Self { test, sizes, command, judge_times, rows: Vec::new(), skipped: Vec::new() }
    }

    /// Adds a value without a goal.
    pub(super) fn note(&mut self, what: impl Into<String>, measured: f64, unit: &'static str) {
        self.add(what.into(), measured, unit, None, Verdict::None);
    }

    /// Adds a value that does not depend on the machine's speed, and its goal.
    pub(super) fn judge(
        &mut self,
        what: impl Into<String>,
        measured: f64,
        unit: &'static str,
        goal: Goal,
    ) {
        let verdict = if goal.is_met(measured) { Verdict::Ok } else { Verdict::Failed };
        self.add(what.into(), measured, unit, Some(goal), verdict);
    }

    /// Adds a value that depends on the machine's speed, and its goal.
    pub(super) fn judge_time(
        &mut self,
        what: impl Into<String>,
        measured: f64,
        unit: &'static str,
        goal: Goal,
    ) {
        let verdict = match (goal.is_met(measured), self.judge_times) {
            (true, _) => Verdict::Ok,
            (false, true) => Verdict::Failed,
            (false, false) => Verdict::NotJudged,
        };
        self.add(what.into(), measured, unit, Some(goal), verdict);
    }

    /// Adds a count of mistakes, which must be 0.
    pub(super) fn mistakes(&mut self, what: impl Into<String>, count: u64) {
        self.judge(what, count as f64, "", Goal::Exactly(0.0));
    }

    /// Adds percentiles of times in nanoseconds.
    pub(super) fn percentiles(&mut self, what: &str, times: &Histogram<u64>) {
        let ms = |quantile| times.value_at_quantile(quantile) as f64 / 1e6;
        self.note(format!("{what}, p50"), ms(0.5), "ms");
        self.note(format!("{what}, p99"), ms(0.99), "ms");
        self.note(format!("{what}, max"), times.max() as f64 / 1e6, "ms");
    }

    /// Says that a part was not carried out, and why.
    pub(super) fn skip(&mut self, sentence: String) {
        self.skipped.push(sentence);
    }

    fn add(
        &mut self,
        what: String,
        measured: f64,
        unit: &'static str,
        goal: Option<Goal>,
        verdict: Verdict,
    ) {
        self.rows.push(Row { what, measured, unit, goal, verdict });
    }

    /// Whether no goal that counts is missed.
    pub(super) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.verdict != Verdict::Failed)
    }

    /// Writes the findings as JSON.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(Failure::new)?;
        write_file(file, text + "\n")
    }
}

/// Bytes as MiB.
pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl fmt::Display for Findings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}: {}", self.test, self.sizes)?;
        for row in &self.rows {
            let measured = with_unit(row.measured, row.unit);
            let goal = row.goal.map_or(String::new(), |goal| match goal {
                Goal::AtMost(most) => format!("<= {}", with_unit(most, row.unit)),
                Goal::AtLeast(least) => format!(">= {}", with_unit(least, row.unit)),
                Goal::Exactly(exact) => format!("= {}", with_unit(exact, row.unit)),
            });
            let verdict = match row.verdict {
                Verdict::None => "",
                Verdict::Ok => "ok",
                Verdict::Failed => "FAILED",
                Verdict::NotJudged => "missed, not judged",
            };
            let line = format!("  {:<52} {measured:>14}  {goal:<16} {verdict}", row.what);
            writeln!(out, "{}", line.trim_end())?;
        }
        self.skipped.iter().try_for_each(|sentence| writeln!(out, "  skipped: {sentence}"))
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    let number = match unit {
        // Counts are exact.
        "" => format!("{value:.0}"),
        _ if value.abs() < 10.0 => format!("{value:.2}"),
        _ => thousands(value),
    };
    format!("{number} {unit}").trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_only_when_asked() {
        for (judge_times, is_good) in [(false, true), (true, false)] {
            let mut findings = Findings::new("t", String::new(), judge_times);
            findings.judge("count", 3.0, "", Goal::AtLeast(3.0));
            findings.judge_time("time", 101.0, "ms", Goal::AtMost(100.0));
            assert_eq!(findings.is_good(), is_good);
        }
        let mut findings = Findings::new("t", String::new(), false);
        findings.mistakes("lost", 1);
        assert!(!findings.is_good());
        let text = findings.to_string();
        assert!(text.contains("lost") && text.contains("= 0") && text.contains("FAILED"), "{text}");
    }
}

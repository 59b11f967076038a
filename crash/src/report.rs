//! The figures of a run.

use crate::checker::Checker;
use crate::checker::violation::Kind;
use serde_json::{Map, Value};
use std::fmt;

/// The counts of the driver.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cycles: u64,
    /// Cycles that ended with a kill from outside.
    pub(crate) kills: u64,
    /// Cycles that ended with SIGTERM.
    pub(crate) stops: u64,
    /// Cycles in which the broker killed itself at a named point.
    pub(crate) at_points: u64,
    /// Times from the start of the process to its first CONNACK, in microseconds.
    pub(crate) recoveries_us: Vec<u64>,
    /// The number of times that everything was drained and judged.
    pub(crate) drains: u64,
    /// Connections on which everything was sent in one write and answered.
    pub(crate) rounds: u64,
    /// Starts with a wrong wall clock.
    pub(crate) wrong_clocks: u64,
    pub(crate) seconds: f64,
}

/// Names and values, in order.
#[derive(Debug)]
pub(crate) struct Report(Vec<(String, Value)>);

impl Report {
    pub(crate) fn new(tally: &mut Tally, checker: &Checker) -> Self {
        let counts = checker.counts;
        let mut lines = vec![
            ("cycles", Value::from(tally.cycles)),
            ("kills", tally.kills.into()),
            ("kills at named points", tally.at_points.into()),
            ("stops", tally.stops.into()),
            ("starts with a wrong clock", tally.wrong_clocks.into()),
            ("connections in one write", tally.rounds.into()),
            ("drained and judged", tally.drains.into()),
            ("seconds", (tally.seconds as u64).into()),
            ("acknowledged QoS 1", counts.acknowledged[0].into()),
            ("acknowledged QoS 2", counts.acknowledged[1].into()),
            ("deliveries", counts.deliveries.into()),
            ("wills delivered", counts.wills.into()),
        ];
        let wrong = Kind::ALL.map(|kind| (kind.name(), checker.violations.count(kind).into()));
        lines.extend(wrong);
        lines.push(("QoS 1 duplicates", counts.repeated.into()));
        tally.recoveries_us.sort_unstable();
        let median = tally.recoveries_us.get(tally.recoveries_us.len() / 2);
        let slowest = tally.recoveries_us.last();
        lines.push(("recovery ms p50", milliseconds(median)));
        lines.push(("recovery ms max", milliseconds(slowest)));
        Self(lines.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
    }

    /// The same as JSON.
    pub(crate) fn json(&self) -> String {
        let map: Map<String, Value> = self.0.iter().cloned().collect();
        Value::Object(map).to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            writeln!(formatter, "{name}: {value}")?;
        }
        Ok(())
    }
}

fn milliseconds(us: Option<&u64>) -> Value {
    us.map_or(Value::Null, |us| Value::from(*us as f64 / 1_000.0))
}

//! Metrics: each is defined once, with its name, its unit, its help and where it is shown.
//!
//! A new metric is a line in the table of its kind, and a line where it happens. A worker counts in
//! its own memory; whoever wants to see gets a [`Snapshot`], and sums up those of all workers.
#![forbid(unsafe_code)]

mod bridges;
mod counters;
mod gauges;
mod histograms;
mod journal;
mod logins;
mod process;
mod reasons;

pub use bridges::Bridges;
pub use counters::Counters;
pub use gauges::Gauges;
pub(crate) use histograms::Packed;
pub use histograms::{Handed, Histograms, QUANTILES, empty_histogram, record};
pub use journal::Journal;
pub use logins::Logins;
pub use process::Process;
pub use reasons::{Departed, Dropped, RefusedConnect, Transport, Withdrawn};

use crate::base::ids::WorkerId;

/// The kind of a metric, which says how values of several workers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A count of events since the start: the sum.
    Counter,
    /// A state of things: the sum.
    Gauge,
    /// The greatest of its kind: the maximum.
    Greatest,
    /// Durations by how often they occurred.
    Histogram,
}

/// The unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Things,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// A metric, or a family of metrics that differ in the value of one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name of the field, by which the API and the command line know the metric.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The unit.
    pub unit: Unit,
    /// The help text: one sentence.
    pub help: &'static str,
    /// The label that tells members of the family apart; empty for a single metric.
    pub label: &'static str,
    /// The values of the label; one empty value for a single metric.
    pub values: &'static [&'static str],
    /// The topic below `$SYS/broker/` with the sum of the family; empty for none.
    pub sys_topic: &'static str,
}

impl Metric {
    /// The name in Prometheus' text format: with a prefix, the unit, and `_total` for a counter.
    #[must_use]
    pub fn prometheus_name(&self) -> String {
        let unit = match self.unit {
            Unit::Things => "",
            Unit::Bytes => "_bytes",
            Unit::Seconds => "_seconds",
        };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        let name = self.name.strip_suffix(unit).unwrap_or(self.name);
        format!("ringmq_{name}{unit}{total}")
    }
}

/// Declares a struct of metrics, one field each, with the table that describes them.
macro_rules! metrics {
    (@type) => { u64 };
    (@type $label:ident [$($value:literal),+]) => { [u64; [$($value),+].len()] };
    (@label) => { "" };
    (@label $label:ident [$($value:literal),+]) => { stringify!($label) };
    (@values) => { &[""] };
    (@values $label:ident [$($value:literal),+]) => { &[$($value),+] };
    (@slice $field:expr,) => { std::slice::from_ref(&$field) };
    (@slice $field:expr, $label:ident [$($value:literal),+]) => { &$field[..] };
    (@slice_mut $field:expr,) => { std::slice::from_mut(&mut $field) };
    (@slice_mut $field:expr, $label:ident [$($value:literal),+]) => { &mut $field[..] };
    (@sys) => { "" };
    (@sys $topic:literal) => { $topic };
    (
        $(#[$meta:meta])*
        $name:ident {
            $($kind:ident $unit:ident $field:ident
                $(by $label:ident [$($value:literal),+])?
                $(sys $topic:literal)?
                : $help:literal;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = $help]
            pub $field: metrics!(@type $($label [$($value),+])?),)+
        }

        impl $name {
            /// The metrics, in the order of [`Self::values`].
            pub const TABLE: &[$crate::metrics::Metric] = &[$($crate::metrics::Metric {
                name: stringify!($field),
                kind: $crate::metrics::Kind::$kind,
                unit: $crate::metrics::Unit::$unit,
                help: $help,
                label: metrics!(@label $($label [$($value),+])?),
                values: metrics!(@values $($label [$($value),+])?),
                sys_topic: metrics!(@sys $($topic)?),
            }),+];

            /// The values of each metric, one for each value of its label.
            #[must_use]
            pub fn values(&self) -> Vec<&[u64]> {
                vec![$(metrics!(@slice self.$field, $($label [$($value),+])?)),+]
            }

            fn values_mut(&mut self) -> Vec<&mut [u64]> {
                vec![$(metrics!(@slice_mut self.$field, $($label [$($value),+])?)),+]
            }

            /// Adds the values of another worker.
            pub fn add(&mut self, other: &Self) {
                let pairs = self.values_mut().into_iter().zip(other.values()).zip(Self::TABLE);
                for ((all, new), metric) in pairs {
                    for (all, &new) in all.iter_mut().zip(new) {
                        *all = match metric.kind {
                            $crate::metrics::Kind::Greatest => new.max(*all),
                            _ => all.wrapping_add(new),
                        };
                    }
                }
            }
        }
    };
}
use metrics;

/// All that a worker has to show of itself at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The worker.
    pub worker: WorkerId,
    /// The counts since the worker's start.
    pub counters: Counters,
    /// The worker's state now.
    pub gauges: Gauges,
    /// The durations since the worker's start.
    pub histograms: Histograms,
}

/// The table of all metrics.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    let of_workers = [Counters::TABLE, Gauges::TABLE, Histograms::TABLE];
    let of_process = [Process::TABLE, Journal::TABLE, Logins::TABLE, Bridges::TABLE];
    of_process.into_iter().chain(of_workers).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_topics_are_unique_and_well_formed() {
        let names: BTreeSet<_> = all().map(|metric| metric.name).collect();
        assert_eq!(names.len(), all().count());
        let shown: BTreeSet<_> = all().map(Metric::prometheus_name).collect();
        assert_eq!(shown.len(), all().count());
        let topics: Vec<_> = all().map(|m| m.sys_topic).filter(|topic| !topic.is_empty()).collect();
        assert_eq!(topics.iter().collect::<BTreeSet<_>>().len(), topics.len());
        for metric in all() {
            let is_word = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
            assert!(metric.name.chars().all(is_word), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert_eq!(metric.label.is_empty(), metric.values == [""], "{}", metric.name);
        }
    }

    #[test]
    fn sums_add_counts_and_keep_what_is_greatest() {
        let mut all = Gauges { queued_messages: 3, queue_greatest: 3, ..Gauges::default() };
        all.add(&Gauges { queued_messages: 4, queue_greatest: 2, ..Gauges::default() });
        assert_eq!((all.queued_messages, all.queue_greatest), (7, 3));
        let mut all = Counters { publishes_received: [1, 2, 3], ..Counters::default() };
        all.add(&Counters { publishes_received: [1, 1, 1], ..Counters::default() });
        assert_eq!(all.publishes_received, [2, 3, 4]);
    }

    #[test]
    fn names_for_prometheus_have_a_unit_and_counters_a_total() {
        let name = |name| all().find(|m| m.name == name).map(Metric::prometheus_name);
        assert_eq!(name("received_bytes").unwrap(), "ringmq_received_bytes_total");
        assert_eq!(name("memory").unwrap(), "ringmq_memory_bytes");
        assert_eq!(name("turn").unwrap(), "ringmq_turn_seconds");
    }
}

//! How long things take.

use super::{Kind, Metric, Unit};
use crate::base::time::Time;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use smallvec::SmallVec;
use std::time::Duration;

/// The quantiles that are shown of a histogram.
pub const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];

/// The longest time that a histogram tells from longer ones.
const LONGEST_NS: u64 = 60_000_000_000;

/// An empty histogram of nanoseconds up to a minute, to two significant digits: 20 KiB.
#[must_use]
pub fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 2).expect("constant bounds are valid")
}

/// Records that something took `duration`, `count` times.
pub fn record(histogram: &mut Histogram<u64>, duration: Duration, count: u64) {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    histogram.saturating_record_n(nanoseconds, count);
}

/// The durations of a worker since its start, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Histograms {
    /// From the receipt of a PUBLISH to the end of the send that hands a copy of it to the kernel,
    /// once for each copy that did not have to wait for its client; by QoS.
    pub delivery: [Histogram<u64>; 3],
    /// Turns of a worker that did something.
    pub turn: Histogram<u64>,
    /// From the change to its commit in the journal.
    pub commit: Histogram<u64>,
    /// From a login to the verdict about it.
    pub login: Histogram<u64>,
    /// From the first byte of a TLS handshake to its end.
    pub handshake: Histogram<u64>,
}

impl Default for Histograms {
    fn default() -> Self {
        Self {
            delivery: std::array::from_fn(|_| empty_histogram()),
            turn: empty_histogram(),
            commit: empty_histogram(),
            login: empty_histogram(),
            handshake: empty_histogram(),
        }
    }
}

impl Histograms {
    /// The histograms, in the order of [`Self::values`].
    pub const TABLE: &[Metric] = &[
        histogram(
            "delivery",
            "Time from the receipt of a PUBLISH until a copy is handed to the kernel, without \
             copies that waited for their client.",
            "qos",
            &["0", "1", "2"],
        ),
        histogram("turn", "Time that a worker's turn takes.", "", &[""]),
        histogram("commit", "Time from a change until the journal has it.", "", &[""]),
        histogram("login", "Time from a login until the verdict about it.", "", &[""]),
        histogram("handshake", "Time that a TLS handshake takes.", "", &[""]),
    ];

    /// The histograms of each metric, one for each value of its label.
    #[must_use]
    pub fn values(&self) -> [&[Histogram<u64>]; 5] {
        let Self { delivery, turn, commit, login, handshake } = self;
        let one = std::slice::from_ref;
        [delivery, one(turn), one(commit), one(login), one(handshake)]
    }

    fn values_mut(&mut self) -> [&mut [Histogram<u64>]; 5] {
        let Self { delivery, turn, commit, login, handshake } = self;
        let one = std::slice::from_mut;
        [delivery, one(turn), one(commit), one(login), one(handshake)]
    }

    /// The bytes that the histograms take.
    #[must_use]
    pub(crate) fn memory(&self) -> usize {
        let all = self.values().into_iter().flatten();
        all.map(|histogram| histogram.distinct_values() * size_of::<u64>()).sum()
    }

    /// Adds the durations of another worker.
    pub fn add(&mut self, other: &Self) {
        for (all, new) in self.values_mut().into_iter().flatten().zip(other.values().concat()) {
            all.add(&new).expect("the bounds are the same");
        }
    }

    /// Takes away the durations of an earlier moment.
    pub fn subtract(&mut self, earlier: &Self) {
        let pairs = self.values_mut().into_iter().flatten().zip(earlier.values().concat());
        for (all, old) in pairs {
            all.subtract(&old).expect("what was counted is still counted");
        }
    }
}

/// Histograms in short: a hundredth of the bytes, since most of their places are empty. Holds each
/// of [`Histograms::values`] in its order, one behind the other.
#[derive(Debug, Clone)]
pub(crate) struct Packed(Box<[u8]>);

impl Packed {
    /// The short form of histograms.
    pub(crate) fn new(histograms: &Histograms) -> Self {
        let (mut bytes, mut serializer) = (Vec::new(), V2Serializer::new());
        for histogram in histograms.values().into_iter().flatten() {
            serializer.serialize(histogram, &mut bytes).expect("a vector takes all");
        }
        Self(bytes.into())
    }

    /// The histograms in full.
    pub(crate) fn unpack(&self) -> Histograms {
        let (mut histograms, mut rest) = (Histograms::default(), &*self.0);
        let mut deserializer = Deserializer::new();
        for histogram in histograms.values_mut().into_iter().flatten() {
            *histogram = deserializer.deserialize(&mut rest).expect("the serializer's own bytes");
        }
        histograms
    }
}

const fn histogram(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: &'static [&'static str],
) -> Metric {
    let (kind, unit) = (Kind::Histogram, Unit::Seconds);
    Metric { name, kind, unit, help, label, values, sys_topic: "" }
}

/// Copies of messages that are in the output of a turn, by when their PUBLISH was received and by
/// QoS, until the output is sent.
#[derive(Debug, Clone, Default)]
pub struct Handed {
    copies: SmallVec<[(Time, [u64; 3]); 2]>,
}

/// The moments of receipt that are told apart in one turn; later ones count as the last.
const MOMENTS_MAX: usize = 64;

impl Handed {
    /// Notes copies of a PUBLISH that was received at `received`.
    pub fn note(&mut self, received: Time, copies: [u64; 3]) {
        if copies == [0; 3] {
            return;
        }
        let is_full = self.copies.len() >= MOMENTS_MAX;
        match self.copies.last_mut().filter(|(time, _)| *time == received || is_full) {
            Some((_, known)) => known.iter_mut().zip(copies).for_each(|(all, new)| *all += new),
            None => self.copies.push((received, copies)),
        }
    }

    /// Records all copies as handed over at `now`, and forgets them.
    pub fn record(&mut self, now: Time, histograms: &mut [Histogram<u64>; 3]) {
        for (received, copies) in self.copies.drain(..) {
            for (histogram, count) in histograms.iter_mut().zip(copies) {
                if count > 0 {
                    record(histogram, now.since(received), count);
                }
            }
        }
    }

    /// True when no copies are noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_recorded_by_the_moment_of_their_receipt() {
        let (at, mut handed) = (Time::from_nanoseconds, Handed::default());
        handed.note(at(1_000), [2, 0, 0]);
        handed.note(at(1_000), [1, 1, 0]);
        handed.note(at(0), [0, 0, 1]);
        handed.note(at(0), [0; 3]);
        let mut histograms = Histograms::default().delivery;
        handed.record(at(3_000), &mut histograms);
        assert!(handed.is_empty());
        assert_eq!(histograms.each_ref().map(|h| h.len()), [3, 1, 1]);
        assert_eq!(histograms[0].value_at_quantile(1.0), histograms[0].highest_equivalent(2_000));
        assert_eq!(histograms[2].value_at_quantile(1.0), histograms[2].highest_equivalent(3_000));
    }

    #[test]
    fn a_difference_holds_what_came_in_between() {
        let mut earlier = Histograms::default();
        record(&mut earlier.turn, Duration::from_micros(5), 3);
        let mut later = earlier.clone();
        record(&mut later.turn, Duration::from_micros(7), 2);
        later.subtract(&earlier);
        assert_eq!(later.turn.len(), 2);
    }
}

//! Arrivals at a thread's receivers: counted, checked and timed.
//!
//! Messages of one write carry one send time and mostly arrive in one read, so consecutive
//! messages of a stream with the same send time are accounted for as one run.

use crate::plan::{Plan, ReceiverPlan};
use crate::stamp::Stamp;
use crate::track::{Arrival, Tracker};
use crate::window::{Completions, Counting};
use hdrhistogram::Histogram;
use std::ops::Range;

/// The longest latency that is told from longer ones: 100 seconds.
const LATENCY_NS_MAX: u64 = 100_000_000_000;

/// A histogram of nanoseconds, exact to 3 digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(64, LATENCY_NS_MAX, 3).expect("the bounds are in order")
}

/// Troubles of messages, that is, other ends than one arrival in order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Troubles {
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    /// Payloads that were not sent by this run, or not to this receiver.
    pub(crate) foreign: u64,
}

impl Troubles {
    #[inline]
    fn note(&mut self, arrival: Arrival) {
        self.duplicates += u64::from(arrival.duplicates);
        self.reordered += u64::from(arrival.late);
    }
}

impl std::ops::Add for Troubles {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            duplicates: self.duplicates + other.duplicates,
            reordered: self.reordered + other.reordered,
            foreign: self.foreign + other.foreign,
        }
    }
}

/// Consecutive messages of a stream with the same send time.
#[derive(Debug, Clone, Copy)]
struct Run {
    stream: u32,
    first: u32,
    count: u32,
    time_ns: u64,
}

/// The arrivals at a thread's receivers.
#[derive(Debug)]
pub(crate) struct Tally {
    receivers: Vec<Receiver>,
    trackers: Vec<Tracker>,
    run: Run,
    /// The latencies of messages that were sent while `measured`.
    histogram: Histogram<u64>,
    /// The same for intervals that have ended.
    intervals: Vec<Histogram<u64>>,
    pub(crate) troubles: Troubles,
    /// Messages that came for the first time.
    pub(crate) fresh: u64,
    measured: Range<u64>,
    counting: Option<Counting>,
    /// Publishers of which messages became complete since they were last taken.
    pub(crate) completed: Vec<u32>,
}

#[derive(Debug)]
struct Receiver {
    streams: Range<u32>,
    first_tracker: u32,
    /// Whether what it gets is timed and makes room in windows.
    is_last: bool,
    /// As a member of a group: one above the highest that it got of each stream.
    member: Option<Vec<u32>>,
}

impl Tally {
    /// A tally for the receivers of `thread`, which are known by their places; with `counting` in
    /// a closed loop.
    pub(crate) fn new(plan: &Plan, thread: usize, counting: Option<Counting>) -> Self {
        let mut trackers = 0;
        let here = plan.receivers.iter().filter(|receiver| receiver.thread == thread);
        let receiver = |receiver: &ReceiverPlan| {
            let first = receiver.streams.start;
            let count = receiver.streams.len();
            // The members of a group share their trackers, one for each stream of the run.
            let first_tracker = if plan.is_shared { first as usize } else { trackers };
            trackers = trackers.max(first_tracker + count);
            Receiver {
                streams: receiver.streams.clone(),
                first_tracker: first_tracker as u32,
                is_last: plan.streams[first as usize].is_last,
                member: plan.is_shared.then(|| vec![0; count]),
            }
        };
        Self {
            receivers: here.map(receiver).collect(),
            trackers: (0..trackers).map(|_| Tracker::default()).collect(),
            run: Run { stream: u32::MAX, first: 0, count: 0, time_ns: 0 },
            histogram: new_histogram(),
            intervals: Vec::new(),
            troubles: Troubles::default(),
            fresh: 0,
            measured: 0..0,
            counting,
            completed: Vec::new(),
        }
    }

    /// Times messages that are sent within `measured`.
    pub(crate) fn measure(&mut self, measured: Range<u64>) {
        self.measured = measured;
    }

    /// Ends an interval of the measurement.
    pub(crate) fn cut(&mut self) {
        self.intervals.push(std::mem::replace(&mut self.histogram, new_histogram()));
    }

    /// The latencies of messages, by interval.
    pub(crate) fn into_intervals(mut self) -> Vec<Histogram<u64>> {
        self.cut();
        self.intervals
    }

    /// `receiver` got `payload`; [`Self::settle`] must follow before another receiver's turn.
    #[inline]
    pub(crate) fn take(
        &mut self,
        receiver: usize,
        payload: &[u8],
        now_ns: u64,
        shared: &Completions,
    ) {
        let Some(stamp) = Stamp::read(payload) else {
            self.troubles.foreign += 1;
            return;
        };
        let run = &mut self.run;
        if run.stream == stamp.stream
            && run.time_ns == stamp.time_ns
            && run.first.wrapping_add(run.count) == stamp.sequence
        {
            run.count += 1;
            return;
        }
        self.settle(receiver, now_ns, shared);
        let Stamp { stream, sequence, time_ns } = stamp;
        self.run = Run { stream, first: sequence, count: 1, time_ns };
    }

    /// Accounts for what `receiver` got in the read that ended at `now_ns`.
    #[inline]
    pub(crate) fn settle(&mut self, receiver: usize, now_ns: u64, shared: &Completions) {
        let run = self.run;
        if run.count == 0 {
            return;
        }
        self.run.count = 0;
        self.run.stream = u32::MAX;
        let receiver = &mut self.receivers[receiver];
        if !receiver.streams.contains(&run.stream) {
            self.troubles.foreign += u64::from(run.count);
            return;
        }
        let place = run.stream - receiver.streams.start;
        let tracker = &mut self.trackers[(receiver.first_tracker + place) as usize];
        let arrival = tracker.accept(run.first, run.count);
        self.fresh += u64::from(arrival.fresh);
        if !receiver.is_last {
            self.troubles.note(arrival);
            return;
        }
        if self.measured.contains(&run.time_ns) {
            let latency_ns = now_ns.saturating_sub(run.time_ns);
            self.histogram.saturating_record_n(latency_ns, u64::from(run.count));
        }
        if let Some(member) = &mut receiver.member {
            let next = &mut member[place as usize];
            // Who of the group got the messages between is not known here.
            let late = if run.first < *next { arrival.fresh } else { 0 };
            *next = run.first + run.count;
            self.troubles.note(Arrival { late, ..arrival });
            self.complete(run.stream, run.first, arrival.fresh, shared);
        } else if arrival.fresh == run.count && arrival.skipped + arrival.late == 0 {
            self.complete(run.stream, run.first, run.count, shared);
        } else {
            self.complete_past_gap(run, arrival, shared);
        }
    }

    #[inline]
    fn complete(&mut self, stream: u32, first: u32, count: u32, shared: &Completions) {
        let Some(counting) = &mut self.counting else { return };
        if let Some(publisher) = counting.accept(stream, first, count, shared) {
            self.completed.push(publisher);
        }
    }

    /// A message that is skipped counts as arrived for the window, which would stall otherwise;
    /// when it comes late it counts no more.
    #[cold]
    fn complete_past_gap(&mut self, run: Run, arrival: Arrival, shared: &Completions) {
        self.troubles.note(arrival);
        let in_order = arrival.fresh - arrival.late;
        let end = run.first + run.count;
        let first = end - in_order - arrival.skipped;
        if in_order > 0 {
            self.complete(run.stream, first, end - first, shared);
        }
    }

    /// The number of messages of each stream that each receiver, or the group, has: stream and
    /// count.
    pub(crate) fn seen(&self) -> Vec<(u32, u32)> {
        let is_group = self.receivers.first().is_some_and(|receiver| receiver.member.is_some());
        let mut streams = Vec::with_capacity(self.trackers.len());
        if is_group {
            streams.extend(0..self.trackers.len() as u32);
        } else {
            streams.extend(self.receivers.iter().flat_map(|receiver| receiver.streams.clone()));
        }
        streams.into_iter().zip(self.trackers.iter().map(Tracker::seen)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::Flags;
    use crate::plan::Plan;
    use clap::Parser;

    struct Bench {
        tally: Tally,
        shared: Completions,
    }

    impl Bench {
        fn new(subscribers: &str) -> Self {
            let arguments = ["ringmq-bench", "fanout", "--subscribers", subscribers];
            let plan = Plan::new(&Flags::parse_from(arguments), "test");
            let counting = Counting::new(&plan, 0, 8);
            let mut tally = Tally::new(&plan, 0, Some(counting));
            tally.measure(100..200);
            Self { tally, shared: Completions::new(&plan, 8) }
        }

        fn read(&mut self, receiver: usize, sequences: &[u32], time_ns: u64) {
            for &sequence in sequences {
                let stamp = Stamp { stream: 0, sequence, time_ns };
                self.tally.take(receiver, &stamp.bytes(), 1000, &self.shared);
            }
            self.tally.settle(receiver, 1000, &self.shared);
        }
    }

    #[test]
    fn only_what_is_sent_in_time_is_timed() {
        let mut bench = Bench::new("1");
        bench.read(0, &[0, 1], 50);
        bench.read(0, &[2, 3, 4], 150);
        bench.read(0, &[5], 200);
        assert_eq!((bench.tally.fresh, bench.tally.histogram.len()), (6, 3));
        assert_eq!(bench.tally.troubles, Troubles::default());
        assert_eq!(bench.shared.of(0), 6);
    }

    #[test]
    fn receivers_are_tracked_apart() {
        let mut bench = Bench::new("2");
        bench.read(0, &[0, 1], 50);
        bench.read(1, &[0], 50);
        assert_eq!(bench.shared.of(0), 1);
        bench.read(1, &[1], 50);
        assert_eq!(bench.shared.of(0), 2);
        assert_eq!(bench.tally.seen(), [(0, 2), (0, 2)]);
        assert_eq!(bench.tally.troubles, Troubles::default());
    }

    #[test]
    fn lost_messages_do_not_hold_the_window() {
        let mut bench = Bench::new("1");
        bench.read(0, &[0, 3, 4], 50);
        assert_eq!(bench.shared.of(0), 5);
        bench.read(0, &[2], 50);
        assert_eq!((bench.shared.of(0), bench.tally.troubles.reordered), (5, 1));
        bench.read(0, &[4, 5], 50);
        assert_eq!((bench.shared.of(0), bench.tally.troubles.duplicates), (6, 1));
        assert_eq!(bench.tally.seen(), [(0, 5)]);
    }

    #[test]
    fn foreign_payloads_are_counted() {
        let mut bench = Bench::new("1");
        bench.tally.take(0, b"short", 0, &bench.shared);
        let stamp = Stamp { stream: 9, sequence: 0, time_ns: 0 };
        bench.tally.take(0, &stamp.bytes(), 0, &bench.shared);
        bench.tally.settle(0, 0, &bench.shared);
        assert_eq!((bench.tally.troubles.foreign, bench.tally.fresh), (2, 0));
    }
}

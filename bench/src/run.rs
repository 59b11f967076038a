//! A run of the load: opens all connections, warms up, measures, waits for what is on its way.

use crate::clock::{now_ns, process_cpu_ns, seconds_ns, sleep_until};
use crate::failure::{Failure, Result};
use crate::flags::{Flags, Pacing};
use crate::handshake::Endpoint;
use crate::load::{Load, Outcome};
use crate::plan::Plan;
use crate::poller::Waker;
use crate::process::{Process, Usage};
use crate::progress::Line;
use crate::publisher::templates;
use crate::report::Report;
use crate::shared::{Progress, Shared, Times, Totals};
use crate::tally::{Troubles, new_histogram};
use crate::threads;
use crate::window::Completions;
use hdrhistogram::Histogram;
use ringmq_mqtt::QoS;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, OnceLock};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// The time between two looks at the run.
const LOOK_NS: u64 = 200_000_000;

/// The time without arrivals after which missing messages are given up.
const SILENCE_NS: u64 = 3_000_000_000;

/// The time for which duplicates may still come when everything has.
const GRACE_NS: u64 = 100_000_000;

/// The time between the threads' start and the first publish.
const LEAD_NS: u64 = 20_000_000;

/// The state of a run at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) time_ns: u64,
    pub(crate) own_cpu_ns: u64,
    pub(crate) totals: Totals,
    pub(crate) broker: Option<Usage>,
}

/// Runs a scenario that publishes.
pub(crate) fn run(flags: &Flags, endpoint: &Endpoint) -> Result<Report> {
    let broker = flags.pid.map(Process::new).transpose()?;
    let idle = broker.as_ref().map(Process::memory).transpose()?;
    let shared = &shared(flags, endpoint)?;
    let cores = flags.cores()?;
    let line = Line::new();
    let barrier = &Barrier::new(flags.threads + 1);
    let (ready, opened) = channel();
    let outcomes = std::thread::scope(|scope| {
        let start = |thread| {
            let (cores, ready) = (cores.clone(), ready.clone());
            scope.spawn(move || {
                let load = threads::pin(&cores, thread)
                    .and_then(|()| Load::open(shared, endpoint, thread));
                run_load(load, shared, barrier, &ready)
            })
        };
        let handles: Vec<_> = (0..flags.threads).map(start).collect();
        line.show(|| "connecting".to_string());
        let snapshots = conduct(flags, shared, broker.as_ref(), &opened, barrier, &line);
        line.clear();
        Ok::<_, Failure>((snapshots?, join(handles)?))
    });
    let ([before, after], outcomes) = outcomes?;
    let mut report = Report::new(flags, &before, &after);
    report.add_idle_memory(idle);
    add_outcomes(&mut report, shared, outcomes);
    Ok(report)
}

fn shared(flags: &Flags, endpoint: &Endpoint) -> Result<Shared> {
    // Runs at the same time, or one after the other, do not hear each other.
    let plan = Plan::new(flags, &format!("bench/{:06x}", std::process::id()));
    let wakers = (0..flags.threads).map(|_| Waker::new());
    let pacing = flags.pacing();
    let window = match pacing {
        Pacing::Window(window) => window,
        Pacing::Rate(_) => 0,
    };
    Ok(Shared {
        templates: templates(&plan, endpoint, flags.size),
        pacing,
        version: endpoint.version,
        is_answered: endpoint.qos != QoS::AtMostOnce,
        has_intervals: flags.histogram_log.is_some(),
        nap: Duration::from_micros(flags.nap_us()),
        completions: Completions::new(&plan, window),
        progress: (0..flags.threads).map(|_| Progress::default()).collect(),
        wakers: wakers.collect::<std::result::Result<_, _>>()?,
        times: OnceLock::new(),
        is_over: AtomicBool::new(false),
        plan,
    })
}

/// One thread's part, once its connections are open.
fn run_load(
    load: Result<Load<'_>>,
    shared: &Shared,
    barrier: &Barrier,
    ready: &Sender<bool>,
) -> Result<Option<Outcome>> {
    // The receiver lives until all threads have ended.
    let _ = ready.send(load.is_ok());
    barrier.wait();
    let load = load?;
    if shared.is_over.load(Ordering::Relaxed) {
        return Ok(None);
    }
    load.run().map(Some)
}

/// Takes the threads through the run; returns how things were before and after the measurement.
fn conduct(
    flags: &Flags,
    shared: &Shared,
    broker: Option<&Process>,
    opened: &Receiver<bool>,
    barrier: &Barrier,
    line: &Line,
) -> Result<[Snapshot; 2]> {
    let all_open = opened.iter().take(flags.threads).all(|is_open| is_open);
    if !all_open {
        shared.end();
        barrier.wait();
        // The thread's own failure says more.
        return Ok([Snapshot::take(shared, None)?; 2]);
    }
    let start_ns = now_ns() + LEAD_NS;
    let measured_ns = start_ns + seconds_ns(flags.warmup);
    let end_ns = measured_ns + seconds_ns(flags.duration);
    let times = Times { start_ns, measured: measured_ns..end_ns };
    shared.times.set(times).expect("the times are set once");
    barrier.wait();
    let result = measure(shared, broker, measured_ns, end_ns, line);
    shared.end();
    result
}

fn measure(
    shared: &Shared,
    broker: Option<&Process>,
    measured_ns: u64,
    end_ns: u64,
    line: &Line,
) -> Result<[Snapshot; 2]> {
    let mut watch = Watch::new(shared, line);
    watch.until(measured_ns, "warming up");
    let before = Snapshot::take(shared, broker)?;
    watch.until(end_ns, "measuring");
    let after = Snapshot::take(shared, broker)?;
    watch.until_all_has_come();
    Ok([before, after])
}

impl Snapshot {
    fn take(shared: &Shared, broker: Option<&Process>) -> Result<Self> {
        let broker = broker.map(Process::usage).transpose()?;
        let (time_ns, own_cpu_ns) = (now_ns(), process_cpu_ns());
        Ok(Self { time_ns, own_cpu_ns, totals: shared.totals(), broker })
    }
}

/// Looks at the run from time to time.
struct Watch<'a> {
    shared: &'a Shared,
    line: &'a Line,
    totals: Totals,
    /// When something arrived last.
    arrival_ns: u64,
}

impl<'a> Watch<'a> {
    fn new(shared: &'a Shared, line: &'a Line) -> Self {
        Self { shared, line, totals: Totals::default(), arrival_ns: now_ns() }
    }

    /// Waits for a moment, or until nothing goes on any more.
    fn until(&mut self, moment_ns: u64, what: &str) {
        while now_ns() < moment_ns && !self.is_stuck() {
            sleep_until(moment_ns.min(now_ns() + LOOK_NS));
            self.look(what);
        }
    }

    /// Whether what was published has not come, and nothing has for a long time.
    fn is_stuck(&self) -> bool {
        let is_missing = self.totals.delivered < self.totals.expected;
        is_missing && now_ns() > self.arrival_ns + SILENCE_NS
    }

    fn until_all_has_come(&mut self) {
        self.look("waiting for the rest");
        while self.totals.delivered < self.totals.expected && !self.is_stuck() {
            sleep_until(now_ns() + LOOK_NS / 10);
            self.look("waiting for the rest");
        }
        sleep_until(now_ns() + GRACE_NS);
    }

    fn look(&mut self, what: &str) {
        let totals = self.shared.totals();
        let new = totals.delivered - self.totals.delivered;
        if new > 0 || totals.delivered >= totals.expected {
            self.arrival_ns = now_ns();
        }
        self.totals = totals;
        self.line.show(|| format!("{what}: {} deliveries, {new} new", totals.delivered));
    }
}

fn join(handles: Vec<ScopedJoinHandle<'_, Result<Option<Outcome>>>>) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for handle in handles {
        outcomes.extend(handle.join().expect("no thread panics")?);
    }
    Ok(outcomes)
}

fn add_outcomes(report: &mut Report, shared: &Shared, outcomes: Vec<Outcome>) {
    let mut sent = vec![0; shared.plan.streams.len()];
    for (stream, count) in outcomes.iter().flat_map(|outcome| &outcome.sent) {
        sent[*stream as usize] += *count;
    }
    let mut intervals = Vec::new();
    let mut troubles = Troubles::default();
    let mut lost = 0;
    let mut unanswered = 0;
    for outcome in outcomes {
        troubles = troubles + outcome.tally.troubles;
        unanswered += outcome.unanswered;
        let missing = |(stream, seen)| u64::from(sent[stream as usize].saturating_sub(seen));
        lost += outcome.tally.seen().into_iter().map(missing).sum::<u64>();
        merge(&mut intervals, outcome.tally.into_intervals());
    }
    report.add_latencies(intervals);
    report.add_troubles(lost, troubles, unanswered, shared.totals().closed);
}

/// Adds each histogram of `more` to the one at its place.
fn merge(intervals: &mut Vec<Histogram<u64>>, more: Vec<Histogram<u64>>) {
    if intervals.len() < more.len() {
        intervals.resize_with(more.len(), new_histogram);
    }
    for (interval, more) in intervals.iter_mut().zip(more) {
        interval.add(more).expect("all histograms have the same bounds");
    }
}

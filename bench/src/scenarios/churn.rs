//! Subscriptions and sessions that come and go.

use super::resubscribe::Resubscribing;
use super::takeover::Takeovers;
use crate::clock::{now_ns, seconds_ns, sleep_until};
use crate::failure::Result;
use crate::flags::Flags;
use crate::handshake::{Endpoint, Opened, Wanted, open_all};
use crate::poller::{Poller, Waker};
use crate::process::{Process, Usage};
use crate::summary::{Part, Summary};
use crate::tally::new_histogram;
use crate::threads;
use hdrhistogram::Histogram;
use std::ops::Range;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Barrier, OnceLock};

/// The actions of one thread while it was measured.
pub(crate) struct Done {
    /// The number of actions, and the time of each.
    pub(crate) times: Histogram<u64>,
    /// Answers that were a refusal, connections that ended or stayed when they should not.
    pub(crate) faults: u64,
}

/// One thread's share of the clients.
pub(crate) struct ShareOfClients {
    pub(crate) poller: Poller,
    pub(crate) endpoint: Endpoint,
    /// In the same order as `opened`.
    pub(crate) clients: Vec<Wanted>,
    pub(crate) opened: Vec<Opened>,
    /// Requests of one connection, or takeovers of one thread, at once.
    pub(crate) window: usize,
}

/// A part of the scenario, carried out by each thread: does it until the end of the measurement.
type Work = fn(ShareOfClients, Range<u64>) -> Result<Done>;

/// Requests at once, unless `--window` says otherwise.
const WINDOW: u32 = 16;

/// Runs the scenario.
pub(crate) fn run(flags: &Flags, endpoint: &Endpoint) -> Result<Summary> {
    let mut summary = Summary::new(flags);
    let parts: [(&str, Work); 2] = [
        ("subscribe and unsubscribe", |share, measured| Resubscribing::new(share).run(measured)),
        ("takeover", |share, measured| Takeovers::new(share).run(measured)),
    ];
    for (name, work) in parts {
        let (part, faults) = run_part(flags, endpoint, name, work)?;
        summary.add(part);
        summary.fault(faults, &format!("faults of {name}"));
    }
    Ok(summary)
}

fn run_part(flags: &Flags, endpoint: &Endpoint, name: &str, work: Work) -> Result<(Part, u64)> {
    let broker = flags.pid.map(Process::new).transpose()?;
    let cores = &flags.cores()?;
    let start = &Start { barrier: Barrier::new(flags.threads + 1), measured: OnceLock::new() };
    let (moments, done) = std::thread::scope(|scope| {
        let (ready, opened) = channel();
        let spawn = |thread| {
            let ready = ready.clone();
            scope.spawn(move || {
                let share =
                    threads::pin(cores, thread).and_then(|()| share(flags, endpoint, thread));
                thread_part(share, work, start, &ready)
            })
        };
        let handles: Vec<_> = (0..flags.threads).map(spawn).collect();
        let all_open = opened.iter().take(flags.threads).all(|is_open| is_open);
        let moments = start.conduct(flags, broker.as_ref(), all_open);
        let done = handles.into_iter().map(|handle| handle.join().expect("no thread panics"));
        (moments, done.collect::<Result<Vec<_>>>())
    });
    let (done, [before, after]) = (done?, moments?);
    let mut times = new_histogram();
    for done in &done {
        times.add(&done.times).expect("all histograms have the same bounds");
    }
    let count = times.len() as f64;
    let mut part = Part::new(name);
    part.add("each/s", count / ((after.time_ns - before.time_ns) as f64 / 1e9));
    part.add_broker(before.usage, after.usage, count);
    part.add_times(&times);
    Ok((part, done.iter().map(|done| done.faults).sum()))
}

/// The common start of the threads.
struct Start {
    barrier: Barrier,
    /// Unset when a thread could not open its connections.
    measured: OnceLock<Range<u64>>,
}

/// The time and the broker's usage at one moment.
struct Moment {
    time_ns: u64,
    usage: Option<Usage>,
}

impl Start {
    /// Lets the threads begin, and looks at the broker when the measurement begins and ends.
    fn conduct(
        &self,
        flags: &Flags,
        broker: Option<&Process>,
        all_open: bool,
    ) -> Result<[Moment; 2]> {
        if all_open {
            let begin_ns = now_ns() + seconds_ns(flags.warmup);
            let measured = begin_ns..begin_ns + seconds_ns(flags.duration);
            self.measured.set(measured).expect("it is set once");
        }
        self.barrier.wait();
        let measured = self.measured.get().cloned().unwrap_or_default();
        Ok([Moment::at(measured.start, broker)?, Moment::at(measured.end, broker)?])
    }
}

impl Moment {
    fn at(moment_ns: u64, broker: Option<&Process>) -> Result<Self> {
        sleep_until(moment_ns);
        Ok(Self { time_ns: now_ns(), usage: broker.map(Process::usage).transpose()? })
    }
}

fn thread_part(
    share: Result<ShareOfClients>,
    work: Work,
    start: &Start,
    ready: &Sender<bool>,
) -> Result<Done> {
    // The receiver lives until all threads have ended.
    let _ = ready.send(share.is_ok());
    start.barrier.wait();
    let share = share?;
    match start.measured.get() {
        Some(measured) => work(share, measured.clone()),
        None => Ok(Done { times: new_histogram(), faults: 0 }),
    }
}

fn share(flags: &Flags, endpoint: &Endpoint, thread: usize) -> Result<ShareOfClients> {
    let process = std::process::id();
    let mut poller = Poller::new(&Waker::new()?)?;
    let clients: Vec<_> = (0..flags.connections())
        .skip(thread)
        .step_by(flags.threads)
        .map(|index| Wanted { index, client_id: format!("bench-{process}-{index}"), filter: None })
        .collect();
    let opened = open_all(&mut poller, endpoint, &clients, 128, |_| {})?;
    let window = flags.window.unwrap_or(WINDOW) as usize;
    Ok(ShareOfClients { poller, endpoint: *endpoint, clients, opened, window })
}

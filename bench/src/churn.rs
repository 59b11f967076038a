//! Subscriptions and sessions that come and go.

use crate::clock::{now_ns, seconds_ns, sleep_until};
use crate::failure::Result;
use crate::flags::Flags;
use crate::handshake::{Endpoint, Opened, Wanted, open_all};
use crate::poller::{Poller, Waker};
use crate::process::Process;
use crate::resubscribe::Resubscribing;
use crate::summary::{Part, Summary};
use crate::takeover::Takeovers;
use crate::tally::new_histogram;
use crate::threads;
use hdrhistogram::Histogram;
use std::ops::Range;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Barrier, OnceLock};

/// What one thread did, while it was measured.
pub(crate) struct Done {
    /// How many things, and how long each took.
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
    let usage = || broker.as_ref().map(Process::usage).transpose();
    let cores = &flags.cores()?;
    let start = &Start { barrier: Barrier::new(flags.threads + 1), measured: OnceLock::new() };
    std::thread::scope(|scope| {
        let (ready, opened) = channel();
        let spawn = |thread| {
            let ready = ready.clone();
            scope.spawn(move || {
                threads::pin(cores, thread)?;
                thread_part(flags, endpoint, thread, work, start, &ready)
            })
        };
        let handles: Vec<_> = (0..flags.threads).map(spawn).collect();
        if opened.iter().take(flags.threads).all(|is_open| is_open) {
            let begin_ns = now_ns() + seconds_ns(flags.warmup);
            let measured = begin_ns..begin_ns + seconds_ns(flags.duration);
            start.measured.set(measured).expect("it is set once");
        }
        start.barrier.wait();
        let measured = start.measured.get().cloned().unwrap_or_default();
        sleep_until(measured.start);
        let (start_ns, before) = (now_ns(), usage()?);
        sleep_until(measured.end);
        let (seconds, after) = ((now_ns() - start_ns) as f64 / 1e9, usage()?);
        let (mut times, mut faults) = (new_histogram(), 0);
        for handle in handles {
            let done = handle.join().expect("no thread panics")?;
            times.add(done.times).expect("all histograms have the same bounds");
            faults += done.faults;
        }
        let count = times.len() as f64;
        let mut part = Part::new(name);
        part.add("each/s", count / seconds);
        part.add_broker(before, after, count);
        part.add_times(&times);
        Ok((part, faults))
    })
}

/// How the threads begin together.
struct Start {
    barrier: Barrier,
    /// Unset when a thread could not open its connections.
    measured: OnceLock<Range<u64>>,
}

fn thread_part(
    flags: &Flags,
    endpoint: &Endpoint,
    thread: usize,
    work: Work,
    start: &Start,
    ready: &Sender<bool>,
) -> Result<Done> {
    let share = share(flags, endpoint, thread);
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

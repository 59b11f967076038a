//! Idle connections: how fast they come about, and what memory the broker keeps for each.

use crate::clock::now_ns;
use crate::failure::Result;
use crate::flags::Flags;
use crate::handshake::{Endpoint, Opened, Wanted, open_all};
use crate::poller::{Poller, Waker};
use crate::process::Process;
use crate::summary::{Part, Summary};
use crate::tally::new_histogram;
use crate::threads;
use hdrhistogram::Histogram;
use std::time::Duration;

/// Connections of one thread that are on their way at once, unless `--window` says otherwise.
const AT_ONCE: u32 = 64;

/// Runs the scenario: steadily, then all at once.
pub(crate) fn run(flags: &Flags, endpoint: &Endpoint) -> Result<Summary> {
    let broker = flags.pid.map(Process::new).transpose()?;
    let at_once = flags.window.unwrap_or(AT_ONCE);
    let mut summary = Summary::new(flags);
    let steady = format!("{at_once} at once");
    summary.add(one_round(flags, endpoint, broker.as_ref(), at_once as usize, steady)?);
    // The broker notices that they are gone.
    std::thread::sleep(Duration::from_secs_f64(flags.warmup));
    let storm = "all at once".to_string();
    summary.add(one_round(flags, endpoint, broker.as_ref(), usize::MAX, storm)?);
    Ok(summary)
}

fn one_round(
    flags: &Flags,
    endpoint: &Endpoint,
    broker: Option<&Process>,
    at_once: usize,
    name: String,
) -> Result<Part> {
    let usage = || broker.map(Process::usage).transpose();
    let before = usage()?;
    let start_ns = now_ns();
    let (opened, histogram) = open(flags, endpoint, at_once)?;
    let seconds = (now_ns() - start_ns) as f64 / 1e9;
    let after = usage()?;
    std::thread::sleep(Duration::from_secs_f64(flags.duration));
    let settled = usage()?;
    let count = f64::from(flags.connections());
    let mut part = Part::new(name);
    part.add("connects/s", count / seconds);
    part.add_times(&histogram);
    part.add_broker(before, after, count);
    part.add_memory(before, settled, count);
    if let Some((after, settled)) = after.zip(settled) {
        let idle_cpu_ns = (settled.cpu_ns - after.cpu_ns) as f64;
        part.add("broker CPU us/s when idle", idle_cpu_ns / 1e3 / flags.duration);
    }
    drop(opened);
    Ok(part)
}

fn open(
    flags: &Flags,
    endpoint: &Endpoint,
    at_once: usize,
) -> Result<(Vec<Opened>, Histogram<u64>)> {
    let cores = &flags.cores()?;
    std::thread::scope(|scope| {
        let start = |thread| {
            scope.spawn(move || {
                threads::pin(cores, thread)?;
                open_share(flags, endpoint, thread, at_once)
            })
        };
        let handles: Vec<_> = (0..flags.threads).map(start).collect();
        let mut all = Vec::new();
        let mut histogram = new_histogram();
        for handle in handles {
            let (opened, times) = handle.join().expect("no thread panics")?;
            all.extend(opened);
            histogram.add(times).expect("all histograms have the same bounds");
        }
        Ok((all, histogram))
    })
}

fn open_share(
    flags: &Flags,
    endpoint: &Endpoint,
    thread: usize,
    at_once: usize,
) -> Result<(Vec<Opened>, Histogram<u64>)> {
    let process = std::process::id();
    let here = (0..flags.connections()).skip(thread).step_by(flags.threads);
    let wanted: Vec<_> = here
        .map(|index| Wanted { index, client_id: format!("bench-{process}-{index}"), filter: None })
        .collect();
    let mut histogram = new_histogram();
    let mut poller = Poller::new(&Waker::new()?)?;
    let opened = open_all(&mut poller, endpoint, &wanted, at_once, |time_ns| {
        histogram.saturating_record(time_ns);
    })?;
    Ok((opened, histogram))
}

//! Idle connections: how fast they come about, and what memory the broker keeps for each.

use crate::clock::now_ns;
use crate::failure::Result;
use crate::flags::Flags;
use crate::handshake::{Endpoint, Opened, Wanted, open_all};
use crate::poller::{Poller, Waker};
use crate::process::{Memory, Process};
use crate::report::thousands;
use crate::tally::new_histogram;
use crate::threads;
use hdrhistogram::Histogram;
use std::time::Duration;

/// Connections of one thread that are on their way at once, unless `--window` says otherwise.
const AT_ONCE: u32 = 64;

/// Runs the scenario: steadily, then all at once.
pub(crate) fn run(flags: &Flags, endpoint: &Endpoint) -> Result<()> {
    let broker = flags.pid.map(Process::new).transpose()?;
    let at_once = flags.window.unwrap_or(AT_ONCE) as usize;
    println!("{} connections, MQTT {}", flags.connections(), flags.mqtt.name());
    one_round(flags, endpoint, broker.as_ref(), at_once, "steady")?;
    std::thread::sleep(Duration::from_secs_f64(flags.warmup));
    one_round(flags, endpoint, broker.as_ref(), usize::MAX, "storm")
}

fn one_round(
    flags: &Flags,
    endpoint: &Endpoint,
    broker: Option<&Process>,
    at_once: usize,
    name: &str,
) -> Result<()> {
    let before = broker.map(Process::usage).transpose()?;
    let start_ns = now_ns();
    let (opened, histogram) = open(flags, endpoint, at_once)?;
    let seconds = (now_ns() - start_ns) as f64 / 1e9;
    let after = broker.map(Process::usage).transpose()?;
    std::thread::sleep(Duration::from_secs_f64(flags.duration));
    let settled = broker.map(Process::memory).transpose()?;
    let count = f64::from(flags.connections());
    let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "  {name}: {} connects/s, p50 {:.0} us, p99 {:.0} us",
        thousands(count / seconds),
        us(0.5),
        us(0.99)
    );
    if let (Some(before), Some(after), Some(settled)) = (before, after, settled) {
        let cpu = (after.cpu_ns - before.cpu_ns) as f64 / count;
        println!("  {name}: broker CPU {cpu:.0} ns per connect");
        let [resident, anonymous] = growth(before.memory, settled).map(|bytes| bytes / count);
        println!(
            "  {name}: broker memory {resident:.0} bytes per connection, {anonymous:.0} anonymous"
        );
    }
    drop(opened);
    Ok(())
}

fn growth(before: Memory, after: Memory) -> [f64; 2] {
    [
        after.resident_bytes as f64 - before.resident_bytes as f64,
        after.anonymous_bytes as f64 - before.anonymous_bytes as f64,
    ]
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

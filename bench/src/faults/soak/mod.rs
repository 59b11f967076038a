//! A mixed load and attacks for long: memory must not grow, and at rest everything is as it was.

mod attacks;
mod load;
mod slope;

use super::Bench;
use super::broker::{Broker, Setup};
use super::bystander::Bystander;
use super::findings::{Findings, Goal, mib};
use crate::clock::{now_ns, seconds_ns};
use crate::failure::Result;
use crate::layer::Below;
use attacks::Attacks;
use clap::Args;
use load::Load;
use std::time::Duration;

/// Connections of this process at most.
const CONNECTIONS: u32 = 1000;

/// Time for the broker to come to rest: lingering connections, memory that goes back.
const REST: Duration = Duration::from_secs(6);

/// Seconds from which on the slope of the memory says something.
const SLOPE_S: f64 = 600.0;

/// Slope beyond its error that is taken for growth, in MiB an hour.
const SLOPE_MAX: f64 = 1.0;

/// Memory that may be more at rest where that is above 10 %: what the allocator keeps varies.
const REST_BYTES: u64 = 8 << 20;

/// CPU of a broker at rest, of a core.
const REST_CPU: f64 = 0.01;

/// Sizes of the test.
#[derive(Debug, Args)]
pub(super) struct Sizes {
    /// Seconds of load and attacks [7200; small: 10]
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds of the same before the first look at the broker at rest, and seconds of the load
    /// proper before samples count [60; small: 4]
    #[arg(long)]
    warmup: Option<f64>,
    /// Publishes per second, half of them over TLS (400)
    #[arg(long, default_value_t = 400.0)]
    rate: f64,
}

/// Runs the test.
pub(super) fn run(bench: &Bench, sizes: &Sizes) -> Result<Findings> {
    let seconds = bench.size(sizes.seconds, 10.0, 7200.0);
    let warmup = bench.size(sizes.warmup, 4.0, 60.0);
    bench.make_room(CONNECTIONS)?;
    let words = format!("{seconds} s of load and attacks, {} publishes/s", sizes.rate);
    let mut findings = bench.findings("soak", words);
    let arguments = vec!["--log-level".to_owned(), "error".to_owned()];
    let broker = bench.start(&Setup { arguments, is_durable: true, ..Setup::default() })?;
    let mut soak = Soak { broker, rate: sizes.rate, warmup };
    soak.run(warmup)?;
    let before = soak.rest()?;
    let main = soak.run(seconds)?;
    let after = soak.rest()?;
    main.report(&mut findings);
    report_rest(&mut findings, &before, &after);
    soak.broker.check()?;
    let stopped = soak.broker.stop()?;
    findings.mistakes("stops without an orderly end", u64::from(!stopped.is_orderly));
    findings.judge_time("time of the stop", stopped.seconds, "s", Goal::AtMost(5.0));
    Ok(findings)
}

struct Soak {
    broker: Broker,
    rate: f64,
    warmup: f64,
}

/// The broker's resources while nobody is connected.
struct Rest {
    memory: u64,
    descriptors: usize,
    threads: usize,
    cpu: f64,
}

/// The results of a stretch of load.
struct Stretch {
    /// Seconds since its beginning, and bytes of memory.
    samples: Vec<(f64, f64)>,
    /// Seconds at the beginning that say nothing about growth.
    settling_s: f64,
    seconds: f64,
    worst_ms: f64,
    unanswered_pings: u64,
    load: load::Totals,
    attacks: attacks::Totals,
}

impl Soak {
    fn run(&mut self, seconds: f64) -> Result<Stretch> {
        let bystander = Bystander::start(self.broker.plain, None)?;
        let mut loads = [
            Load::new(self.broker.plain, Below::Tcp, self.rate / 2.0)?,
            Load::new(self.broker.tls, Below::Tls, self.rate / 2.0)?,
        ];
        let attacks = Attacks::start(self.broker.plain, self.broker.tls);
        let start_ns = now_ns();
        let end_ns = start_ns + seconds_ns(seconds);
        let (mut samples, mut look_ns) = (Vec::new(), start_ns);
        while now_ns() < end_ns {
            for load in &mut loads {
                load.step(1_000_000)?;
            }
            if now_ns() >= look_ns {
                let since_s = (now_ns() - start_ns) as f64 / 1e9;
                samples.push((since_s, self.broker.memory()? as f64));
                look_ns += 1_000_000_000;
                self.broker.check()?;
            }
        }
        let attacks = attacks.finish();
        let mut totals = load::Totals::default();
        for load in loads {
            totals = totals + load.finish()?;
        }
        Ok(Stretch {
            samples,
            settling_s: self.warmup,
            seconds,
            worst_ms: bystander.worst_ms(),
            unanswered_pings: bystander.failures(),
            load: totals,
            attacks,
        })
    }

    fn rest(&self) -> Result<Rest> {
        std::thread::sleep(REST);
        let cpu = self.broker.cpu_share(3.0)?;
        Ok(Rest {
            memory: self.broker.memory_at_rest()?,
            descriptors: self.broker.process.descriptors()?,
            threads: self.broker.process.threads()?,
            cpu,
        })
    }
}

impl Stretch {
    fn report(&self, findings: &mut Findings) {
        let load = &self.load;
        findings.note("messages published", load.published as f64, "");
        findings.note("clients that came and went", load.visits as f64, "");
        findings.note("wills", load.deaths as f64, "");
        findings.note("rounds of attacks", self.attacks.rounds as f64, "");
        findings.mistakes("attackers that were not let in", self.attacks.failures);
        findings.mistakes("QoS 1 and 2 messages lost", load.lost);
        findings.mistakes("QoS 2 messages twice", load.duplicates);
        findings.mistakes("wills lost or twice", load.deaths.abs_diff(load.wills));
        findings.mistakes("connections of the load closed by the broker", load.closed);
        let goal = Goal::AtMost(1000.0);
        findings.judge_time("worst ping of a bystander", self.worst_ms, "ms", goal);
        findings.mistakes("pings without an answer", self.unanswered_pings);
        // Samples while the clients come would make any memory seem to grow.
        let settled_s = self.settling_s.min(self.seconds / 4.0);
        let samples = self.samples.iter().filter(|(since_s, _)| *since_s >= settled_s);
        let settled: Vec<_> = samples.copied().collect();
        for (quarter, samples) in settled.chunks(settled.len().div_ceil(4).max(1)).enumerate() {
            let mean = samples.iter().map(|sample| sample.1).sum::<f64>() / samples.len() as f64;
            let what = format!("mean memory, quarter {} of 4", quarter + 1);
            findings.note(what, mib(mean as u64), "MiB");
        }
        let Some(slope) = slope::of(&settled) else { return };
        let mib_an_hour = |bytes_a_second: f64| bytes_a_second * 3600.0 / f64::from(1 << 20);
        findings.note("slope of the memory, bytes an hour", slope.value * 3600.0, "B/h");
        findings.note("its standard error", slope.error * 3600.0, "B/h");
        let beyond = mib_an_hour(slope.value - 2.0 * slope.error);
        let what = "slope less twice its error";
        if self.seconds >= SLOPE_S {
            findings.judge(what, beyond, "MiB/h", Goal::AtMost(SLOPE_MAX));
        } else {
            findings.note(what, beyond, "MiB/h");
            findings.skip(format!("the slope has no goal below {SLOPE_S} s"));
        }
    }
}

fn report_rest(findings: &mut Findings, before: &Rest, after: &Rest) {
    findings.note("memory at rest before", mib(before.memory), "MiB");
    let most = (before.memory + before.memory / 10).max(before.memory + REST_BYTES);
    findings.judge("memory at rest in the end", mib(after.memory), "MiB", Goal::AtMost(mib(most)));
    let exactly = |count: usize| Goal::Exactly(count as f64);
    let (descriptors, threads) = (after.descriptors as f64, after.threads as f64);
    findings.judge("descriptors at rest, as before", descriptors, "", exactly(before.descriptors));
    findings.judge("threads at rest, as before", threads, "", exactly(before.threads));
    findings.judge("CPU at rest", after.cpu, "cores", Goal::AtMost(REST_CPU));
}

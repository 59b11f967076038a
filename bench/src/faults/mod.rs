//! Fault tests: a broker of their own under stopped readers, storms, and limits of the system.
//!
//! ```text
//! mod: command line ── launch: the broker's process      findings: measured, goal, verdict
//!   │                    └ broker: start, /proc, stop          │
//!   └── stopped_readers, reconnect_storm, takeovers, retained_slow, descriptors, memory, soak
//!         └ crowd: many connections of a thread    client: one    bystander: pings beside them
//! ```

mod broker;
mod bystander;
mod client;
mod crowd;
mod descriptors;
mod findings;
mod full_queues;
mod group;
mod launch;
mod memory;
mod packets;
mod reconnect_storm;
mod retained_slow;
mod soak;
mod stopped_readers;
mod takeovers;

use crate::failure::{Failure, Result};
use crate::threads::raise_descriptor_limit;
use broker::Folder;
use clap::{Args, Parser, Subcommand};
use findings::Findings;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Descriptors of this process besides those of its connections.
const DESCRIPTORS: u64 = 128;

/// Provokes faults of clients and limits of the system, and checks that a broker bears them.
///
/// Each test starts a broker of its own on free ports of the loopback, and prints a table. Exit
/// status 0: every goal is met; 1: one is not; 2: the test could not be carried out.
#[derive(Debug, Parser)]
#[command(name = "ringmq-bench faults", version)]
struct Flags {
    #[command(subcommand)]
    test: Test,
    #[command(flatten)]
    common: Common,
}

/// Flags of every test.
#[derive(Debug, Args)]
struct Common {
    /// The broker's program
    #[arg(long, global = true, default_value = "target/release/ringmq")]
    binary: PathBuf,
    /// The broker's workers
    #[arg(long, global = true, default_value_t = 2)]
    workers: u32,
    /// Sizes for a change's tests: seconds instead of minutes
    #[arg(long, global = true)]
    small: bool,
    /// Fail when a goal in milliseconds or seconds is missed, too: on a machine without other work
    #[arg(long, global = true)]
    judge_times: bool,
    /// Write the numbers to this file as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the broker's files in this folder, which must exist [a temporary one, removed]
    #[arg(long, global = true, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// The test to run.
#[derive(Debug, Subcommand)]
enum Test {
    /// Subscribers stop reading, others go on (T10)
    StoppedReaders(stopped_readers::Sizes),
    /// All sessions lose their connections and come back at once (T11)
    ReconnectStorm(reconnect_storm::Sizes),
    /// Clients take over each other's session, again and again (T12)
    Takeovers(takeovers::Sizes),
    /// A slow subscriber is sent everything that is retained (T13)
    RetainedSlow(retained_slow::Sizes),
    /// The broker runs out of descriptors (T14)
    Descriptors(descriptors::Sizes),
    /// The broker lives in a control group with little memory (T14)
    Memory(memory::Sizes),
    /// A mixed load and attacks, for long (T19)
    Soak(soak::Sizes),
    /// Becomes the broker, with the limits of a test
    #[command(hide = true)]
    Launch(launch::Launch),
}

/// The surroundings of a test.
#[derive(Debug)]
struct Bench {
    common: Common,
    folder: Folder,
}

impl Bench {
    /// The size that was asked for, or else the usual one.
    fn size<T>(&self, given: Option<T>, small: T, full: T) -> T {
        given.unwrap_or(if self.common.small { small } else { full })
    }

    /// Makes room for the descriptors of so many connections.
    fn make_room(&self, connections: u32) -> Result<()> {
        raise_descriptor_limit(DESCRIPTORS + u64::from(connections))
    }

    fn findings(&self, test: &'static str, sizes: String) -> Findings {
        Findings::new(test, sizes, self.common.judge_times)
    }
}

/// Runs the test that the arguments behind `faults` name.
pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let name = std::iter::once(OsString::from("ringmq-bench faults"));
    let Flags { test, common } = Flags::parse_from(name.chain(arguments));
    match run(test, common) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("ringmq-bench faults: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Runs a test; false when a goal is missed.
fn run(test: Test, common: Common) -> Result<bool> {
    if let Test::Launch(launch) = test {
        return Err(launch::become_broker(&launch));
    }
    if common.workers == 0 {
        return Err(Failure::new("a broker has at least one of --workers"));
    }
    let bench = &Bench { folder: Folder::new(common.folder.as_deref())?, common };
    let findings = run_test(bench, &test);
    if let Some(words) = bench.folder.crash() {
        if let Ok(findings) = &findings {
            print!("{findings}");
        }
        println!("  FAILED: {words}");
        return Ok(false);
    }
    let findings = findings?;
    print!("{findings}");
    if let Some(file) = &bench.common.json {
        findings.write(file)?;
    }
    Ok(findings.is_good())
}

fn run_test(bench: &Bench, test: &Test) -> Result<Findings> {
    match test {
        Test::StoppedReaders(sizes) => stopped_readers::run(bench, sizes),
        Test::ReconnectStorm(sizes) => reconnect_storm::run(bench, sizes),
        Test::Takeovers(sizes) => takeovers::run(bench, sizes),
        Test::RetainedSlow(sizes) => retained_slow::run(bench, sizes),
        Test::Descriptors(sizes) => descriptors::run(bench, sizes),
        Test::Memory(sizes) => memory::run(bench, sizes),
        Test::Soak(sizes) => soak::run(bench, sizes),
        Test::Launch(_) => unreachable!("the broker has replaced this program"),
    }
}

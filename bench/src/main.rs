//! The load generator of ringmq: puts any MQTT broker under load and measures what it does.
//!
//! ```text
//! flags ── plan: who publishes what to whom
//!           │
//!          run ── report, histogram_files          scenarios: retained, store, connect, …
//!           │                                          │
//!          load: a thread's loop                       │
//!           ├ publisher, pace, window: what to send    │
//!           ├ connection, tally, track: what came      │
//!           └──────────┬───────────────────────────────┘
//!          handshake, link, layer, poller, wire, stamp
//! ```
#![forbid(unsafe_code)]

mod clock;
mod connection;
mod failure;
mod faults;
mod flags;
mod handshake;
mod histogram_files;
mod layer;
mod link;
mod load;
mod pace;
mod plan;
mod poller;
mod process;
mod progress;
mod publisher;
mod report;
mod run;
mod scenarios;
mod shared;
mod stamp;
mod summary;
mod tally;
mod threads;
mod track;
mod window;
mod wire;

use clap::Parser;
use failure::Result;
use flags::{Flags, Scenario};
use handshake::Endpoint;
use link::Sources;
use serde::Serialize;
use std::fmt::Display;
use std::process::ExitCode;

/// Descriptors besides those of connections.
const DESCRIPTORS: u64 = 64;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "faults") {
        return faults::main(arguments);
    }
    let flags = Flags::parse();
    match execute(&flags) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("ringmq-bench: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Runs the scenario; false when the broker failed it.
fn execute(flags: &Flags) -> Result<bool> {
    flags.check()?;
    threads::pin(&flags.cores()?, 0)?;
    threads::raise_descriptor_limit(DESCRIPTORS + flags.descriptors())?;
    let address = flags.address()?;
    let sources = Sources::new(address, std::process::id());
    let (version, qos, below) = (flags.version(), flags.qos(), flags.over);
    let persistent = flags.persistent;
    let endpoint = Endpoint { address, version, qos, sources, below, persistent };
    let summary = match flags.scenario {
        Scenario::Connect => scenarios::connect::run(flags, &endpoint)?,
        Scenario::Floor => scenarios::floor::run(flags)?,
        Scenario::Retained => scenarios::retained::run(flags, &endpoint)?,
        Scenario::Store => scenarios::store::run(flags, &endpoint)?,
        Scenario::Churn => scenarios::churn::run(flags, &endpoint)?,
        Scenario::Fanout | Scenario::Fanin | Scenario::Pairs | Scenario::Pingpong => {
            let report = run::run(flags, &endpoint)?;
            report.write_files(flags)?;
            show(flags, &report);
            return Ok(report.faults().is_empty());
        }
    };
    show(flags, &summary);
    Ok(summary.is_good())
}

/// Prints what was found out.
fn show<R: Serialize + Display>(flags: &Flags, report: &R) {
    if flags.json {
        println!("{}", serde_json::to_string_pretty(report).expect("a report has only numbers"));
    } else {
        print!("{report}");
    }
}

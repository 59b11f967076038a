//! The crash test: kills a broker under load again and again, and checks what it acknowledged.
//!
//! ```text
//! flags ── run: cycles of start, load, kill ── report
//!           ├ target, broker: the process
//!           ├ catalog: who there is
//!           ├ client, reader, pipeline: the load, over link
//!           └ checker: what must follow from what was acknowledged
//! ```
#![forbid(unsafe_code)]

mod broker;
mod catalog;
mod checker;
mod client;
mod clock;
mod failure;
mod flags;
mod link;
mod pipeline;
mod reader;
mod relay;
mod report;
mod run;
mod stamp;
mod target;

use clap::Parser;
use flags::Flags;
use run::Run;
use std::process::ExitCode;

fn main() -> ExitCode {
    let flags = Flags::parse();
    match execute(&flags) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("ringmq-crash: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Carries the run out; false when the broker did something wrong.
fn execute(flags: &Flags) -> failure::Result<bool> {
    let (report, is_right) = Run::new(flags)?.all()?;
    print!("{report}");
    if let Some(file) = &flags.json {
        std::fs::write(file, report.json())?;
    }
    Ok(is_right)
}

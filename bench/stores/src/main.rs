//! Embedded stores and a segment file of our own, side by side at a broker's durable fan-out.
//!
//! ```text
//! flags ── workloads: what is committed ── meter, report: what it took
//!              │
//!            store: what each has to do
//!              ├ segment
//!              └ fjall_store, redb_store, rocksdb_store        encoding: varints
//! ```
#![forbid(unsafe_code)]

mod encoding;
mod fjall_store;
mod flags;
mod meter;
mod redb_store;
mod report;
mod rocksdb_store;
mod segment;
mod store;
mod workloads;

use clap::Parser;
use flags::{Flags, Workload};
use report::Row;
use std::fs::{create_dir_all, remove_dir_all};
use store::{Kind, Result};
use workloads::{Bench, Samples};

const ATTEMPTS_MAX: u32 = 3;

fn main() -> Result<()> {
    let flags = Flags::parse();
    let samples = Samples::new(flags.payload);
    let mut rows = Vec::new();
    for round in 1..=flags.rounds {
        println!("round {round}");
        for &workload in &flags.workloads {
            let sizes = if workload == Workload::Fanout { &flags.batches[..] } else { &[0] };
            for &size in sizes {
                for &kind in &flags.stores {
                    rows.push(measure(&flags, &samples, workload, size, kind)?);
                }
            }
        }
    }
    println!("\nmedian (least-most)\n{}", report::summary(&rows));
    Ok(())
}

/// One run, again if something else kept the machine busy.
fn measure(
    flags: &Flags,
    samples: &Samples,
    workload: Workload,
    size: u64,
    kind: Kind,
) -> Result<Row> {
    let folder = flags.folder.join(kind.name());
    let mut attempt = 1;
    loop {
        create_dir_all(&folder)?;
        meter::settle(&folder)?;
        let bench = Bench { flags, samples, folder: &folder, kind };
        let row = match workload {
            Workload::Fanout => bench.fanout(size)?,
            Workload::Publishers => bench.publishers()?,
            Workload::Drain => bench.drain()?,
            Workload::Load => bench.load()?,
        };
        remove_dir_all(&folder)?;
        if row.usage.others <= flags.others || attempt == ATTEMPTS_MAX {
            println!("{}", row.line());
            return Ok(row);
        }
        println!("{} | again", row.line());
        attempt += 1;
    }
}

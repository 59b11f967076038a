//! Runs seeds of the simulator: `simulate SEED`, `simulate FIRST..LAST`, with `--steps N`.

use ringmq_sim::{RunSettings, run};
use std::ops::Range;
use std::process::ExitCode;

const USAGE: &str = "usage: simulate SEED|FIRST..LAST [--steps N]";

fn main() -> ExitCode {
    let Some((seeds, settings)) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let is_one = seeds.end - seeds.start == 1;
    let mut failures = 0_u64;
    std::panic::set_hook(Box::new(|_| {}));
    for seed in seeds {
        if is_one {
            println!("seed {seed}");
        }
        match run(seed, settings) {
            Ok(report) if is_one => println!("hash {:016x}\n{report:#?}", report.hash),
            Ok(_) => {}
            Err(failure) if is_one => {
                println!("{failure}");
                failures += 1;
            }
            Err(failure) => {
                println!("seed {seed}: {}", failure.violation);
                failures += 1;
            }
        }
    }
    println!("{failures} failed");
    ExitCode::from(u8::from(failures > 0))
}

/// The seeds and how to run them.
fn parse(mut args: impl Iterator<Item = String>) -> Option<(Range<u64>, RunSettings)> {
    let mut settings = RunSettings::default();
    let mut seeds = None;
    while let Some(arg) = args.next() {
        if arg == "--steps" {
            settings.steps = Some(args.next()?.parse().ok()?);
        } else if let Some((first, last)) = arg.split_once("..") {
            seeds = Some(first.parse().ok()?..last.parse().ok()?);
        } else {
            let seed: u64 = arg.parse().ok()?;
            seeds = Some(seed..seed.checked_add(1)?);
        }
    }
    seeds.filter(|seeds: &Range<u64>| !seeds.is_empty()).map(|seeds| (seeds, settings))
}

//! Crash images: stop at every operation of the disk, lose or tear what was not synced, and look at
//! what recovery makes of it. `RINGMQ_IMAGES=100` makes a hundred times as many.
#![allow(clippy::disallowed_methods, reason = "a test may look at the environment")]
#![allow(unreachable_pub, missing_docs, missing_debug_implementations, dead_code)]

#[path = "store/run.rs"]
mod run;
#[path = "store/workload.rs"]
mod workload;

use ringmq::store::{Fault, Limits, Log, compact};
use ringmq::testing::disk;
use ringmq_sim::disk::{Crash, Disk, Operation, at_once};
use run::{SALT, effort, go_on, recover, run};
use workload::canonical;

#[test]
fn i14_every_crash_leaves_what_was_acknowledged() {
    let (mut images, mut rewrites, mut segments) = (0, 0, 0);
    for seed in 0..6 * effort() {
        let run = run(seed, 60, None);
        run.audit().unwrap();
        images += run.check(seed, 4).unwrap_or_else(|wrong| panic!("{wrong}"));
        rewrites += run.rewrites;
        let is_create = |(o, _): &&(Operation, _)| matches!(o, Operation::Create(_));
        segments += disk(&run.log).trace().iter().filter(is_create).count();
    }
    println!("{images} images, {rewrites} rewrites, {segments} segments");
    assert!(rewrites > 2 && segments > 20, "{rewrites} rewrites, {segments} segments");
}

#[test]
fn what_was_recovered_goes_on_and_crashes_again() {
    let mut images = 0;
    for seed in 0..3 * effort() {
        let first = run(seed, 40, None);
        let mut platter = disk(&first.log).platter();
        for (at, (operation, failure)) in disk(&first.log).trace().iter().enumerate() {
            platter.apply(operation, *failure);
            if at % 7 != (seed % 7) as usize && at > 12 {
                continue;
            }
            let image = platter.image(Crash::Seeded(seed * 31 + at as u64));
            let second = go_on(&image, seed + 1000, 6);
            images += second.check(seed, 1).unwrap_or_else(|wrong| panic!("after {at}: {wrong}"));
            let mut platter = disk(&second.log).platter();
            for (at, (operation, failure)) in disk(&second.log).trace().iter().enumerate() {
                platter.apply(operation, *failure);
                if at < 6 {
                    let image = platter.image(Crash::Seeded(seed * 37 + at as u64));
                    let third = go_on(&image, seed + 2000, 3);
                    images += third.check(seed, 1).unwrap_or_else(|e| panic!("third: {e}"));
                }
            }
        }
    }
    println!("{images} images");
}

#[test]
fn a_crash_while_the_journal_is_compacted_changes_nothing() {
    let mut images = 0;
    for seed in 0..4 * effort() {
        let image = disk(&run(seed, 25, None).log).contents();
        let recovered = recover(&image);
        let wanted = canonical(&recovered.state);
        let mut log = Log::new(Disk::new(image, None), recovered.end, true, SALT, Limits::USUAL);
        at_once(compact(&mut log, &recovered.state)).unwrap();
        let mut platter = disk(&log).platter();
        for (at, (operation, failure)) in disk(&log).trace().iter().enumerate() {
            platter.apply(operation, *failure);
            let seeds = (0..20).map(|i| Crash::Seeded(seed * 41 + at as u64 * 1000 + i));
            for crash in [Crash::Nothing, Crash::Everything].into_iter().chain(seeds) {
                let left = recover(&platter.image(crash));
                assert!(canonical(&left.state) == wanted, "seed {seed}, {operation:?}, {crash:?}");
                assert!(left.faults.iter().all(Fault::is_torn_tail), "{:?}", left.faults);
                images += 1;
            }
        }
        assert_eq!(disk(&log).contents().len(), 1);
    }
    println!("{images} images");
}

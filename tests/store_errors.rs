//! Every operation of the disk fails, in every way: nothing is acknowledged until a new segment
//! works, and whatever a crash leaves after it holds what was acknowledged before and after.
#![allow(clippy::disallowed_methods, reason = "a test may look at the environment")]
#![allow(unreachable_pub, missing_docs, missing_debug_implementations, dead_code)]

#[path = "store/run.rs"]
mod run;
#[path = "store/workload.rs"]
mod workload;

use ringmq::sim::disk::{Disk, Failure, Image, Plan, at_once};
use ringmq::store::record::Record;
use ringmq::store::{CommitWriter, Limits, Log, Past};
use run::{effort, go_on, recover, run};

const KINDS: [Failure; 3] = [Failure::NoSpace, Failure::Broken, Failure::Partly];

#[test]
fn i16_after_an_error_nothing_is_acknowledged_until_a_new_segment_works() {
    let (mut runs, mut images, mut failures) = (0, 0, 0);
    for seed in 0..effort() {
        let steps = 45;
        let whole = run(seed + 4, steps, None);
        assert!(whole.passes > 0, "no pass is tested");
        let operations = whole.log.disk().operations();
        for first in 0..operations {
            for (failure, count) in KINDS.into_iter().flat_map(|kind| [(kind, 1), (kind, 4)]) {
                let plan = Plan { first, count, failure };
                let run = run(seed + 4, steps, Some(plan));
                let place = || format!("{plan:?}");
                run.audit().unwrap_or_else(|wrong| panic!("{}: {wrong}", place()));
                assert!(run.failures > 0, "{}: nobody has noticed", place());
                runs += 1;
                failures += run.failures;
                let near = first.saturating_sub(1)..first + 24;
                let checked = run.check_within(seed + first as u64, 1, near);
                images += checked.unwrap_or_else(|wrong| panic!("{}: {wrong}", place()));
                let all = recover(&run.log.disk().contents());
                let commits = run.acknowledged.len();
                let wanted = run.workload.canonical(commits);
                assert!(workload::canonical(&all.state) == wanted, "{}", place());
            }
        }
    }
    println!("{runs} runs with errors, {failures} errors noticed, {images} images");
}

#[test]
fn a_new_process_goes_on_after_an_error_and_a_crash() {
    let mut images = 0;
    for first in (0..60).step_by(3) {
        for failure in KINDS {
            let run = run(4, 30, Some(Plan { first, count: 2, failure }));
            let image = run.log.disk().contents();
            let second = go_on(&image, 77, 8);
            images += second.check(first as u64, 2).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
    }
    println!("{images} images");
}

fn small_commit(log: &mut Log<Disk>) {
    let mut commit = CommitWriter::new(log.next_stamp(), Vec::new());
    commit.write(&Record::Ended { session: 1 });
    at_once(log.commit(commit.finish())).0.unwrap();
}

#[test]
fn segments_go_on_being_counted_when_a_pass_leaves_none() {
    let mut log = Log::new(Disk::default(), Past::default(), true, run::SALT, Limits::USUAL);
    small_commit(&mut log);
    for _ in 0..3 {
        at_once(log.begin_pass()).unwrap();
        at_once(log.end_pass()).unwrap();
    }
    small_commit(&mut log);
    let image = log.disk().contents();
    assert_eq!(image.keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(recover(&image).faults, []);
}

#[test]
fn a_segment_that_cannot_be_removed_keeps_what_is_said_after_it() {
    // The fourth operation of each segment is its last; the first removal comes behind all of them.
    let prepare = |plan| {
        let mut log = Log::new(
            Disk::new(Image::new(), plan),
            Past::default(),
            true,
            run::SALT,
            Limits::USUAL,
        );
        for _ in 0..3 {
            at_once(log.open()).unwrap();
            small_commit(&mut log);
        }
        at_once(log.begin_pass()).unwrap();
        log
    };
    let first = prepare(None).disk().operations();
    let mut log = prepare(Some(Plan { first, count: 1, failure: Failure::Broken }));
    assert!(at_once(log.end_pass()).is_err());
    assert_eq!(log.disk().contents().len(), 4, "no later one may go before it");
    small_commit(&mut log);
    at_once(log.begin_pass()).unwrap();
    at_once(log.end_pass()).unwrap();
    assert_eq!(log.disk().contents().len(), 1, "the next pass removes it");
}

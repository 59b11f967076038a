//! Every operation of the disk fails, in every way: nothing is acknowledged until a new segment
//! works, and whatever a crash leaves after it holds what was acknowledged before and after.
#![allow(clippy::disallowed_methods, reason = "a test may look at the environment")]
#![allow(unreachable_pub, missing_docs, missing_debug_implementations, dead_code)]

#[path = "store/run.rs"]
mod run;
#[path = "store/workload.rs"]
mod workload;

use ringmq::base::ids::SessionNumber;
use ringmq::store::record::Record;
use ringmq::store::{self, CommitWriter, Limits, Log, LogEnd, Sealed};
use ringmq::testing::{self, disk};
use ringmq_sim::disk::{Disk, Failure, Image, Plan, at_once};
use run::{effort, go_on, recover, run};
use std::cell::Cell;
use std::io;
use std::rc::Rc;

const KINDS: [Failure; 3] = [Failure::NoSpace, Failure::Broken, Failure::Partly];

#[test]
fn i16_after_an_error_nothing_is_acknowledged_until_a_new_segment_works() {
    let (mut runs, mut images, mut failures) = (0, 0, 0);
    for seed in 0..effort() {
        let steps = 45;
        let whole = run(seed + 4, steps, None);
        assert!(whole.rewrites > 0, "no rewrite is tested");
        let operations = disk(&whole.log).operations();
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
                let all = recover(&disk(&run.log).contents());
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
            let image = disk(&run.log).contents();
            let second = go_on(&image, 77, 8);
            images += second.check(first as u64, 2).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
    }
    println!("{images} images");
}

fn small_commit(log: &mut Log<Disk>) {
    let mut commit = CommitWriter::new(log.next_stamp(), Vec::new());
    commit.write(&Record::Ended { session: SessionNumber(1) });
    at_once(log.commit(commit.finish())).0.unwrap();
}

#[test]
fn segments_go_on_being_counted_when_a_rewrite_leaves_none() {
    let mut log = Log::new(Disk::default(), LogEnd::default(), true, run::SALT, Limits::USUAL);
    small_commit(&mut log);
    for _ in 0..3 {
        at_once(log.begin_rewrite()).unwrap();
        at_once(log.end_rewrite()).unwrap();
    }
    small_commit(&mut log);
    let image = disk(&log).contents();
    assert_eq!(image.keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(recover(&image).faults, []);
}

#[test]
fn a_segment_that_cannot_be_removed_keeps_what_is_said_after_it() {
    // The fourth operation of each segment is its last; the first removal comes behind all of them.
    let prepare = |plan| {
        let mut log = Log::new(
            Disk::new(Image::new(), plan),
            LogEnd::default(),
            true,
            run::SALT,
            Limits::USUAL,
        );
        for _ in 0..3 {
            at_once(log.open()).unwrap();
            small_commit(&mut log);
        }
        at_once(log.begin_rewrite()).unwrap();
        log
    };
    let first = disk(&prepare(None)).operations();
    let mut log = prepare(Some(Plan { first, count: 1, failure: Failure::Broken }));
    assert!(at_once(log.end_rewrite()).is_err());
    assert_eq!(disk(&log).contents().len(), 4, "no later one may go before it");
    small_commit(&mut log);
    at_once(log.begin_rewrite()).unwrap();
    at_once(log.end_rewrite()).unwrap();
    assert_eq!(disk(&log).contents().len(), 1, "the next rewrite removes it");
}

/// A disk that can be somewhere else for a while, or lack a segment.
struct Movable {
    disk: Disk,
    is_away: Rc<Cell<bool>>,
    lacks: Rc<Cell<u64>>,
}

impl store::Disk for Movable {
    type File = u64;

    async fn create(&mut self, number: u64) -> io::Result<u64> {
        assert!(!self.is_away.get(), "a segment is made in a strange place");
        self.disk.create(number).await
    }

    async fn write(&mut self, file: &u64, b: Vec<u8>, at: u64) -> (io::Result<()>, Vec<u8>) {
        self.disk.write(file, b, at).await
    }

    async fn sync(&mut self, file: &u64) -> io::Result<()> {
        self.disk.sync(file).await
    }

    async fn sync_names(&mut self) -> io::Result<()> {
        self.disk.sync_names().await
    }

    async fn remove(&mut self, number: u64) -> io::Result<()> {
        self.disk.remove(number).await
    }

    async fn look(&mut self, open: Option<(u64, &u64)>, older: &[Sealed]) -> io::Result<()> {
        let open = open.map(|(number, _)| number);
        let mut all = older.iter().map(|sealed| sealed.number).chain(open);
        match self.is_away.get() || all.any(|number| number == self.lacks.get()) {
            true => Err(io::Error::from(io::ErrorKind::NotFound)),
            false => Ok(()),
        }
    }
}

#[test]
fn nothing_is_done_that_the_next_start_would_not_find() {
    let (is_away, lacks) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let disk = Disk::default();
    let disk = Movable { disk, is_away: Rc::clone(&is_away), lacks: Rc::clone(&lacks) };
    let limits = Limits { segment_bytes_max: 300, ..Limits::USUAL };
    let mut log = Log::new(disk, LogEnd::default(), true, run::SALT, limits);
    let mut done = 0;
    let mut commit = |log: &mut Log<Movable>, session, is_done: bool| {
        let mut writer = CommitWriter::new(log.next_stamp(), Vec::new());
        writer.write(&Record::Ended { session });
        let result = at_once(log.commit(writer.finish())).0;
        assert_eq!(result.is_ok(), is_done, "session {session}");
        done += u64::from(is_done);
        assert_eq!(log.next_stamp().number, done + 1);
    };
    for session in 0..20 {
        commit(&mut log, SessionNumber(session), true);
    }
    for attempt in 0..3 {
        is_away.set(true);
        commit(&mut log, SessionNumber(20 + attempt), false);
        assert!(at_once(log.begin_rewrite()).is_err());
        is_away.set(false);
        commit(&mut log, SessionNumber(20 + attempt), true);
    }
    // An older one is missed when it is looked for.
    lacks.set(1);
    commit(&mut log, SessionNumber(30), true);
    log.look_at_older();
    commit(&mut log, SessionNumber(31), false);
    commit(&mut log, SessionNumber(31), false);
    lacks.set(0);
    commit(&mut log, SessionNumber(31), true);
    let recovered = recover(&testing::disk(&log).disk.contents());
    assert_eq!((recovered.faults, recovered.records), (Vec::new(), done));
}

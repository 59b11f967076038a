//! Defects planted into the disk, the log, the commits and the reader: the crash images find each.
#![allow(clippy::disallowed_methods, reason = "a test may look at the environment")]
#![allow(unreachable_pub, missing_docs, missing_debug_implementations, dead_code)]

#[path = "store/run.rs"]
mod run;
#[path = "store/workload.rs"]
mod workload;

use ringmq::store::record::Record;
use ringmq::store::{self, Epoch, Fault, LogEnd, Piece, State, pieces};
use ringmq::testing::disk;
use ringmq_sim::disk::{Crash, Disk, Failure, Image, Operation, Plan};
use run::{Defects, Run, SALT, Wrap};
use std::io;
use workload::{Payloads, Workload, canonical};

/// What a disk does not do, or does otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    /// A sync does nothing.
    NoSync,
    /// Names are never synced.
    NoSyncNames,
    /// A new segment's header is not synced before its first commit.
    NoHeaderSync,
    /// A failed sync is tried again, and then it has worked.
    SyncsAgain,
    /// A failed write counts as done.
    IgnoresWriteErrors,
    /// The end of a commit is written apart, after the sync.
    LateEnd,
    /// Far behind, a write goes to the place of the first commit.
    WritesAtFirst,
    /// A removal takes the segment after it, too.
    RemovesNewest,
}

struct Planted {
    disk: Disk,
    bug: Bug,
    headers: Vec<u64>,
    late: Option<(u64, Vec<u8>, u64)>,
}

impl Wrap for Planted {
    fn inner(&self) -> &Disk {
        &self.disk
    }
}

impl store::Disk for Planted {
    type File = u64;

    async fn create(&mut self, number: u64) -> io::Result<u64> {
        self.headers.push(number);
        self.disk.create(number).await
    }

    async fn write(&mut self, file: &u64, b: Vec<u8>, at: u64) -> (io::Result<()>, Vec<u8>) {
        if self.bug == Bug::LateEnd && b.len() > 200 {
            let (start, end) = b.split_at(b.len() - 100);
            self.late = Some((*file, end.to_vec(), at + start.len() as u64));
            let result = self.disk.write(file, start.to_vec(), at).await.0;
            return (result, b);
        }
        let is_low = self.bug == Bug::WritesAtFirst && at > 3000;
        let (result, b) = self.disk.write(file, b, if is_low { 128 } else { at }).await;
        (if self.bug == Bug::IgnoresWriteErrors { Ok(()) } else { result }, b)
    }

    async fn sync(&mut self, file: &u64) -> io::Result<()> {
        let is_header = self.headers.contains(file);
        self.headers.retain(|known| known != file);
        match self.bug {
            Bug::NoSync => return Ok(()),
            Bug::NoHeaderSync if is_header => return Ok(()),
            Bug::SyncsAgain if self.disk.sync(file).await.is_ok() => return Ok(()),
            _ => {}
        }
        let result = self.disk.sync(file).await;
        if let Some((file, bytes, at)) = self.late.take() {
            self.disk.write(&file, bytes, at).await.0?;
        }
        result
    }

    async fn sync_names(&mut self) -> io::Result<()> {
        if self.bug == Bug::NoSyncNames {
            return Ok(());
        }
        self.disk.sync_names().await
    }

    async fn remove(&mut self, number: u64) -> io::Result<()> {
        if self.bug == Bug::RemovesNewest {
            let _ = self.disk.remove(number + 1).await;
        }
        self.disk.remove(number).await
    }

    async fn look(&mut self, _: Option<(u64, &u64)>, _: &[store::Sealed]) -> io::Result<()> {
        Ok(())
    }
}

/// True when the images of some seeds find something wrong.
fn is_found(bug: Bug, defects: Defects, plans: &[Option<Plan>]) -> bool {
    plans.iter().any(|plan| {
        let disk = Disk::new(Image::new(), *plan);
        let disk = Planted { disk, bug, headers: Vec::new(), late: None };
        let workload = Workload::new(4, Payloads::new());
        let run = Run::new(disk, LogEnd::default(), workload, defects).steps(60);
        assert!(bug != Bug::None || run.rewrites > 0);
        run.check(1, 4).is_err()
    })
}

fn failing(failure: Failure) -> Vec<Option<Plan>> {
    (10..40).map(|first| Some(Plan { first, count: 1, failure })).collect()
}

#[test]
fn nothing_is_found_where_nothing_is_planted() {
    assert!(!is_found(Bug::None, Defects::default(), &[None]));
    assert!(!is_found(Bug::None, Defects::default(), &failing(Failure::Partly)[..5]));
}

#[test]
fn planted_defects_of_the_disk_are_found() {
    let healthy = [Bug::NoSync, Bug::NoSyncNames, Bug::LateEnd, Bug::WritesAtFirst];
    for bug in healthy.into_iter().chain([Bug::RemovesNewest, Bug::NoHeaderSync]) {
        assert!(is_found(bug, Defects::default(), &[None]), "{bug:?}");
    }
    for bug in [Bug::SyncsAgain, Bug::IgnoresWriteErrors] {
        assert!(is_found(bug, Defects::default(), &failing(Failure::Broken)), "{bug:?}");
    }
}

#[test]
fn planted_defects_of_the_log_are_found() {
    let none = Defects::default();
    let planted = [
        Defects { unsynced: true, ..none },
        Defects { hasty_rewrite: true, ..none },
        Defects { swaps: true, ..none },
    ];
    for defects in planted {
        assert!(is_found(Bug::None, defects, &[None]), "{defects:?}");
    }
    let ignores = Defects { ignores_errors: true, ..none };
    assert!(is_found(Bug::None, ignores, &failing(Failure::NoSpace)));
}

/// How a reader uses what it should not, or does not use what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Misread {
    None,
    /// The whole records of a commit that is torn are used.
    TornCommit,
    /// The last commit is left out, torn or not.
    NoLast,
    /// Records are applied from the last to the first within a commit.
    Backwards,
}

/// A reader that knows from the real one where a segment is torn.
fn misread(image: &Image, misread: Misread) -> Vec<u8> {
    let mut state = State::new(Epoch(0));
    let faults = run::recover(image).faults;
    let torn = |segment: u64, at: u64| {
        let is_it = |fault: &Fault| match *fault {
            Fault::TornTail { segment: torn, offset, .. } => torn == segment && offset <= at,
            _ => false,
        };
        faults.iter().any(is_it)
    };
    let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
    for (&segment, bytes) in image {
        for piece in pieces(bytes, SALT, records.last().map_or(1, |last| last.0 + 1)) {
            let Piece::Record { commit, offset, payload } = piece else { continue };
            if !torn(segment, offset) || misread == Misread::TornCommit {
                records.push((commit, payload.to_vec()));
            }
        }
    }
    let last = records.last().map_or(0, |last| last.0);
    if misread == Misread::NoLast {
        records.retain(|(commit, _)| *commit != last);
    }
    if misread == Misread::Backwards {
        records.reverse();
        records.sort_by_key(|(commit, _)| *commit);
    }
    records.iter().for_each(|(_, payload)| state.apply(Record::decode(payload).unwrap()));
    state.finish();
    canonical(&state)
}

/// How many images of a run the reader gets wrong.
fn wrong_images(how: Misread) -> usize {
    let run = run::run(4, 14, None);
    let states = run.states();
    let mut platter = disk(&run.log).platter();
    let mut wrong = 0;
    for (at, (operation, failure)) in disk(&run.log).trace().iter().enumerate() {
        platter.apply(operation, *failure);
        let is_commit = matches!(operation, Operation::Write { offset, .. } if *offset > 0);
        for seed in (0..40).filter(|_| is_commit) {
            let image = platter.image(Crash::Seeded(seed + at as u64 * 100));
            let acknowledged = run.acknowledged.partition_point(|&when| when <= at + 1);
            let begun = run.begun.partition_point(|&when| when < at + 1);
            let found = misread(&image, how);
            wrong += usize::from(!states[acknowledged..=begun].contains(&found));
        }
    }
    wrong
}

#[test]
fn planted_defects_of_the_reader_are_found() {
    assert_eq!(wrong_images(Misread::None), 0);
    for how in [Misread::TornCommit, Misread::NoLast, Misread::Backwards] {
        assert!(wrong_images(how) > 0, "{how:?}");
    }
}

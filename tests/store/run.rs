//! Runs a workload as the journal's thread does, and compares what crashes leave with it.

use super::workload::{Payloads, WORKERS, Workload, canonical, encoded};
use ringmq::store::{self, Epoch, Fault, Found, Limits, Log, LogEnd, Reader, Recovered};
use ringmq::testing::disk;
use ringmq_sim::disk::{Crash, Disk, Image, Operation, Plan, at_once};

/// Small enough for several segments and rewrites in one run.
pub const LIMITS: Limits =
    Limits { segment_bytes_max: 4000, rewrite_bytes_min: 12_000, rewrite_segments_max: 6 };
pub const SALT: u64 = 0x0123_4567_89AB_CDEF;

/// Something between the log and the disk: a planted defect, or nothing.
pub trait Wrap: store::Disk<File = u64> {
    fn inner(&self) -> &Disk;
}

impl Wrap for Disk {
    fn inner(&self) -> &Disk {
        self
    }
}

/// How a run goes wrong on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defects {
    /// The workers hear of a commit before it is synced.
    pub unsynced: bool,
    /// What was to be written is acknowledged although it failed.
    pub ignores_errors: bool,
    /// A rewrite counts as ended when the first worker has written its part.
    pub hasty_rewrite: bool,
    /// Two commits change places.
    pub swaps: bool,
}

/// What happened, and when: by operations done.
pub struct Run<D: Wrap> {
    pub log: Log<D>,
    pub workload: Workload,
    /// When each commit began.
    pub begun: Vec<usize>,
    /// When each was done.
    pub acknowledged: Vec<usize>,
    pub rewrites: usize,
    pub failures: usize,
    busy: [bool; WORKERS],
    defects: Defects,
    held_back: Option<Vec<u8>>,
}

impl<D: Wrap> Run<D> {
    pub fn new(disk: D, end: LogEnd, workload: Workload, defects: Defects) -> Self {
        let mut log = Log::new(disk, end, !defects.unsynced, SALT, LIMITS);
        let mut failures = 0;
        while at_once(log.open()).is_err() {
            failures += 1;
        }
        let (begun, acknowledged) = (Vec::new(), Vec::new());
        let busy = [false; WORKERS];
        let held_back = None;
        Self { log, workload, begun, acknowledged, rewrites: 0, failures, busy, defects, held_back }
    }

    pub fn steps(mut self, count: usize) -> Self {
        for _ in 0..count {
            let commit = self.workload.step(self.log.next_stamp());
            self.carry_out(commit);
            if self.log.wants_rewrite() && !self.workload.has_rewrite() {
                self.begin_rewrite();
            }
        }
        while let Some(commit) = self.workload.rest(self.log.next_stamp()) {
            self.carry_out(Some(commit));
        }
        self
    }

    fn begin_rewrite(&mut self) {
        match at_once(self.log.begin_rewrite()) {
            Ok(rewrite) => {
                self.workload.begin_rewrite(rewrite);
                self.busy = [true; WORKERS];
            }
            Err(_) => self.failures += 1,
        }
    }

    fn carry_out(&mut self, commit: Option<store::Commit>) {
        let Some(commit) = commit else { return };
        if !commit.bytes.is_empty() {
            self.begun.push(self.operations());
            self.write(commit.bytes);
            self.acknowledged.push(self.operations());
        }
        for (worker, _) in commit.rewrites {
            self.busy[worker.index()] = false;
            if !self.busy.contains(&true) || self.defects.hasty_rewrite {
                self.rewrites += 1;
                self.failures += usize::from(at_once(self.log.end_rewrite()).is_err());
            }
        }
    }

    fn write(&mut self, bytes: Vec<u8>) {
        if self.defects.swaps {
            match self.held_back.take() {
                None => return self.held_back = Some(bytes),
                Some(before) => {
                    let _ = at_once(self.log.commit(bytes));
                    let _ = at_once(self.log.commit(before));
                }
            }
            return;
        }
        let mut bytes = bytes;
        loop {
            let result;
            (result, bytes) = at_once(self.log.commit(bytes));
            if result.is_ok() || self.defects.ignores_errors {
                self.workload.recycle(bytes);
                return;
            }
            self.failures += 1;
        }
    }

    fn operations(&self) -> usize {
        disk(&self.log).inner().operations()
    }

    /// What each number of commits comes to.
    pub fn states(&self) -> Vec<Vec<u8>> {
        (0..=self.begun.len()).map(|commits| self.workload.canonical(commits)).collect()
    }

    /// Looks at crashes after every operation; how many, or what is wrong with one of them.
    pub fn check(&self, seed: u64, seeded: u64) -> Result<usize, String> {
        self.check_within(seed, seeded, 0..usize::MAX)
    }

    /// The same, after these operations only.
    pub fn check_within(
        &self,
        seed: u64,
        seeded: u64,
        range: std::ops::Range<usize>,
    ) -> Result<usize, String> {
        let states = self.states();
        let disk = disk(&self.log).inner();
        let mut platter = disk.platter();
        let mut images = 0;
        let mut check = |at: usize, platter: &ringmq_sim::disk::Platter| {
            let seeds = (0..seeded).map(|i| seed * 1_000_003 + at as u64 * 1009 + i);
            if !range.contains(&at) {
                return Ok(());
            }
            let crashes = [Crash::Nothing, Crash::Everything].into_iter();
            for crash in crashes.chain(seeds.map(Crash::Seeded)) {
                images += 1;
                let recovered = recover(&platter.image(crash));
                let place = || format!("seed {seed}, operation {at}, {crash:?}");
                self.judge(at, &recovered, &states)
                    .map_err(|wrong| format!("{}: {wrong}\n{:?}", place(), disk.trace().len()))?;
            }
            Ok::<_, String>(())
        };
        check(0, &platter)?;
        for (at, (operation, failure)) in disk.trace().iter().enumerate() {
            platter.apply(operation, *failure);
            check(at + 1, &platter)?;
        }
        Ok(images)
    }

    /// I14 and I15 for what a crash left after `at` operations.
    fn judge(&self, at: usize, found: &Recovered, states: &[Vec<u8>]) -> Result<usize, String> {
        let damage = found.faults.iter().find(|fault| !fault.is_torn_tail());
        if let Some(fault) = damage {
            return Err(format!("a crash was taken for damage: {fault}"));
        }
        let acknowledged = self.acknowledged.partition_point(|&when| when <= at);
        let begun = self.begun.partition_point(|&when| when < at).max(acknowledged);
        let is_it = canonical(&found.state);
        let range = acknowledged..=begun;
        range.clone().find(|&commits| states[commits] == is_it).ok_or_else(|| {
            let other = states.iter().position(|state| *state == is_it);
            let difference = difference(found, &self.workload, acknowledged);
            format!("not the state of {range:?} commits, but of {other:?}: {difference}")
        })
    }

    /// I16: what is acknowledged was written and synced, in a segment without a failure, whose
    /// name was synced.
    pub fn audit(&self) -> Result<(), String> {
        let trace = disk(&self.log).inner().trace();
        for (commit, (&from, &to)) in self.begun.iter().zip(&self.acknowledged).enumerate() {
            let failed = trace[from..to].iter().rposition(|(_, failure)| failure.is_some());
            let after = &trace[failed.map_or(from, |at| from + at + 1)..to];
            let writes = after.iter().filter(|(o, _)| matches!(o, Operation::Write { .. })).count();
            let syncs = after.iter().filter(|(o, _)| matches!(o, Operation::Sync(_))).count();
            let is_reopened = after.iter().any(|(o, _)| matches!(o, Operation::Create(_)))
                && after.iter().any(|(o, _)| *o == Operation::SyncNames);
            let wanted = if failed.is_some() || is_reopened { 2 } else { 1 };
            if writes != wanted || syncs != wanted || failed.is_some() && !is_reopened {
                return Err(format!("commit {commit} was acknowledged after {after:?}"));
            }
            let last = trace[..to].iter().rev();
            let mut last = last.filter(|(o, _)| !matches!(o, Operation::SyncNames));
            if !matches!(last.next(), Some((Operation::Sync(_), None))) {
                return Err(format!("commit {commit} was acknowledged unsynced"));
            }
        }
        Ok(())
    }
}

pub fn run(seed: u64, steps: usize, plan: Option<Plan>) -> Run<Disk> {
    let disk = Disk::new(Image::new(), plan);
    let workload = Workload::new(seed, Payloads::new());
    Run::new(disk, LogEnd::default(), workload, Defects::default()).steps(steps)
}

pub fn recover(image: &Image) -> Recovered {
    let mut reader = Reader::new(Epoch(0));
    for (&number, bytes) in image {
        reader.read(Found { number, bytes: bytes.clone() }).expect("no newer format");
    }
    reader.finish()
}

/// Goes on with what a crash left, as a new process does.
pub fn go_on(image: &Image, seed: u64, steps: usize) -> Run<Disk> {
    let recovered = recover(image);
    let mut image = image.clone();
    for fault in &recovered.faults {
        if let Fault::TornTail { segment, offset, .. } = *fault {
            image.get_mut(&segment).unwrap().truncate(offset as usize);
        }
    }
    let base = recovered.state.records().map(|record| encoded(&record)).collect();
    let mut workload = Workload::new(seed, base);
    workload.go_on_after(recovered.state.number_max, recovered.state.version_max);
    let disk = Disk::new(image, None);
    Run::new(disk, recovered.end, workload, Defects::default()).steps(steps)
}

/// So many times the usual effort.
pub fn effort() -> u64 {
    std::env::var("RINGMQ_IMAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// What two states differ in.
pub fn difference(found: &Recovered, run: &Workload, commits: usize) -> String {
    let wanted = run.state_after(commits);
    let list = |state: &store::State| -> Vec<String> {
        state.records().map(|record| format!("{record:?}")).collect()
    };
    let (found, wanted) = (list(&found.state), list(&wanted));
    let only = |a: &[String], b: &[String]| {
        let only = a.iter().filter(|record| !b.contains(record));
        only.map(|record| record.chars().take(900).collect::<String>()).collect::<Vec<_>>()
    };
    format!("found only {:#?}\nwanted only {:#?}", only(&found, &wanted), only(&wanted, &found))
}

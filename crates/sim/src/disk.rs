//! A disk that forgets what was not synced. Every operation is kept, so that whatever a crash could
//! have left at any point can be looked at later; operations fail where a plan says so.
//!
//! ```text
//! Log ──▶ Disk ──▶ trace: create, write, sync, …      a prefix of it ──▶ Platter ──▶ images
//! ```
//!
//! Contents and names are synced separately: a file that was made or removed may be as before until
//! the names are synced. What a failed sync was about may be there or not, whatever is synced
//! later.

use ringmq::store;
use ringmq::testing::Prng;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Bytes that are kept or lost as a whole, unless they are torn.
const SECTOR: usize = 512;

/// The segments that are there after a crash, by number.
pub type Image = BTreeMap<u64, Vec<u8>>;

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A file is made, or one of that name is emptied.
    Create(u64),
    /// Bytes are written.
    Write {
        /// To which segment.
        number: u64,
        /// From where on.
        offset: usize,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// Bytes written to the segment are to be safe.
    Sync(u64),
    /// Files made and removed are to be.
    SyncNames,
    /// A file is removed.
    Remove(u64),
}

/// The way in which an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing is done: no space.
    NoSpace,
    /// Nothing is done: an I/O error.
    Broken,
    /// A write does a part of its work; everything else does all of it. Then an I/O error.
    Partly,
}

/// Some operations that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The first; operations count from 0.
    pub first: usize,
    /// The number of operations that fail.
    pub count: usize,
    /// The way in which they fail.
    pub failure: Failure,
}

/// A crash, by the part that it leaves of bytes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// A crash does nothing to the change.
    Nothing,
    /// Everything.
    Everything,
    /// Of every sector all, nothing or a part, as the seed says.
    Seeded(u64),
}

/// The disk.
#[derive(Debug, Default)]
pub struct Disk {
    trace: Vec<(Operation, Option<Failure>)>,
    plan: Option<Plan>,
    start: Image,
    present: BTreeSet<u64>,
}

impl Disk {
    /// A disk on which these segments are safe.
    #[must_use]
    pub fn new(start: Image, plan: Option<Plan>) -> Self {
        let present = start.keys().copied().collect();
        Self { trace: Vec::new(), plan, start, present }
    }

    /// The number of operations so far.
    #[must_use]
    pub const fn operations(&self) -> usize {
        self.trace.len()
    }

    /// Every operation, and whether it failed.
    #[must_use]
    pub fn trace(&self) -> &[(Operation, Option<Failure>)] {
        &self.trace
    }

    /// The segments of the beginning.
    #[must_use]
    pub fn platter(&self) -> Platter {
        let safe = |bytes: &Vec<u8>| File { safe: bytes.clone(), changes: Vec::new() };
        let files = self.start.iter().map(|(&number, bytes)| (number, safe(bytes)));
        let names = self.start.keys().map(|&number| (number, vec![(true, Safety::Safe)]));
        Platter { files: files.collect(), names: names.collect() }
    }

    /// The segments in the end if nothing crashes.
    #[must_use]
    pub fn contents(&self) -> Image {
        let mut platter = self.platter();
        self.trace.iter().for_each(|(operation, failure)| platter.apply(operation, *failure));
        platter.image(Crash::Everything)
    }

    fn carry_out(&mut self, operation: Operation) -> io::Result<()> {
        let at = self.trace.len();
        let is_planned = |plan: &Plan| (plan.first..plan.first + plan.count).contains(&at);
        let failure = self.plan.filter(is_planned).map(|plan| plan.failure);
        if matches!(failure, None | Some(Failure::Partly)) {
            match operation {
                Operation::Create(number) => _ = self.present.insert(number),
                Operation::Remove(number) => _ = self.present.remove(&number),
                _ => {}
            }
        }
        self.trace.push((operation, failure));
        match failure {
            None => Ok(()),
            Some(Failure::NoSpace) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(Failure::Broken | Failure::Partly) => Err(io::Error::other("I/O error")),
        }
    }
}

impl store::Disk for Disk {
    type File = u64;

    async fn create(&mut self, number: u64) -> io::Result<u64> {
        self.carry_out(Operation::Create(number)).map(|()| number)
    }

    async fn write(
        &mut self,
        file: &u64,
        bytes: Vec<u8>,
        offset: u64,
    ) -> (io::Result<()>, Vec<u8>) {
        let written = bytes.as_slice().into();
        let write = Operation::Write { number: *file, offset: offset as usize, bytes: written };
        (self.carry_out(write), bytes)
    }

    async fn sync(&mut self, file: &u64) -> io::Result<()> {
        self.carry_out(Operation::Sync(*file))
    }

    async fn sync_names(&mut self) -> io::Result<()> {
        self.carry_out(Operation::SyncNames)
    }

    async fn remove(&mut self, number: u64) -> io::Result<()> {
        if !self.present.contains(&number) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        self.carry_out(Operation::Remove(number))
    }

    async fn look(&mut self, open: Option<(u64, &u64)>, older: &[store::Sealed]) -> io::Result<()> {
        let older = older.iter().filter(|sealed| sealed.end > 0).map(|sealed| sealed.number);
        let mut all = open.map(|(number, _)| number).into_iter().chain(older);
        match all.all(|number| self.present.contains(&number)) {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }
}

/// The effect of a crash on a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Safety {
    /// A crash does nothing to the change.
    Safe,
    /// A crash may undo the change, until it is synced.
    Unsynced,
    /// A crash may always undo the change: a sync has failed.
    Doubtful,
}

impl Safety {
    fn sync(&mut self, failure: Option<Failure>) {
        if *self == Self::Unsynced {
            *self = if failure.is_none() { Self::Safe } else { Self::Doubtful };
        }
    }
}

/// The disk at a point: changes that are safe, and changes that are not.
#[derive(Debug, Clone, Default)]
pub struct Platter {
    files: BTreeMap<u64, File>,
    /// Whether there is such a name: all that was said of it, the first of it safe.
    names: BTreeMap<u64, Vec<(bool, Safety)>>,
}

#[derive(Debug, Clone, Default)]
struct File {
    safe: Vec<u8>,
    changes: Vec<(Change, Safety)>,
}

#[derive(Debug, Clone)]
enum Change {
    Empty,
    Write { offset: usize, bytes: Arc<[u8]> },
}

impl Platter {
    /// The next operation.
    pub fn apply(&mut self, operation: &Operation, failure: Option<Failure>) {
        let is_done = !matches!(failure, Some(Failure::NoSpace | Failure::Broken));
        match operation {
            Operation::Create(number) if is_done => {
                let file = self.files.entry(*number).or_default();
                file.changes.push((Change::Empty, Safety::Unsynced));
                self.names.entry(*number).or_default().push((true, Safety::Unsynced));
            }
            Operation::Remove(number) if is_done => {
                self.names.entry(*number).or_default().push((false, Safety::Unsynced));
            }
            Operation::Write { number, offset, bytes } if is_done => {
                let part = if failure.is_some() { bytes.len() / 2 } else { bytes.len() };
                let change = Change::Write { offset: *offset, bytes: bytes[..part].into() };
                let file = self.files.entry(*number).or_default();
                file.changes.push((change, Safety::Unsynced));
            }
            Operation::Sync(number) => {
                let file = self.files.entry(*number).or_default();
                file.changes.iter_mut().for_each(|(_, safety)| safety.sync(failure));
                file.settle();
            }
            Operation::SyncNames => {
                let all = self.names.values_mut().flatten();
                all.for_each(|(_, safety)| safety.sync(failure));
            }
            Operation::Create(_) | Operation::Remove(_) | Operation::Write { .. } => {}
        }
    }

    /// The segments that a crash leaves.
    #[must_use]
    pub fn image(&self, crash: Crash) -> Image {
        let mut chance = Chance::new(crash);
        let mut image = Image::new();
        for (number, names) in &self.names {
            let mut is_there = false;
            for (exists, safety) in names {
                if *safety == Safety::Safe || chance.keeps() {
                    is_there = *exists;
                }
            }
            if is_there {
                let file = self.files.get(number).map(|file| file.image(&mut chance));
                image.insert(*number, file.unwrap_or_default());
            }
        }
        image
    }
}

impl File {
    /// Forgets in which steps it came to be what is safe.
    fn settle(&mut self) {
        let is_safe = |change: &(Change, Safety)| change.1 == Safety::Safe;
        let safe = self.changes.iter().take_while(|change| is_safe(change)).count();
        for (change, _) in self.changes.drain(..safe) {
            change.apply(&mut self.safe);
        }
    }

    fn image(&self, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.safe.clone();
        for (change, safety) in &self.changes {
            match (safety, change) {
                (Safety::Safe, change) => change.apply(&mut bytes),
                (_, Change::Empty) if chance.keeps() => bytes.clear(),
                (_, Change::Empty) => {}
                (_, Change::Write { offset, bytes: written }) => {
                    chance.tear(&mut bytes, *offset, written);
                }
            }
        }
        bytes
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Empty => to.clear(),
            Self::Write { offset, bytes } => put(to, *offset, bytes),
        }
    }
}

fn put(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(bytes);
}

/// Decides the fate of every sector.
enum Chance {
    Always(bool),
    /// So many in a hundred are kept.
    Seeded(Prng, u64),
}

impl Chance {
    fn new(crash: Crash) -> Self {
        match crash {
            Crash::Nothing => Self::Always(false),
            Crash::Everything => Self::Always(true),
            Crash::Seeded(seed) => {
                let mut prng = Prng::new(seed);
                let percent = [5, 50, 95][prng.below(3) as usize];
                Self::Seeded(prng, percent)
            }
        }
    }

    fn keeps(&mut self) -> bool {
        match self {
            Self::Always(keeps) => *keeps,
            Self::Seeded(prng, percent) => prng.chance(*percent),
        }
    }

    /// Does a part of a write: sector by sector, in any order.
    fn tear(&mut self, to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let length = (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
            let sector = &bytes[at..at + length];
            if self.keeps() {
                put(to, offset + at, sector);
            } else {
                self.tear_sector(to, offset + at, sector);
            }
            at += length;
        }
        // The length may be known while the bytes are not.
        if matches!(self, Self::Seeded(..)) && self.keeps() {
            put(to, offset + bytes.len(), &[]);
        }
    }

    /// Sometimes a part of a sector is there all the same: its beginning, or its end.
    fn tear_sector(&mut self, to: &mut Vec<u8>, offset: usize, sector: &[u8]) {
        let Self::Seeded(prng, _) = self else { return };
        let cut = prng.below(sector.len() as u64 + 1) as usize;
        match prng.below(8) {
            0 => put(to, offset, &sector[..cut]),
            1 => put(to, offset + cut, &sector[cut..]),
            _ => {}
        }
    }
}

/// The result of a future that waits for nothing.
///
/// # Panics
///
/// When it waits.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits for something"),
    }
}

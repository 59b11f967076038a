//! The journal's loop: take the workers' records, commit them, tell the workers.

use super::directory::{Directory, cut_torn_tails};
use super::disk::Files;
use super::error::JournalError;
use super::faults;
use super::runtime::block_on;
use crate::base::ids::{ByWorker, WorkerId};
use crate::io::setup::RingEngine;
use crate::limits::{CLOCK_CHECK, JOURNAL_RETRY};
use crate::mesh::Line;
use crate::metrics;
use crate::store::record::ClockNote;
use crate::store::{
    Commit, CommitBuilder, Committed, Epoch, Fault, Log, LogCounts, LogEnd, News, Submission,
};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// The time to wait for room in a worker's ring.
const TELL_AGAIN: Duration = Duration::from_millis(1);

/// The time by which the planted defect acknowledges too early.
const EARLY: Duration = Duration::from_millis(5);

/// The journal in the eyes of those who watch over it.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// The figures.
    pub figures: metrics::Journal,
    /// The cause for which the journal cannot be written, while it cannot.
    pub failure: Option<String>,
}

/// The parts of a journal.
pub(crate) struct JournalSetup {
    /// The way to files.
    pub engine: RingEngine,
    /// The directory of the journal.
    pub directory: Directory,
    /// The end of the log that recovery found.
    pub end: LogEnd,
    /// The faults that recovery found.
    pub faults: Vec<Fault>,
    /// The journal's time when the process's clock began.
    pub epoch: Epoch,
    /// Reads the journal's time now, and the clocks.
    pub clock: Box<dyn Fn() -> ClockNote + Send>,
    /// Whether a commit is synced.
    pub syncs: bool,
    /// A random number that no one can guess, for a new journal.
    pub salt: u64,
    /// The journal's ends of the lines to the workers.
    pub lines: ByWorker<Line<News, Submission>>,
    /// Wakes a worker.
    pub wake: Box<dyn Fn(WorkerId) + Send>,
    /// The bell that wakes the journal.
    pub bell: Arc<Notify>,
    /// The place for the journal's status, which the journal alone writes.
    pub status: Arc<Mutex<Status>>,
}

impl std::fmt::Debug for JournalSetup {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("JournalSetup")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Starts the journal, which is open when the function returns. Its thread ends once all workers
/// have gone: with true when all their records are written, with false when they cannot be.
///
/// # Errors
/// The thread does not start, or the journal cannot be written.
pub(crate) fn start(setup: JournalSetup) -> Result<JoinHandle<bool>, JournalError> {
    let (opened_in, opened) = mpsc::channel();
    let cannot = |error: io::Error| JournalError::io("cannot write the journal", error);
    let body = move || {
        let told = opened_in.clone();
        let journal = block_on(setup.engine, async move {
            match Journal::open(setup).await {
                Ok(journal) => {
                    // Whoever started it waits for this.
                    let _ = opened_in.send(Ok(()));
                    drop(opened_in);
                    journal.run().await
                }
                Err(error) => {
                    opened_in.send(Err(error)).unwrap_or(());
                    false
                }
            }
        });
        journal.unwrap_or_else(|error| {
            told.send(Err(cannot(error))).unwrap_or(());
            false
        })
    };
    let thread = thread::Builder::new().name("journal".into()).spawn(body).map_err(cannot)?;
    opened.recv().unwrap_or_else(|_| Err(JournalError::new("the journal's thread has ended")))?;
    Ok(thread)
}

struct Journal {
    log: Log<Files>,
    gatherer: CommitBuilder,
    lines: ByWorker<Line<News, Submission>>,
    wake: Box<dyn Fn(WorkerId) + Send>,
    bell: Arc<Notify>,
    clock: Box<dyn Fn() -> ClockNote + Send>,
    /// The last note of the clocks, or the clocks at the start.
    clock_seen: ClockNote,
    /// Whether the next commit has to note the clocks, however little time has passed.
    owes_clock: bool,
    /// The news that wait for room in a worker's ring.
    untold: ByWorker<VecDeque<News>>,
    status: Arc<Mutex<Status>>,
    /// The current rewrite, and whether each worker is still at it.
    rewrite: Option<(u32, ByWorker<bool>)>,
}

impl Journal {
    async fn open(setup: JournalSetup) -> Result<Self, JournalError> {
        let JournalSetup { engine, directory, end, faults, epoch, clock, syncs, salt, .. } = setup;
        let JournalSetup { lines, wake, bell, status, .. } = setup;
        cut_torn_tails(&directory, &faults)?;
        let path = directory.path().to_owned();
        let cannot = |error| JournalError::at(&path, "cannot write the journal in", error);
        let mut log = Log::new(Files { directory, engine }, end, syncs, salt, faults::LIMITS);
        log.open().await.map_err(cannot)?;
        faults::reach("recovered");
        let gatherer = CommitBuilder::new(lines.workers(), epoch);
        let untold = ByWorker::new(lines.workers(), |_| VecDeque::new());
        let clock_seen = clock();
        let journal = Self {
            log,
            gatherer,
            lines,
            wake,
            bell,
            clock,
            clock_seen,
            owes_clock: true,
            untold,
            status,
            rewrite: None,
        };
        journal.show();
        Ok(journal)
    }

    /// Runs the journal; true when all records are written.
    async fn run(mut self) -> bool {
        loop {
            let is_last = self.is_abandoned();
            self.take();
            if let Some(commit) = self.next_commit() {
                faults::reach("gathered");
                if !self.carry_out(commit).await {
                    return false;
                }
                continue;
            }
            if is_last {
                self.note_last_time().await;
                let LogCounts { commits, bytes, .. } = self.log.counts();
                tracing::info!(commits, bytes, "The journal is closed");
                return true;
            }
            if self.log.wants_rewrite() {
                self.begin_rewrite().await;
            }
            if self.tell_untold() {
                let _ = timeout(CLOCK_CHECK, self.bell.notified()).await;
            } else {
                let _ = timeout(TELL_AGAIN, self.bell.notified()).await;
            }
        }
    }

    /// The next commit, if any record waits. Now and then a commit begins with a note of the
    /// clocks. A step of the wall clock makes a commit with the note alone.
    fn next_commit(&mut self) -> Option<Commit> {
        let note = (self.clock)();
        let has_stepped = self.clock_seen.has_stepped(&note);
        let is_due = self.owes_clock || has_stepped || self.clock_seen.is_old(&note);
        if is_due {
            self.gatherer.note_clock(note);
            self.log.look_at_older();
        }
        let stamp = self.log.next_stamp();
        let commit = match self.gatherer.next(stamp) {
            None if has_stepped => Some(self.gatherer.clock_commit(stamp, note)),
            commit => commit,
        };
        if is_due && commit.as_ref().is_some_and(|commit| !commit.bytes.is_empty()) {
            (self.clock_seen, self.owes_clock) = (note, false);
        }
        commit
    }

    /// Notes the clocks at an orderly stop. The note helps the next start, but no client waits for
    /// it.
    async fn note_last_time(&mut self) {
        let stamp = self.log.next_stamp();
        if stamp.number > 1 {
            let commit = self.gatherer.clock_commit(stamp, (self.clock)());
            let (result, _) = self.log.commit(commit.bytes).await;
            if let Err(error) = result {
                tracing::warn!("The journal's last note of the clocks cannot be written: {error}");
            }
        }
    }

    /// Takes the workers' records.
    fn take(&mut self) {
        for (worker, line) in self.lines.iter_mut() {
            while let Some(mut submission) = line.receive() {
                faults::spoil(&mut submission);
                self.gatherer.take(worker, submission);
            }
        }
    }

    /// True once all workers have gone.
    fn is_abandoned(&self) -> bool {
        self.lines.values().all(Line::is_abandoned)
    }

    /// Writes a commit and tells the workers; false when it cannot be written and no worker is
    /// left.
    async fn carry_out(&mut self, commit: Commit) -> bool {
        let Commit { bytes, heard, rewrites } = commit;
        if faults::has("early-acknowledgement") {
            self.tell_committed(heard);
            self.wait(EARLY).await;
            self.write(bytes).await;
        } else {
            if !self.write(bytes).await {
                return false;
            }
            faults::reach("synced");
            self.tell_committed(heard);
        }
        faults::reach("acknowledged");
        for (worker, rewrite) in rewrites {
            self.end_rewrite(worker, rewrite).await;
        }
        true
    }

    fn tell_committed(&mut self, heard: ByWorker<Committed>) {
        for (worker, committed) in heard.into_pairs() {
            if committed.has_batch || !committed.parts.is_empty() {
                self.tell(worker, News::Committed(committed));
            }
        }
    }

    /// Writes a commit, and returns once it is as safe as the settings ask, whatever the disk does
    /// meanwhile. A failed write is never repeated in the same place: it goes to a new segment.
    /// Returns false when the write has failed and no worker is left.
    async fn write(&mut self, mut bytes: Vec<u8>) -> bool {
        let mut has_failed = false;
        while !bytes.is_empty() {
            let result;
            (result, bytes) = self.log.commit(bytes).await;
            self.show();
            let Err(error) = result else { break };
            if !has_failed {
                has_failed = true;
                tracing::error!(
                    "The journal cannot be written: {error}. Changes that have to outlive this \
                     process are not acknowledged until a write works; one is tried every second"
                );
                self.tell_all_state(Some(&error.to_string()));
            }
            if self.is_abandoned() {
                return false;
            }
            self.wait(JOURNAL_RETRY).await;
        }
        if has_failed {
            tracing::warn!("The journal can be written again");
            self.tell_all_state(None);
        }
        self.gatherer.recycle(bytes);
        true
    }

    /// Waits, and takes the workers' records meanwhile.
    async fn wait(&mut self, duration: Duration) {
        let bell = Arc::clone(&self.bell);
        let _ = timeout(duration, async {
            while !self.is_abandoned() {
                self.take();
                bell.notified().await;
            }
        })
        .await;
        // The workers are not told a second time.
        self.bell.notify_one();
    }

    fn tell_all_state(&mut self, failure: Option<&str>) {
        self.status().failure = failure.map(Into::into);
        for worker in WorkerId::all(self.lines.workers()) {
            self.tell(worker, News::State { failure: failure.map(Into::into) });
        }
    }

    fn tell(&mut self, worker: WorkerId, news: News) {
        self.untold[worker].push_back(news);
        self.tell_untold();
    }

    /// Sends news to the workers whose rings have room; true when no news are left.
    fn tell_untold(&mut self) -> bool {
        for (worker, untold) in self.untold.iter_mut() {
            let line = &mut self.lines[worker];
            if line.is_abandoned() {
                // A worker that has gone wants to know nothing.
                untold.clear();
            }
            while line.has_room() {
                let Some(news) = untold.pop_front() else { break };
                let is_told = line.send(news).is_ok();
                assert!(is_told, "there is room");
                (self.wake)(worker);
            }
        }
        self.untold.values().all(VecDeque::is_empty)
    }

    async fn begin_rewrite(&mut self) {
        match self.log.begin_rewrite().await {
            Ok(rewrite) => {
                faults::reach("rewrite-begun");
                tracing::debug!(
                    rewrite,
                    bytes = self.log.bytes(),
                    "The journal is rewritten, so that older segments can go"
                );
                self.rewrite = Some((rewrite, ByWorker::new(self.lines.workers(), |_| true)));
                self.show();
                // What stands before the rewrite will be removed, and with it the notes.
                self.owes_clock = true;
                for worker in WorkerId::all(self.lines.workers()) {
                    self.tell(worker, News::RewriteBegun { rewrite });
                }
            }
            // Commits say what is wrong; this is tried again when one has worked.
            Err(error) => tracing::debug!("The journal cannot be made smaller now: {error}"),
        }
    }

    async fn end_rewrite(&mut self, worker: WorkerId, rewrite: u32) {
        let Some((_, busy)) = self.rewrite.as_mut().filter(|(known, _)| *known == rewrite) else {
            return;
        };
        busy[worker] = false;
        if busy.values().any(|is_busy| *is_busy) {
            return;
        }
        self.rewrite = None;
        match self.log.end_rewrite().await {
            Ok(()) => tracing::debug!(rewrite, bytes = self.log.bytes(), "Older segments are gone"),
            Err(error) => tracing::warn!("A segment could not be removed: {error}"),
        }
        self.show();
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the figures to whoever asks for metrics.
    fn show(&self) {
        let LogCounts { commits, bytes, syncs, failures, rewrites } = self.log.counts();
        self.status().figures = metrics::Journal {
            journal_commits: commits,
            journal_written: bytes,
            journal_syncs: syncs,
            journal_failures: failures,
            journal_rewrites: rewrites,
            journal_rewriting: self.log.is_rewriting().into(),
            journal_segments: self.log.segments() as u64,
            journal_size: self.log.bytes(),
            journal_live: self.log.live_bytes(),
        };
    }
}

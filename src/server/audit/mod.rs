//! The audit log: entries of all threads on their way to the thread that writes them.

mod command;
mod file;
mod writer;

pub(super) use command::{command, run};

use super::failure::Failure;
use super::logging::{Field, time};
use crate::audit::{Entry, Trail};
use crate::base::ids::WorkerId;
use crate::limits::{AUDIT_ENTRY_BYTES, audit_bytes_max};
use crate::options::Options;
use crossbeam_channel::{Sender, unbounded};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// The way to the audit log; cheap to clone. Without `--audit-log` nothing comes of anything.
#[derive(Debug, Clone, Default)]
pub(super) struct Audit(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    entries: Sender<Noted>,
    orders: Sender<Order>,
    counts: Arc<Counts>,
    /// Bytes of entries that may wait of one sender.
    bytes_max: usize,
}

/// An entry on its way.
#[derive(Debug)]
struct Noted {
    time: String,
    fields: Box<str>,
    /// The place of the sender.
    sender: usize,
}

impl Noted {
    fn cost(fields: &str) -> usize {
        fields.len() + AUDIT_ENTRY_BYTES
    }
}

/// An order to the thread that writes.
#[derive(Debug)]
enum Order {
    /// The file may have another name now: a new one begins then.
    Reopen,
    /// The limits of a file and of the number of old ones.
    Limit(Limits),
    /// The end: all entries that wait are written, as far as the disk allows.
    End,
}

/// When a file ends, and how many old ones are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    /// 0 for files without an end.
    max_bytes: u64,
    /// 0 for all.
    keep: u32,
}

impl Limits {
    const fn of(options: &Options) -> Self {
        Self { max_bytes: options.audit_log_max_bytes, keep: options.audit_log_keep }
    }
}

/// The counts of entries.
#[derive(Debug)]
struct Counts {
    /// The entries that wait, of each worker and, at the end, of the other threads.
    waiting: Box<[Waiting]>,
    written: AtomicU64,
    lost: AtomicU64,
    is_failing: AtomicBool,
}

/// The entries of one sender that wait. Each has cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Waiting {
    bytes: AtomicUsize,
    /// The number of entries without room since this was last told.
    lost: AtomicU64,
}

/// The audit log as metrics show it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AuditState {
    pub(super) written: u64,
    pub(super) lost: u64,
    pub(super) is_failing: bool,
}

/// Opens the audit log, if there is to be one, and starts the thread that writes it.
///
/// # Errors
/// One line with the cause and the fix.
pub(super) fn start(
    options: &Options,
    workers: usize,
) -> Result<(Audit, Option<JoinHandle<()>>), Failure> {
    let Some(path) = &options.audit_log else { return Ok((Audit::default(), None)) };
    start_at(path, Limits::of(options), workers).map_err(Failure::start)
}

fn start_at(
    path: &Path,
    limits: Limits,
    workers: usize,
) -> Result<(Audit, Option<JoinHandle<()>>), file::AuditError> {
    let (file, tail) = file::LogFile::begin(path)?;
    let counts = Arc::new(Counts {
        waiting: (0..=workers).map(|_| Waiting::default()).collect(),
        written: AtomicU64::new(0),
        lost: AtomicU64::new(0),
        is_failing: AtomicBool::new(false),
    });
    let (entries, received) = unbounded();
    let (orders, ordered) = unbounded();
    let writer = writer::Writer::new(file, tail, limits, (received, ordered), Arc::clone(&counts));
    let thread = std::thread::Builder::new().name("audit".into());
    let thread = thread.spawn(move || writer.run()).map_err(|e| file::AuditError::at(path, e))?;
    let bytes_max = audit_bytes_max(workers);
    let shared = Shared { entries, orders, counts, bytes_max };
    Ok((Audit(Some(Arc::new(shared))), Some(thread)))
}

impl Shared {
    /// Sends an entry to the thread that writes, or counts it as lost when too many wait.
    fn take(&self, sender: usize, entry: &Entry) {
        let (fields, waiting) = (entry.fields(), &self.counts.waiting[sender]);
        let cost = Noted::cost(fields);
        // Relaxed: the count guards nothing but itself.
        if waiting.bytes.fetch_add(cost, Ordering::Relaxed) + cost > self.bytes_max {
            waiting.bytes.fetch_sub(cost, Ordering::Relaxed);
            waiting.lost.fetch_add(1, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // It fails only when the writer has ended, as the process does.
        let _ = self.entries.send(Noted { time: time(), fields: fields.into(), sender });
    }
}

impl Audit {
    /// The trail of one worker's events; None when there is no audit log.
    pub(super) fn trail(&self, worker: WorkerId) -> Option<Trail> {
        let shared = Arc::clone(self.0.as_ref()?);
        Some(Trail::new(move |entry| shared.take(worker.index(), entry)))
    }

    /// Notes an event of the broker itself.
    pub(super) fn note(&self, entry: &Entry) {
        if let Some(shared) = &self.0 {
            shared.take(shared.counts.waiting.len() - 1, entry);
        }
    }

    /// Notes an administrative act: who did what, and to what. No field may have a secret or a
    /// payload.
    pub(super) fn act(&self, actor: &str, act: &str, fields: &[(&str, Field<'_>)]) {
        let entry = Entry::new("act").text("actor", actor).text("act", act);
        self.note(&fields.iter().fold(entry, |entry, (name, field)| match field {
            Field::Number(number) => entry.number(name, *number),
            Field::Text(text) => entry.text(name, text),
        }));
    }

    /// Begins a new file if the present one has another name now.
    pub(super) fn reopen(&self) {
        self.order(Order::Reopen);
    }

    /// Goes by new options.
    pub(super) fn reload(&self, options: &Options) {
        self.order(Order::Limit(Limits::of(options)));
    }

    /// Lets the thread write what waits, and end.
    pub(super) fn end(&self) {
        self.order(Order::End);
    }

    fn order(&self, order: Order) {
        if let Some(shared) = &self.0 {
            let _ = shared.orders.send(order);
        }
    }

    /// The state of the audit log.
    pub(super) fn state(&self) -> AuditState {
        let Some(shared) = &self.0 else { return AuditState::default() };
        let counts = &shared.counts;
        AuditState {
            written: counts.written.load(Ordering::Relaxed),
            lost: counts.lost.load(Ordering::Relaxed),
            is_failing: counts.is_failing.load(Ordering::Relaxed),
        }
    }
}

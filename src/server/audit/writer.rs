//! The thread that writes the audit log.
//!
//! Entries that a full disk does not take stay where they are: those of the batch in hand, and
//! behind it the queue, which is bounded. A write goes on where it stopped, so a full disk tears no
//! line. What finds no room in the queue is counted, and a line tells the number.

use super::file::{LogFile, Tail};
use super::{Counts, Limits, Noted, Order};
use crate::audit::{Chain, Entry, Hash, Line, Sealed};
use crate::base::time::Time;
use crate::io::clock::Clock;
use crate::limits::{AUDIT_LINGER, AUDIT_RETRY, AUDIT_ROTATE_RETRY, AUDIT_SYNC};
use crate::server::logging::time;
use crossbeam_channel::{Receiver, select, select_biased};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The number of bytes written at once.
const BATCH_BYTES: usize = 64 * 1024;

/// The longest wait for something to do, when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Writer {
    file: LogFile,
    chain: Chain,
    limits: Limits,
    entries: Receiver<Noted>,
    orders: Receiver<Order>,
    counts: Arc<Counts>,
    clock: Clock,
    /// Lines, of which the first bytes are written.
    batch: String,
    written: usize,
    /// The time by which what is written has to be synced.
    sync_due: Option<Time>,
    /// The failure of a write or a sync that is not over.
    failure: Option<Failure>,
    /// The file has to be opened anew when all of the batch is written.
    is_reopening: bool,
    /// The time before which no file is renamed or begun, since that has failed.
    rotate_from: Time,
    is_ending: bool,
}

#[derive(Debug)]
struct Failure {
    began: String,
    cause: String,
    retry_at: Time,
}

impl Writer {
    pub(super) fn new(
        file: LogFile,
        tail: Tail,
        limits: Limits,
        (entries, orders): (Receiver<Noted>, Receiver<Order>),
        counts: Arc<Counts>,
    ) -> Self {
        let mut writer = Self {
            file,
            chain: tail.chain,
            limits,
            entries,
            orders,
            counts,
            clock: Clock::start(),
            batch: String::new(),
            written: 0,
            sync_due: None,
            failure: None,
            is_reopening: false,
            rotate_from: Time::ZERO,
            is_ending: false,
        };
        writer.tell_torn(tail);
        writer
    }

    /// Tells of the bytes that a crash has left, in a line of their own behind them.
    fn tell_torn(&mut self, tail: Tail) {
        let Tail { mut torn, lacks_newline, .. } = tail;
        if torn.is_empty() {
            return;
        }
        if lacks_newline {
            torn.push(b'\n');
            self.batch.push('\n');
            if let Some(line) = Line::read(&torn).filter(|line| line.follows(&self.chain)) {
                // Nothing but the newline was missing.
                self.chain = line.end;
                return;
            }
        }
        let (bytes, hash) = (torn.len() as u64, Hash::of(&torn));
        tracing::warn!(bytes, "Audit log: its last line was torn by a crash, which a line tells");
        let entry = Entry::new("torn").number("torn_bytes", bytes);
        self.append(&entry.text("torn_sha256", &hash.to_string()));
    }

    pub(super) fn run(mut self) {
        loop {
            self.write();
            self.sync_in_time();
            if self.failure.is_none() || self.is_ending {
                self.gather();
            }
            if self.batch.is_empty() && self.is_ending && self.entries.is_empty() {
                self.sync();
                if self.batch.is_empty() {
                    return;
                }
            }
            if self.is_ending && self.failure.is_some() {
                return self.give_up();
            }
            if self.batch.is_empty() || self.failure.is_some() {
                self.wait();
            }
            let is_small = !self.batch.is_empty() && self.batch.len() < BATCH_BYTES;
            if is_small && self.failure.is_none() && !self.is_ending {
                std::thread::sleep(AUDIT_LINGER);
                self.gather();
            }
        }
    }

    /// Waits for an order, for an entry unless the disk takes none, or for something that is due.
    fn wait(&mut self) {
        let now = self.clock.now();
        let due = [self.sync_due, self.failure.as_ref().map(|failure| failure.retry_at)];
        let due = due.into_iter().flatten().min();
        let time = due.map_or(IDLE, |due| due.since(now));
        if self.failure.is_some() {
            select! {
                recv(self.orders) -> order => self.obey(order.ok()),
                default(time) => {}
            }
            return;
        }
        let (orders, entries) = (self.orders.clone(), self.entries.clone());
        select_biased! {
            recv(orders) -> order => self.obey(order.ok()),
            recv(entries) -> entry => match entry {
                Ok(entry) => {
                    self.obey_all();
                    self.take(&entry);
                }
                Err(_) => self.is_ending = true,
            },
            default(time) => {}
        }
    }

    fn obey_all(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            self.obey(Some(order));
        }
    }

    fn obey(&mut self, order: Option<Order>) {
        match order {
            Some(Order::Reopen) => {
                self.is_reopening = true;
                self.write();
            }
            Some(Order::Limit(limits)) => self.limits = limits,
            Some(Order::End) | None => self.is_ending = true,
        }
    }

    /// Takes the entries that wait, as far as they fit into a batch.
    fn gather(&mut self) {
        while self.batch.len() < BATCH_BYTES
            && let Ok(entry) = self.entries.try_recv()
        {
            self.take(&entry);
        }
        self.tell_lost();
    }

    fn take(&mut self, noted: &Noted) {
        self.make_room();
        let Noted { time, fields, sender } = noted;
        self.chain.append(&Sealed { time, fields }, &mut self.batch);
        let waiting = &self.counts.waiting[*sender];
        waiting.bytes.fetch_sub(Noted::cost(fields), Ordering::Relaxed);
        self.counts.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Appends a line of the log's own.
    fn append(&mut self, entry: &Entry) {
        self.chain.append(&Sealed { time: &time(), fields: entry.fields() }, &mut self.batch);
    }

    /// Appends a line about entries that found no room, if there were any.
    fn tell_lost(&mut self) {
        let lost = self.take_lost();
        if lost > 0 {
            tracing::warn!(lost, "Audit log: events are lost, since too many came at once");
            self.append(&Entry::new("lost").number("count", lost).text("cause", "too many"));
        }
    }

    fn take_lost(&self) -> u64 {
        self.counts.waiting.iter().map(|waiting| waiting.lost.swap(0, Ordering::Relaxed)).sum()
    }

    /// Begins a new file when the present one is full.
    fn make_room(&mut self) {
        let length = self.file.length() + (self.batch.len() - self.written) as u64;
        let Limits { max_bytes, keep } = self.limits;
        if max_bytes == 0 || length < max_bytes || self.clock.now() < self.rotate_from {
            return;
        }
        self.write();
        if self.failure.is_some() {
            return;
        }
        let rotated = self.file.rotate(keep);
        self.note_file(rotated, "size");
    }

    /// Opens the file anew if it was renamed.
    fn reopen(&mut self) {
        if self.file.has_moved() {
            let followed = self.file.follow();
            self.note_file(followed.map(|()| Vec::new()), "reopened");
        }
    }

    fn note_file(&mut self, begun: io::Result<Vec<String>>, cause: &str) {
        match begun {
            Ok(removed) => {
                let removed = removed.iter().map(|name| Entry::cut(name)).take(20);
                let entry = Entry::new("file_begun").text("cause", cause);
                self.append(&entry.value("removed", &removed.collect()));
                self.sync_due = None;
            }
            Err(error) => {
                self.rotate_from = self.clock.now().after(AUDIT_ROTATE_RETRY);
                tracing::error!(%error, "Audit log: no new file; the present one goes on");
            }
        }
    }

    /// Writes the batch, as far as the disk takes it.
    fn write(&mut self) {
        let now = self.clock.now();
        if self.failure.as_ref().is_some_and(|f| now < f.retry_at && !self.is_ending) {
            return;
        }
        while self.written < self.batch.len() {
            match self.file.append(&self.batch.as_bytes()[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) => return self.fail(&error),
            }
            self.sync_due.get_or_insert(now.after(AUDIT_SYNC));
        }
        self.batch.clear();
        self.written = 0;
        // No line is amid its way now.
        if std::mem::take(&mut self.is_reopening) {
            self.reopen();
        }
        if self.failure.is_some() {
            self.sync();
        }
    }

    fn sync_in_time(&mut self) {
        if self.sync_due.is_some_and(|due| due <= self.clock.now()) {
            self.sync();
        }
    }

    fn sync(&mut self) {
        match self.file.sync() {
            Ok(()) => {
                self.sync_due = None;
                if self.batch.is_empty() {
                    self.recover();
                }
            }
            Err(error) => {
                self.sync_due = Some(self.clock.now().after(AUDIT_RETRY));
                self.fail(&error);
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        let retry_at = self.clock.now().after(AUDIT_RETRY);
        if let Some(failure) = &mut self.failure {
            failure.retry_at = retry_at;
            return;
        }
        tracing::error!("The audit log cannot be written: {error}");
        self.counts.is_failing.store(true, Ordering::Relaxed);
        self.failure = Some(Failure { began: time(), cause: error.to_string(), retry_at });
    }

    /// Tells that the log can be written again, and how many events were lost meanwhile.
    fn recover(&mut self) {
        let Some(Failure { began, cause, .. }) = self.failure.take() else { return };
        self.counts.is_failing.store(false, Ordering::Relaxed);
        let lost = self.take_lost();
        tracing::warn!(lost, "The audit log can be written again");
        let entry = Entry::new("written_again").text("failed_at", &began).text("cause", &cause);
        self.append(&entry.number("lost", lost));
    }

    /// Ends although the disk does not take all.
    fn give_up(&self) {
        let lost = self.take_lost() + self.entries.len() as u64;
        let lines = self.batch[self.written..].matches('\n').count() as u64;
        tracing::error!(lost = lost + lines, "Audit log: events are lost, the disk takes none");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Audit, start_at};
    use super::*;
    use crate::audit::{Verified, Verifier};
    use crate::base::ids::WorkerId;
    use crate::limits::audit_bytes_max;
    use crate::server::logging::Field;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::thread::JoinHandle;

    const NO_LIMITS: Limits = Limits { max_bytes: 0, keep: 0 };

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("ringmq-audit-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.file(name)).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn start(path: &Path, limits: Limits) -> (Audit, JoinHandle<()>) {
        let (audit, thread) = start_at(path, limits, 1).unwrap();
        (audit, thread.unwrap())
    }

    fn end((audit, thread): (Audit, JoinHandle<()>)) {
        audit.end();
        thread.join().unwrap();
    }

    /// Notes so many events in a process of their own.
    fn note(path: &Path, limits: Limits, count: u64) {
        let running = start(path, limits);
        (0..count).for_each(|number| running.0.note(&Entry::new("x").number("number", number)));
        end(running);
    }

    fn verify(files: &[&str]) -> Verified {
        let mut verifier = Verifier::new(None);
        for (index, file) in files.iter().enumerate() {
            verifier.begin_file(index);
            file.split_inclusive('\n').for_each(|line| verifier.take(line.as_bytes()));
        }
        verifier.finish()
    }

    #[track_caller]
    fn sound(files: &[&str], lines: u64) {
        let verified = verify(files);
        assert_eq!((&verified.faults[..], verified.torn_end), (&[][..], None), "{files:#?}");
        assert_eq!((verified.lines, verified.first.unwrap().end.sequence), (lines, 1));
    }

    #[test]
    fn a_restart_goes_on_with_the_chain() {
        let folder = Folder::new("restart");
        let path = folder.file("log");
        note(&path, NO_LIMITS, 3);
        note(&path, NO_LIMITS, 4);
        sound(&[&folder.text("log")], 7);
        // Behind a rotation that has just been done, too.
        fs::rename(&path, folder.file("log.1")).unwrap();
        note(&path, NO_LIMITS, 2);
        sound(&[&folder.text("log.1"), &folder.text("log")], 9);
    }

    #[test]
    fn what_a_crash_leaves_is_kept_and_told() {
        let folder = Folder::new("crash");
        let path = folder.file("log");
        note(&path, NO_LIMITS, 3);
        let whole = folder.text("log");
        let last = whole.trim_end().rfind('\n').unwrap() + 1;
        for end in last + 1..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            note(&path, NO_LIMITS, 1);
            let text = folder.text("log");
            assert!(text.starts_with(&whole[..end]));
            sound(&[&text], 4);
            // The line itself goes on when nothing but its newline was missing.
            let torn = usize::from(end + 1 < whole.len());
            assert_eq!(verify(&[&text]).torn.len(), torn);
        }
        // The same once more, and in the first line of all.
        fs::write(&path, "{\"se").unwrap();
        note(&path, NO_LIMITS, 1);
        fs::write(&path, folder.text("log") + "\0\0\n\0").unwrap();
        note(&path, NO_LIMITS, 1);
        sound(&[&folder.text("log")], 4);
        assert_eq!(verify(&[&folder.text("log")]).torn.len(), 2);
    }

    #[test]
    fn a_line_torn_in_the_old_file_is_told_in_the_new_one() {
        let folder = Folder::new("torn-old");
        let path = folder.file("log");
        note(&path, NO_LIMITS, 3);
        let whole = folder.text("log");
        fs::write(folder.file("log.1"), &whole[..whole.len() - 9]).unwrap();
        fs::remove_file(&path).unwrap();
        note(&path, NO_LIMITS, 1);
        sound(&[&folder.text("log.1"), &folder.text("log")], 4);
    }

    #[test]
    fn files_end_at_their_size_and_so_many_old_ones_stay() {
        let folder = Folder::new("rotation");
        let path = folder.file("log");
        let line = folder_line_bytes();
        let limits = |keep| Limits { max_bytes: 10 * line, keep };
        note(&path, limits(0), 60);
        let old = (1..).take_while(|number| folder.file(&format!("log.{number}")).exists()).count();
        assert!(old > 4, "{old}");
        let names = (1..=old).rev().map(|number| format!("log.{number}")).chain(["log".into()]);
        let texts: Vec<String> = names.map(|name| folder.text(&name)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let begun = |text: &&str| text.starts_with('{') && text.contains("\"file_begun\"");
        assert!(texts[1..].iter().all(begun) && !texts[0].contains("file_begun"));
        sound(&texts, 60 + old as u64);
        note(&path, limits(2), 40);
        let texts = ["log.2", "log.1", "log"].map(|name| folder.text(name));
        assert!(!folder.file("log.3").exists());
        let verified = verify(&texts.each_ref().map(String::as_str));
        assert!(verified.faults.is_empty() && verified.first.unwrap().end.sequence > 66);
        assert!(texts.concat().contains("\"removed\":[\"log.2\"]"), "{texts:#?}");
    }

    /// The bytes of a line of these tests, about.
    fn folder_line_bytes() -> u64 {
        let (mut chain, mut text) = (Chain::EMPTY, String::new());
        let entry = Entry::new("x").number("number", 10);
        chain.append(&Sealed { time: &time(), fields: entry.fields() }, &mut text);
        text.len() as u64
    }

    #[test]
    fn a_file_that_was_renamed_is_followed_by_a_new_one() {
        let folder = Folder::new("reopen");
        let path = folder.file("log");
        let running = start(&path, NO_LIMITS);
        running.0.note(&Entry::new("x"));
        running.0.reopen();
        while folder.text("log").is_empty() {
            std::thread::yield_now();
        }
        fs::rename(&path, folder.file("elsewhere")).unwrap();
        running.0.reopen();
        running.0.note(&Entry::new("y"));
        end(running);
        sound(&[&folder.text("elsewhere"), &folder.text("log")], 3);
        assert!(folder.text("log").contains("\"reopened\""));
    }

    #[test]
    fn a_file_that_is_something_else_is_left_alone() {
        let folder = Folder::new("foreign");
        let path = folder.file("log");
        for text in ["root:x:0:0\n", "some text", "{\"seq\":1}\n"] {
            fs::write(&path, text).unwrap();
            let error = start_at(&path, NO_LIMITS, 1).unwrap_err();
            assert!(error.to_string().contains("is no audit log"), "{error}");
            assert_eq!(folder.text("log"), text);
        }
        fs::remove_file(&path).unwrap();
        let running = start(&path, NO_LIMITS);
        let error = start_at(&path, NO_LIMITS, 1).unwrap_err();
        assert!(error.to_string().contains("in use by another ringmq"), "{error}");
        end(running);
        let error = start_at(&folder.0, NO_LIMITS, 1).unwrap_err();
        assert!(error.to_string().contains("cannot use the audit log"), "{error}");
    }

    #[test]
    fn an_act_says_who_did_what() {
        let folder = Folder::new("act");
        let running = start(&folder.file("log"), NO_LIMITS);
        let fields = [("client_id", Field::Text("sensor")), ("count", Field::Number(3))];
        running.0.act("token ops", "disconnect", &fields);
        end(running);
        let line: serde_json::Value = serde_json::from_str(&folder.text("log")).unwrap();
        assert_eq!((&line["event"], &line["actor"]), (&"act".into(), &"token ops".into()));
        assert_eq!((&line["act"], &line["client_id"]), (&"disconnect".into(), &"sensor".into()));
        assert_eq!(line["count"], 3);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told() {
        let folder = Folder::new("lost");
        let path = folder.file("log");
        let running = start(&path, NO_LIMITS);
        let text = "x".repeat(200);
        let entry = Entry::new("x").text("text", &text);
        let trail = running.0.trail(WorkerId(0)).unwrap();
        let count = 3 * audit_bytes_max(1) / entry.fields().len();
        // The writer is kept busy by nothing but the entries themselves, so it may keep up.
        (0..count).for_each(|_| trail.note(&entry));
        let lost = running.0.state().lost;
        end(running);
        let log = folder.text("log");
        let told = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let told: u64 = told.filter_map(|line| line["count"].as_u64()).sum();
        assert_eq!(told, lost);
        let written = log.lines().filter(|line| line.contains("\"event\":\"x\"")).count();
        assert_eq!(written as u64 + lost, count as u64);
        assert!(verify(&[&log]).faults.is_empty());
    }
}

//! Statistics of a process from the kernel: CPU time, context switches, memory, bytes written.

use crate::failure::{Failure, Result};
use std::fs::read_to_string;
use std::path::PathBuf;

/// A process that is looked at from outside.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    folder: PathBuf,
}

/// The resources that a process has used so far, and its memory now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// CPU time of all threads, user and system.
    pub(crate) cpu_ns: u64,
    /// Context switches of all threads, of either kind.
    pub(crate) switches: u64,
    /// Bytes that the process has caused to be written to disks; None where that is not told.
    pub(crate) written_bytes: Option<u64>,
    pub(crate) memory: Memory,
}

/// Memory of a process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// All resident memory.
    pub(crate) resident_bytes: u64,
    /// Memory that is backed by no file: heap and stacks.
    pub(crate) anonymous_bytes: u64,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Result<Self> {
        let process = Self { folder: PathBuf::from(format!("/proc/{pid}")) };
        process.usage().map(|_| process)
    }

    /// The resources that the process has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let io = read_to_string(self.folder.join("io")).unwrap_or_default();
        let written_bytes = field(&io, "write_bytes:");
        let mut usage = Usage { memory: self.memory()?, written_bytes, ..Usage::default() };
        let threads = std::fs::read_dir(self.folder.join("task")).map_err(|_| self.gone())?;
        for thread in threads.flatten() {
            // A thread that ends meanwhile has no files any more.
            let text = |name| read_to_string(thread.path().join(name)).unwrap_or_default();
            usage.cpu_ns += run_time_ns(&text("schedstat")).unwrap_or(0);
            usage.switches += switches(&text("status"));
        }
        Ok(usage)
    }

    /// The memory of the process; exact where the kernel's running totals are not.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let text = read_to_string(self.folder.join("smaps_rollup")).map_err(|_| self.gone())?;
        let bytes = |name| field(&text, name).unwrap_or(0) * 1024;
        Ok(Memory { resident_bytes: bytes("Rss:"), anonymous_bytes: bytes("Anonymous:") })
    }

    /// The descriptors that the process has open.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        self.count("fd")
    }

    /// The threads of the process.
    pub(crate) fn threads(&self) -> Result<usize> {
        self.count("task")
    }

    fn count(&self, folder: &str) -> Result<usize> {
        let entries = std::fs::read_dir(self.folder.join(folder)).map_err(|_| self.gone())?;
        Ok(entries.count())
    }

    fn gone(&self) -> Failure {
        Failure::new(format_args!("cannot read {}: is it the broker's?", self.folder.display()))
    }
}

/// Nanoseconds on a core, the first number of a thread's `schedstat`.
fn run_time_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

fn switches(status: &str) -> u64 {
    let count = |name| field(status, name).unwrap_or(0);
    count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:")
}

/// The number behind `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_names() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t5\n";
        assert_eq!(switches(status), 12);
        assert_eq!(field("Rss:   12 kB\n", "Rss:"), Some(12));
        assert_eq!(field("Rss:   12 kB\n", "Pss:"), None);
        assert_eq!(run_time_ns("123 4 5\n"), Some(123));
    }

    #[test]
    fn this_process_is_alive() {
        let process = Process::new(std::process::id()).unwrap();
        assert!(process.threads().unwrap() > 0 && process.descriptors().unwrap() > 2);
        let usage = process.usage().unwrap();
        assert!(usage.cpu_ns > 0);
        assert!(usage.memory.resident_bytes > usage.memory.anonymous_bytes);
        assert!(Process::new(u32::MAX).is_err());
    }
}

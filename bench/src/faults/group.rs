//! A control group with little memory, for one broker.

use crate::failure::{Failure, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The roots of the trees of either version, with the files for the limit and the most in use.
const TREES: [(&str, &str, &str); 2] = [
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    ("/sys/fs/cgroup", "memory.max", "memory.peak"),
];

/// A group that goes with this value.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
    most_file: &'static str,
}

impl Group {
    /// A group of processes that may have so many bytes together.
    ///
    /// # Errors
    ///
    /// No tree of the system takes a group from this user.
    pub(super) fn new(bytes: u64) -> Result<Self> {
        let name = format!("ringmq-faults-{}", std::process::id());
        for (root, limit, most_file) in TREES {
            let path = Path::new(root).join(&name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Self { path, most_file };
            if fs::write(group.path.join(limit), bytes.to_string()).is_ok() {
                // Swapping would hide what the limit is to show. Not every kernel has it.
                let _ = fs::write(group.path.join("memory.swap.max"), "0");
                let _ = fs::write(group.path.join("memory.swappiness"), "0");
                return Ok(group);
            }
        }
        Err(Failure::new("no control group for memory can be made here (is this user root?)"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The most memory that was in use, in bytes.
    pub(super) fn most(&self) -> u64 {
        self.number(self.most_file).unwrap_or(0)
    }

    /// Processes that the kernel killed for lack of memory.
    pub(super) fn kills(&self) -> u64 {
        let text = |file| fs::read_to_string(self.path.join(file)).unwrap_or_default();
        let texts = [text("memory.oom_control"), text("memory.events")];
        let lines = texts.iter().flat_map(|text| text.lines());
        let counts = lines.filter_map(|line| line.strip_prefix("oom_kill "));
        counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum()
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.path.join(file)).ok()?.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel takes a moment to let go of a process that has ended.
        for _ in 0..50 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

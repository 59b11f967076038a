//! The memory that this process may have.

use crate::options::MaxMemory;
use std::fs;
use std::path::{Path, PathBuf};

/// The bytes that `--max-memory` stands for on this machine.
pub(super) fn bytes(max: MaxMemory) -> u64 {
    match max {
        MaxMemory::Bytes(bytes) => bytes,
        MaxMemory::Percent(percent) => available() / 100 * u64::from(percent),
    }
}

/// The bytes that the machine has, or that this process's control group allows if they are fewer.
fn available() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(|line| limits(Path::new("/sys/fs/cgroup"), line));
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    limits.chain(total(&meminfo)).min().unwrap_or(u64::MAX)
}

/// The machine's memory, of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The memory limits of the control group that a line of `/proc/self/cgroup` names, and of those
/// around it. In a container that names are of the machine's tree, of which only the container's
/// own group may be seen, at the root.
fn limits(root: &Path, line: &str) -> Vec<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return Vec::new() };
    // One tree of the second version; one for the controller of the first.
    let (root, file): (PathBuf, _) = match controllers {
        "" => (root.to_owned(), "memory.max"),
        _ if controllers.split(',').any(|controller| controller == "memory") => {
            (root.join("memory"), "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let group = root.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(&root));
    let limits = groups.filter_map(|group| fs::read_to_string(group.join(file)).ok());
    limits.filter_map(|limit| limit.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_of_what_there_is() {
        assert_eq!(bytes(MaxMemory::Bytes(5)), 5);
        let whole = bytes(MaxMemory::Percent(100));
        assert!(whole > 1 << 20 && bytes(MaxMemory::Percent(50)) <= whole / 2 + 100);
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert_eq!(total("MemTotal: none"), None);
    }

    #[test]
    fn the_limits_of_all_groups_around_count() {
        let root = std::env::temp_dir().join(format!("ringmq-groups-{}", std::process::id()));
        let inner = root.join("a/b");
        let first = root.join("memory/c");
        fs::create_dir_all(&inner).unwrap();
        fs::create_dir_all(&first).unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(root.join("a/memory.max"), "1000\n").unwrap();
        fs::write(first.join("memory.limit_in_bytes"), "2000\n").unwrap();
        assert_eq!(limits(&root, "0::/a/b"), [1000]);
        assert_eq!(limits(&root, "0::/elsewhere/a"), [0; 0]);
        assert_eq!(limits(&root, "4:cpu,memory:/c"), [2000]);
        assert_eq!(limits(&root, "4:cpu:/c"), [0; 0]);
        fs::remove_dir_all(&root).unwrap();
    }
}

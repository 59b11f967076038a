//! The memory and the processors that this process may have.

use crate::options::MaxMemory;
use std::fs;
use std::path::Path;

/// The bytes that `--max-memory` stands for on this machine.
pub(super) fn bytes(max: MaxMemory) -> u64 {
    match max {
        MaxMemory::Bytes(bytes) => bytes,
        MaxMemory::Percent(percent) => available() / 100 * u64::from(percent),
    }
}

/// The bytes that the machine has, or that this process's control group allows if they are fewer.
fn available() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    limits(memory).into_iter().chain(total(&meminfo)).min().unwrap_or(u64::MAX)
}

/// The number of processors whose time this process's control group allows, rounded up; None
/// without a limit.
pub(super) fn processors() -> Option<usize> {
    limits(processors_of).into_iter().min()
}

/// The limits of this process's control groups.
fn limits<T>(limit: fn(&Path, bool) -> Option<T>) -> Vec<T> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_line = |line| limits_of(Path::new("/sys/fs/cgroup"), line, limit);
    groups.lines().flat_map(of_line).collect()
}

/// The memory limit of a control group, of the second version or of the first.
fn memory(group: &Path, is_second: bool) -> Option<u64> {
    let file = if is_second { "memory.max" } else { "memory.limit_in_bytes" };
    fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
}

/// The processors of a control group: the time that it may have of each period.
fn processors_of(group: &Path, is_second: bool) -> Option<usize> {
    let read = |file| fs::read_to_string(group.join(file)).ok();
    let text = match is_second {
        true => read("cpu.max")?,
        false => read("cpu.cfs_quota_us")? + " " + &read("cpu.cfs_period_us")?,
    };
    // "max" and -1 are no limit.
    let mut numbers = text.split_whitespace().map(|number| number.parse::<u64>().ok());
    let (quota, period) = (numbers.next()??, numbers.next()??);
    Some(quota.div_ceil(period.max(1)).max(1) as usize)
}

/// The machine's memory, of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The limits of the control group that a line of `/proc/self/cgroup` names, and of those around
/// it. In a container that names are of the machine's tree, of which only the container's
/// own group may be seen, at the root.
fn limits_of<T>(root: &Path, line: &str, limit: fn(&Path, bool) -> Option<T>) -> Vec<T> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return Vec::new() };
    // One tree of the second version; one for the controller of the first.
    let is_second = controllers.is_empty();
    let root = if is_second { root.to_owned() } else { root.join(controllers) };
    let group = root.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(&root));
    groups.filter_map(|group| limit(group, is_second)).collect()
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
        let (first, times) = (root.join("memory/c"), root.join("cpu,cpuacct/c"));
        for folder in [&inner, &first, &times] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(root.join("a/memory.max"), "1000\n").unwrap();
        fs::write(first.join("memory.limit_in_bytes"), "2000\n").unwrap();
        let bytes = |line| limits_of(&root, line, memory);
        assert_eq!(bytes("0::/a/b"), [1000]);
        assert_eq!(bytes("0::/elsewhere/a"), [0; 0]);
        assert_eq!(bytes("4:memory:/c"), [2000]);
        assert_eq!(bytes("4:cpu,cpuacct:/c"), [0; 0]);
        let processors = |line| limits_of(&root, line, processors_of);
        assert_eq!(processors("0::/a/b"), [0; 0]);
        fs::write(inner.join("cpu.max"), "max 100000\n").unwrap();
        fs::write(root.join("a/cpu.max"), "150000 100000\n").unwrap();
        assert_eq!(processors("0::/a/b"), [2]);
        fs::write(times.join("cpu.cfs_quota_us"), "20000\n").unwrap();
        fs::write(times.join("cpu.cfs_period_us"), "100000\n").unwrap();
        assert_eq!(processors("4:cpu,cpuacct:/c"), [1]);
        fs::write(times.join("cpu.cfs_quota_us"), "-1\n").unwrap();
        assert_eq!(processors("4:cpu,cpuacct:/c"), [0; 0]);
        fs::remove_dir_all(&root).unwrap();
    }
}

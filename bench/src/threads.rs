//! Cores for threads, and the limit of descriptors of the process.

use crate::failure::{Failure, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The cores of a list such as `0,2,4-7`, in its order; none when it is no such list.
pub(crate) fn core_list(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= CpuSet::MAX_CPU {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// Keeps the calling thread, number `thread` of the run, on its core among `cores`, if there are
/// any.
pub(crate) fn pin(cores: &[usize], thread: usize) -> Result<()> {
    let Some(index) = thread.checked_rem(cores.len()) else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(cores[index]);
    sched_setaffinity(None, &set)
        .map_err(|error| Failure::new(format_args!("cannot run on core {}: {error}", cores[index])))
}

/// Makes room for `descriptors`, as far as the kernel allows this process.
pub(crate) fn raise_descriptor_limit(descriptors: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= descriptors) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(descriptors));
    let raised = Rlimit { current: Some(descriptors), maximum };
    setrlimit(Resource::Nofile, raised).map_err(|_| {
        Failure::new(format_args!(
            "this takes {descriptors} open files; raise the limit with ulimit -n"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        assert_eq!(core_list("0"), Some(vec![0]));
        assert_eq!(core_list("5,0-2,9"), Some(vec![5, 0, 1, 2, 9]));
        for wrong in ["", ",", "a", "1-", "-1", "3-1", "1024", "0-1024"] {
            assert_eq!(core_list(wrong), None, "{wrong}");
        }
    }
}

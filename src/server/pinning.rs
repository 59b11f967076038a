//! The core of each worker.

use super::control_group;
use super::failure::Failure;
use crate::limits::WORKERS_MAX;
use crate::options::{Options, Pin, core_list};

/// The core on which each worker stays, if any.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) cores: Vec<Option<usize>>,
    /// The largest number of workers on one core; 1 when each has its own.
    pub(super) workers_per_core: usize,
}

/// Plans for this machine. The affinity mask already reflects the control group's cpuset; the
/// control group may allow less time than these cores have.
pub(super) fn plan(options: &Options) -> Result<Plan, Failure> {
    let usable = core_affinity::get_core_ids().unwrap_or_default();
    let usable: Vec<usize> = usable.into_iter().map(|core| core.id).collect();
    plan_for(options, &usable, control_group::processors(), siblings)
}

/// Keeps the calling thread on `core`; false when the kernel refuses.
pub(super) fn pin(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

fn plan_for(
    options: &Options,
    usable: &[usize],
    quota: Option<usize>,
    siblings: impl Fn(usize) -> Option<Vec<usize>>,
) -> Result<Plan, Failure> {
    let physical = physical(usable, siblings);
    let quota = quota.filter(|quota| *quota < physical.len());
    let cores = match &options.pin {
        Pin::Auto if quota.is_none() => physical,
        Pin::Cores(cores) => allowed(cores, usable)?.to_vec(),
        // Other control groups have the rest of the time, perhaps on the same cores.
        Pin::Auto | Pin::None => {
            let workers = workers(options, quota.unwrap_or(physical.len()));
            return Ok(Plan { cores: vec![None; workers], workers_per_core: 1 });
        }
    };
    let workers = workers(options, cores.len());
    let pinned = cores.iter().copied().map(Some).cycle().take(workers);
    // No core is known when the mask cannot be read: then nothing is pinned.
    let cores_used = cores.len().max(1);
    let mut plan: Vec<_> = pinned.collect();
    plan.resize(workers, None);
    Ok(Plan { cores: plan, workers_per_core: workers.div_ceil(cores_used) })
}

fn workers(options: &Options, cores: usize) -> usize {
    match options.workers {
        0 => cores.clamp(1, WORKERS_MAX),
        workers => workers,
    }
}

/// The first usable hardware thread of each physical core.
fn physical(usable: &[usize], siblings: impl Fn(usize) -> Option<Vec<usize>>) -> Vec<usize> {
    let is_first = |core: usize| {
        let siblings = siblings(core).unwrap_or_default();
        siblings.iter().filter(|sibling| usable.contains(sibling)).all(|&sibling| sibling >= core)
    };
    usable.iter().copied().filter(|&core| is_first(core)).collect()
}

fn allowed<'a>(cores: &'a [usize], usable: &[usize]) -> Result<&'a [usize], Failure> {
    match cores.iter().find(|core| !usable.contains(core)) {
        None => Ok(cores),
        Some(core) => Err(Failure::usage(format!(
            "--pin: core {core} is not one this process may use ({})",
            ranges(usable)
        ))),
    }
}

fn siblings(core: usize) -> Option<Vec<usize>> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    core_list(std::fs::read_to_string(path).ok()?.trim())
}

/// Ascending numbers as `0-3,8`.
fn ranges(numbers: &[usize]) -> String {
    let mut text = String::new();
    for run in numbers.chunk_by(|left, right| left + 1 == *right) {
        let comma = if text.is_empty() { "" } else { "," };
        match run {
            [] => {}
            [one] => text.push_str(&format!("{comma}{one}")),
            [first, .., last] => text.push_str(&format!("{comma}{first}-{last}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(workers: usize, pin: &str) -> Options {
        Options { workers, pin: pin.parse().unwrap(), ..Options::default() }
    }

    /// Four physical cores with two hardware threads each: 0 and 4, 1 and 5, …
    fn hyperthreads(core: usize) -> Option<Vec<usize>> {
        Some(vec![core % 4, core % 4 + 4])
    }

    fn cores(options: &Options, usable: &[usize]) -> Vec<Option<usize>> {
        plan_for(options, usable, None, hyperthreads).unwrap().cores
    }

    #[test]
    fn a_quota_of_time_caps_the_workers_and_pins_nothing() {
        let all: Vec<_> = (0..8).collect();
        let cores = |options: &Options, quota| {
            plan_for(options, &all, Some(quota), hyperthreads).unwrap().cores
        };
        assert_eq!(cores(&options(0, "auto"), 1), [None]);
        assert_eq!(cores(&options(0, "none"), 3), [None; 3]);
        assert_eq!(cores(&options(0, "auto"), 4), [0, 1, 2, 3].map(Some));
        assert_eq!(cores(&options(2, "auto"), 1), [None; 2]);
        assert_eq!(cores(&options(0, "5"), 1), [Some(5)]);
    }

    #[test]
    fn auto_takes_one_thread_of_each_physical_core() {
        let all: Vec<_> = (0..8).collect();
        assert_eq!(cores(&options(0, "auto"), &all), [0, 1, 2, 3].map(Some));
        assert_eq!(cores(&options(0, "auto"), &[1, 4, 5]), [1, 4].map(Some));
        assert_eq!(cores(&options(2, "auto"), &all), [0, 1].map(Some));
    }

    #[test]
    fn none_counts_the_same_cores_and_pins_nothing() {
        assert_eq!(cores(&options(0, "none"), &[0, 4, 1]), [None, None]);
    }

    #[test]
    fn a_list_is_used_in_its_order_and_shared_when_short() {
        assert_eq!(cores(&options(0, "6,0"), &[0, 1, 6]), [6, 0].map(Some));
        let plan = plan_for(&options(5, "0,1"), &[0, 1], None, hyperthreads).unwrap();
        assert_eq!(plan.cores, [0, 1, 0, 1, 0].map(Some));
        assert_eq!(plan.workers_per_core, 3);
    }

    #[test]
    fn a_core_outside_the_mask_is_named_with_the_mask() {
        let failure = plan_for(&options(0, "9"), &[0, 1, 3], None, hyperthreads).unwrap_err();
        assert_eq!(failure.line(), "--pin: core 9 is not one this process may use (0-1,3)");
    }

    #[test]
    fn an_unreadable_mask_still_gives_a_worker() {
        assert_eq!(cores(&options(0, "auto"), &[]), [None]);
        assert_eq!(cores(&options(2, "auto"), &[]), [None, None]);
    }
}

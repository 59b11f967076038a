//! How busy the cores are, whoever uses them.

use std::collections::BTreeMap;

/// The time of each core so far, in ticks of the kernel.
#[derive(Debug, Default)]
pub(super) struct Cores(BTreeMap<usize, Ticks>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Cores {
    /// The times until now; none where the kernel does not tell them.
    pub(super) fn now() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(stat: &str) -> Self {
        let core = |line: &str| {
            let (name, times) = line.split_once(' ')?;
            let core = name.strip_prefix("cpu")?.parse().ok()?;
            // User, nice, system, idle, waiting for a disk, interrupts twice, stolen; what follows
            // is part of the first two.
            let times = times.split_whitespace().take(8).map(|ticks| ticks.parse().ok());
            let times: Vec<u64> = times.collect::<Option<_>>()?;
            let all = times.iter().sum();
            let idle: u64 = times.get(3..5)?.iter().sum();
            Some((core, Ticks { busy: all - idle, all }))
        };
        Self(stat.lines().filter_map(core).collect())
    }

    /// The share of its time since `before` in which a core was busy.
    pub(super) fn busy_since(&self, before: &Self, core: usize) -> Option<f64> {
        let (now, before) = (self.0.get(&core)?, before.0.get(&core)?);
        let all = now.all.checked_sub(before.all).filter(|ticks| *ticks > 0)?;
        Some((now.busy.saturating_sub(before.busy) as f64 / all as f64).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_busy_time_is_of_one_core() {
        let before =
            Cores::parse("cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 0 10 70 10 0 0 0 5 0\nintr 1\n");
        let now = Cores::parse("cpu0 20 5 20 80 10 3 2 0 9 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n");
        assert_eq!(before.0[&0], Ticks { busy: 20, all: 100 });
        assert_eq!(now.busy_since(&before, 0), Some(0.75));
        assert_eq!(now.busy_since(&before, 1), None);
        assert_eq!(before.busy_since(&before, 0), None);
        assert!(Cores::parse("cpu0 1 x\ncpux 1\n").0.is_empty());
    }
}

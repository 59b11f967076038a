//! What a run used: time, CPU time, bytes, and how busy the machine was with something else.
//!
//! The only place that reads clocks.

use crate::store::Result;
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{File, read_to_string};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const LATENCY_US_MAX: u64 = 60_000_000;
const TICK_NS: u64 = 10_000_000;

/// Nanoseconds of the machine's monotonic clock.
pub(crate) fn now_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// CPU time of all threads of this process, in nanoseconds.
fn process_cpu_ns() -> u64 {
    read(ClockId::ProcessCPUTime)
}

fn read(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    now_ns: u64,
    cpu_ns: u64,
    written_bytes: u64,
    machine_busy_ns: u64,
}

/// What was used between two moments.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) wall_ns: u64,
    /// Of all threads of this process, in the kernel, too.
    pub(crate) cpu_ns: u64,
    /// Handed to the disk's queue on this process's account.
    pub(crate) written_bytes: u64,
    /// CPU time of everything else on the machine, in parts of one core.
    pub(crate) others: f64,
}

impl Meter {
    /// Reads all counters.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self {
            now_ns: now_ns(),
            cpu_ns: process_cpu_ns(),
            written_bytes: written_bytes()?,
            machine_busy_ns: machine_busy_ns()?,
        })
    }

    /// What was used since.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let end = Self::start()?;
        let wall_ns = end.now_ns - self.now_ns;
        let cpu_ns = end.cpu_ns - self.cpu_ns;
        let busy_ns = end.machine_busy_ns - self.machine_busy_ns;
        Ok(Usage {
            wall_ns,
            cpu_ns,
            written_bytes: end.written_bytes - self.written_bytes,
            others: busy_ns.saturating_sub(cpu_ns) as f64 / wall_ns.max(1) as f64,
        })
    }
}

fn written_bytes() -> Result<u64> {
    let text = read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("/proc/self/io has no write_bytes")?.parse()?)
}

/// All cores' time that was neither idle nor spent waiting for disks; with stolen time.
fn machine_busy_ns() -> Result<u64> {
    let text = read_to_string("/proc/stat")?;
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu "));
    let fields = line.ok_or("/proc/stat has no first line")?.split_whitespace();
    let ticks: Vec<u64> = fields.map(str::parse).collect::<std::result::Result<_, _>>()?;
    let is_busy = |place: usize| matches!(place, 0 | 1 | 2 | 5 | 6 | 7);
    let busy: u64 =
        ticks.iter().enumerate().filter(|each| is_busy(each.0)).map(|each| each.1).sum();
    Ok(busy * TICK_NS)
}

/// The load average of the last minute.
pub(crate) fn load_average() -> Result<f64> {
    let text = read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().ok_or("/proc/loadavg is empty")?.parse()?)
}

/// Space that the files below a folder take on the disk.
pub(crate) fn disk_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes +=
            if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Waits until the file system of a folder has written what it had to.
pub(crate) fn settle(folder: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// How long something took, each time.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are constant"))
    }

    pub(crate) fn add(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds / 1000);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Microseconds that `quantile` of them did not exceed.
    pub(crate) fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }
}

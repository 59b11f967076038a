//! The broker's process: started, killed, and its files kept.

use crate::clock::now_us;
use crate::failure::{Failure, Result};
use crate::target::Start;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

/// The time that a start may take before it has failed.
const START_US: u64 = 20_000_000;

/// Data directories above this are not kept.
const KEPT_BYTES_MAX: u64 = 256 << 20;

const SIGKILL: i32 = 9;

/// A running broker.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    pub(crate) address: SocketAddr,
    /// When its process began.
    pub(crate) begun_us: u64,
    /// When its first packet came.
    pub(crate) heard_us: Option<u64>,
}

/// The end of a start.
#[derive(Debug)]
pub(crate) enum Started {
    Running(Broker),
    /// The broker ended before it listened.
    Ended(ExitStatus),
}

impl Broker {
    /// Starts one in `folder`, with these faults, and waits for its address.
    pub(crate) fn start(start: &Start, folder: &Path, faults: &str) -> Result<Started> {
        fs::create_dir_all(folder.join("data"))?;
        let (mut command, known) = start.command(folder)?;
        let output = folder.join("output");
        command.stdin(Stdio::null());
        command.stdout(File::create(&output)?).stderr(File::create(folder.join("log"))?);
        if !faults.is_empty() {
            command.env("RINGMQ_FAULT", faults);
        }
        let begun_us = now_us();
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child =
            command.spawn().map_err(|error| Failure::new(format_args!("{program}: {error}")))?;
        while now_us() - begun_us < START_US {
            if let Some(status) = child.try_wait()? {
                return Ok(Started::Ended(status));
            }
            if let Some(address) = known.or_else(|| listening(&output)) {
                return Ok(Started::Running(Self { child, address, begun_us, heard_us: None }));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        child.kill()?;
        let status = child.wait()?;
        Ok(Started::Ended(status))
    }

    /// The exit status of the broker, once it has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks the broker to end.
    pub(crate) fn ask_to_end(&self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).map_err(Failure::new)
    }

    /// Ends it without a warning.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process was ended by the signal that cannot be caught.
pub(crate) fn is_killed(status: ExitStatus) -> bool {
    status.signal() == Some(SIGKILL)
}

/// The address that a broker printed.
fn listening(output: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(output).ok()?;
    let (_, rest) = text.split_once("listening on mqtt://")?;
    rest.split_once('\n')?.0.split_whitespace().next()?.parse().ok()
}

/// The broker's files as each of the last cycles found them, back to the one that was judged last:
/// what is missing was lost in one of them.
#[derive(Debug)]
pub(crate) struct Snapshots {
    folder: PathBuf,
    kept: u32,
    kept_max: u32,
}

impl Snapshots {
    pub(crate) fn new(folder: &Path, kept_max: u32) -> Self {
        Self { folder: folder.into(), kept: 0, kept_max }
    }

    /// Copies what the broker before left behind, beside the copies of earlier cycles. Those go if
    /// it `is_first`: all was right when it began.
    pub(crate) fn take(&self, cycle: u64, is_first: bool) -> Result<()> {
        let before = self.folder.join("before");
        let data = self.folder.join("data");
        if is_first && before.exists() {
            fs::remove_dir_all(&before)?;
        }
        if self.kept < self.kept_max && data.exists() && size(&data)? < KEPT_BYTES_MAX {
            let copied = before.join(cycle.to_string());
            copy(&data, &copied)?;
            let _ = fs::copy(self.folder.join("log"), copied.join("log"));
        }
        Ok(())
    }

    /// Keeps the copies; where they are.
    pub(crate) fn keep(&mut self, cycle: u64) -> Result<Option<PathBuf>> {
        let before = self.folder.join("before");
        let kept = self.folder.join(format!("cycle-{cycle}"));
        if self.kept >= self.kept_max || !before.exists() || kept.exists() {
            return Ok(None);
        }
        fs::rename(before, &kept)?;
        self.kept += 1;
        Ok(Some(kept))
    }

    /// Removes everything that is not kept.
    pub(crate) fn clean_up(&self) -> Result<()> {
        if self.kept == 0 {
            return Ok(fs::remove_dir_all(&self.folder)?);
        }
        let _ = fs::remove_dir_all(self.folder.join("before"));
        Ok(fs::remove_dir_all(self.folder.join("data"))?)
    }
}

fn size(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}

//! The step between this program and the broker: limits that a process sets for itself.

use crate::failure::{Failure, Result};
use clap::Args;
use rustix::process::{
    Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit,
};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// The broker to become, and its limits.
#[derive(Debug, Args)]
pub(super) struct Launch {
    /// The process that the broker must not outlive
    #[arg(long)]
    parent: i32,
    /// Limit of descriptors
    #[arg(long)]
    descriptors: Option<u64>,
    /// Control group to enter
    #[arg(long)]
    group: Option<PathBuf>,
    /// The broker's program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Takes the limits on and becomes the broker; returns the failure if that cannot be done.
pub(super) fn become_broker(launch: &Launch) -> Failure {
    if let Err(failure) = take_limits(launch) {
        return failure;
    }
    let program = &launch.command[0];
    let error = Command::new(program)
        .args(&launch.command[1..])
        .envs([("RINGMQ_ADMIN_LISTEN", "none"), ("RINGMQ_ADMIN_SOCKET", "none")])
        .exec();
    Failure::new(format_args!("{}: {error}", program.display()))
}

fn take_limits(launch: &Launch) -> Result<()> {
    // The kernel ends the broker with this program's parent, however the parent ends.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(launch.parent) {
        return Err(Failure::new("the test has ended"));
    }
    if let Some(group) = &launch.group {
        std::fs::write(group.join("cgroup.procs"), std::process::id().to_string())?;
    }
    if let Some(descriptors) = launch.descriptors {
        let limit = Rlimit { current: Some(descriptors), maximum: Some(descriptors) };
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}

//! The user that the broker runs as, when root starts it.

use super::changes::Files;
use super::failure::Failure;
use crate::options::Options;
use nix::errno::Errno;
use nix::unistd::{Uid, User, initgroups, setgid, setuid};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::CString;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

/// The users that a broker which root starts becomes when Mosquitto's file names none.
const USUAL: [&str; 2] = ["mosquitto", "ringmq"];

/// True when the process may become another user.
pub(super) fn is_root() -> bool {
    Uid::effective().is_root()
}

/// The first one of the usual users that this machine has.
pub(super) fn usual() -> Option<&'static str> {
    USUAL.into_iter().find(|name| matches!(User::from_name(name), Ok(Some(_))))
}

/// Makes this process, with all its threads, that of user `name` for good. Nothing happens unless
/// root runs it.
///
/// # Errors
/// There is no such user, or the kernel refuses the change.
fn become_user(name: &str) -> Result<(), Failure> {
    if !is_root() {
        return Ok(());
    }
    let user = find(name)?;
    if user.uid.is_root() {
        return Ok(());
    }
    // The memory of rings counts from here on; it fails where root itself is limited.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    let change = || {
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        initgroups(&name, user.gid)?;
        setgid(user.gid)?;
        setuid(user.uid)
    };
    change().map_err(|error| {
        Failure::start(format!(
            "cannot become the user {name}: {error}; start ringmq as {name} (systemd: User={name})"
        ))
    })?;
    tracing::info!(user = name, "Root is given up");
    Ok(())
}

/// Gives files and folders to the user that the process is about to become.
///
/// # Errors
/// There is no such user, or the kernel refuses the change.
pub(super) fn hand_over(name: &str, paths: &[&Path]) -> Result<(), Failure> {
    if !is_root() {
        return Ok(());
    }
    let user = find(name)?;
    for path in paths {
        let given =
            std::os::unix::fs::lchown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()));
        given.map_err(|error| {
            Failure::start(format!("cannot give {} to the user {name}: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// Becomes the user of the options, if they name one, and warns of those of `files` that cannot be
/// read any more.
///
/// # Errors
/// As [`become_user`].
pub(super) fn settle(options: &Options, files: &Files) -> Result<(), Failure> {
    let Some(user) = &options.user else { return Ok(()) };
    become_user(user)?;
    warn_of_unreadable(files.paths());
    Ok(())
}

/// Warns of files that this process can read no more, though it has read them.
fn warn_of_unreadable<'a>(files: impl Iterator<Item = &'a Path>) {
    for path in files {
        if let Err(error) = File::open(path)
            && error.kind() == ErrorKind::PermissionDenied
        {
            let file = path.display();
            tracing::warn!(
                "{file}: {error} for the user that the broker is now: SIGHUP will refuse to read \
                 it again, until chown or chmod lets it"
            );
        }
    }
}

fn find(name: &str) -> Result<User, Failure> {
    let cause = match User::from_name(name) {
        Ok(Some(user)) => return Ok(user),
        Ok(None) => "this machine has none".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::usage(format!(
        "--user {name}: {cause}; make one (useradd --system {name}), or give another"
    )))
}

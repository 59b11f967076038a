//! Ports and files that only the one who starts the broker may open.

use super::failure::Failure;
use super::listening::{self, AdminListening, Listening, OwnFile};
use crate::io::passed::Passed;
use crate::io::socket::Listener;
use crate::options::{AdminSocket, Given, Options};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// The open ports, and the files that stand for the process.
#[derive(Debug)]
pub(super) struct Ports {
    /// For each worker its listeners, in the order of the options.
    pub(super) sockets: Vec<Vec<Listener>>,
    /// Sockets in the file system.
    pub(super) files: Vec<OwnFile>,
    pub(super) metrics: Option<TcpListener>,
    pub(super) admin: AdminListening,
    /// The file with the number of the process, if one is wanted.
    pub(super) pid_file: Option<OwnFile>,
}

impl Ports {
    /// Opens all ports for this number of workers, and writes the real ones into the options.
    pub(super) fn open(
        options: &mut Options,
        given: &Given,
        workers: usize,
        passed: Vec<Passed>,
    ) -> Result<Self, Failure> {
        let keep_alive = Duration::from_secs(options.tcp_keep_alive_s.into());
        let keep_alive = Some(keep_alive).filter(|idle| !idle.is_zero());
        let Listening { sockets, files } =
            listening::listen(&mut options.listeners, workers, keep_alive, passed)?;
        let metrics = options.metrics_listen.as_mut().map(listening::listen_for_http);
        let metrics = metrics.transpose()?;
        let is_own_folder = options.admin_socket == AdminSocket::Auto;
        let admin = listening::listen_for_admin(options, given)?;
        let pid_file = options.pid_file.as_deref().map(write_pid).transpose()?;
        if let Some(user) = &options.user {
            let sockets = files.iter().chain(admin.unix.iter().map(|(_, file)| file));
            let mut paths: Vec<&Path> = sockets.map(OwnFile::path).collect();
            // The folder is made for the socket alone.
            if let AdminSocket::At(path) = &options.admin_socket
                && is_own_folder
            {
                paths.extend(path.parent());
            }
            let log = options.log_destination.file.as_deref().filter(|path| path.is_file());
            paths.extend(log);
            super::user::hand_over(user, &paths)?;
        }
        Ok(Self { sockets, files, metrics, admin, pid_file })
    }
}

/// Writes the number of the process into a file.
fn write_pid(path: &Path) -> Result<OwnFile, Failure> {
    let write = || -> io::Result<OwnFile> {
        let mut options = OpenOptions::new();
        // Whoever may write to the folder must not have root overwrite another file.
        let options = options.write(true).create(true).truncate(true).mode(0o644);
        let mut file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
        writeln!(file, "{}", std::process::id())?;
        OwnFile::new(path)
    };
    write().map_err(|error| {
        let path = path.display();
        Failure::start(format!(
            "cannot write --pid-file {path}: {error}; make its folder writable for this user, or \
             remove the option"
        ))
    })
}

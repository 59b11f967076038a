//! Sockets that the service manager has opened for this process: systemd, by `LISTEN_FDS`.

use super::socket::Listener;
use socket2::{Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether the descriptors have an owner in this process.
static ARE_TAKEN: AtomicBool = AtomicBool::new(false);

/// A descriptor from the service manager.
#[derive(Debug)]
pub(crate) struct Passed {
    name: String,
    socket: Socket,
}

impl Passed {
    /// All descriptors that were passed to this process, in their order; none the second time.
    /// Nothing may have been opened before that could have one of their numbers.
    ///
    /// # Errors
    /// The variables do not fit the descriptors.
    pub(crate) fn all() -> io::Result<Vec<Self>> {
        if ARE_TAKEN.swap(true, Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        // The names of another process's descriptors say nothing, but are no mistake either.
        let names = std::env::var_os("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.to_string_lossy();
        let names = names.split(':').chain(std::iter::repeat(""));
        let passed = sd_notify::listen_fds()?.zip(names).map(|(number, name)| {
            // SAFETY: `LISTEN_PID` names this process, so the service manager has opened this
            // descriptor for it, and that it is open was found when its flag was set just now.
            // Nothing else owns it: `ARE_TAKEN` lets one caller come here once.
            let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
            Self { name: name.to_owned(), socket: descriptor.into() }
        });
        Ok(passed.collect())
    }

    /// The name that the service manager gives the descriptor: that of its unit, or its own.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The address, if it is a TCP socket that listens.
    #[must_use]
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.local()?.as_socket()
    }

    /// The path, if it is a Unix socket that listens.
    #[must_use]
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.local()?.as_pathname().map(ToOwned::to_owned)
    }

    /// The listener on the socket.
    ///
    /// # Errors
    /// As [`Listener::bind`], but for those of an address that is not free.
    pub(crate) fn listen(self, keep_alive: Option<Duration>) -> io::Result<Listener> {
        Listener::take_over(self.socket, keep_alive)
    }

    fn local(&self) -> Option<socket2::SockAddr> {
        let is_stream = self.socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
        let listens = is_stream && self.socket.is_listener().unwrap_or(false);
        self.socket.local_addr().ok().filter(|_| listens)
    }
}

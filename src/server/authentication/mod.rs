//! Verifies logins on threads of its own, off the workers.

use crate::access::{Login, Policy, Verdict};
use crate::broker::LinkId;
use std::io;
use std::sync::Arc;

/// How a [`Desk`] works.
#[derive(Debug, Clone, Copy)]
pub struct DeskSettings {
    /// Threads that hash passwords.
    pub threads: usize,
    /// Logins that may wait; more are refused.
    pub queue: usize,
    /// Seconds for which a verified password is not hashed again; 0: it always is.
    pub cache_s: u32,
    /// Failed logins from one address within a minute after which it has to wait; 0: it never has.
    pub login_failures_max: u32,
}

/// Verifies logins on a few low-priority threads, off the workers.
#[derive(Debug)]
pub struct Desk {}

impl Desk {
    /// Starts the threads. They give each verdict to `answer`, with the worker and the link.
    pub fn start(
        _settings: DeskSettings,
        _answer: impl Fn(usize, LinkId, Verdict) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Verifies by `policies`, one per listener, from now on.
    pub fn set_policies(&self, _policies: Arc<[Policy]>) {}

    /// Takes a login; false when too many wait already.
    pub fn submit(&self, _worker: usize, _link: LinkId, _login: Login) -> bool {
        false
    }

    /// Stops the threads; what waits is not answered.
    pub fn stop(self) {}
}

//! The state of a bridge.

use crate::bridge::Carried;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The interval between two lines about messages that are not carried.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// A bridge, for those who look at it and for the task that carries its messages.
#[derive(Debug)]
pub(in crate::server) struct Shared {
    pub(super) name: String,
    /// The client identifier of its session here.
    pub(super) local_client_id: String,
    status: Mutex<Status>,
}

/// The state of a bridge.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Status {
    /// The place of the other broker that is or was tried last.
    pub(in crate::server) address: String,
    /// Whether the other broker has let the bridge in.
    pub(in crate::server) is_connected: bool,
    /// The number of connections so far.
    pub(in crate::server) connections: u64,
    /// The messages of all connections.
    pub(in crate::server) carried: Carried,
    /// The messages that were not carried.
    pub(in crate::server) dropped: u64,
    /// The reason for which the last connection ended, or did not come about.
    pub(in crate::server) cause: Option<String>,
    /// The messages of earlier connections.
    before: Carried,
    told: Option<Instant>,
}

impl Shared {
    pub(super) fn new(name: &str, local_client_id: &str) -> Self {
        let (name, local_client_id) = (name.to_owned(), local_client_id.to_owned());
        Self { name, local_client_id, status: Mutex::default() }
    }

    /// The bridge's name, its session's client identifier here, and its state.
    pub(in crate::server) fn look(&self) -> (&str, &str, Status) {
        (&self.name, &self.local_client_id, self.status().clone())
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a place is tried.
    pub(super) fn note_attempt(&self, address: String) {
        self.status().address = address;
    }

    /// Notes that the other broker has let the bridge in.
    pub(super) fn note_connected(&self) {
        let mut status = self.status();
        status.is_connected = true;
        status.connections += 1;
        status.cause = None;
        tracing::info!("Bridge {}: connected to {}", self.name, status.address);
    }

    pub(super) fn note_carried(&self, carried: Carried) {
        let mut status = self.status();
        status.carried = status.before.and(carried);
    }

    /// Notes that a connection has ended, or has not come about; the log is told each cause once.
    pub(super) fn note_ended(&self, cause: &str) {
        let mut status = self.status();
        status.before = status.carried;
        let was_connected = std::mem::take(&mut status.is_connected);
        let is_new = status.cause.as_deref() != Some(cause);
        status.cause = Some(cause.to_owned());
        let (name, address) = (&self.name, &status.address);
        match (was_connected, is_new) {
            (true, _) => tracing::warn!("Bridge {name}: disconnected from {address}: {cause}"),
            (false, true) => tracing::warn!("Bridge {name}: no connection to {address}: {cause}"),
            (false, false) => tracing::debug!("Bridge {name}: no connection to {address}: {cause}"),
        }
    }

    pub(super) fn note_dropped(&self, cause: &str, topic: &str) {
        let mut status = self.status();
        status.dropped += 1;
        let is_time = status.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL);
        if is_time {
            status.told = Some(Instant::now());
            tracing::warn!("Bridge {}: {topic:?} is not carried: {cause}", self.name);
        }
    }
}

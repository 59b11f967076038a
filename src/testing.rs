//! The broker as only its tests, its micro-benchmarks and the simulator see it: no part of the
//! interface, and called by nothing that the broker does.

pub use crate::base::prng::Prng;
pub use crate::base::visits::{Planted, plant};

use crate::access::{Policy, PolicyError, Sources};
use crate::base::time::Time;
use crate::broker::{Outbox, Shard, Unsent};
use crate::io::setup::RingEngine;
use crate::store::{CommitWriter, Disk, Log};
use crate::topics::{Retained, RetainedMessage, Subscriptions};

/// A policy without a rule: everyone may do everything, and nobody has a name.
///
/// # Panics
///
/// Never: there is no file to read.
#[must_use]
pub fn open_policy() -> Policy {
    let sources = Sources { allow_anonymous: true, ..Sources::default() };
    Policy::load(&sources).expect("there is no file to read")
}

/// A policy of texts, as the password file and the ACL file hold them.
///
/// # Errors
///
/// Names the number of the line that is wrong, and the cause.
pub fn policy(
    allow_anonymous: bool,
    passwords: Option<&str>,
    acl: Option<&str>,
) -> Result<Policy, PolicyError> {
    Policy::parse(allow_anonymous, passwords, acl)
}

/// Sessions, nodes of the subscription tree and retained messages of a shard: at rest, what clients
/// left behind.
#[must_use]
pub fn census(shard: &Shard) -> (usize, usize, usize) {
    shard.census()
}

/// The balance of a shard's messages: how many it has owed to clients so far, and how many of those
/// it has sent, dropped and withdrawn or still keeps for them. The two are equal between inputs.
#[must_use]
pub fn balance(shard: &Shard) -> (u64, u64) {
    let (owed, ended) = shard.counters().balance();
    (owed, ended + shard.waiting_len())
}

/// Sets the time at which a shard is restored, where that is not the clock's start.
pub fn open_at(shard: &mut Shard, now: Time) {
    shard.open_at(now);
}

/// Whether a link waits to be sent something.
#[must_use]
pub fn has_dirty(outbox: &Outbox) -> bool {
    outbox.has_dirty()
}

/// The engine of rings that a test makes itself: as `RINGMQ_ENGINE` says, like a broker's.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "no test has options of its own")]
pub fn ring_engine() -> RingEngine {
    match std::env::var("RINGMQ_ENGINE").as_deref() {
        Ok("poll") => RingEngine::Poll,
        _ => RingEngine::IoUring,
    }
}

/// Puts bytes that are to be sent later behind others.
pub fn append(unsent: &mut Unsent, next: Unsent) {
    unsent.append(next);
}

/// Nodes of a subscription tree: 0 when nobody anywhere subscribes to anything.
#[must_use]
pub fn node_count(subscriptions: &Subscriptions) -> usize {
    subscriptions.node_count()
}

/// Topics that have a retained message.
#[must_use]
pub fn retained_count<M: RetainedMessage>(retained: &Retained<M>) -> usize {
    retained.len()
}

/// The disk that a journal is written to.
#[must_use]
pub fn disk<D: Disk>(log: &Log<D>) -> &D {
    log.disk()
}

/// A writer of commits that are shorter than the format allows.
#[must_use]
pub fn with_limit(writer: CommitWriter, bytes_max: usize) -> CommitWriter {
    writer.with_limit(bytes_max)
}

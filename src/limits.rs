//! Every bound that is not an option, in one place, with the relations that must hold between them.

use std::time::Duration;

/// Workers that one process may have: a set of them is one word.
pub const WORKERS_MAX: usize = 128;

/// Bytes of receive memory held for a peer that has not completed CONNECT.
pub const UNAUTHENTICATED_BYTES_MAX: usize = 16 * 1024;

/// The largest CONNECT taken: every field at its largest, and user properties besides. What goes
/// beyond [`UNAUTHENTICATED_BYTES_MAX`] stays in the kernel until all of it has arrived.
pub const CONNECT_BYTES_MAX: usize = 512 * 1024;

/// How long a peer may take to send its CONNECT.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Payloads from this size on are shared by all subscribers, not copied behind each head.
pub const PAYLOAD_COPIED_MAX: usize = 16 * 1024;

/// Responses kept for a peer that does not read; beyond it nothing is received from the peer.
pub const BACKLOG_BYTES_MAX: usize = 64 * 1024;

/// What one turn takes from the queues of one session.
pub const PUMP_BYTES_MAX: usize = 64 * 1024;

/// A turn's output; beyond it everything is sent before anything more is received.
pub const OUTBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Retained messages looked up at once.
pub const RETAINED_PAGE_MESSAGES: usize = 256;

/// Retained topics looked at to find them, so that a rare match does not hold up a turn.
pub const RETAINED_PAGE_VISITS: usize = 4096;

/// Members of a shared group asked whether they can take a message now.
pub const SHARE_PROBES_MAX: usize = 32;

const _: () = assert!(UNAUTHENTICATED_BYTES_MAX < CONNECT_BYTES_MAX);
const _: () = assert!(PUMP_BYTES_MAX * 16 <= OUTBOX_BYTES_MAX);
const _: () = assert!(RETAINED_PAGE_MESSAGES <= RETAINED_PAGE_VISITS);
const _: () = assert!(PAYLOAD_COPIED_MAX <= PUMP_BYTES_MAX);

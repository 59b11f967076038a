//! Every bound that is not an option, in one place, with the relations that must hold between them.

use std::time::Duration;

/// Workers that one process may have: a set of them is one word.
pub(crate) const WORKERS_MAX: usize = 128;

/// Bytes of receive memory held for a peer that has not completed CONNECT.
pub(crate) const UNAUTHENTICATED_BYTES_MAX: usize = 16 * 1024;

/// The largest CONNECT taken: every field at its largest, and user properties besides. What goes
/// beyond [`UNAUTHENTICATED_BYTES_MAX`] stays in the kernel until all of it has arrived.
pub(crate) const CONNECT_BYTES_MAX: usize = 512 * 1024;

/// Hundredths of `--max-memory` in use from which nothing is kept for good that is new.
pub const MEMORY_TIGHT_PERCENT: u64 = 70;
/// The same from which clients that hold most lose what waits for them.
pub const MEMORY_SHORT_PERCENT: u64 = 85;
/// The same from which nothing comes in.
pub const MEMORY_FULL_PERCENT: u64 = 95;
/// Hundredths by which it has to fall below one of these before that is over.
pub const MEMORY_BACK_PERCENT: u64 = 2;
/// Bytes that a bridge holds for each side before it stops the other one.
pub(crate) const BRIDGE_BYTES_MAX: usize = 1024 * 1024;
/// Seconds between two looks whether the first address of a bridge answers again.
pub(crate) const BRIDGE_PRIMARY_S: u64 = 30;
/// The bytes that must have been freed before memory is given back to the kernel, besides an eighth
/// of what was in use.
pub(crate) const FREED_BYTES_MIN: u64 = 1 << 20;
/// The time from then on until it is given back.
pub(crate) const GIVE_BACK_DELAY: Duration = Duration::from_secs(2);
/// Bytes that are taken from clients in one turn before it is seen whether that was enough.
pub(crate) const SHED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The time between two looks at what clients hold, when none holds much.
pub(crate) const SHED_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of packets under way for which no client loses its connection while messages come in.
pub(crate) const USUAL_BYTES_MAX: usize = 256 * 1024;
/// Bytes that a client may hold in any case.
pub(crate) const SHED_BYTES_MIN: usize = 16 * 1024;

const _: () = assert!(MEMORY_TIGHT_PERCENT < MEMORY_SHORT_PERCENT);
const _: () = assert!(MEMORY_SHORT_PERCENT < MEMORY_FULL_PERCENT && MEMORY_FULL_PERCENT < 100);

/// Connections beyond the limits that are open at a time only to be told so.
pub(crate) const TURNED_AWAY_MAX: usize = 64;

/// Steps of TLS handshakes that a worker takes in one turn; each may cost a signature.
pub(crate) const HANDSHAKE_STEPS_MAX: usize = 4;

/// CONNECT packets above [`UNAUTHENTICATED_BYTES_MAX`] that a worker holds at a time for peers
/// behind TLS or WebSocket, where the kernel cannot hold them.
pub(crate) const LARGE_CONNECTS_MAX: usize = 16;

/// CONNECT packets above `UNAUTHENTICATED_BYTES_MAX` that a worker keeps at a time while it is
/// found out who sent them.
pub const LARGE_LOGINS_MAX: usize = 64;

/// Logins that wait to be verified; more are refused as busy.
pub(crate) const LOGINS_WAITING_MAX: usize = 16_384;

/// Multiples of `--connect-timeout` that a peer may take to come in while something comes from it.
pub const CONNECT_TIME_FACTOR: u32 = 2;

/// The longest time for a peer that is let in only to be told that there are too many.
pub const TURNED_AWAY_TIME_MAX: Duration = Duration::from_secs(10);

/// Probes of TCP keep-alive that go unanswered before the peer is gone.
pub(crate) const TCP_PROBES: u32 = 4;

/// Bytes that the kernel takes for a peer before it can send them. Without this bound it takes 4 MB
/// for each peer that does not read, and some hundred of them use up the memory that it has for all
/// of TCP: it drops the packets of others then.
pub(crate) const SOCKET_AHEAD_BYTES_MAX: u32 = 512 * 1024;

/// The longest time between two probes of TCP keep-alive.
pub(crate) const TCP_PROBE_INTERVAL_MAX: Duration = Duration::from_secs(15);

/// A worker that comes to something so much too late has not seen to anything else meanwhile.
pub(crate) const TURN_LATE: Duration = Duration::from_millis(50);

/// The time that waiting input may take to reach the broker before the broker looks for it again.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Looks in a row for input of one peer: bytes that never become a packet do not keep a connection.
pub const LOOKS_MAX: u8 = 60;

/// Payloads from this size on are shared by all subscribers, not copied behind each head.
pub const PAYLOAD_COPIED_MAX: usize = 16 * 1024;

/// The time for which a connection that is to be closed waits for responses owed to its client.
pub const CLOSE_WAIT_MAX: Duration = Duration::from_secs(10);

/// The same time when the broker stops.
pub(crate) const STOP_WAIT_MAX: Duration = Duration::from_secs(1);

/// Responses kept for a peer that does not read; beyond it nothing is received from the peer.
pub(crate) const BACKLOG_BYTES_MAX: usize = 64 * 1024;

/// Responses of one link that may wait for the disk or other workers; beyond it nothing more is
/// taken from the link until half of them have gone.
pub const DEFERRED_RESPONSES_MAX: usize = 4096;

/// The same in bytes.
pub(crate) const DEFERRED_BYTES_MAX: usize = BACKLOG_BYTES_MAX;

/// Bytes that one turn takes from the queues of one session.
pub(crate) const PUMP_BYTES_MAX: usize = 64 * 1024;
/// The same in messages, with those that are dropped.
pub const PUMP_MESSAGES_MAX: usize = 512;

/// A turn's output; beyond it everything is sent before anything more is received.
pub const OUTBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that one turn encodes for single links at most; beyond it messages queue until it is sent.
pub const TURN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of payloads that one turn's output of a link refers to, before the last of them; beyond it
/// messages queue as for a client that does not read.
pub const LINK_PAYLOADS_MAX: usize = 8 * 1024 * 1024;

/// The largest packet that there is.
pub(crate) const PACKET_BYTES_MAX: usize = 268_435_455 + 5;

/// Bytes that go through layers below MQTT in one slice of sends, before the last of them; each
/// worker keeps the memory for so many.
pub(crate) const WRAPPED_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one link that go through its layers before the socket has taken those before: two TLS
/// records with the head of a WebSocket frame. A full socket leaves so much of the layers' bytes,
/// which no other link can use; what follows stays shared.
pub(crate) const PIECE_BYTES_MAX: usize = 2 * TLS_RECORD_BYTES_MAX - 16;

/// Bytes of a commit before the last batch of it; the others make one of their own.
pub const COMMIT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Steps of work that a worker does in one turn before the rest waits for the next; a step takes
/// about ten nanoseconds. Each kind of work that has waited has as many again.
pub const TURN_STEPS_MAX: usize = 256 * 1024;

/// Steps that one client's queues and replays may take of a turn, so that those of others have
/// their turn.
pub(crate) const PUMP_STEPS_MAX: u64 = TURN_STEPS_MAX as u64 / 8;

/// Retained messages looked up at once.
pub(crate) const RETAINED_PAGE_MESSAGES: usize = 256;

/// Retained topics looked at to find them, so that a rare match does not hold up a turn.
pub(crate) const RETAINED_PAGE_VISITS: usize = 512;

/// Members of a shared group asked whether they can take a message now.
pub(crate) const SHARE_PROBES_MAX: usize = 32;

/// Times that a message for a shared group goes on to another worker because its members have just
/// left the one that was picked.
pub(crate) const SHARE_RELAYS_MAX: u8 = 32;

const _: () = assert!(UNAUTHENTICATED_BYTES_MAX < CONNECT_BYTES_MAX);
const _: () = assert!(PUMP_BYTES_MAX * 16 <= OUTBOX_BYTES_MAX);
const _: () = assert!(RETAINED_PAGE_MESSAGES <= RETAINED_PAGE_VISITS);
const _: () = assert!(PAYLOAD_COPIED_MAX <= PUMP_BYTES_MAX);
const _: () = assert!(OUTBOX_BYTES_MAX <= TURN_BYTES_MAX);
const _: () = assert!(PIECE_BYTES_MAX >= PAYLOAD_COPIED_MAX);
const _: () = assert!(16 * PIECE_BYTES_MAX <= WRAPPED_BYTES_MAX);
// With the heads of records as short as a client may ask for, 64 KiB hold a piece.
const _: () = assert!(PIECE_BYTES_MAX + PIECE_BYTES_MAX / 8 <= 64 * 1024);
// What one turn may hold for one link, and encode: the kernel counts the bytes of a send in an
// `i32`, a run of an arena is named by two `u32`.
const _: () =
    assert!(2 * (TURN_BYTES_MAX + LINK_PAYLOADS_MAX + 2 * PACKET_BYTES_MAX) < i32::MAX as usize);

/// Submission entries of a worker's ring.
pub(crate) const SUBMISSIONS: u32 = 4096;
/// Completion entries of a worker's ring: the failed sends of a slice and a buffer ring's receives
/// fit several times.
pub(crate) const COMPLETIONS: u32 = 16_384;
/// Submission entries of the smallest ring, where memory may not be locked for more.
pub(crate) const SUBMISSIONS_MIN: u32 = 64;
/// Submission entries that all rings get before there are fewer workers.
pub(crate) const SUBMISSIONS_FEW: u32 = 256;
/// Bytes of locked memory left for the rings of the control thread and of the journal.
pub(crate) const LOCKED_RESERVE_BYTES: usize = 128 * 1024;
/// Receive buffers of a worker, a power of two.
pub(crate) const RECEIVE_BUFFERS: u16 = 1024;
/// Bytes of one receive buffer.
pub(crate) const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// Sends submitted in one call; then completions are looked at.
pub(crate) const SLICE_SENDS_MAX: usize = 1024;
/// Below this many bytes the pieces of one send are copied together; from it on they are sent
/// where they lie.
pub(crate) const COPIED_BYTES_MAX: usize = 16 * 1024;
/// Bytes that one submission copies together at most.
pub(crate) const SCRATCH_BYTES: usize = 1024 * 1024;
/// Pieces that one send may name, the kernel's `UIO_MAXIOV`.
pub(crate) const SEND_PIECES_MAX: usize = 1024;
/// Messages in the ring from one worker to another; see [`mesh_capacity`].
pub(crate) const MESH_MESSAGES_MAX: usize = 4096;
/// Messages to other workers after which a shard causes no more until its driver has carried them
/// out and told it which rings are full.
pub const MESH_BURST_MAX: usize = MESH_MESSAGES_MAX;
/// Messages taken from one ring in one turn; then the other rings and the sockets get theirs.
pub(crate) const MESH_BATCH_MAX: usize = 1024;
/// Seconds for a closing connection's last bytes, and again for the peer's close.
pub(crate) const LINGER_S: u32 = 2;
/// The time that a stopping worker waits for the close of a peer that was sent everything, again
/// from each time that something comes from the peer.
pub(crate) const STOP_LINGER: Duration = Duration::from_millis(20);
/// The time after the signal at which a stopping worker cuts off the connections that are left.
pub(crate) const STOP_CUT: Duration = Duration::from_millis(2500);
/// The time after the signal at which a stopping worker gives up unwritten parts of the journal.
pub(crate) const STOP_JOURNAL: Duration = Duration::from_millis(3500);
/// The time after the signal at which the process ends, whatever is left.
pub(crate) const STOP_ALL: Duration = Duration::from_millis(3800);
/// The time that the last lines of the log may take.
pub(crate) const STOP_LOG: Duration = Duration::from_millis(1100);
/// The time after the signal by which the process is gone at the latest, as the README says.
pub(crate) const STOP_PROMISED: Duration = Duration::from_secs(5);
/// Bytes of log lines that wait to be written; more are left out, counted, and that is said.
pub(crate) const LOG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes that a waiting log line counts besides its own.
pub(crate) const LOG_LINE_BYTES: usize = 64;
/// The last log lines that are kept for those who look.
pub(crate) const LOG_TAIL_LINES: usize = 500;
/// Bytes of them.
pub(crate) const LOG_TAIL_BYTES: usize = 256 * 1024;
/// Bytes of one of them; the rest of a longer line is only in the log.
pub(crate) const LOG_TAIL_LINE_BYTES: usize = 4 * 1024;
/// Characters of a client identifier, a user name or a topic that a log line shows.
pub(crate) const LOG_TEXT_CHARS_MAX: usize = 64;
/// Characters of a text of a client's that a line of the audit log shows.
pub(crate) const AUDIT_TEXT_CHARS_MAX: usize = 256;
/// Filters of one packet that a line of the audit log names; the others are counted.
pub(crate) const AUDIT_FILTERS_MAX: usize = 20;
/// Bytes of a line of the audit log.
pub(crate) const AUDIT_LINE_BYTES_MAX: usize = 256 * 1024;
/// Bytes that an entry for the audit log counts besides its own while it waits.
pub(crate) const AUDIT_ENTRY_BYTES: usize = 128;
/// Lines of the audit log that a client may cause at once by what it sends once it is let in.
pub(crate) const AUDIT_BURST_MAX: u32 = 1000;
/// The time after which a client may cause one such line more; the others are counted.
pub(crate) const AUDIT_LINE_INTERVAL: Duration = Duration::from_millis(10);
/// The time for which entries for the audit log gather before they are written, so that not each of
/// them wakes the thread that writes.
pub(crate) const AUDIT_LINGER: Duration = Duration::from_millis(5);
/// The time after which a line of the audit log is synced.
pub(crate) const AUDIT_SYNC: Duration = Duration::from_millis(500);
/// The time before the audit log is tried again after a write has failed.
pub(crate) const AUDIT_RETRY: Duration = Duration::from_secs(1);
/// The time before a change of its files is tried again that has failed.
pub(crate) const AUDIT_ROTATE_RETRY: Duration = Duration::from_secs(60);
/// Bytes at the end of an audit log in which its last line has to be.
pub(crate) const AUDIT_TAIL_BYTES_MAX: u64 = 1024 * 1024;
/// Old audit logs that are kept at most.
pub(crate) const AUDIT_KEEP_MAX: u32 = 10_000;
/// Faults of an audit log that are named; the others are counted.
pub(crate) const AUDIT_FAULTS_MAX: usize = 100;
/// The time that the last lines of the audit log may take when the process ends because its time is
/// over.
pub(crate) const STOP_AUDIT: Duration = Duration::from_millis(50);
/// Clients of one worker for which dropped messages are told one by one; of the others together.
pub const DROPS_TOLD_MAX: usize = 1024;
/// The time between two log lines about dropped messages, while messages are dropped.
pub const DROPS_INTERVAL: Duration = Duration::from_secs(60);
/// Connections that a worker accepts before it handles what else has come.
pub(crate) const ACCEPT_BATCH_MAX: usize = 16;
/// Milliseconds to wait before accepting again when descriptors or memory ran out.
pub(crate) const ACCEPT_RETRY_MS: u64 = 250;
/// Connections that the kernel queues for a listener, cut to `net.core.somaxconn`.
pub(crate) const LISTEN_BACKLOG: i32 = 4096;

const _: () = assert!(STOP_WAIT_MAX.as_millis() + STOP_LINGER.as_millis() < STOP_CUT.as_millis());
const _: () = assert!(STOP_WAIT_MAX.as_nanos() <= CLOSE_WAIT_MAX.as_nanos());
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());
const _: () = assert!(SLICE_SENDS_MAX <= SUBMISSIONS as usize);
const _: () = assert!(SLICE_SENDS_MAX + RECEIVE_BUFFERS as usize <= COMPLETIONS as usize);
const _: () = assert!(SUBMISSIONS_MIN <= SUBMISSIONS_FEW && SUBMISSIONS_FEW <= SUBMISSIONS);
const _: () = assert!(COPIED_BYTES_MAX <= SCRATCH_BYTES);
const _: () = assert!(ACCEPT_RETRY_MS <= 1000);
const _: () = assert!(LINGER_S as u128 * 1000 + STOP_LINGER.as_millis() < STOP_CUT.as_millis());
const _: () = assert!(STOP_CUT.as_millis() < STOP_JOURNAL.as_millis());
const _: () = assert!(STOP_JOURNAL.as_millis() < STOP_ALL.as_millis());
const _: () = assert!(
    STOP_ALL.as_millis() + STOP_AUDIT.as_millis() + STOP_LOG.as_millis()
        < STOP_PROMISED.as_millis()
);
// Each character of a text takes two escapes of six bytes at most.
const _: () =
    assert!((AUDIT_FILTERS_MAX + 8) * 12 * (AUDIT_TEXT_CHARS_MAX + 4) < AUDIT_LINE_BYTES_MAX);
const _: () = assert!((AUDIT_LINE_BYTES_MAX as u64) * 2 < AUDIT_TAIL_BYTES_MAX);

/// Bytes of entries for the audit log that may wait of one of so many workers; more are left out,
/// counted, and that is said.
#[must_use]
pub(crate) const fn audit_bytes_max(workers: usize) -> usize {
    let (all, least) = (8 * 1024 * 1024, 256 * 1024);
    if workers * least > all { least } else { all / workers.next_power_of_two() }
}

/// The capacity of each ring between `workers` workers: there are `workers²` of them, so many
/// workers get shorter ones.
#[must_use]
pub(crate) const fn mesh_capacity(workers: usize) -> usize {
    match workers {
        0..=16 => MESH_MESSAGES_MAX,
        17..=64 => MESH_MESSAGES_MAX / 4,
        _ => MESH_MESSAGES_MAX / 16,
    }
}

/// The longest PROXY protocol header taken; proxies send some 200 bytes of it, with extensions.
pub(crate) const PROXY_BYTES_MAX: usize = 4 * 1024;
/// The longest head of a WebSocket's HTTP request.
pub(crate) const UPGRADE_BYTES_MAX: usize = 8 * 1024;
/// Header fields of a WebSocket's HTTP request.
pub(crate) const UPGRADE_FIELDS_MAX: usize = 64;
/// The most plaintext that one TLS record holds.
pub(crate) const TLS_RECORD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a TLS peer's input held until they can be processed: one record at its largest. In the
/// handshake [`UNAUTHENTICATED_BYTES_MAX`] counts instead: longer certificate chains are refused.
pub(crate) const TLS_INPUT_BYTES_MAX: usize = TLS_RECORD_BYTES_MAX + 2048 + 5;

/// Certificates of a chain, a client's or the server's own; webpki builds no longer path.
pub(crate) const CHAIN_CERTIFICATES_MAX: usize = 8;
/// Certificates of a client's chain with the same subject: each more multiplies the paths to try.
pub(crate) const CHAIN_NAMESAKES_MAX: usize = 2;
/// Input of a handshake that costs as much to answer as one step: the more certificates wait to be
/// verified, the fewer handshakes go on in the same turn.
pub(crate) const HANDSHAKE_STEP_BYTES: usize = 2 * 1024;
/// Bytes of a file with the server's certificates, or with a key.
pub(crate) const KEY_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of a file with the certificates of authorities.
pub(crate) const AUTHORITY_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Files of certificates in one folder.
pub(crate) const AUTHORITY_FILES_MAX: usize = 4096;
/// Bytes of a file with revocation lists.
pub(crate) const CRL_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

const _: () = assert!(PROXY_BYTES_MAX + UPGRADE_BYTES_MAX <= UNAUTHENTICATED_BYTES_MAX);
const _: () = assert!(CHAIN_NAMESAKES_MAX < CHAIN_CERTIFICATES_MAX);
const _: () = assert!(KEY_FILE_BYTES_MAX <= AUTHORITY_FILE_BYTES_MAX);
/// Bytes of a password, ACL or key file; a larger one is refused.
pub(crate) const ACCESS_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of a configuration file; a larger one is none.
pub(crate) const CONFIGURATION_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Values that a configuration file may set, and lines that do so.
pub(crate) const CONFIGURATION_VALUES_MAX: usize = 10_000;
/// Things that are said to be wrong, or to be warned of, in one file; after them it is not read on.
pub(crate) const CONFIGURATION_FAULTS_MAX: usize = 100;
/// Bytes of a wrong name that are shown, and for which a better one is looked for.
pub(crate) const WRONG_NAME_BYTES_MAX: usize = 64;
/// Iterations that a password file's entry may ask for: about two seconds of one core.
pub(crate) const HASH_ITERATIONS_MAX: u32 = 2_000_000;
/// KiB of memory that a password file's entry may ask for.
pub(crate) const HASH_MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Passes over that memory.
pub(crate) const HASH_PASSES_MAX: u32 = 16;
/// Lanes in that memory.
pub(crate) const HASH_LANES_MAX: u32 = 16;
/// Bytes of one message of an authentication exchange.
pub(crate) const EXCHANGE_BYTES_MAX: usize = 2048;
/// Bytes of a token: its length says how much there is to verify.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Rules that a token or the hook may bring along.
pub(crate) const CLAIMED_RULES_MAX: usize = 1024;
/// Bytes of the hook's answer.
pub(crate) const HOOK_ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Threads that ask the hook, and so requests that it gets at the same time.
pub const HOOK_THREADS: usize = 4;
/// Logins that were right and are remembered.
pub(crate) const LOGIN_CACHE_MAX: usize = 100_000;
/// Addresses, and user names used from one, whose failed logins are remembered.
pub(crate) const LOGIN_FAILURES_TABLE_MAX: usize = 10_000;
/// The longest time for which a login is delayed because others like it have failed: clients give
/// up a CONNECT after 10 s or more.
pub(crate) const LOGIN_DELAY_MAX: Duration = Duration::from_secs(8);

/// Bytes of a segment of the journal; one commit may exceed it.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes that the journal may have before all that lives is written anew, if that is less than
/// half of them.
pub(crate) const REWRITE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Segments that the journal may have before that: every start begins a new one.
pub(crate) const REWRITE_SEGMENTS_MAX: usize = 64;
/// The time that a batch waits for the next acknowledgement that may make it needless.
pub(crate) const JOURNAL_LINGER: Duration = Duration::from_millis(1);
/// The time that a batch waits for such acknowledgements in all.
pub const JOURNAL_LINGER_MAX: Duration = Duration::from_millis(50);
/// The time that records which no response waits for may wait to be written.
pub(crate) const JOURNAL_LAZY: Duration = Duration::from_millis(100);
/// Bytes of messages that may gather on a worker while the journal is busy; beyond it clients that
/// publish at QoS 1 or 2 have to wait.
pub const JOURNAL_WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes that may gather on a worker before what sessions have queued, and what is retained for
/// them, waits for the journal to take those: a batch more of them would only be longer.
pub const GATHERING_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The time before the journal is tried again after it has failed.
pub(crate) const JOURNAL_RETRY: Duration = Duration::from_secs(1);
/// Milliseconds after which a commit notes the journal's time, and by which the wall clock has to
/// be set for a note of its own.
pub(crate) const CLOCK_NOTE_MS: u64 = 1000;
/// The time between two looks of an idle journal at whether the wall clock was set.
pub(crate) const CLOCK_CHECK: Duration = Duration::from_secs(2);
/// A wall clock that says less was never set: 2025-01-01, in milliseconds since 1970.
pub const WALL_PLAUSIBLE_MS: u64 = 1_735_689_600_000;
/// Messages in the ring between a worker and the journal.
pub(crate) const JOURNAL_MESSAGES_MAX: usize = 1024;
/// Bytes of what lives that a worker writes anew in one turn.
pub(crate) const REWRITE_SLICE_BYTES: usize = 256 * 1024;

/// Bytes of one message in a file that is imported: the largest packet, and its publisher's names.
pub(crate) const IMPORT_CHUNK_BYTES_MAX: u64 = PACKET_BYTES_MAX as u64 + 256 * 1024;
/// Bytes of anything else in a Mosquitto database: two names and what goes with them.
pub(crate) const IMPORT_NAMES_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of a line of an export: those of the largest packet in base64, and as many names.
pub(crate) const IMPORT_LINE_BYTES_MAX: u64 = 2 * IMPORT_CHUNK_BYTES_MAX;
/// The greatest number and version in an export: there is room for all that are still to come.
pub(crate) const IMPORT_NUMBER_MAX: u64 = 1 << 62;

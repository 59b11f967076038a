//! Every bound that is not an option, in one place, with the relations that must hold between them.

/// Bytes of receive memory held for a peer that has not completed CONNECT.
pub const UNAUTHENTICATED_BYTES_MAX: usize = 16 * 1024;

/// Submission entries of a worker's ring.
pub const SUBMISSIONS: u32 = 4096;
/// Completion entries of a worker's ring: the failed sends of a slice and a buffer ring's receives
/// fit several times.
pub const COMPLETIONS: u32 = 16_384;
/// Receive buffers of a worker, a power of two.
pub const RECEIVE_BUFFERS: u16 = 1024;
/// Bytes of one receive buffer.
pub const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// Sends submitted in one call; then completions are looked at.
pub const SLICE_SENDS_MAX: usize = 1024;
/// Below this many bytes the pieces of one send are copied together; from it on they are sent
/// where they lie.
pub const COPIED_BYTES_MAX: usize = 16 * 1024;
/// Bytes that one submission copies together at most.
pub const SCRATCH_BYTES: usize = 1024 * 1024;
/// Pieces that one send may name, the kernel's `UIO_MAXIOV`.
pub const SEND_PIECES_MAX: usize = 1024;
/// Messages in the ring from one worker to another; see [`mesh_capacity`].
pub const MESH_MESSAGES_MAX: usize = 4096;
/// Messages taken from one ring in one turn; then the other rings and the sockets get theirs.
pub const MESH_BATCH_MAX: usize = 1024;
/// Seconds for a closing connection's last bytes, and again for the peer's close.
pub const LINGER_S: u32 = 2;
/// Seconds after which a stopping worker cuts off what is still connected.
pub const STOP_S: u32 = 4;
/// Milliseconds to wait before accepting again when descriptors or memory ran out.
pub const ACCEPT_RETRY_MS: u64 = 250;
/// Connections that the kernel queues for a listener, cut to `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 4096;

const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());
const _: () = assert!(SLICE_SENDS_MAX <= SUBMISSIONS as usize);
const _: () = assert!(SLICE_SENDS_MAX + RECEIVE_BUFFERS as usize <= COMPLETIONS as usize);
const _: () = assert!(COPIED_BYTES_MAX <= SCRATCH_BYTES);
const _: () = assert!(ACCEPT_RETRY_MS <= 1000);

/// The capacity of each ring between `workers` workers: there are `workers²` of them, so many
/// workers get shorter ones.
#[must_use]
pub const fn mesh_capacity(workers: usize) -> usize {
    match workers {
        0..=16 => MESH_MESSAGES_MAX,
        17..=64 => MESH_MESSAGES_MAX / 4,
        _ => MESH_MESSAGES_MAX / 16,
    }
}

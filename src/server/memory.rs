//! How the kernel backs this process's memory.

/// Has memory backed by ordinary pages, not by huge ones.
///
/// Connections are many small allocations: with huge pages 16,000 idle ones took 1,178 bytes each
/// instead of 862, and fan-out, pairs and QoS 1 cost the same CPU per delivery. A kernel that does
/// not know the call loses nothing but that.
pub(super) fn use_ordinary_pages() {
    // SAFETY: the call takes numbers only, and concerns this process alone.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

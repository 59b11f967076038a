//! Pages of the memory of this process: ordinary ones, and huge ones where they pay.

use std::ops::Range;

/// `PR_THP_DISABLE_EXCEPT_ADVISED` of Linux 6.18.
const EXCEPT_ADVISED: libc::c_ulong = 2;

/// Makes the kernel back memory by ordinary pages, except where [`use_huge_pages`] asks for huge
/// ones.
///
/// Connections are many small allocations: with huge pages 16,000 idle ones took 1,178 bytes each
/// instead of 862, and fan-out, pairs and QoS 1 cost the same CPU per delivery. A kernel that does
/// not know the exception has no huge pages at all, and one that does not know the call loses
/// nothing but memory.
pub(crate) fn use_ordinary_pages() {
    for flags in [EXCEPT_ADVISED, 0] {
        // SAFETY: the call takes numbers only, and concerns this process alone.
        if unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, flags, 0, 0) } == 0 {
            return;
        }
    }
}

/// Asks for huge pages behind memory that is about to be written for the first time: an Argon2
/// hash, which reads its 46 MiB in random order, takes 18 ms with them and 22 ms without.
pub(crate) fn use_huge_pages(memory: Range<*const u8>) {
    let page = 2 << 20;
    let start = memory.start.addr().next_multiple_of(page);
    let end = memory.end.addr() / page * page;
    if start < end {
        let start = memory.start.with_addr(start).cast_mut().cast();
        // SAFETY: the advice changes no byte, wherever it is.
        let _ = unsafe { libc::madvise(start, end - start.addr(), libc::MADV_HUGEPAGE) };
    }
}

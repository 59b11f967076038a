//! What things keep in memory.

/// Bytes in allocations, everywhere in the process.
fn allocated() -> usize {
    // SAFETY: the function has no preconditions.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// Bytes that each of many things keeps.
pub fn each<T>(mut make: impl FnMut() -> T) -> usize {
    const COUNT: usize = 100;
    drop(make());
    let mut kept = Vec::with_capacity(COUNT);
    let before = allocated();
    kept.resize_with(COUNT, make);
    let after = allocated();
    assert_eq!(kept.len(), COUNT);
    after.saturating_sub(before) / COUNT
}

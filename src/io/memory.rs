//! The memory of the process: an allocator that counts the bytes in use, whoever owns them, for a
//! few instructions an allocation.

use crate::base::balance::Balance;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::fmt;

static IN_USE: Balance = Balance::new();

thread_local! {
    static UNTOLD: Cell<i64> = const { Cell::new(0) };
}

/// The bytes that are allocated; 0 in a program whose allocator is not [`Counted`].
#[must_use]
pub fn in_use() -> u64 {
    IN_USE.get()
}

/// Gives memory that this thread has freed back to the kernel. Costs time with the number of pages
/// that the thread has in use.
pub(crate) fn give_back() {
    // SAFETY: the call takes no memory of ours. Where another allocator is in use, there is nothing
    // for it to do.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

#[inline]
fn count(bytes: i64) {
    IN_USE.add(&UNTOLD, bytes);
}

/// An allocator whose bytes in use are counted.
pub struct Counted<A>(pub A);

impl<A> fmt::Debug for Counted<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Counted")
    }
}

// SAFETY: every call goes to the allocator inside with its arguments unchanged, and that
// allocator's result comes back unchanged.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counted<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise, as it is.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise, as it is.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise, as it is.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise, as it is.
        unsafe { self.0.realloc(pointer, layout, size) }
    }
}

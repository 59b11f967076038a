//! The receive buffers of a ring: given to the kernel, lent back with bytes in them, given again.
//!
//! ```text
//! entries  ┌───────────┬───────────┬─ … ─┬───────────┐  one page-aligned block, shared with the
//!          │addr len id│addr len id│     │addr len id│  kernel; the tail lies in the unused half
//!          └───────────┴───────────┴─ … ─┴───────────┘  word of entry 0
//! memory   ┌───────────┬───────────┬─ … ─┬───────────┐
//!          │ buffer 0  │ buffer 1  │     │ buffer n-1│  each owned by the kernel or lent out
//!          └───────────┴───────────┴─ … ─┴───────────┘
//! ```

use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// A buffer that the kernel filled. `recycle` gives the buffer back; otherwise the ring has one
/// fewer.
#[derive(Debug)]
#[must_use = "a buffer that is not recycled is lost"]
pub struct Lent {
    id: u16,
    length: u32,
}

impl Lent {
    /// The buffer that a completion names: only `Ring::next_event` makes one.
    pub(super) const fn new(id: u16, length: u32) -> Self {
        Self { id, length }
    }

    /// The number of the buffer, and of the bytes in it.
    pub(super) const fn parts(&self) -> (u16, u32) {
        (self.id, self.length)
    }
}

/// The buffers, and the ring that gives them to the kernel.
#[derive(Debug)]
pub(super) struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    size: u32,
    tail: u16,
}

/// The only group of buffers of a ring.
pub(super) const GROUP: u16 = 0;
const PAGE: usize = 4096;

impl Buffers {
    /// `count` buffers (a power of two, at most 2¹⁵) of `size` bytes, all with the kernel.
    pub(super) fn register(submitter: &Submitter<'_>, count: u16, size: u32) -> io::Result<Self> {
        assert!(count.is_power_of_two() && count <= 1 << 15 && size > 0);
        let entries = allocate(Self::entries_layout(count)).cast();
        let memory = allocate(Self::memory_layout(count, size));
        let mut buffers = Self { entries, memory, count, size, tail: 0 };
        // SAFETY: the block holds `count` zeroed entries and is page-aligned. It lives until this
        // value is dropped, which `Ring` does only when nothing is in flight any more.
        unsafe {
            submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, count, GROUP, 0)?;
        }
        for id in 0..count {
            buffers.give(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The bytes that the kernel put into a lent buffer.
    pub(super) fn bytes(&self, lent: &Lent) -> &[u8] {
        assert!(lent.id < self.count && lent.length <= self.size);
        // SAFETY: the range lies within buffer `id` by the assertion, and is initialised (zeroed at
        // the start, written by the kernel later). While the `Lent` exists the kernel does not own
        // the buffer: it was made from the completion that handed the buffer over, exists once
        // because it is not `Clone`, and is consumed by `recycle`. Nobody else writes to it.
        unsafe {
            let start = self.memory.as_ptr().add(lent.id as usize * self.size as usize);
            std::slice::from_raw_parts(start, lent.length as usize)
        }
    }

    /// Gives a lent buffer back to the kernel.
    pub(super) fn recycle(&mut self, lent: Lent) {
        assert!(lent.id < self.count);
        self.give(lent.id);
        self.publish();
    }

    /// Writes the next entry; the kernel sees it after [`Buffers::publish`].
    fn give(&mut self, id: u16) {
        let index = self.tail & (self.count - 1);
        // SAFETY: `index < count`, so the entry is inside the block. The kernel does not read an
        // entry beyond the published tail, and at most `count` buffers are with it, so this entry
        // is not in use. The buffer's address is inside `memory`.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(index as usize);
            entry.set_addr(self.memory.as_ptr().add(id as usize * self.size as usize) as u64);
            entry.set_len(self.size);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: `entries` points to the first entry of the block, in which the kernel's layout
        // keeps the tail, aligned to two bytes. It is only written here, atomically; Release makes
        // the entries before it visible to the kernel first.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn entries_layout(count: u16) -> Layout {
        let bytes = count as usize * size_of::<BufRingEntry>();
        Layout::from_size_align(bytes, PAGE).expect("a small block")
    }

    fn memory_layout(count: u16, size: u32) -> Layout {
        Layout::from_size_align(count as usize * size as usize, PAGE).expect("a small block")
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: both blocks were allocated in `register` with these layouts. `Ring` drops its
        // buffers only when nothing is in flight any more, so the kernel uses neither.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), Self::entries_layout(self.count));
            dealloc(self.memory.as_ptr(), Self::memory_layout(self.count, self.size));
        }
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    assert!(layout.size() > 0);
    // SAFETY: the layout's size is not zero.
    let block = NonNull::new(unsafe { alloc_zeroed(layout) });
    let block = block.unwrap_or_else(|| handle_alloc_error(layout));
    for page in (0..layout.size()).step_by(PAGE) {
        // The page is there from the start, not from the first use of a buffer.
        // SAFETY: the byte lies within the block.
        unsafe { block.add(page).write_volatile(0) };
    }
    block
}

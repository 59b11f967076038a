//! Memory for the pieces of sends, which the kernel reads until the submission has returned.
//!
//! Few bytes are copied together; many are named where they lie. All of it stays put until
//! [`Iovecs::clear`]: nothing is added beyond the capacities reserved at the start.

use crate::limits::{COPIED_BYTES_MAX, SCRATCH_BYTES, SEND_PIECES_MAX};
use libc::{iovec, msghdr};
use std::fmt;

const VECTORS: usize = 4 * SEND_PIECES_MAX;
const HEADERS: usize = SEND_PIECES_MAX;

/// The bytes of one send, as the kernel reads them.
pub(super) enum Gathered {
    /// One run of bytes.
    Run(*const u8, usize),
    /// Several runs.
    Message(*const msghdr),
}

/// Scratch memory for the sends of one submission.
pub(super) struct Iovecs {
    pieces: Vec<iovec>,
    scratch: Vec<u8>,
    spilled: Vec<Vec<u8>>,
    vectors: Vec<iovec>,
    headers: Vec<msghdr>,
}

impl fmt::Debug for Iovecs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Iovecs").finish_non_exhaustive()
    }
}

impl Iovecs {
    pub(super) const fn new() -> Self {
        Self {
            pieces: Vec::new(),
            scratch: Vec::new(),
            spilled: Vec::new(),
            vectors: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Notes the pieces of the next send. Their memory has to stay until `clear`.
    pub(super) fn set_pieces<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
        self.pieces.clear();
        self.pieces.extend(pieces.map(|piece| iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        }));
    }

    /// Takes the noted pieces out, so that they survive a `clear`.
    pub(super) fn take_pieces(&mut self) -> Vec<iovec> {
        std::mem::take(&mut self.pieces)
    }

    /// Notes pieces that were taken out.
    pub(super) fn put_pieces(&mut self, pieces: Vec<iovec>) {
        self.pieces = pieces;
    }

    /// True when [`Iovecs::gather`] has room for the pieces; otherwise submit and clear first.
    pub(super) fn has_room(&self) -> bool {
        self.scratch.len() + COPIED_BYTES_MAX <= SCRATCH_BYTES
            && self.vectors.len() + SEND_PIECES_MAX <= VECTORS
            && self.headers.len() < HEADERS
    }

    /// Lays the pieces out for the kernel.
    ///
    /// # Safety
    /// The memory of the pieces is still there and unchanged since `set_pieces`.
    pub(super) unsafe fn gather(&mut self) -> Gathered {
        assert!(self.has_room());
        let bytes = self.pieces.iter().map(|piece| piece.iov_len).sum();
        if bytes < COPIED_BYTES_MAX {
            self.scratch.reserve_exact(SCRATCH_BYTES - self.scratch.len());
            let start = self.scratch.len();
            // SAFETY: the caller's promise is the one of `copy`.
            unsafe { copy(&self.pieces, &mut self.scratch) };
            return Gathered::Run(self.scratch[start..].as_ptr(), bytes);
        }
        if self.pieces.len() > SEND_PIECES_MAX {
            let mut run = Vec::with_capacity(bytes);
            // SAFETY: as above.
            unsafe { copy(&self.pieces, &mut run) };
            self.spilled.push(run);
            return Gathered::Run(self.spilled[self.spilled.len() - 1].as_ptr(), bytes);
        }
        self.name_pieces()
    }

    fn name_pieces(&mut self) -> Gathered {
        self.vectors.reserve_exact(VECTORS - self.vectors.len());
        self.headers.reserve_exact(HEADERS - self.headers.len());
        let start = self.vectors.len();
        self.vectors.extend_from_slice(&self.pieces);
        // SAFETY: a msghdr is a plain structure of pointers and numbers; all zero is "no address,
        // no control data, no flags".
        let mut header: msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = self.vectors[start..].as_mut_ptr();
        header.msg_iovlen = self.pieces.len() as _;
        self.headers.push(header);
        Gathered::Message(&raw const self.headers[self.headers.len() - 1])
    }

    /// Forgets all pieces and their copies: the submission has returned.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.scratch.clear();
        self.spilled.clear();
        self.vectors.clear();
        self.headers.clear();
    }
}

/// Appends the pieces to `run`, which has the capacity for them.
///
/// # Safety
/// Each piece is readable memory that nobody writes to meanwhile.
unsafe fn copy(pieces: &[iovec], run: &mut Vec<u8>) {
    for piece in pieces {
        // SAFETY: the caller's promise; a slice's pointer is never null.
        let bytes = unsafe { std::slice::from_raw_parts(piece.iov_base.cast(), piece.iov_len) };
        run.extend_from_slice(bytes);
    }
}

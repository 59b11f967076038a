//! Sending: many sends at once that finish before the call returns, and the backlogs of sockets
//! that were full.
//!
//! A send is finished when the submission has returned: with `MSG_DONTWAIT` the kernel tries it
//! once, inside the submission. A full socket gives `EAGAIN` and, because of `MSG_WAITALL`, a
//! partial send gives its count; both fail the request, which makes a completion in spite of
//! `IOSQE_CQE_SKIP_SUCCESS`, before `io_uring_enter` returns. The kernel keeps no pointer then.

use super::event::{Backlog, SendFailure};
use super::iovecs::Gathered;
use super::token::{Operation, Token};
use super::uring::Uring;
use crate::base::ids::LinkId;
use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

const AT_ONCE: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
const PATIENTLY: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// A guard that ends the process when a panic unwinds while submissions point to borrowed memory.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("ringmq: a panic in the middle of a submission");
            std::process::abort();
        }
    }
}

impl<B: Backlog> Uring<B> {
    pub(super) fn send_all<'a, S>(
        &mut self,
        sends: impl Iterator<Item = (LinkId, RawFd, S)>,
        failures: &mut Vec<SendFailure>,
    ) where
        S: Iterator<Item = &'a [u8]>,
    {
        let guard = AbortOnUnwind;
        for (link, socket, mut segments) in sends {
            let Some(first) = segments.next() else { continue };
            let entry = match segments.next() {
                None => send_entry(socket, first.as_ptr(), first.len()),
                Some(second) => self.gather([first, second].into_iter().chain(segments), socket),
            };
            let entry = entry.flags(Flags::SKIP_SUCCESS);
            // SAFETY: the entry points to the segments, borrowed for 'a, which outlives this call,
            // or to `iovecs`'s memory, which stays until `submit_sends`. That is called before this
            // function returns (a panic aborts), and the kernel keeps no pointer after it, by the
            // reasoning at the top of this file.
            unsafe { self.push(entry.user_data(Token::new(Operation::Send, link).bits())) };
        }
        self.submit_sends(failures);
        drop(guard);
    }

    pub(super) fn send_backlog(&mut self, link: LinkId, socket: BorrowedFd<'_>, backlog: B) {
        let backlog = Box::new(backlog);
        let front = backlog.front().expect("a backlog with something in it");
        let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), front.as_ptr(), length(front))
            .flags(PATIENTLY)
            .build()
            .user_data(Token::new(Operation::Backlog, link).bits());
        let before = self.backlogs.insert(link.slot, backlog);
        assert!(before.is_none(), "one backlog at a time");
        // SAFETY: the entry points into `backlog`, which is boxed, so that it does not move, and
        // owned by `self.backlogs` until `take_backlog` sees this send's completion. Until then
        // nothing is called on it and it is not dropped: not even when the ring is, see its Drop.
        unsafe { self.push(entry) };
    }

    /// The backlog whose send has completed with `result`, and whether the socket takes more.
    pub(super) fn take_backlog(&mut self, link: LinkId, result: i32) -> (io::Result<()>, B) {
        let mut backlog = self.backlogs.remove(&link.slot).expect("a backlog is in flight");
        let result = match result {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count @ 1.. => {
                backlog.advance(count as usize);
                Ok(())
            }
            failure => match -failure {
                libc::EINTR | libc::EAGAIN => Ok(()),
                code => Err(io::Error::from_raw_os_error(code)),
            },
        };
        (result, *backlog)
    }

    /// An entry for several pieces; submits the entries before it when there is no room.
    fn gather<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>, socket: RawFd) -> Entry {
        self.iovecs.set_pieces(pieces);
        if !self.iovecs.has_room() {
            // The pieces are noted by address, and `clear` forgets them: save them over it.
            let pieces = self.iovecs.take_pieces();
            self.submit();
            self.iovecs.clear();
            self.iovecs.put_pieces(pieces);
        }
        // SAFETY: the pieces are borrowed for 'a, by the caller of `send_all`, unchanged.
        match unsafe { self.iovecs.gather() } {
            Gathered::Run(start, bytes) => send_entry(socket, start, bytes),
            Gathered::Message(header) => opcode::SendMsg::new(types::Fd(socket), header)
                .flags(AT_ONCE.cast_unsigned())
                .build(),
        }
    }

    fn submit_sends(&mut self, failures: &mut Vec<SendFailure>) {
        self.submit();
        self.iovecs.clear();
        self.reap();
        failures.append(&mut self.send_failures);
    }
}

fn send_entry(socket: RawFd, start: *const u8, bytes: usize) -> Entry {
    let bytes = u32::try_from(bytes).expect("a turn's output of a link is below 2 GiB: see limits");
    opcode::Send::new(types::Fd(socket), start, bytes).flags(AT_ONCE).build()
}

/// The length of one send, at most 1 GiB: the kernel counts in `i32`.
fn length(front: &[u8]) -> u32 {
    front.len().min(1 << 30) as u32
}

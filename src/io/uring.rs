//! One worker's io_uring: submissions in, events out.

use super::buffers::{Buffers, GROUP, Lent};
use super::event::{Backlog, Event, SendFailure};
use super::iovecs::Iovecs;
use super::listeners::Listeners;
use super::setup::{RingError, RingSizes, build};
use super::token::{Operation, Token};
use super::wake::Waker;
use crate::base::ids::LinkId;
use crate::base::maps::HashMap;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;
use std::{fmt, io};

/// The engine that has the kernel complete requests: see [`Ring`](super::ring::Ring), whose methods
/// these are.
pub struct Uring<B> {
    // Declared first, so that it is closed before anything below is dropped.
    uring: IoUring,
    buffers: ManuallyDrop<Buffers>,
    pub(super) backlogs: ManuallyDrop<HashMap<u32, Box<B>>>,
    pub(super) iovecs: Iovecs,
    pub(super) send_failures: Vec<SendFailure>,
    inbox: VecDeque<Completion>,
}

/// A completion as it came, which only `next_event` makes an event of, once.
struct Completion {
    token: Token,
    result: i32,
    flags: u32,
}

/// `IORING_RECVSEND_POLL_FIRST`: the kernel waits until the socket is readable before it tries.
const POLL_FIRST: u16 = 1;

impl<B> fmt::Debug for Uring<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inbox = self.inbox.len();
        formatter.debug_struct("Uring").field("inbox", &inbox).finish_non_exhaustive()
    }
}

impl<B: Backlog> Uring<B> {
    pub(super) fn new(sizes: RingSizes) -> Result<Self, RingError> {
        let (uring, _) = build(sizes.submissions, sizes.completions)?;
        let buffers = Buffers::register(&uring.submitter(), sizes.buffers, sizes.buffer_bytes)?;
        Ok(Self {
            uring,
            buffers: ManuallyDrop::new(buffers),
            backlogs: ManuallyDrop::default(),
            iovecs: Iovecs::new(),
            send_failures: Vec::new(),
            inbox: VecDeque::new(),
        })
    }

    pub(super) fn await_connections(&mut self, listeners: &Listeners) {
        let entry = poll(listeners.as_fd()).build().user_data(Token::ACCEPT.bits());
        // SAFETY: the entry holds no pointers.
        unsafe { self.push(entry) };
    }

    pub(super) fn receive_once(
        &mut self,
        link: LinkId,
        socket: BorrowedFd<'_>,
        when_readable: bool,
    ) {
        let entry = opcode::Recv::new(Fd(socket.as_raw_fd()), std::ptr::null_mut(), 0)
            .ioprio(if when_readable { POLL_FIRST } else { 0 })
            .buf_group(GROUP)
            .build()
            .flags(Flags::BUFFER_SELECT)
            .user_data(Token::new(Operation::Receive, link).bits());
        // SAFETY: the kernel writes only to a buffer that it takes from the group, and owns it
        // until the completion.
        unsafe { self.push(entry) };
    }

    pub(super) fn receive_many(&mut self, link: LinkId, socket: BorrowedFd<'_>) {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP)
            .build()
            .user_data(Token::new(Operation::Receive, link).bits());
        // SAFETY: as in `receive_once`.
        unsafe { self.push(entry) };
    }

    pub(super) fn cancel_receive(&mut self, link: LinkId) {
        self.cancel(Token::new(Operation::Receive, link), Token::new(Operation::Cancel, link));
    }

    pub(super) fn watch(&mut self, waker: &Waker) {
        let entry = poll(waker.as_fd()).multi(true).build().user_data(Token::WAKE.bits());
        // SAFETY: the entry holds no pointers.
        unsafe { self.push(entry) };
    }

    pub(super) fn next_event(&mut self) -> Option<Event<B>> {
        let Completion { token, result, flags } = self.inbox.pop_front()?;
        let more = cqueue::more(flags);
        Some(match token.operation().expect("only our own tokens come back") {
            Operation::Accept => Event::Acceptable,
            Operation::Receive => {
                Event::Received { link: token.link(), bytes: self.received(result, flags), more }
            }
            Operation::Backlog => {
                let (result, backlog) = self.take_backlog(token.link(), result);
                Event::Drained { link: token.link(), result, backlog }
            }
            Operation::Wake => Event::Woken { more },
            Operation::Send | Operation::Cancel => unreachable!("sorted out by `reap`"),
        })
    }

    pub(super) fn received_links(&self) -> impl Iterator<Item = LinkId> {
        let tokens = self.inbox.iter().map(|completion| completion.token);
        let is_receive = |token: &Token| token.operation() == Some(Operation::Receive);
        tokens.filter(is_receive).map(Token::link)
    }

    #[must_use]
    pub(super) fn event_count(&self) -> usize {
        self.inbox.len()
    }

    #[must_use]
    pub(super) fn bytes(&self, lent: &Lent) -> &[u8] {
        self.buffers.bytes(lent)
    }

    pub(super) fn recycle(&mut self, lent: Lent) {
        self.buffers.recycle(lent);
    }

    /// Submits requests and collects completions, without waiting; no system call when nothing is
    /// due.
    pub(super) fn poll(&mut self) {
        self.submit();
        self.reap();
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) {
        let timespec = timeout.map(Timespec::from).unwrap_or_default();
        let mut args = SubmitArgs::new();
        if timeout.is_some() {
            args = args.timespec(&timespec);
        }
        let result = self.uring.submitter().submit_with_args(1, &args);
        tolerate(result);
        self.reap();
    }

    /// True when the kernel has completions for this ring, which no system call is needed to see.
    #[must_use]
    pub(super) fn is_ready(&mut self) -> bool {
        !self.uring.completion().is_empty() || self.uring.submission().taskrun()
    }

    /// Adds an entry, submitting first when the queue is full.
    ///
    /// # Safety
    /// The memory that the entry points to stays until its completion, or as `send_all` explains.
    pub(super) unsafe fn push(&mut self, entry: Entry) {
        // SAFETY: the caller's promise.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.submit();
        }
    }

    /// Submits all requests, and runs the work that the kernel has deferred.
    pub(super) fn submit(&mut self) {
        loop {
            let queue = self.uring.submission();
            if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
                return;
            }
            drop(queue);
            let result = self.uring.submitter().submit();
            let refused = tolerate(result);
            if self.uring.submission().is_empty() {
                return;
            }
            if refused {
                // Out of memory, or the completion queue is over full: make room, then again.
                self.collect();
                std::thread::yield_now();
            }
        }
    }

    /// Moves all completions into the inbox, also those beyond the completion queue's size.
    pub(super) fn reap(&mut self) {
        self.collect();
        while self.uring.submission().cq_overflow() {
            let flush = EnterFlags::GETEVENTS.bits();
            // SAFETY: nothing is submitted, and there is no argument.
            let result = unsafe { self.uring.submitter().enter::<()>(0, 0, flush, None) };
            tolerate(result);
            self.collect();
        }
    }

    fn cancel(&mut self, target: Token, token: Token) {
        let entry = opcode::AsyncCancel::new(target.bits())
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(token.bits());
        // SAFETY: the entry holds no pointers.
        unsafe { self.push(entry) };
    }

    fn received(&mut self, result: i32, flags: u32) -> io::Result<Option<Lent>> {
        let length = u32::try_from(result).unwrap_or(0);
        let lent = cqueue::buffer_select(flags).map(|id| Lent::new(id, length));
        if length > 0 {
            return Ok(Some(lent.expect("received bytes are in a buffer")));
        }
        if let Some(empty) = lent {
            self.recycle(empty);
        }
        if result == 0 { Ok(None) } else { Err(io::Error::from_raw_os_error(-result)) }
    }
}

impl<B> Uring<B> {
    fn collect(&mut self) {
        for entry in self.uring.completion() {
            let token = Token::from_bits(entry.user_data());
            let (result, flags) = (entry.result(), entry.flags());
            match token.operation() {
                Some(Operation::Send) => {
                    self.send_failures.push(SendFailure { link: token.link(), sent: sent(result) });
                }
                Some(Operation::Cancel) => {}
                _ => self.inbox.push_back(Completion { token, result, flags }),
            }
        }
    }
}

impl<B> Drop for Uring<B> {
    fn drop(&mut self) {
        let cancelled = self.uring.submitter().register_sync_cancel(None, CancelBuilder::any());
        let idle = match cancelled {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        };
        if idle {
            // SAFETY: both are dropped here only, and not used afterwards. The kernel has just
            // said that nothing is in flight, so it uses neither buffers nor backlogs; the group of
            // buffers is only looked at by receives. Were it not idle, both would be leaked.
            unsafe {
                ManuallyDrop::drop(&mut self.backlogs);
                let _ = self.uring.submitter().unregister_buf_ring(GROUP);
                ManuallyDrop::drop(&mut self.buffers);
            }
        }
    }
}

fn poll(readable: BorrowedFd<'_>) -> opcode::PollAdd {
    opcode::PollAdd::new(Fd(readable.as_raw_fd()), libc::POLLIN as u32)
}

/// True for a call that has to be repeated.
///
/// # Panics
/// The kernel refuses the call itself: the ring is broken.
fn tolerate(result: io::Result<usize>) -> bool {
    let Err(error) = result else { return false };
    match error.raw_os_error() {
        Some(libc::ETIME | libc::EINTR) => false,
        Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => true,
        _ => panic!("io_uring_enter failed: {error}"),
    }
}

fn sent(result: i32) -> io::Result<usize> {
    match usize::try_from(result) {
        Ok(count) => Ok(count),
        Err(_) if result == -libc::EAGAIN || result == -libc::EINTR => Ok(0),
        Err(_) => Err(io::Error::from_raw_os_error(-result)),
    }
}

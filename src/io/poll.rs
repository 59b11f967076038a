//! The engine for kernels and containers that forbid io_uring: it asks (epoll) which sockets are
//! ready, and calls them itself.
//!
//! Requests change what a link wants; the kernel is told before the next look at it, and only what
//! is different then. It reports a socket for as long as it is ready, so nothing that has come is
//! forgotten, whatever is left for a later turn.

use super::buffers::Lent;
use super::event::{Backlog, Event, SendFailure};
use super::listeners::Listeners;
use super::setup::{RingError, RingSizes};
use super::wake::Waker;
use crate::base::ids::LinkId;
use crate::base::maps::HashMap;
use crate::limits::{COPIED_BYTES_MAX, SEND_PIECES_MAX};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;
use std::{fmt, io};

/// The sockets that one look at the kernel names.
const READY_MAX: usize = 1024;

/// The buffers that one link fills at one look.
const BUFFERS_AT_ONCE: usize = 8;

/// The longest wait of one look: the kernel counts milliseconds in 31 bits.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// The data of the events that belong to no link.
const ACCEPT: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;

/// The engine that asks which sockets are ready: see [`Ring`](super::ring::Ring), whose methods
/// these are.
pub struct Poll<B> {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    /// Buffers of `buffer_bytes` each, one behind the other, and those that are free.
    memory: Box<[u8]>,
    buffer_bytes: usize,
    free: Vec<u16>,
    /// By slot of the link.
    links: Vec<Watched>,
    /// The slots whose links want something else than the kernel was told.
    changed: Vec<u32>,
    backlogs: HashMap<u32, B>,
    accepts: bool,
    /// Small pieces of one send.
    scratch: Vec<u8>,
    inbox: VecDeque<Event<B>>,
}

/// A link's socket, and what is wanted of it.
#[derive(Debug, Clone, Copy)]
struct Watched {
    generation: u32,
    socket: RawFd,
    receives: Receives,
    sends: bool,
    /// The events that the kernel was told to report.
    told: epoll::EventFlags,
    is_changed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receives {
    No,
    Once,
    Many,
}

const NOBODY: Watched = Watched {
    generation: 0,
    socket: -1,
    receives: Receives::No,
    sends: false,
    told: epoll::EventFlags::empty(),
    is_changed: false,
};

impl Watched {
    fn wanted(&self) -> epoll::EventFlags {
        let mut wanted = epoll::EventFlags::empty();
        wanted.set(epoll::EventFlags::IN, self.receives != Receives::No);
        wanted.set(epoll::EventFlags::OUT, self.sends);
        wanted
    }
}

impl<B> fmt::Debug for Poll<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inbox = self.inbox.len();
        formatter.debug_struct("Poll").field("inbox", &inbox).finish_non_exhaustive()
    }
}

impl<B: Backlog> Poll<B> {
    /// See [`Ring::new`](super::ring::Ring::new). Queues have no size here.
    pub(super) fn new(sizes: RingSizes) -> Result<Self, RingError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        let buffer_bytes = sizes.buffer_bytes as usize;
        Ok(Self {
            epoll,
            ready: Vec::with_capacity(READY_MAX),
            memory: vec![0; buffer_bytes * usize::from(sizes.buffers)].into(),
            buffer_bytes,
            free: (0..sizes.buffers).collect(),
            links: Vec::new(),
            changed: Vec::new(),
            backlogs: HashMap::default(),
            accepts: false,
            scratch: Vec::with_capacity(COPIED_BYTES_MAX),
            inbox: VecDeque::new(),
        })
    }

    pub(super) fn await_connections(&mut self, listeners: &Listeners) {
        // The events of one report end with it, so that nobody is told twice.
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        let told = self.tell(listeners.as_fd(), ACCEPT, self.accepts, once);
        told.expect("the kernel watches the listeners");
        self.accepts = true;
    }

    pub(super) fn receive_once(&mut self, link: LinkId, socket: BorrowedFd<'_>) {
        self.of(link, socket).receives = Receives::Once;
    }

    pub(super) fn receive_many(&mut self, link: LinkId, socket: BorrowedFd<'_>) {
        self.of(link, socket).receives = Receives::Many;
    }

    pub(super) fn cancel_receive(&mut self, link: LinkId) {
        let Some(watched) = self.known(link).filter(|it| it.receives != Receives::No) else {
            return;
        };
        watched.receives = Receives::No;
        self.note_change(link.slot);
        let bytes = Err(Errno::CANCELED.into());
        self.inbox.push_back(Event::Received { link, bytes, more: false });
    }

    pub(super) fn watch(&mut self, waker: &Waker) {
        // The counter is never read: each addition is an edge.
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        self.tell(waker.as_fd(), WAKE, false, edges).expect("the kernel watches the waker");
    }

    pub(super) fn next_event(&mut self) -> Option<Event<B>> {
        self.inbox.pop_front()
    }

    pub(super) fn received_links(&self) -> impl Iterator<Item = LinkId> {
        self.inbox.iter().filter_map(|event| match event {
            Event::Received { link, .. } => Some(*link),
            _ => None,
        })
    }

    pub(super) fn event_count(&self) -> usize {
        self.inbox.len()
    }

    pub(super) fn bytes(&self, lent: &Lent) -> &[u8] {
        let (id, length) = lent.parts();
        &self.memory[usize::from(id) * self.buffer_bytes..][..length as usize]
    }

    pub(super) fn recycle(&mut self, lent: Lent) {
        self.free.push(lent.parts().0);
    }

    pub(super) fn poll(&mut self) {
        self.look(Some(Duration::ZERO));
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) {
        self.look(timeout);
    }

    pub(super) fn is_ready(&mut self) -> bool {
        self.poll();
        !self.inbox.is_empty()
    }

    pub(super) fn send_all<'a, S>(
        &mut self,
        sends: impl Iterator<Item = (LinkId, RawFd, S)>,
        failures: &mut Vec<SendFailure>,
    ) where
        S: Iterator<Item = &'a [u8]>,
    {
        for (link, socket, segments) in sends {
            // SAFETY: the caller has the socket open for as long as this call.
            let socket = unsafe { BorrowedFd::borrow_raw(socket) };
            let pieces: SmallVec<[&[u8]; 8]> = segments.collect();
            let length: usize = pieces.iter().map(|piece| piece.len()).sum();
            if length == 0 {
                continue;
            }
            match self.send_pieces(socket, &pieces, length) {
                Ok(sent) if sent == length => {}
                sent => failures.push(SendFailure { link, sent }),
            }
        }
    }

    pub(super) fn send_backlog(&mut self, link: LinkId, socket: BorrowedFd<'_>, backlog: B) {
        assert!(backlog.front().is_some(), "a backlog with something in it");
        let before = self.backlogs.insert(link.slot, backlog);
        assert!(before.is_none(), "one backlog at a time");
        self.of(link, socket).sends = true;
    }

    /// Sends the pieces as one; the number of bytes that fit.
    fn send_pieces(
        &mut self,
        socket: BorrowedFd<'_>,
        pieces: &[&[u8]],
        length: usize,
    ) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = match pieces {
            [piece] => send(socket, piece, flags),
            _ if length < COPIED_BYTES_MAX || pieces.len() > SEND_PIECES_MAX => {
                self.scratch.clear();
                pieces.iter().for_each(|piece| self.scratch.extend_from_slice(piece));
                let sent = send(socket, &self.scratch, flags);
                self.scratch.shrink_to(COPIED_BYTES_MAX);
                sent
            }
            _ => {
                let slices: SmallVec<[IoSlice<'_>; 8]> =
                    pieces.iter().map(|piece| IoSlice::new(piece)).collect();
                sendmsg(socket, &slices, &mut SendAncillaryBuffer::default(), flags)
            }
        };
        match sent {
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            sent => Ok(sent?),
        }
    }

    /// The link's socket, which is about to be wanted for something else.
    fn of(&mut self, link: LinkId, socket: BorrowedFd<'_>) -> &mut Watched {
        let slot = link.slot as usize;
        if slot >= self.links.len() {
            self.links.resize(slot + 1, NOBODY);
        }
        let (generation, socket) = (link.generation, socket.as_raw_fd());
        let before = self.links[slot];
        if (before.generation, before.socket) != (generation, socket) {
            self.untell(before);
            let is_changed = before.is_changed;
            self.links[slot] = Watched { generation, socket, is_changed, ..NOBODY };
        }
        self.note_change(link.slot);
        &mut self.links[slot]
    }

    fn known(&mut self, link: LinkId) -> Option<&mut Watched> {
        let watched = self.links.get_mut(link.slot as usize);
        watched.filter(|watched| watched.generation == link.generation)
    }

    fn note_change(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.links[slot as usize].is_changed, true) {
            self.changed.push(slot);
        }
    }

    /// Tells the kernel what has changed since the last look: first what is no longer wanted, since
    /// a descriptor may be another link's by now.
    fn tell_changes(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        for &slot in &changed {
            let watched = self.links[slot as usize];
            self.links[slot as usize].is_changed = false;
            if watched.wanted().is_empty() {
                self.untell(watched);
                self.links[slot as usize].told = epoll::EventFlags::empty();
            }
        }
        for &slot in &changed {
            let watched = self.links[slot as usize];
            let wanted = watched.wanted();
            if wanted != watched.told {
                // SAFETY: a link's socket is open for as long as anything is wanted of it.
                let socket = unsafe { BorrowedFd::borrow_raw(watched.socket) };
                let data = u64::from(slot) << 32 | u64::from(watched.generation);
                let told = self.tell(socket, data, !watched.told.is_empty(), wanted);
                self.links[slot as usize].told = wanted;
                if let Err(error) = told {
                    self.give_up(slot, error);
                }
            }
        }
        self.changed = changed;
        self.changed.clear();
    }

    /// Ends what is wanted of a socket that the kernel does not watch: it has no memory, or watches
    /// as many files of this user as it may.
    fn give_up(&mut self, slot: u32, error: Errno) {
        let watched = &mut self.links[slot as usize];
        let link = LinkId::new(slot, watched.generation);
        let (receives, sends) = (watched.receives != Receives::No, watched.sends);
        *watched = Watched { generation: link.generation, ..NOBODY };
        if receives {
            let bytes = Err(error.into());
            self.inbox.push_back(Event::Received { link, bytes, more: false });
        }
        if sends && let Some(backlog) = self.backlogs.remove(&slot) {
            self.inbox.push_back(Event::Drained { link, result: Err(error.into()), backlog });
        }
    }

    /// Tells the kernel which events of a file are wanted.
    fn tell(
        &self,
        file: BorrowedFd<'_>,
        data: u64,
        is_known: bool,
        events: epoll::EventFlags,
    ) -> Result<(), Errno> {
        let data = epoll::EventData::new_u64(data);
        let result = match is_known {
            true => epoll::modify(&self.epoll, file, data, events),
            false => epoll::add(&self.epoll, file, data, events),
        };
        match result {
            Err(Errno::EXIST) => epoll::modify(&self.epoll, file, data, events),
            Err(Errno::NOENT) => epoll::add(&self.epoll, file, data, events),
            result => result,
        }
    }

    /// Tells the kernel that nothing more is wanted of a socket, which may be closed already.
    fn untell(&self, watched: Watched) {
        if !watched.told.is_empty() {
            // SAFETY: the kernel looks the descriptor up, and only in this epoll: as long as it is
            // told of here, it has not been told of for another link.
            let socket = unsafe { BorrowedFd::borrow_raw(watched.socket) };
            let _ = epoll::delete(&self.epoll, socket);
        }
    }

    /// Looks which files are ready, waiting at most so long for one, and does what is wanted.
    fn look(&mut self, timeout: Option<Duration>) {
        self.tell_changes();
        let timeout = timeout.map(|timeout| {
            // The kernel counts milliseconds: a moment too late, not a moment too early.
            let milliseconds = timeout.min(WAIT_MAX).as_nanos().div_ceil(1_000_000) as i64;
            let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
            Timespec { tv_sec: seconds, tv_nsec: rest * 1_000_000 }
        });
        self.ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll_wait failed: {error}"),
        }
        let ready = std::mem::take(&mut self.ready);
        for event in &ready {
            match event.data.u64() {
                ACCEPT => self.inbox.push_back(Event::Acceptable),
                WAKE => self.inbox.push_back(Event::Woken { more: true }),
                data => {
                    let link = LinkId::new((data >> 32) as u32, data as u32);
                    self.serve(link, event.flags);
                }
            }
        }
        self.ready = ready;
    }

    /// Does what is wanted of a socket that is ready.
    fn serve(&mut self, link: LinkId, events: epoll::EventFlags) {
        let is_over = events.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        let Some(&mut Watched { socket, receives, sends, .. }) = self.known(link) else { return };
        // SAFETY: as in `tell_changes`.
        let socket = unsafe { BorrowedFd::borrow_raw(socket) };
        if sends && (is_over || events.contains(epoll::EventFlags::OUT)) {
            self.send_front(link, socket);
        }
        if receives != Receives::No && (is_over || events.contains(epoll::EventFlags::IN)) {
            self.receive(link, socket, receives == Receives::Many);
        }
    }

    fn receive(&mut self, link: LinkId, socket: BorrowedFd<'_>, many: bool) {
        for _ in 0..BUFFERS_AT_ONCE {
            // The kernel reports the socket again when buffers have come back.
            let Some(id) = self.free.pop() else { return };
            let buffer = &mut self.memory[usize::from(id) * self.buffer_bytes..];
            let buffer = &mut buffer[..self.buffer_bytes];
            let received = recv(socket, buffer, RecvFlags::DONTWAIT);
            let bytes = match received {
                Ok((count @ 1.., _)) => Ok(Some(Lent::new(id, count as u32))),
                nothing => {
                    self.free.push(id);
                    match nothing {
                        Ok(_) => Ok(None),
                        Err(Errno::AGAIN | Errno::INTR) => return,
                        Err(error) => Err(error.into()),
                    }
                }
            };
            let length = received.map_or(0, |(count, _)| count);
            if length == 0 || !many {
                return self.end_receive(link, bytes);
            }
            self.inbox.push_back(Event::Received { link, bytes, more: true });
            if length < self.buffer_bytes {
                return;
            }
        }
    }

    fn end_receive(&mut self, link: LinkId, bytes: io::Result<Option<Lent>>) {
        self.links[link.slot as usize].receives = Receives::No;
        self.note_change(link.slot);
        self.inbox.push_back(Event::Received { link, bytes, more: false });
    }

    fn send_front(&mut self, link: LinkId, socket: BorrowedFd<'_>) {
        let Some(mut backlog) = self.backlogs.remove(&link.slot) else { return };
        let front = backlog.front().expect("a backlog with something in it");
        let result = match send(socket, front, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => {
                backlog.advance(count);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                self.backlogs.insert(link.slot, backlog);
                return;
            }
            Err(error) => Err(error.into()),
        };
        self.links[link.slot as usize].sends = false;
        self.note_change(link.slot);
        self.inbox.push_back(Event::Drained { link, result, backlog });
    }
}

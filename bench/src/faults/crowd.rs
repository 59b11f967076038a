//! Many connections of one thread, each known by its place.

use crate::failure::{Failure, Result};
use crate::layer::Below;
use crate::link::{End, Link, Sources};
use crate::poller::{Poller, Readiness, Ready, Waker};
use crate::wire::{RawFrame, raw_frame};
use std::net::SocketAddr;

/// Bytes that are read at once; more than any packet of a test has.
const READ_BYTES: usize = 512 * 1024;

/// Bits of a poller's token for the place; the others are the connection's generation.
const PLACE_BITS: u32 = 24;

const ALL: Readiness = Readiness { is_readable: true, is_writable: true, is_ending: true };

/// Connections to one address.
pub(super) struct Crowd {
    poller: Poller,
    address: SocketAddr,
    below: Below,
    sources: Sources,
    members: Vec<Option<Member>>,
    /// Connections that were opened so far, from which source addresses and generations follow.
    opened: u32,
    /// Places that read again and may have missed events.
    resumed: Vec<usize>,
    buffer: Vec<u8>,
}

struct Member {
    link: Link,
    generation: u32,
    is_reading: bool,
}

/// An event at a place.
#[derive(Debug)]
pub(super) enum Event<'a> {
    Packet(RawFrame<'a>),
    /// The connection is closed, by the peer or by an error; the place is free.
    Gone,
}

impl Crowd {
    pub(super) fn new(address: SocketAddr, below: Below) -> Result<Self> {
        let seed = std::process::id().wrapping_mul(31).wrapping_add(u32::from(address.port()));
        Ok(Self {
            poller: Poller::new(&Waker::new()?)?,
            address,
            below,
            sources: Sources::new(address, seed),
            members: Vec::new(),
            opened: 0,
            resumed: Vec::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Opens a connection at `place`, in place of any other one, and sends `hello` on it.
    pub(super) fn open(&mut self, place: usize, hello: &[u8]) -> Result<()> {
        self.close(place);
        let source = self.sources.of(self.opened);
        let mut link = Link::connect(self.address, source, self.below)
            .map_err(|error| Failure::new(format_args!("cannot connect: {error}")))?;
        self.opened += 1;
        let token = (self.opened as usize) << PLACE_BITS | place;
        self.poller.add(&link.socket, token)?;
        link.out.extend_from_slice(hello);
        link.flush();
        if self.members.len() <= place {
            self.members.resize_with(place + 1, || None);
        }
        self.members[place] = Some(Member { link, generation: self.opened, is_reading: true });
        Ok(())
    }

    /// Closes the connection at `place`, without a word.
    pub(super) fn close(&mut self, place: usize) {
        if let Some(member) = self.members.get_mut(place) {
            *member = None;
        }
    }

    pub(super) fn close_all(&mut self) {
        self.members.clear();
    }

    /// Whether a connection is at `place`.
    pub(super) fn is_open(&self, place: usize) -> bool {
        self.members.get(place).is_some_and(Option::is_some)
    }

    /// Connections that are open, or about to be.
    pub(super) fn count(&self) -> usize {
        self.members.iter().flatten().count()
    }

    /// Sends bytes; nothing where there is no connection.
    pub(super) fn send(&mut self, place: usize, bytes: &[u8]) {
        if let Some(Some(member)) = self.members.get_mut(place) {
            member.link.out.extend_from_slice(bytes);
            // A connection that is gone is told by its next event.
            member.link.flush();
        }
    }

    /// Leaves what comes at `place` in the kernel.
    pub(super) fn stop_reading(&mut self, place: usize) {
        if let Some(Some(member)) = self.members.get_mut(place) {
            member.is_reading = false;
        }
    }

    /// Reads at `place` again.
    pub(super) fn go_on_reading(&mut self, place: usize) {
        if let Some(Some(member)) = self.members.get_mut(place) {
            member.is_reading = true;
            self.resumed.push(place);
        }
    }

    /// Waits until something has come, or for `timeout_ns`, and hands events to `on`, which may
    /// write answers.
    pub(super) fn turn(
        &mut self,
        timeout_ns: u64,
        mut on: impl FnMut(usize, Event<'_>, &mut Vec<u8>),
    ) -> Result<()> {
        let resumed = std::mem::take(&mut self.resumed);
        for &place in &resumed {
            self.read(place, ALL, &mut on);
        }
        let count = self.poller.wait(if resumed.is_empty() { timeout_ns } else { 0 })?;
        for index in 0..count {
            let Ready::Socket { token, readiness } = self.poller.ready(index) else { continue };
            let place = token & ((1 << PLACE_BITS) - 1);
            let generation = (token >> PLACE_BITS) as u32;
            let member = self.members.get(place).and_then(Option::as_ref);
            // Otherwise the event is of an earlier connection at this place.
            if member.is_some_and(|member| member.generation == generation) {
                self.read(place, readiness, &mut on);
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        place: usize,
        readiness: Readiness,
        on: &mut impl FnMut(usize, Event<'_>, &mut Vec<u8>),
    ) {
        let Some(Some(member)) = self.members.get_mut(place) else { return };
        let is_readable = readiness.is_readable && member.is_reading;
        let readiness = Readiness { is_readable, ..readiness };
        let end = member.link.read(readiness, &mut self.buffer, |bytes, out| {
            let mut used = 0;
            while let Some(frame) = raw_frame(&bytes[used..]) {
                used += frame.length;
                on(place, Event::Packet(frame), out);
            }
            Some(used)
        });
        if end == End::Closed || !member.link.flush() {
            self.members[place] = None;
            on(place, Event::Gone, &mut Vec::new());
        }
    }
}

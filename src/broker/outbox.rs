//! The output of one turn: arenas of encoded bytes, and for every link its ranges of them.
//!
//! ```text
//! arena v3.1.1, QoS 0 │ PUBLISH a │ PUBLISH b │ PUBLISH c │      arena "private" │ PUBACK │ …
//!                     └────────── link 7 ─────────────────┘                       └ link 9 ┘
//!                     └── link 8 ─┘
//! ```
//!
//! Each way in which a PUBLISH can be encoded alike for many has one arena. So a subscriber that
//! gets a sequence of messages gets one range, which every other subscriber of the sequence shares.
//! The private arena holds packets for one link only. Bytes do not move until [`Outbox::reset`].

use super::purse::Purse;
use crate::base::ids::LinkId;
use crate::limits::{LINK_PAYLOADS_MAX, OUTBOX_BYTES_MAX, TURN_BYTES_MAX};
use crate::store::Message;
use std::collections::VecDeque;
use std::sync::Arc;

/// The number of arenas: version (2) × QoS (3) × RETAIN (2), then the private one.
pub(super) const ARENAS: usize = 13;
pub(super) const PRIVATE: u8 = 12;

/// Bytes for one or many links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Run {
    arena: u8,
    start: u32,
    end: u32,
}

impl Run {
    /// No bytes, for a packet that cannot exist.
    pub(super) const fn empty(arena: u8) -> Self {
        Self { arena, start: 0, end: 0 }
    }

    /// The arena that the bytes are in.
    #[inline]
    pub(super) const fn arena(self) -> u8 {
        self.arena
    }

    #[inline]
    pub(super) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

#[derive(Debug)]
enum Segment {
    Run(Run),
    /// The payload of a message too large to be copied for every subscriber.
    Payload(Arc<Message>),
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Self::Run(run) => run.len(),
            Self::Payload(message) => message.payload().len(),
        }
    }
}

/// The runs that follow the first one of an outlet.
#[derive(Debug, Default)]
struct List {
    segments: VecDeque<Segment>,
    /// The bytes of the foremost segment that are sent.
    sent: usize,
    /// The bytes of all payloads in the list.
    payload_bytes: usize,
}

/// The output for one link. The first run stands in place, since there is seldom another.
#[derive(Debug, Clone, Default)]
struct Outlet {
    generation: u32,
    first: Run,
    /// The index in [`Outbox::lists`] of the further segments; list 0 is always empty.
    more: u32,
    dirty: bool,
    /// The number of PUBLISH packets so far.
    messages: u64,
}

/// The arenas and the outlets, by link slot.
#[derive(Debug)]
pub struct Outbox {
    arenas: [Vec<u8>; ARENAS],
    outlets: Vec<Outlet>,
    /// Lists of segments: those lent to outlets, and the free ones.
    lists: Vec<List>,
    free_lists: Vec<u32>,
    /// Whether a link had no room since the last [`Self::reset`].
    had_no_room: bool,
    dirty: VecDeque<LinkId>,
    /// The work of the turn whose output this is.
    purse: Purse,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            arenas: Default::default(),
            outlets: Vec::new(),
            lists: vec![List::default()],
            free_lists: Vec::new(),
            had_no_room: false,
            dirty: VecDeque::new(),
            purse: Purse::default(),
        }
    }
}

impl Outbox {
    /// The next link with output. Its segments stay until [`Self::sent`], [`Self::advance`] or
    /// [`Self::take_rest`].
    pub fn next_dirty(&mut self) -> Option<LinkId> {
        self.dirty.pop_front()
    }

    /// The links with output.
    pub(super) fn dirty(&self) -> impl Iterator<Item = LinkId> {
        self.dirty.iter().copied()
    }

    /// True when a link has output.
    #[must_use]
    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The number of bytes in the arenas.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arenas.iter().map(Vec::len).sum()
    }

    /// The bytes that are allocated for output.
    pub(super) fn memory(&self) -> usize {
        let arenas: usize = self.arenas.iter().map(Vec::capacity).sum();
        let outlets = self.outlets.capacity() * size_of::<Outlet>();
        arenas + outlets + self.lists.capacity() * size_of::<List>()
    }

    /// True when the output, of all links or of one, is so large that it has to be sent before more
    /// input is handled.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.had_no_room || self.bytes() > OUTBOX_BYTES_MAX
    }

    /// True when one turn has encoded its maximum for single links. Packets encoded for many links
    /// are limited by the input.
    pub(super) fn is_over(&self) -> bool {
        self.arenas[PRIVATE as usize].len() > TURN_BYTES_MAX
    }

    /// True when the link may get one more packet of its own or, if `is_large`, one more payload by
    /// reference.
    pub(super) fn has_room(&mut self, link: LinkId, is_large: bool) -> bool {
        let list = self.outlets.get(link.slot as usize).map_or(0, |outlet| outlet.more);
        let has_payloads = self.lists[list as usize].payload_bytes > LINK_PAYLOADS_MAX;
        let has_room = !(self.is_over() || is_large && has_payloads);
        self.had_no_room |= !has_room;
        has_room
    }

    /// The pieces of the link's output, in order.
    #[must_use]
    pub fn segments(&self, link: LinkId) -> Segments<'_> {
        let outlet =
            self.outlets.get(link.slot as usize).filter(|o| o.generation == link.generation);
        Segments { outbox: self, outlet, next: 0 }
    }

    /// Forgets the link's output.
    pub fn sent(&mut self, link: LinkId) {
        let Some(outlet) = self.outlets.get_mut(link.slot as usize) else { return };
        if outlet.generation == link.generation {
            let list = outlet.more;
            (outlet.first, outlet.more, outlet.dirty) = (Run::default(), 0, false);
            self.give_back(list);
        }
    }

    /// Forgets the first `count` bytes of the link's output, which are sent.
    pub fn advance(&mut self, link: LinkId, mut count: usize) {
        let Some(outlet) = self.outlets.get_mut(link.slot as usize) else { return };
        if outlet.generation != link.generation {
            return;
        }
        let of_first = count.min(outlet.first.len());
        outlet.first.start += of_first as u32;
        count -= of_first;
        if outlet.first.len() > 0 {
            return;
        }
        let list = &mut self.lists[outlet.more as usize];
        while let Some(segment) = list.segments.front() {
            let rest = segment.len() - list.sent;
            if count < rest {
                list.sent += count;
                return;
            }
            count -= rest;
            list.sent = 0;
            if let Some(Segment::Payload(message)) = list.segments.pop_front() {
                list.payload_bytes -= message.payload().len();
            }
        }
        self.sent(link);
    }

    /// Takes the output after the first `sent` bytes, for the caller to keep.
    pub fn take_rest(&mut self, link: LinkId, mut sent: usize) -> Unsent {
        let mut unsent = Unsent::default();
        let payload_of = |segment: &Segment| match segment {
            Segment::Payload(message) => Some(message.clone()),
            Segment::Run(_) => None,
        };
        let outlet = &self.outlets[link.slot as usize];
        let more = &self.lists[outlet.more as usize].segments;
        let shared = std::iter::once(None).chain(more.iter().map(payload_of));
        let skip_empty = usize::from(outlet.first.len() == 0);
        for (bytes, payload) in self.segments(link).zip(shared.skip(skip_empty)) {
            let skip = sent.min(bytes.len());
            sent -= skip;
            if skip == bytes.len() {
                continue;
            }
            let rest = &bytes[skip..];
            unsent.chunks.push_back(match payload {
                Some(message) => {
                    let sent = message.payload().len() - rest.len();
                    Chunk::Payload(message, sent)
                }
                None => Chunk::Bytes(rest.into(), 0),
            });
        }
        self.sent(link);
        unsent
    }

    /// The purse of this turn.
    #[inline]
    pub(super) const fn purse(&mut self) -> &mut Purse {
        &mut self.purse
    }

    /// Ends the turn and empties the arenas for reuse. No link may be dirty, and no bytes of an
    /// arena on their way to the kernel.
    pub fn reset(&mut self) {
        debug_assert!(self.dirty.is_empty());
        self.purse.refill();
        self.had_no_room = false;
        for arena in &mut self.arenas {
            if arena.capacity() > ARENA_BYTES_KEPT {
                *arena = Vec::new();
            }
            arena.clear();
        }
    }

    /// Opens a link with an empty outlet.
    pub(super) fn open(&mut self, link: LinkId) {
        let slot = link.slot as usize;
        if slot >= self.outlets.len() {
            self.outlets.resize(slot + 1, Outlet::default());
        }
        let outlet = Outlet { generation: link.generation, ..Outlet::default() };
        let before = std::mem::replace(&mut self.outlets[slot], outlet);
        self.give_back(before.more);
    }

    /// Encodes a packet with `write` into an arena.
    pub(super) fn encode(&mut self, arena: u8, write: impl FnOnce(&mut Vec<u8>)) -> Run {
        let bytes = &mut self.arenas[arena as usize];
        let start = bytes.len() as u32;
        write(bytes);
        let end =
            u32::try_from(bytes.len()).expect("a turn encodes less than 4 GiB: see TURN_BYTES_MAX");
        Run { arena, start, end }
    }

    /// The bytes of a run.
    pub(super) fn run(&self, run: Run) -> &[u8] {
        &self.arenas[run.arena as usize][run.start as usize..run.end as usize]
    }

    /// Adds `run` to the end of the link's output.
    #[inline]
    pub(super) fn append(&mut self, link: LinkId, run: Run) {
        self.append_packets(link, run, 0);
    }

    /// As [`Self::append`], for a PUBLISH.
    #[inline]
    pub(super) fn append_message(&mut self, link: LinkId, run: Run) {
        self.append_packets(link, run, 1);
    }

    #[inline]
    fn append_packets(&mut self, link: LinkId, run: Run, messages: u64) {
        let outlet = &mut self.outlets[link.slot as usize];
        outlet.messages += messages;
        debug_assert_eq!(outlet.generation, link.generation);
        if !outlet.dirty {
            outlet.dirty = true;
            self.dirty.push_back(link);
        }
        if outlet.more != 0 {
            return self.append_behind(link.slot, run);
        }
        if outlet.first.len() == 0 {
            outlet.first = run;
        } else if !outlet.first.extend(run) {
            self.list_of(link.slot).segments.push_back(Segment::Run(run));
        }
    }

    /// The number of PUBLISH packets that a link has been given.
    pub(super) fn messages(&self, link: LinkId) -> u64 {
        let outlet = self.outlets.get(link.slot as usize);
        outlet.filter(|it| it.generation == link.generation).map_or(0, |it| it.messages)
    }

    #[cold]
    fn append_behind(&mut self, slot: u32, run: Run) {
        let list = &mut self.list_of(slot).segments;
        if let Some(Segment::Run(last)) = list.back_mut()
            && last.extend(run)
        {
            return;
        }
        list.push_back(Segment::Run(run));
    }

    /// The list of an outlet's further segments, lent when it is first needed.
    fn list_of(&mut self, slot: u32) -> &mut List {
        let outlet = &mut self.outlets[slot as usize];
        if outlet.more == 0 {
            outlet.more = self.free_lists.pop().unwrap_or_else(|| {
                self.lists.push(List::default());
                self.lists.len() as u32 - 1
            });
        }
        &mut self.lists[outlet.more as usize]
    }

    fn give_back(&mut self, number: u32) {
        if number != 0 {
            let list = &mut self.lists[number as usize];
            list.segments.clear();
            list.sent = 0;
            list.payload_bytes = 0;
            self.free_lists.push(number);
        }
    }

    /// Adds the payload of `message` to the end of the link's output.
    pub(super) fn append_payload(&mut self, link: LinkId, message: Arc<Message>) {
        let list = self.list_of(link.slot);
        list.payload_bytes += message.payload().len();
        list.segments.push_back(Segment::Payload(message));
    }

    /// The number of bytes of the link's output.
    pub(super) fn pending(&self, link: LinkId) -> usize {
        self.segments(link).map(<[u8]>::len).sum()
    }
}

/// The size beyond which an arena's memory is freed.
const ARENA_BYTES_KEPT: usize = 1 << 18;

impl Run {
    /// Takes `next` in, if its bytes follow at once; true when they do.
    #[inline]
    fn extend(&mut self, next: Self) -> bool {
        let follows = self.arena == next.arena && self.end == next.start;
        if follows {
            self.end = next.end;
        }
        follows
    }
}

/// The pieces of one link's output, in order.
#[derive(Debug)]
pub struct Segments<'a> {
    outbox: &'a Outbox,
    outlet: Option<&'a Outlet>,
    next: usize,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let outlet = self.outlet?;
        if self.next == 0 {
            self.next = 1;
            if outlet.first.len() > 0 {
                return Some(self.outbox.run(outlet.first));
            }
        }
        let list = &self.outbox.lists[outlet.more as usize];
        let segment = list.segments.get(self.next - 1)?;
        let sent = if self.next == 1 { list.sent } else { 0 };
        self.next += 1;
        let bytes = match segment {
            Segment::Run(run) => self.outbox.run(*run),
            Segment::Payload(message) => message.payload(),
        };
        Some(&bytes[sent..])
    }
}

/// Output that waits for its socket. [`Self::advance`] does not move its bytes.
#[derive(Debug, Default)]
pub struct Unsent {
    chunks: VecDeque<Chunk>,
}

impl From<Vec<u8>> for Unsent {
    fn from(bytes: Vec<u8>) -> Self {
        let chunk = (!bytes.is_empty()).then(|| Chunk::Bytes(bytes.into(), 0));
        Self { chunks: chunk.into_iter().collect() }
    }
}

#[derive(Debug)]
enum Chunk {
    /// Bytes, and the number of them that are sent.
    Bytes(Box<[u8]>, usize),
    /// A payload, and the number of its bytes that are sent.
    Payload(Arc<Message>, usize),
}

impl Chunk {
    fn rest(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes, sent) => &bytes[*sent..],
            Self::Payload(message, sent) => &message.payload()[*sent..],
        }
    }
}

impl Unsent {
    /// The next bytes to send.
    #[must_use]
    pub fn front(&self) -> Option<&[u8]> {
        self.chunks.front().map(Chunk::rest)
    }

    /// The pieces of the output, in order.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(Chunk::rest)
    }

    /// Removes the first `count` bytes, which are sent.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            let rest = chunk.rest().len();
            if count < rest {
                let (Chunk::Bytes(_, sent) | Chunk::Payload(_, sent)) = chunk;
                *sent += count;
                return;
            }
            count -= rest;
            self.chunks.pop_front();
        }
    }

    /// Adds `next` to the end.
    pub(crate) fn append(&mut self, mut next: Self) {
        self.chunks.append(&mut next.chunks);
    }

    /// True when all is sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{MessageId, SessionNumber};
    use crate::base::time::Time;
    use crate::mqtt::{Properties, QoS};
    use crate::store::Traits;

    fn link(slot: u32) -> LinkId {
        LinkId { slot, generation: 1 }
    }

    #[test]
    fn what_follows_at_once_is_one_segment_and_is_shared() {
        let mut outbox = Outbox::default();
        outbox.open(link(0));
        outbox.open(link(1));
        for text in ["one", "two"] {
            let run = outbox.encode(0, |bytes| bytes.extend_from_slice(text.as_bytes()));
            outbox.append(link(0), run);
            outbox.append(link(1), run);
        }
        let first: Vec<_> = outbox.segments(link(0)).collect();
        assert_eq!(first, [b"onetwo"]);
        assert!(std::ptr::eq(first[0], outbox.segments(link(1)).next().unwrap()));
        assert_eq!(outbox.next_dirty(), Some(link(0)));
        assert_eq!(outbox.next_dirty(), Some(link(1)));
        assert_eq!(outbox.next_dirty(), None);
    }

    #[test]
    fn the_rest_begins_where_the_kernel_stopped() {
        let mut outbox = Outbox::default();
        outbox.open(link(0));
        for (arena, text) in [(0, "one"), (1, "two"), (0, "three")] {
            let run = outbox.encode(arena, |bytes| bytes.extend_from_slice(text.as_bytes()));
            outbox.append(link(0), run);
        }
        assert_eq!(outbox.pending(link(0)), 11);
        let mut unsent = outbox.take_rest(link(0), 4);
        assert_eq!(unsent.front(), Some(&b"wo"[..]));
        unsent.advance(1);
        assert_eq!(unsent.front(), Some(&b"o"[..]));
        unsent.advance(1);
        assert_eq!(unsent.front(), Some(&b"three"[..]));
        unsent.advance(5);
        assert!(unsent.is_empty());
        assert_eq!(outbox.segments(link(0)).count(), 0);
    }

    fn message(payload: &[u8]) -> Arc<Message> {
        let traits = Traits {
            qos: QoS::AtMostOnce,
            retain: false,
            expires: None,
            publisher: SessionNumber::NONE,
            received: Time::ZERO,
            id: MessageId(1),
        };
        Arc::new(Message::new("t", &Properties::from_bytes(&[]), payload, traits, None))
    }

    /// Cut at every place, sent in steps of any length: nothing is lost or comes twice, and
    /// payloads stay shared.
    #[test]
    fn output_that_is_sent_in_steps_goes_on_where_it_was() {
        let (first, second) = (message(b"first"), message(b"second"));
        let output =
            [(0, "a:", Some(&first)), (1, "b", None), (0, "c:", Some(&second)), (1, "d", None)];
        let expected = b"a:firstbc:secondd";
        for step in 1..=expected.len() {
            for kept in 0..expected.len() {
                let mut outbox = Outbox::default();
                outbox.open(link(0));
                for (arena, text, payload) in output {
                    let run =
                        outbox.encode(arena, |bytes| bytes.extend_from_slice(text.as_bytes()));
                    outbox.append(link(0), run);
                    if let Some(payload) = payload {
                        outbox.append_payload(link(0), Arc::clone(payload));
                    }
                }
                let mut received = Vec::new();
                while received.len() < kept {
                    let bytes: Vec<u8> = outbox.segments(link(0)).flatten().copied().collect();
                    assert_eq!(bytes.len(), outbox.pending(link(0)));
                    let count = step.min(kept - received.len());
                    received.extend_from_slice(&bytes[..count]);
                    outbox.advance(link(0), count);
                }
                let mut unsent = outbox.take_rest(link(0), 0);
                assert_eq!(Arc::strong_count(&first), 1 + usize::from(kept < 7));
                assert_eq!(outbox.pending(link(0)), 0);
                while !unsent.is_empty() {
                    let bytes: Vec<u8> = unsent.segments().flatten().copied().collect();
                    let count = step.min(bytes.len());
                    received.extend_from_slice(&bytes[..count]);
                    unsent.advance(count);
                }
                assert_eq!(received, expected, "{step} at a time, {kept} before the rest");
            }
        }
        assert_eq!(Arc::strong_count(&first) + Arc::strong_count(&second), 2);
    }
}

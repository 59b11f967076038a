//! The outbox to the kernel: one send per link, in slices, and the rest that sockets do not take.

use super::connection::{Connection, Phase};
use super::engine::Engine;
use super::links::Links;
use crate::base::maps::HashSet;
use crate::broker::{Input, LinkId, Outbox, Segments, Unsent, output_bytes};
use crate::io::event::SendFailure;
use crate::limits::{PIECE_BYTES_MAX, SLICE_SENDS_MAX, WRAPPED_BYTES_MAX};
use crate::transport::{Flow, Transport};
use smallvec::SmallVec;
use std::iter::{Once, once};
use std::mem::take;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};

/// The sends that are submitted together, and the bytes that only they have. Everything is kept
/// from slice to slice for its memory.
#[derive(Debug, Default)]
pub(super) struct Slice {
    sends: Vec<SliceSend>,
    /// The bytes for sockets that came out of the layers below MQTT.
    wrapped: Vec<u8>,
    /// The last of the wrapped ranges that other links can be sent as well, and its key.
    last_frame: Option<(FrameKey, Range<usize>)>,
    /// Links with layers whose output may go on behind what is in the slice.
    unfinished: Vec<LinkId>,
    /// The links whose output somebody watches; empty while nobody does.
    traced: HashSet<LinkId>,
    /// The output of those that was taken.
    tapped: Vec<(LinkId, Vec<u8>)>,
    failures: Vec<SendFailure>,
}

/// One send of a slice.
#[derive(Debug)]
struct SliceSend {
    link: LinkId,
    socket: RawFd,
    /// The range of the send's bytes among the wrapped ones; None for those in the outbox.
    wrapped: Option<Range<usize>>,
}

/// The place and length of one segment, which tell its bytes from those of every other in the
/// outbox, as long as the outbox gets nothing more.
type FrameKey = (usize, usize);

impl Slice {
    /// Sends until nothing is dirty. Between slices other events are handled, so that a large
    /// fan-out does not delay them; unless so much is to be sent that it has to go first. True when
    /// there was anything.
    pub(super) fn flush(&mut self, engine: &mut Engine) -> bool {
        let mut busy = false;
        loop {
            if engine.shard.is_traced() {
                self.traced = engine.shard.traced_links();
            }
            let has_output = self.take(engine.shard.outbox(), &mut engine.links);
            if !self.traced.is_empty() {
                self.show_traced(engine);
            }
            if !has_output {
                break;
            }
            let is_full = self.is_full();
            self.send(engine);
            if is_full {
                handle_between_slices(engine);
            }
            busy = true;
        }
        engine.shard.outbox().reset();
        busy
    }

    /// Shows the output that was just taken of links that somebody watches.
    #[cold]
    fn show_traced(&mut self, engine: &mut Engine) {
        for (link, bytes) in self.tapped.drain(..) {
            engine.shard.trace_sent(link, &bytes);
        }
        self.traced.clear();
    }

    fn is_full(&self) -> bool {
        self.sends.len() == SLICE_SENDS_MAX || self.wrapped.len() >= WRAPPED_BYTES_MAX
    }

    /// Takes the next links that have something to send and may. False when there are none.
    fn take(&mut self, outbox: &mut Outbox, links: &mut Links) -> bool {
        self.sends.clear();
        self.wrapped.clear();
        self.last_frame = None;
        while !self.is_full() {
            let next = outbox.next_dirty();
            let Some(link) = next.or_else(|| links.next_talkative()) else { break };
            if !self.traced.is_empty() && self.traced.contains(&link) {
                self.tapped.push((link, output_bytes(outbox, link)));
            }
            match links.get_mut(link) {
                None => outbox.sent(link),
                Some(Connection { layers: Some(_), .. }) => self.wrap(outbox, links, link),
                Some(connection) if connection.sending => {
                    connection.unsent.append(outbox.take_rest(link, 0));
                }
                Some(connection) => {
                    connection.settled = true;
                    let socket = connection.socket.as_raw_fd();
                    self.sends.push(SliceSend { link, socket, wrapped: None });
                }
            }
        }
        !self.sends.is_empty() || !self.unfinished.is_empty()
    }

    /// Passes a piece of a link's output through its layers into the slice. The rest stays in the
    /// outbox, or, when the socket has not taken an earlier piece, with the connection: both refer
    /// to large payloads, and nothing of the layers' bytes is made before its time.
    fn wrap(&mut self, outbox: &mut Outbox, links: &mut Links, link: LinkId) {
        let has_segments = outbox.segments(link).next().is_some();
        let connection = match has_segments {
            true => links.settle(link),
            false => links.get_mut(link),
        };
        let Some(connection) = connection else { return };
        let Connection { layers: Some(layers), unsent, sending, phase, socket, .. } = connection
        else {
            return;
        };
        if layers.in_slice {
            return;
        }
        if has_segments && (*sending || !unsent.is_empty()) {
            unsent.append(outbox.take_rest(link, 0));
        }
        if *sending {
            // The layers keep what they have to say, which has bounds, until the socket takes it.
            return;
        }
        let was_blocked = !unsent.is_empty();
        let piece = match was_blocked {
            true => Piece::front_of(unsent.segments()),
            false => Piece::front_of(outbox.segments(link)),
        };
        let (bytes, is_last) = (piece.bytes, piece.is_last);
        if is_last && matches!(phase, Phase::Closing | Phase::Draining { .. }) {
            layers.transport.close();
        }
        let key = piece.key().filter(|_| !was_blocked);
        let (range, flow) = self.wrap_piece(&mut layers.transport, &piece.segments, key);
        drop(piece);
        if was_blocked {
            unsent.advance(bytes);
        } else {
            outbox.advance(link, bytes);
        }
        let is_over = flow == Flow::Ended || range.is_empty() || matches!(phase, Phase::Ended);
        if !is_last && is_over {
            // No layer takes anything more.
            *unsent = Unsent::default();
            outbox.sent(link);
        }
        if !is_last || was_blocked {
            layers.in_slice = true;
            self.unfinished.push(link);
        }
        if !range.is_empty() {
            let (socket, wrapped) = (socket.as_raw_fd(), Some(range));
            self.sends.push(SliceSend { link, socket, wrapped });
        }
        if flow == Flow::Ended && matches!(phase, Phase::Open) {
            // The goodbye is in what was just wrapped.
            *phase = Phase::Closing;
            links.attend(link);
        }
    }

    /// The range of a piece's bytes among the wrapped ones, new or those of the last frame. A piece
    /// without a key is not shared.
    fn wrap_piece(
        &mut self,
        transport: &mut Transport,
        segments: &[&[u8]],
        key: Option<FrameKey>,
    ) -> (Range<usize>, Flow) {
        let key = key.filter(|_| transport.frames_alike());
        let known = self.last_frame.clone().filter(|(known, _)| key == Some(*known));
        let (range, flow) = match known {
            Some((_, range)) => (range, Flow::Open),
            None => {
                let start = self.wrapped.len();
                let flow = transport.send(segments.iter().copied(), &mut self.wrapped);
                (start..self.wrapped.len(), flow)
            }
        };
        self.last_frame = key.map(|key| (key, range.clone()));
        (range, flow)
    }

    /// Submits one send per link. All of them are done when this returns: the outbox keeps nothing
    /// of them, and only then does the shard hear of those that failed.
    fn send(&mut self, engine: &mut Engine) {
        let mut failures = take(&mut self.failures);
        let outbox = &*engine.shard.outbox();
        let wrapped = &self.wrapped;
        let sends = self.sends.iter().map(|send| {
            let pieces = match send.wrapped.clone() {
                Some(range) => Pieces::Wrapped(once(&wrapped[range])),
                None => Pieces::Shared(outbox.segments(send.link)),
            };
            (send.link, send.socket, pieces)
        });
        engine.ring.send_all(sends, &mut failures);
        let counters = engine.shard.counters_mut();
        counters.sends += self.sends.len() as u64;
        counters.links_blocked +=
            failures.iter().filter(|failure| failure.sent.is_ok()).count() as u64;
        for failure in &failures {
            if let Ok(sent) = failure.sent {
                let rest = self.take_rest(engine, failure.link, sent);
                if !rest.is_empty() {
                    engine.send_backlog(failure.link, rest);
                }
            }
        }
        let outbox = engine.shard.outbox();
        let shared = self.sends.iter().filter(|send| send.wrapped.is_none());
        if failures.is_empty() {
            shared.for_each(|send| outbox.sent(send.link));
        } else {
            let is_sending = |link| engine.links.get(link).is_some_and(|c| c.sending);
            let gone = shared.filter(|send| !is_sending(send.link));
            gone.for_each(|send| outbox.sent(send.link));
        }
        for failure in failures.drain(..) {
            report_failure(engine, &failure);
        }
        self.failures = failures;
        for link in self.unfinished.drain(..) {
            go_on(engine, link);
        }
    }

    /// Takes the rest of a send of which the kernel took only so many bytes.
    fn take_rest(&self, engine: &mut Engine, link: LinkId, sent: usize) -> Unsent {
        let send = self.sends.iter().find(|send| send.link == link);
        match send.and_then(|send| send.wrapped.clone()) {
            Some(range) => self.wrapped[range][sent..].to_vec().into(),
            None => engine.shard.outbox().take_rest(link, sent),
        }
    }
}

fn handle_between_slices(engine: &mut Engine) {
    for _ in 0..engine.ring.event_count() {
        if engine.outbox_is_full() {
            return;
        }
        let Some(event) = engine.ring.next_event() else { return };
        engine.handle_event(event);
    }
}

/// Tells the shard of a send that failed, or whose socket is full.
fn report_failure(engine: &mut Engine, failure: &SendFailure) {
    let link = failure.link;
    if let Err(error) = &failure.sent {
        return engine.lose(link, Some(error));
    }
    let Some(connection) = engine.links.get(link) else { return };
    if connection.sending && matches!(connection.phase, Phase::Open) {
        engine.feed(Input::Blocked { link });
    }
}

/// Lets a link with layers go on with its output, now that the piece in the slice is sent; or, with
/// the socket full, keeps the rest for later.
fn go_on(engine: &mut Engine, link: LinkId) {
    let outbox = engine.shard.outbox();
    let has_segments = outbox.segments(link).next().is_some();
    let Some(connection) = engine.links.get_mut(link) else { return outbox.sent(link) };
    connection.layers.iter_mut().for_each(|layers| layers.in_slice = false);
    if connection.sending {
        if has_segments {
            connection.unsent.append(outbox.take_rest(link, 0));
        }
    } else if has_segments || !connection.unsent.is_empty() {
        engine.links.let_talk(link);
    } else if matches!(connection.phase, Phase::Open) {
        engine.feed(Input::Writable { link });
    }
}

/// The front of a link's output, as much as goes through its layers at a time.
struct Piece<'a> {
    segments: SmallVec<[&'a [u8]; 16]>,
    bytes: usize,
    /// True when the output ends with the piece.
    is_last: bool,
}

impl<'a> Piece<'a> {
    fn front_of(output: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut piece = Self { segments: SmallVec::new(), bytes: 0, is_last: true };
        for segment in output {
            let room = PIECE_BYTES_MAX - piece.bytes;
            let (front, rest) = segment.split_at(segment.len().min(room));
            if !front.is_empty() {
                piece.segments.push(front);
                piece.bytes += front.len();
            }
            if !rest.is_empty() {
                piece.is_last = false;
                break;
            }
        }
        piece
    }

    /// The key of the only segment; None when there are several.
    fn key(&self) -> Option<FrameKey> {
        match self.segments[..] {
            [only] => Some((only.as_ptr().addr(), only.len())),
            _ => None,
        }
    }
}

/// The bytes of one send.
enum Pieces<'a> {
    Shared(Segments<'a>),
    Wrapped(Once<&'a [u8]>),
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Self::Shared(segments) => segments.next(),
            Self::Wrapped(once) => once.next(),
        }
    }
}

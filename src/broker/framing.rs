//! Received bytes become packets, one after the other, as far as their link may go on.

use super::boundary::Output;
use super::link::State;
use super::ongoing::Progress;
use super::shard::Shard;
use crate::base::ids::LinkId;
use crate::limits::{CONNECT_BYTES_MAX, UNAUTHENTICATED_BYTES_MAX};
use crate::mqtt::{Frame, Framed, PacketType, next_frame_of};

impl Shard {
    /// A peer that has not come in makes progress.
    pub(super) fn heard(&mut self, id: LinkId) {
        let now = self.clients.now;
        if let Some(link) = self.clients.link(id).filter(|link| link.session().is_none()) {
            link.heard = now;
        }
    }

    pub(super) fn received(&mut self, id: LinkId, bytes: &[u8]) {
        let now = self.clients.now;
        self.clients.outbox.purse().take_bytes(bytes.len());
        let Some(link) = self.clients.link(id) else { return };
        if link.state == State::Closing {
            return;
        }
        link.heard = now;
        if link.carry.is_empty() && !link.pauses.any() {
            let used = self.parse(id, bytes);
            if let Some(link) = self.clients.link(id) {
                link.carry.push(&bytes[used..]);
            }
            return;
        }
        link.carry.push(bytes);
        if !link.pauses.any() {
            self.parse_carry(id);
        } else if link.pauses.login && link.carry.len() > UNAUTHENTICATED_BYTES_MAX {
            self.clients.pause(id, |pauses| pauses.early = true);
        }
    }

    /// Parses the bytes that were kept, and keeps those that are still no whole packet.
    fn parse_carry(&mut self, id: LinkId) {
        let Some(link) = self.clients.link(id) else { return };
        let carry = link.carry.take();
        let used = self.parse(id, &carry);
        self.clients.outbox.purse().take_bytes(used);
        if let Some(link) = self.clients.link(id) {
            link.carry.put_back(carry, used);
        }
    }

    /// Handles the whole packets that `bytes` begin with; how many bytes are done with.
    fn parse(&mut self, id: LinkId, bytes: &[u8]) -> usize {
        let packet_bytes_max = self.packet_bytes_max(id);
        let mut at = 0;
        while at < bytes.len() {
            let Some(link) = self.clients.link(id) else { return bytes.len() };
            let (max, is_fresh) = match link.state {
                State::Fresh { .. } => (packet_bytes_max.min(CONNECT_BYTES_MAX), true),
                State::Authenticating => (packet_bytes_max.min(UNAUTHENTICATED_BYTES_MAX), false),
                State::Connected { .. } => (packet_bytes_max, false),
                State::Closing => return bytes.len(),
            };
            let version = (!is_fresh).then_some(link.version);
            if link.pauses.any() {
                return at;
            }
            if is_fresh && let Err(error) = Self::check_first(&bytes[at..]) {
                self.refuse(id, error);
                return bytes.len();
            }
            match next_frame_of(&bytes[at..], max, version) {
                Ok(Framed::Whole(frame)) => {
                    let waits = self.waits_for_turn(id, &frame)
                        || self.waits_for_memory(id, &frame)
                        || self.waits_for_mesh(id, &frame)
                        || self.waits_for_journal(id, &frame);
                    if waits {
                        return at;
                    }
                    match self.handle_frame(id, &frame, &bytes[at..]) {
                        Ok(Progress::Done) => {}
                        Ok(Progress::Paused) => return at,
                        Err(error) => self.refuse(id, error),
                    }
                    at += frame.length;
                    self.close_misfits();
                }
                Ok(Framed::Partial { needed }) => {
                    if is_fresh {
                        self.await_whole(id, needed.unwrap_or(0), bytes.len() - at);
                    }
                    return at;
                }
                Err(error) => {
                    self.refuse(id, error);
                    return bytes.len();
                }
            }
        }
        at
    }

    /// The largest packet that is taken from a link. What the broker's own bridges say to it is
    /// not for clients' limits.
    fn packet_bytes_max(&mut self, id: LinkId) -> usize {
        let options = &self.clients.options;
        let (max, clients) = (options.max_packet_size as usize, options.listeners.len());
        if max >= UNAUTHENTICATED_BYTES_MAX {
            return max;
        }
        let link = self.clients.link(id);
        let is_own = link.is_some_and(|link| link.origin.listener.index() >= clients);
        if is_own { UNAUTHENTICATED_BYTES_MAX } else { max }
    }

    /// True when the link's next packet has to wait for another turn, since its work is more than
    /// that of its own bytes.
    fn waits_for_turn(&mut self, id: LinkId, frame: &Frame<'_>) -> bool {
        let may_be_long = matches!(
            frame.kind(),
            Some(PacketType::Publish | PacketType::Subscribe | PacketType::Unsubscribe)
        );
        if !may_be_long || !self.clients.outbox.purse().is_empty() {
            return false;
        }
        self.clients.pause_for_turn(id);
        true
    }

    /// Goes on with the links whose turn has come.
    pub(super) fn take_turns(&mut self) {
        for _ in 0..self.clients.turns.len() {
            if self.clients.outbox.purse().is_empty() {
                return;
            }
            let Some(id) = self.clients.turns.pop_front() else { return };
            if self.clients.resume(id, |pauses| pauses.turn = false) {
                self.go_on(id);
            }
        }
    }

    /// Leaves a large CONNECT in the kernel until all of it is there.
    fn await_whole(&mut self, id: LinkId, needed: usize, there: usize) {
        let Some(link) = self.clients.link(id) else { return };
        if needed > UNAUTHENTICATED_BYTES_MAX && link.state == (State::Fresh { whole: false }) {
            link.state = State::Fresh { whole: true };
            let count = needed - there;
            self.clients.outputs.push_back(Output::AwaitBytes { link: id, count });
        }
    }

    /// Goes on with the bytes that were received while the link was paused.
    pub(super) fn go_on(&mut self, id: LinkId) {
        let Some(link) = self.clients.link(id) else { return };
        if !link.pauses.any() && !link.carry.is_empty() {
            self.parse_carry(id);
        }
        if self.clients.link(id).is_some_and(|link| link.is_finished && !link.pauses.any()) {
            self.hang_up_finished(id);
        }
    }
}

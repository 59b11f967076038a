//! Waits for rings: a shard keeps things waiting and goes on with them, see [`Neighbours`].
//!
//! [`Neighbours`]: super::neighbours::Neighbours

use super::boundary::Output;
use super::link::State;
use super::mesh_message::MeshMessage;
use super::neighbours::Waiting;
use super::shard::Shard;
use super::will::{Author, WillMessage};
use crate::access::Verdict;
use crate::base::ids::{LinkId, SessionId, WorkerId};
use crate::mqtt::{Frame, PacketType};

impl Shard {
    pub(super) fn mesh(&mut self, to: WorkerId, message: MeshMessage) {
        debug_assert_ne!(to, self.index);
        self.neighbours.note_sent();
        self.clients.counters.mesh_messages += 1;
        self.clients.outputs.push_back(Output::Mesh { to, message });
    }

    /// True when the link's next packet has to wait.
    pub(super) fn waits_for_mesh(&mut self, id: LinkId, frame: &Frame<'_>) -> bool {
        if !self.neighbours.holds_up_packets() || !may_send(frame.kind()) {
            return false;
        }
        self.clients.pause(id, |pauses| pauses.mesh = true);
        self.neighbours.keep_waiting(Waiting::Link(id));
        true
    }

    /// A verdict about a login has come.
    pub(super) fn take_verdict(&mut self, id: LinkId, verdict: Verdict) {
        if self.neighbours.is_busy() {
            self.neighbours.keep_waiting(Waiting::Verdict(id, verdict));
        } else {
            self.authenticated(id, verdict);
        }
    }

    /// The time of a session's will or of its end has come.
    pub(super) fn session_timer(&mut self, id: SessionId) {
        if self.neighbours.is_busy() {
            return self.neighbours.keep_waiting(Waiting::Session(id));
        }
        self.session_due(id);
        if self.clients.has_session(id) {
            self.clients.refresh_session_timer(id);
        }
    }

    /// The journal has it on disk that these wills are gone.
    pub(super) fn publish_wills(&mut self, wills: Vec<(Author, Box<WillMessage>)>) {
        if wills.is_empty() {
            return;
        }
        for (author, will) in wills {
            self.neighbours.keep_waiting(Waiting::Will(author, will));
        }
        self.go_on_with_mesh();
    }

    pub(super) fn mesh_open(&mut self, to: WorkerId) {
        for (to, ticket) in self.neighbours.note_open(to) {
            self.mesh(to, MeshMessage::Done { ticket, refusal: None });
        }
        self.go_on_with_mesh();
    }

    /// Goes on with what has waited, as far as the rings may take it.
    pub(super) fn go_on_with_mesh(&mut self) {
        while let Some(waiting) = self.neighbours.next_waiting() {
            match waiting {
                Waiting::Will(author, will) => self.publish_will(&author, &will),
                Waiting::Verdict(id, verdict) => self.authenticated(id, verdict),
                Waiting::Session(id) => self.session_timer(id),
                Waiting::Link(id) => {
                    self.clients.resume(id, |pauses| pauses.mesh = false);
                    self.go_on(id);
                }
            }
        }
    }

    /// True when the broker keeps the link from going on, so that its client is not to blame.
    pub(super) fn is_kept_waiting(&mut self, id: LinkId) -> bool {
        let Some(link) = self.clients.link(id) else { return false };
        let is_logging_in = link.state == State::Authenticating;
        link.is_held_up() || is_logging_in && self.neighbours.has_verdict(id)
    }
}

/// True for packets that may cause something to be sent to other workers.
const fn may_send(kind: Option<PacketType>) -> bool {
    matches!(
        kind,
        Some(
            PacketType::Connect
                | PacketType::Publish
                | PacketType::Subscribe
                | PacketType::Unsubscribe
                | PacketType::Disconnect
                | PacketType::Auth
        )
    )
}

//! What the shard asks for, and what goes to and comes from other workers.

use super::connection::{Connection, Layers, Move, Phase};
use super::places::TakenPlace;
use super::worker::{Stage, Worker};
use crate::base::ids::WorkerId;
use crate::broker::{Input, LinkId, MeshMessage, Origin, Output};
use crate::limits::{LARGE_CONNECTS_MAX, MESH_BATCH_MAX};
use crate::mesh::Sent;
use smallvec::SmallVec;
use std::os::fd::OwnedFd;

/// What one worker sends to another.
#[derive(Debug)]
pub enum Parcel {
    /// From shard to shard.
    Message(MeshMessage),
    /// A connection whose session lives over there.
    Connection {
        /// Nothing is in flight on it.
        socket: OwnedFd,
        /// What stands between the socket and MQTT.
        layers: Option<Box<Layers>>,
        /// What it takes up of the limits.
        place: TakenPlace,
        /// Where it comes from.
        origin: Origin,
        /// What came in on it so far, from its CONNECT on.
        received: Vec<u8>,
        /// Nothing more will come in.
        finished: bool,
    },
}

impl Worker {
    /// Takes what other workers have sent, and sends on what did not fit. True when there was
    /// anything.
    pub(super) fn exchange(&mut self) -> bool {
        let mut busy = false;
        if self.mesh.is_sweep_over() {
            self.mesh.begin_sweep();
        }
        for from in WorkerId::all(self.mesh.workers()) {
            for _ in 0..MESH_BATCH_MAX {
                let Some(parcel) = self.mesh.receive(from) else { break };
                self.unpack(from, parcel);
                busy = true;
                if self.outbox_is_full() {
                    self.flush();
                }
            }
        }
        if self.mesh.is_sweep_over() && (busy || self.shard.wants_sweep()) {
            self.feed(Input::MeshSwept);
            busy = true;
        }
        self.drain_overflow();
        busy
    }

    /// Does all that the shard asks for.
    pub(super) fn carry_out_all(&mut self) {
        loop {
            while let Some(output) = self.shard.next_output() {
                self.carry_out(output);
            }
            let Some(to) = self.mesh_full.pop() else { return };
            self.shard.handle(self.now, Input::MeshFull { to });
        }
    }

    /// Sends to another worker.
    pub(super) fn post(&mut self, to: WorkerId, parcel: Parcel) {
        if self.mesh.send(to, parcel) == Sent::Full {
            self.mesh_full.push(to);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Close { link } => self.close(link),
            Output::Authenticate { link, login } => (self.logins.0)(link, *login),
            Output::Mesh { to, message } => self.post(to, Parcel::Message(message)),
            Output::PauseReceive { link } => self.set_paused(link, true),
            Output::ResumeReceive { link } => self.set_paused(link, false),
            Output::AwaitBytes { link, count } => {
                self.await_bytes(link, count);
            }
            Output::LookForInput { link } => self.suspects.push(link),
            Output::Handover { link, to, origin, received } => {
                if let Some(connection) = self.open_connection(link) {
                    connection.phase = Phase::Moving(Box::new(Move { to, origin, received }));
                    self.attention.push(link);
                }
            }
        }
    }

    /// A large CONNECT is coming. On a plain socket it waits in the kernel; what comes through
    /// other layers has to be taken, so only some may do so at a time.
    fn await_bytes(&mut self, link: LinkId, count: usize) {
        let has_room = self.large_connects < LARGE_CONNECTS_MAX;
        let Some(connection) = self.open_connection(link) else { return };
        match &mut connection.layers {
            None => connection.await_bytes = count,
            Some(layers) if has_room => {
                layers.has_large_connect = true;
                self.large_connects += 1;
            }
            Some(_) => {
                let peer = connection.peer();
                tracing::info!(%peer, "Client closed: too many large CONNECT packets at once");
                self.close(link);
            }
        }
    }

    fn set_paused(&mut self, link: LinkId, paused: bool) {
        let Some(connection) = self.open_connection(link) else { return };
        connection.paused = paused;
        match paused {
            true => self.disarm(link),
            false => self.attention.push(link),
        }
    }

    fn open_connection(&mut self, link: LinkId) -> Option<&mut Connection> {
        self.connections.get_mut(link).filter(|c| matches!(c.phase, Phase::Open))
    }

    fn unpack(&mut self, from: WorkerId, parcel: Parcel) {
        match parcel {
            Parcel::Message(message) => self.feed(Input::Mesh { from, message }),
            Parcel::Connection { place, .. } if self.stage != Stage::Running => {
                self.places.give_back(&place);
            }
            Parcel::Connection { socket, layers, place, origin, received, finished } => {
                let connection = Connection::new(socket, layers, origin.listener, place);
                let link = self.open(connection, origin);
                // The settings may have changed while it was on its way.
                self.unjudged.push_back(link);
                self.feed(Input::Received { link, bytes: &received });
                if finished {
                    self.end_input(link);
                }
            }
        }
    }

    fn drain_overflow(&mut self) {
        let mut open = SmallVec::<[WorkerId; 8]>::new();
        self.mesh.drain_overflow(|to| open.push(to));
        for to in open {
            // What an earlier one of these caused may have filled the ring again.
            if !self.mesh.is_waiting_for(to) {
                self.feed(Input::MeshOpen { to });
            }
        }
    }
}

impl crate::io::event::Backlog for crate::broker::Unsent {
    fn front(&self) -> Option<&[u8]> {
        Self::front(self)
    }

    fn advance(&mut self, count: usize) {
        Self::advance(self, count);
    }
}

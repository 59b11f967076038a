//! The end of connections, and of the worker.
//!
//! ```text
//! Open ─close─▶ Closing ─taken─▶ Draining ─all sent─▶ Lingering ─FIN or 2 s─▶ Ended ─▶ freed
//!   │              │                │ 2 s: cut off       │                      ▲
//!   └──────────────┴────────── an error, or the peer's FIN when all is sent ────┘
//! ```
//!
//! A worker that stops does not wait for the FIN of a peer that is silent: the kernel delivers what
//! it has taken, and a close resets only what is still to be received.

use super::connection::{Connection, Move, Phase, Receive};
use super::exchange::Parcel;
use super::worker::{Stage, Worker};
use crate::base::time::Time;
use crate::broker::{Input, LinkId};
use crate::io::socket;
use crate::limits::{LINGER_S, STOP_CUT, STOP_LINGER};
use std::io;
use std::os::fd::AsFd;

impl Worker {
    /// Sees to the connections that need it, now that their output is taken.
    pub(super) fn attend_all(&mut self) {
        let attention = std::mem::take(&mut self.attention);
        for &link in &attention {
            self.attend(link);
        }
        if self.attention.is_empty() {
            self.attention = attention;
            self.attention.clear();
        }
    }

    /// The shard wants the connection closed.
    pub(super) fn close(&mut self, link: LinkId) {
        let Some(connection) = self.connections.get_mut(link) else { return };
        if matches!(connection.phase, Phase::Open) {
            connection.phase = Phase::Closing;
            self.attention.push(link);
            if let Some(layers) = &mut connection.layers {
                layers.transport.close();
                self.talkative.push(link);
            }
        }
    }

    /// The peer is gone; `error` is why, where the network has failed.
    pub(super) fn lose(&mut self, link: LinkId, error: Option<&io::Error>) {
        let Some(connection) = self.connections.get_mut(link) else { return };
        let is_known = connection.is_known_to_shard();
        connection.phase = Phase::Ended;
        self.attention.push(link);
        match error {
            Some(error) if is_known => self.feed(Input::Failed { link, error: error.kind() }),
            None if is_known => self.feed(Input::Closed { link }),
            _ => {}
        }
    }

    /// Ends the connections whose time to drain or linger is over. True when there were any.
    pub(super) fn end_lingering(&mut self) -> bool {
        let mut busy = false;
        while let Some(&(time, link)) = self.lingering.front()
            && time <= self.now
        {
            self.lingering.pop_front();
            busy |= self.end_overdue(link);
        }
        while let Some(&(time, link)) = self.parting.front()
            && time <= self.now
        {
            self.parting.pop_front();
            busy |= self.end_silent(link);
        }
        busy
    }

    /// Begins to stop when told to, and cuts off what is left when the time is over.
    pub(super) fn stop_in_time(&mut self) -> bool {
        match self.stage {
            Stage::Running if self.mesh.doorbell().is_stopped() => self.stop(),
            Stage::Stopping { deadline } if deadline <= self.now => self.cut_off_all(),
            _ => return false,
        }
        true
    }

    /// True when nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        match self.stage {
            Stage::Running => false,
            Stage::Stopping { .. } => {
                self.connections.is_empty() && self.listeners.iter().all(|l| l.is_closed())
            }
            Stage::Stopped { .. } => true,
        }
    }

    fn attend(&mut self, link: LinkId) {
        let Some(connection) = self.connections.get(link) else { return };
        match connection.phase {
            Phase::Open | Phase::Lingering { .. } => self.arm(link),
            Phase::Closing => self.begin_closing(link),
            Phase::Draining { .. } if connection.sending => self.arm(link),
            Phase::Draining { .. } if connection.finished => self.lose(link, None),
            Phase::Draining { .. } => self.linger(link),
            Phase::Moving(_) if connection.is_idle() => self.move_away(link),
            Phase::Moving(_) => self.disarm(link),
            Phase::Ended if connection.is_idle() => self.free(link),
            Phase::Ended => self.interrupt(link),
        }
    }

    /// The last output is taken. The rest of it, if any, has some time to be sent.
    fn begin_closing(&mut self, link: LinkId) {
        let deadline = self.now.after_seconds(LINGER_S);
        let Some(connection) = self.connections.get_mut(link) else { return };
        connection.phase = Phase::Draining { deadline };
        if connection.sending {
            self.lingering.push_back((deadline, link));
        }
        self.attention.push(link);
        self.feed(Input::Closed { link });
    }

    /// Everything is sent: sends our FIN, and reads until the peer's, so that the close resets
    /// nothing that is still on its way.
    fn linger(&mut self, link: LinkId) {
        let deadline = self.now.after_seconds(LINGER_S);
        let Some(connection) = self.connections.get_mut(link) else { return };
        connection.phase = Phase::Lingering { deadline, is_silent: true };
        socket::finish(connection.as_fd());
        self.lingering.push_back((deadline, link));
        self.part_soon(link);
        self.arm(link);
    }

    /// A worker that stops looks soon whether anything still comes from a lingering peer.
    fn part_soon(&mut self, link: LinkId) {
        if self.stage != Stage::Running {
            self.parting.push_back((self.now.after(STOP_LINGER), link));
        }
    }

    /// Ends a lingering connection from which nothing has come lately.
    fn end_silent(&mut self, link: LinkId) -> bool {
        let Some(connection) = self.connections.get_mut(link) else { return false };
        let Phase::Lingering { is_silent, .. } = &mut connection.phase else { return false };
        if !std::mem::replace(is_silent, true) {
            self.part_soon(link);
            return false;
        }
        connection.phase = Phase::Ended;
        self.attention.push(link);
        true
    }

    fn end_overdue(&mut self, link: LinkId) -> bool {
        let Some(connection) = self.connections.get_mut(link) else { return false };
        let is_due = |deadline: Time| deadline <= self.now;
        match connection.phase {
            Phase::Draining { deadline } if is_due(deadline) => {
                socket::abandon(connection.as_fd());
            }
            Phase::Lingering { deadline, .. } if is_due(deadline) => {}
            _ => return false,
        }
        connection.phase = Phase::Ended;
        self.attention.push(link);
        true
    }

    fn move_away(&mut self, link: LinkId) {
        let Some(mut connection) = self.connections.remove(link) else { return };
        self.release_large_connect(&mut connection);
        let Connection { socket, layers, place, finished, phase: Phase::Moving(moving), .. } =
            connection
        else {
            unreachable!("only a moving connection is moved away")
        };
        let Move { to, origin, received } = *moving;
        self.post(to, Parcel::Connection { socket, layers, place, origin, received, finished });
        // If that filled the ring, the shard hears of it before it can hear of the opposite.
        self.carry_out_all();
    }

    /// Ends whatever is in flight; the last completion brings the connection back here.
    fn interrupt(&mut self, link: LinkId) {
        let Some(connection) = self.connections.get_mut(link) else { return };
        socket::end(connection.as_fd());
        self.disarm(link);
    }

    fn free(&mut self, link: LinkId) {
        let mut connection = self.connections.remove(link).expect("it was just found");
        assert!(connection.receive == Receive::Idle && !connection.sending);
        self.release_large_connect(&mut connection);
        self.places.give_back(&connection.place);
    }

    fn stop(&mut self) {
        self.stage = Stage::Stopping { deadline: self.now.after(STOP_CUT) };
        self.stop_began = self.now;
        self.stop_accepting();
        self.feed(Input::Shutdown);
        for link in self.all_links() {
            let phase = self.connections.get(link).map(|connection| &connection.phase);
            if matches!(phase, Some(Phase::Lingering { .. })) {
                self.part_soon(link);
            }
        }
    }

    fn cut_off_all(&mut self) {
        let links = self.all_links();
        self.stage = Stage::Stopped { cut: links.len() };
        for link in links {
            if let Some(connection) = self.connections.get(link) {
                socket::abandon(connection.as_fd());
            }
            self.lose(link, None);
        }
    }

    fn all_links(&self) -> Vec<LinkId> {
        self.connections.iter().map(|(link, _)| link).collect()
    }
}

//! Connections that leave: to another worker, or for good.

use super::Engine;
use crate::broker::{Input, LinkId};
use crate::io::socket;
use crate::worker::connection::{Connection, Move, Phase};
use crate::worker::parcel::Parcel;
use std::io;
use std::os::fd::AsFd;

impl Engine {
    /// Ends a connection whose peer is gone; `error` is the cause, where the network has failed.
    pub(in crate::worker) fn lose(&mut self, link: LinkId, error: Option<&io::Error>) {
        let Some(connection) = self.links.get(link) else { return };
        let is_known = connection.is_known_to_shard();
        self.links.end(link);
        match error {
            Some(error) if is_known => self.feed(Input::Failed { link, error: error.kind() }),
            None if is_known => self.feed(Input::Closed { link }),
            _ => {}
        }
    }

    /// Sends a connection on which nothing is in flight to its other worker.
    pub(in crate::worker) fn move_away(&mut self, link: LinkId) {
        let Some(connection) = self.links.remove(link) else { return };
        let Connection { socket, layers, place, finished, phase: Phase::Moving(moving), .. } =
            connection
        else {
            unreachable!("only a moving connection is moved away")
        };
        let Move { to, origin, received } = *moving;
        self.post(to, Parcel::Connection { socket, layers, place, origin, received, finished });
        self.carry_out_all();
    }

    /// Ends all that is in flight on a connection; the last completion brings its link back to the
    /// list of attention.
    pub(in crate::worker) fn interrupt(&mut self, link: LinkId) {
        let Some(connection) = self.links.get(link) else { return };
        socket::end(connection.as_fd());
        self.disarm(link);
    }

    /// Frees a connection on which nothing is in flight, and its place.
    pub(in crate::worker) fn free(&mut self, link: LinkId) {
        let connection = self.links.remove(link).expect("the caller has just found the connection");
        assert!(connection.is_idle());
        self.gate.give_back(&connection.place);
    }
}

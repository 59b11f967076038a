//! The connections of a worker, and lists of those that wait for a look.

use super::connection::{Connection, Phase};
use crate::base::ids::Slots;
use crate::broker::LinkId;
use crate::limits::LARGE_CONNECTS_MAX;
use std::collections::VecDeque;

/// The connections of a worker. A change of phase puts the connection on the list of attention, so
/// that no connection is left in a phase from which nothing takes it on.
#[derive(Debug, Default)]
pub(super) struct Links {
    connections: Slots<LinkId, Connection>,
    /// Connections to look at once the output is taken: to receive, to go on closing, to free.
    attention: Vec<LinkId>,
    /// Connections whose layers below MQTT may have something to send.
    talkative: VecDeque<LinkId>,
    /// Connections for which a large CONNECT is held in memory.
    large_connects: usize,
}

impl Links {
    /// Adds a connection, which is looked at soon.
    pub(super) fn insert(&mut self, connection: Connection) -> LinkId {
        let layers = connection.layers.as_ref();
        let has_output = layers.is_some_and(|layers| layers.transport.has_output());
        let link = self.connections.insert(connection);
        self.attention.push(link);
        if has_output {
            self.talkative.push_back(link);
        }
        link
    }

    /// The connection of a link.
    #[inline]
    pub(super) fn get(&self, link: LinkId) -> Option<&Connection> {
        self.connections.get(link)
    }

    /// The connection of a link, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Connection> {
        self.connections.get_mut(link)
    }

    /// The connection of a link, unless its end has begun.
    pub(super) fn get_open(&mut self, link: LinkId) -> Option<&mut Connection> {
        self.get_mut(link).filter(|connection| matches!(connection.phase, Phase::Open))
    }

    /// Takes a connection out.
    pub(super) fn remove(&mut self, link: LinkId) -> Option<Connection> {
        let mut connection = self.connections.remove(link)?;
        self.large_connects -= usize::from(connection.release_large_connect());
        Some(connection)
    }

    /// The number of connections.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// All links with their connections.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Connection)> {
        self.connections.iter()
    }

    /// All links, to be looked at while connections come and go.
    pub(super) fn all(&self) -> Vec<LinkId> {
        self.iter().map(|(link, _)| link).collect()
    }

    /// True when there is no connection.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Puts a connection on the list of those that are looked at.
    pub(super) fn attend(&mut self, link: LinkId) {
        self.attention.push(link);
    }

    /// True when a connection is to be looked at.
    pub(super) const fn needs_attention(&self) -> bool {
        !self.attention.is_empty()
    }

    /// Takes the list of the connections to look at; `before` is the list that was taken last, and
    /// gives its memory to the next one.
    pub(super) fn take_attention(&mut self, mut before: Vec<LinkId>) -> Vec<LinkId> {
        before.clear();
        std::mem::replace(&mut self.attention, before)
    }

    /// Notes that the layers of a connection may have something to send.
    pub(super) fn let_talk(&mut self, link: LinkId) {
        self.talkative.push_back(link);
    }

    /// The next connection whose layers may have something to send.
    pub(super) fn next_talkative(&mut self) -> Option<LinkId> {
        self.talkative.pop_front()
    }

    /// Begins to close an open connection, whose last output is taken first; the layers' goodbye
    /// goes behind it.
    pub(super) fn close(&mut self, link: LinkId) {
        let Some(connection) = self.get_open(link) else { return };
        connection.phase = Phase::Closing;
        if connection.layers.is_some() {
            self.talkative.push_back(link);
        }
        self.attention.push(link);
    }

    /// Ends a connection, which is freed when nothing is in flight on it.
    pub(super) fn end(&mut self, link: LinkId) {
        let Some(connection) = self.get_mut(link) else { return };
        connection.phase = Phase::Ended;
        self.attention.push(link);
    }

    /// The connection of a link that the shard has answered: it stays on this worker, and its
    /// CONNECT is held no more.
    pub(super) fn settle(&mut self, link: LinkId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(link)?;
        connection.settled = true;
        self.large_connects -= usize::from(connection.release_large_connect());
        Some(connection)
    }

    /// Lets a connection hold a large CONNECT; false when too many do.
    pub(super) fn hold_large_connect(&mut self, link: LinkId) -> bool {
        let layers = self.connections.get_mut(link).and_then(|c| c.layers.as_mut());
        let Some(layers) = layers.filter(|_| self.large_connects < LARGE_CONNECTS_MAX) else {
            return false;
        };
        let had = std::mem::replace(&mut layers.has_large_connect, true);
        self.large_connects += usize::from(!had);
        true
    }
}

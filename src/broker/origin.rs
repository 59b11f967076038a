//! Origins of connections.

use crate::base::ids::ListenerId;
use std::fmt;
use std::net::SocketAddr;

/// The origin of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The address of the peer, behind a proxy of the client itself; None by a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The listener that accepted the connection: its place in
    /// [`Options::listeners`](crate::options::Options).
    pub listener: ListenerId,
    /// The user name that the client's certificate stands for, where the listener wants that.
    pub certificate_user: Option<Box<str>>,
    /// The limit for which any CONNECT of the connection is refused.
    pub excess: Option<Excess>,
}

/// The limit that one more connection exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Connections.
    Connections,
    /// Connections from this address.
    ConnectionsOfAddress,
    /// Connections within this second.
    ConnectRate,
}

impl From<SocketAddr> for Origin {
    fn from(peer: SocketAddr) -> Self {
        Self { peer: Some(peer), listener: ListenerId(0), certificate_user: None, excess: None }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Some(peer) => peer.fmt(formatter),
            None => formatter.write_str("a Unix socket"),
        }
    }
}

//! One connection, as its worker sees it.

use super::places::TakenPlace;
use super::receiving::Receiving;
use crate::base::ids::{ListenerId, WorkerId};
use crate::base::time::Time;
use crate::broker::{Origin, Unsent};
use crate::io::socket;
use crate::transport::Transport;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A connection. Its slot is freed only when it is [`Phase::Ended`] and nothing is in flight.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    /// The layers between the socket and MQTT; None for plain MQTT.
    pub(super) layers: Option<Box<Layers>>,
    /// The listener that accepted the connection.
    pub(super) listener: ListenerId,
    /// The place that the connection takes up among all.
    pub(super) place: TakenPlace,
    pub(super) phase: Phase,
    pub(super) receiving: Receiving,
    /// True while the shard wants no input.
    pub(super) paused: bool,
    /// True when the peer has sent its last byte.
    pub(super) finished: bool,
    /// True when the shard has answered, so that the connection stays on this worker: receives may
    /// be multishot.
    pub(super) settled: bool,
    /// True while a backlog is in the ring: nothing else may be sent.
    pub(super) sending: bool,
    /// Output that follows the backlog in the ring, as it comes from the shard: layers turn a
    /// piece of it into their own bytes when the socket takes it. Nearly always empty.
    pub(super) unsent: Unsent,
}

/// The layers of a connection below MQTT.
#[derive(Debug)]
pub struct Layers {
    pub(super) transport: Transport,
    /// The time at which the connection was accepted.
    pub(super) begun: Time,
    /// Received bytes that wait for a turn with time for a handshake.
    pub(super) waiting: Vec<u8>,
    /// True when the shard was told who is connected.
    pub(super) is_identified: bool,
    /// True when a large CONNECT may be held for the connection.
    pub(super) has_large_connect: bool,
    /// True while a piece of the output is in a slice of sends, and more may follow.
    pub(super) in_slice: bool,
}

impl Layers {
    pub(super) fn new(transport: Transport, now: Time) -> Box<Self> {
        Box::new(Self {
            transport,
            begun: now,
            waiting: Vec::new(),
            is_identified: false,
            has_large_connect: false,
            in_slice: false,
        })
    }
}

/// The phase of a connection's life.
#[derive(Debug)]
pub(super) enum Phase {
    /// The shard knows the connection.
    Open,
    /// The shard has closed the connection; its last output is not taken yet.
    Closing,
    /// The rest of the output is being sent, until `deadline`.
    Draining {
        /// The time at which the connection is cut off.
        deadline: Time,
    },
    /// Our FIN is sent; all that comes in is thrown away until the peer's FIN, or `deadline`.
    Lingering {
        /// The time at which the connection is ended.
        deadline: Time,
        /// True when nothing has come since the last look.
        is_silent: bool,
    },
    /// The connection goes to another worker as soon as nothing is in flight.
    Moving(Box<Move>),
    /// The connection waits for its last completion.
    Ended,
}

/// The way of a connection to another worker.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) to: WorkerId,
    pub(super) origin: Origin,
    /// The bytes that came in so far.
    pub(super) received: Vec<u8>,
}

impl Connection {
    pub(super) fn new(
        socket: OwnedFd,
        layers: Option<Box<Layers>>,
        listener: ListenerId,
        place: TakenPlace,
    ) -> Self {
        Self {
            socket,
            layers,
            listener,
            place,
            phase: Phase::Open,
            receiving: Receiving::default(),
            paused: false,
            finished: false,
            settled: false,
            sending: false,
            unsent: Unsent::default(),
        }
    }

    /// The peer's address by the socket; None for a Unix socket.
    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        socket::peer_address(self.as_fd())
    }

    /// The peer for the log: the client behind a proxy, or the socket's peer.
    pub(super) fn peer(&self) -> String {
        let proxied = self.layers.as_ref().and_then(|layers| layers.transport.peer());
        let peer = proxied.or_else(|| self.peer_address());
        peer.map_or_else(|| "a Unix socket".to_owned(), |peer| peer.to_string())
    }

    /// True when bytes from the peer have somewhere to go, if only to be thrown away.
    pub(super) fn wants_input(&self) -> bool {
        if self.finished {
            return false;
        }
        match self.phase {
            Phase::Open => !self.paused && !self.waits_for_handshake(),
            Phase::Draining { .. } | Phase::Lingering { .. } => true,
            Phase::Closing | Phase::Moving(_) | Phase::Ended => false,
        }
    }

    /// True when bytes of the peer wait that the broker could take.
    pub(super) fn has_input(&self) -> bool {
        self.waits_for_handshake() || self.receiving.has_input(self.as_fd())
    }

    /// True when more bytes wait in the kernel than at the last look.
    pub(super) fn has_more_input(&mut self) -> bool {
        self.receiving.has_more(self.socket.as_fd())
    }

    /// True when bytes were received whose turn has not come.
    fn waits_for_handshake(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| !layers.waiting.is_empty())
    }

    /// Lets go of a large CONNECT; false when none was held.
    pub(super) fn release_large_connect(&mut self) -> bool {
        let layers = self.layers.as_mut();
        layers.is_some_and(|layers| std::mem::take(&mut layers.has_large_connect))
    }

    /// True when the kernel has nothing to do for this connection any more.
    pub(super) const fn is_idle(&self) -> bool {
        self.receiving.is_idle() && !self.sending
    }

    /// True until the shard is told that the connection is gone.
    pub(super) const fn is_known_to_shard(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

//! One connection, as its worker sees it.

use super::places::TakenPlace;
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
    /// What stands between the socket and MQTT; None for plain MQTT.
    pub(super) layers: Option<Box<Layers>>,
    /// Which listener accepted it.
    pub(super) listener: ListenerId,
    /// What it takes up of the limits.
    pub(super) place: TakenPlace,
    pub(super) phase: Phase,
    pub(super) receive: Receive,
    /// The shard wants no input for now.
    pub(super) paused: bool,
    /// The peer has sent its last byte.
    pub(super) finished: bool,
    /// The shard has answered, so the connection stays on this worker: receives may be multishot.
    pub(super) settled: bool,
    /// A backlog is in the ring: nothing else may be sent.
    pub(super) sending: bool,
    /// The socket's low-water mark, while it is not 1; else 0.
    pub(super) low_water: usize,
    /// How many bytes have to arrive before the next receive; 0 for any number.
    pub(super) await_bytes: usize,
    /// How many bytes waited in the kernel when it was last looked.
    pub(super) waiting_bytes: usize,
    /// What follows the backlog in the ring; nearly always empty.
    pub(super) backlogs: Vec<Unsent>,
}

/// The layers of a connection below MQTT.
#[derive(Debug)]
pub struct Layers {
    pub(super) transport: Transport,
    /// Received, and waiting for a turn with time for a handshake.
    pub(super) waiting: Vec<u8>,
    /// The shard was told who is connected.
    pub(super) is_identified: bool,
    /// A large CONNECT may be held for it.
    pub(super) has_large_connect: bool,
}

impl Layers {
    pub(super) fn new(transport: Transport) -> Box<Self> {
        let (is_identified, has_large_connect) = (false, false);
        Box::new(Self { transport, waiting: Vec::new(), is_identified, has_large_connect })
    }
}

/// How far a connection's life has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// The shard knows it.
    Open,
    /// The shard has closed it; its last output is not taken yet.
    Closing,
    /// The rest of its output is being sent, until `deadline`.
    Draining {
        /// When it is cut off.
        deadline: Time,
    },
    /// Our FIN is sent; what comes in is thrown away until the peer's FIN, or `deadline`.
    Lingering {
        /// When it is ended.
        deadline: Time,
        /// Nothing has come since it was last looked at.
        is_silent: bool,
    },
    /// It goes to another worker as soon as nothing is in flight.
    Moving(Box<Move>),
    /// It waits for its last completion.
    Ended,
}

/// Where a connection goes, and what was received on it so far.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) to: WorkerId,
    pub(super) origin: Origin,
    pub(super) received: Vec<u8>,
}

/// What the ring does for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receive {
    /// Nothing.
    Idle,
    /// It receives.
    Armed,
    /// It was told to stop, and has not said that it has.
    Cancelling,
}

impl Connection {
    pub(super) const fn new(
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
            receive: Receive::Idle,
            paused: false,
            finished: false,
            settled: false,
            sending: false,
            low_water: 0,
            await_bytes: 0,
            waiting_bytes: 0,
            backlogs: Vec::new(),
        }
    }

    /// Who is connected, as the socket knows it.
    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        socket::peer_address(self.as_fd()).ok().flatten()
    }

    /// The same for the log, or the client behind the proxy.
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

    /// True when something of the peer waits that the broker could take.
    pub(super) fn has_input(&self) -> bool {
        let needed = self.low_water.max(self.await_bytes).max(1);
        self.waits_for_handshake() || socket::waiting_bytes(self.as_fd()) >= needed
    }

    /// True when more waits in the kernel than when this was last asked.
    pub(super) fn has_more_input(&mut self) -> bool {
        let now = socket::waiting_bytes(self.as_fd());
        now > std::mem::replace(&mut self.waiting_bytes, now)
    }

    /// True when something was received whose turn has not come.
    fn waits_for_handshake(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| !layers.waiting.is_empty())
    }

    /// True when the kernel has nothing to do for this connection any more.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.receive, Receive::Idle) && !self.sending
    }

    /// True when the shard has not been told yet that the connection is gone.
    pub(super) const fn is_known_to_shard(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

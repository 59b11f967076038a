//! The whole boundary of a [`Shard`](super::shard::Shard), on one screen.
//!
//! The driver of a shard owns the sockets, the clock and the rings between workers. It feeds
//! [`Input`], then drains [`Output`] and the [`Outbox`](super::outbox::Outbox) completely, then
//! feeds the next input or lets more of them gather before it sends.
#![expect(missing_docs, reason = "a variant's sentence speaks of its fields")]

use super::acts::{Act, Deed};
use super::mesh_message::MeshMessage;
use super::origin::{Excess, Origin};
use super::pressure::Pressure;
use crate::access::{Login, Policy, Verdict};
use crate::base::ids::{LinkId, PartNumber, WorkerId};
use crate::options::Options;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// An event, told to the shard with the time at which it happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The layers below MQTT are up, and have found out who is connected. Owed before the first
    /// bytes of a link whose [`Origin`] was not known when it opened.
    Identified {
        link: LinkId,
        peer: Option<SocketAddr>,
        certificate_user: Option<Box<str>>,
        excess: Option<Excess>,
    },
    /// Something has come on a link that is not MQTT's yet: the layers below have it, or the kernel
    /// until all of a large packet is there.
    Heard { link: LinkId },
    /// The layers below MQTT do not accept the client's proof of itself any more.
    Disowned { link: LinkId },
    /// The verdict that [`Output::Authenticate`] asked for.
    Authenticated { link: LinkId, verdict: Verdict },
    /// The settings have changed; there are as many policies as before.
    Reload { options: Arc<Options>, policies: Arc<[Policy]> },
    /// Bytes came in on a link, in order, cut anywhere.
    Received { link: LinkId, bytes: &'a [u8] },
    /// The link is gone: the peer closed it or it failed. Owed exactly once for every link opened,
    /// also after [`Output::Close`]; not after [`Output::Handover`].
    Closed { link: LinkId },
    /// As [`Input::Closed`]: the network has failed.
    Failed { link: LinkId, error: io::ErrorKind },
    /// As [`Input::Finished`]: the layers below MQTT cannot read the peer's bytes, for this reason;
    /// the `peer` behind a proxy is named where they know it.
    Garbled { link: LinkId, peer: Option<SocketAddr>, cause: &'a str },
    /// The peer has sent its last byte, and may still read what it is owed; [`Output::Close`]
    /// follows, at once or when it has been told.
    Finished { link: LinkId },
    /// The last output of the link could not be sent whole. The driver keeps the rest and sends
    /// it; until [`Input::Writable`] the shard gives the link no more output.
    Blocked { link: LinkId },
    /// All that was taken from the link's output is sent.
    Writable { link: LinkId },
    /// A message from another worker; those of one worker come in the order they were sent.
    Mesh { from: WorkerId, message: MeshMessage },
    /// Every ring was looked at, up to the last message when the sweep began. Owed after each
    /// sweep, and soon when [`Shard::wants_sweep`](super::shard::Shard::wants_sweep).
    MeshSwept,
    /// The ring to worker `to` is full: messages for it wait.
    MeshFull { to: WorkerId },
    /// The ring to worker `to` has room again, and nothing waits for it.
    MeshOpen { to: WorkerId },
    /// The answer to [`Output::LookForInput`].
    Looked { link: LinkId, has_input: bool },
    /// The time of [`Shard::deadline`](super::shard::Shard::deadline) has come.
    Tick,
    /// The journal has written the last batch of this worker, if `has_batch`, and these parts of
    /// other workers' records. All of them are as safe as the durability promises.
    Committed { has_batch: bool, parts: Vec<PartNumber> },
    /// A rewrite begins: all that lives is to be handed over anew.
    RewriteBegun { rewrite: u32 },
    /// The broker itself has this to say on a topic of `$SYS`, whose last word is retained. Only
    /// the topic's home takes it.
    Own { topic: &'a str, payload: &'a str },
    /// An operator acts; `deed` takes what has come of it.
    Operate { act: &'a Act, deed: &'a mut Deed },
    /// The journal cannot be written, for this reason, or can again.
    JournalState { failure: Option<Box<str>> },
    /// So much of the memory that the broker may have is in use from now on.
    Pressure(Pressure),
    /// The broker stops: tell every client, then close.
    Shutdown,
}

impl Input<'_> {
    /// The bytes that came with the input.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Received { bytes, .. } => bytes.len(),
            Self::Operate { act, .. } => act.bytes(),
            _ => 0,
        }
    }
}

/// A deed that the driver has to do. Sending bytes is not here: see
/// [`Outbox`](super::outbox::Outbox).
#[derive(Debug)]
pub enum Output {
    /// Send what the outbox holds for the link, behind what of it is still on its way where the
    /// link is blocked, then close it, then say [`Input::Closed`].
    Close { link: LinkId },
    /// The client's session lives on worker `to`: move the connection there. `received` is
    /// everything that came in on it, from its CONNECT on; over there it is the first input.
    /// The shard has forgotten the link.
    Handover { link: LinkId, to: WorkerId, origin: Origin, received: Vec<u8> },
    /// Find out whether the client is who it says; then say [`Input::Authenticated`]. At most one
    /// is under way for a link.
    Authenticate { link: LinkId, login: Box<Login> },
    /// The first packet is large: wake up only when `count` bytes more have arrived, and leave
    /// them in the kernel until then. Back to any number once they came.
    AwaitBytes { link: LinkId, count: usize },
    /// The peer seems to be silent: take in what has come from every peer, then look whether
    /// anything of this one still waits, in the kernel or in the layers below MQTT, and say
    /// [`Input::Looked`].
    LookForInput { link: LinkId },
    /// Receive nothing on the link until [`Output::ResumeReceive`]. What is already received may
    /// still be handed over; the shard keeps it.
    PauseReceive { link: LinkId },
    /// Receive on the link again.
    ResumeReceive { link: LinkId },
    /// Carry `message` to worker `to`, behind those before it.
    Mesh { to: WorkerId, message: MeshMessage },
}

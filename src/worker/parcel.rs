//! Parcels between workers.

use super::connection::Layers;
use super::places::TakenPlace;
use crate::broker::{MeshMessage, Origin};
use std::os::fd::OwnedFd;

/// A parcel is all that one worker sends to another.
#[derive(Debug)]
pub enum Parcel {
    /// A message from shard to shard.
    Message(MeshMessage),
    /// A connection whose session lives on the other worker.
    Connection {
        /// The socket, on which nothing is in flight.
        socket: OwnedFd,
        /// The layers between the socket and MQTT.
        layers: Option<Box<Layers>>,
        /// The place that the connection takes up among all.
        place: TakenPlace,
        /// The peer and the listener of the connection.
        origin: Origin,
        /// The bytes that came in so far, from the CONNECT on.
        received: Vec<u8>,
        /// True when the peer has sent its last byte.
        finished: bool,
    },
}

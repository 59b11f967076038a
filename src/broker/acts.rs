//! The acts of an operator, and what comes of them.

use super::told::Farewell;
use crate::mqtt::QoS;
use std::sync::Arc;

/// An act of an operator. Acts about a client do nothing where its session does not live.
#[derive(Debug, Clone)]
pub enum Act {
    /// Disconnect the client with this identifier.
    Disconnect {
        /// The client identifier.
        client_id: Arc<str>,
        /// The words for it.
        farewell: Farewell,
    },
    /// End the session of the client, and its connection before.
    EndSession {
        /// The client identifier.
        client_id: Arc<str>,
    },
    /// Drop messages that wait for the client, but for those in flight.
    CutQueue {
        /// The client identifier.
        client_id: Arc<str>,
    },
    /// Disconnect clients, whoever they are.
    SendAway {
        /// The place behind those that were looked at before; 0 at the begin.
        from: u32,
        /// How many, at most.
        count: usize,
        /// The words for them.
        farewell: Farewell,
    },
    /// Publish a message, as a client with all permissions would.
    Publish {
        /// A valid topic name, not one of the broker's own.
        topic: Arc<str>,
        /// The payload.
        payload: Arc<[u8]>,
        /// The QoS.
        qos: QoS,
        /// Whether the message is retained.
        retain: bool,
        /// Seconds after which the message expires.
        expiry_s: Option<u32>,
    },
}

/// The result of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deed {
    /// The clients, sessions or messages that were dealt with; 1 for a message that somebody wants.
    pub count: usize,
    /// The place from which a further act goes on, when this one was not the whole.
    pub next: Option<u32>,
}

impl Act {
    /// The bytes that come with the act.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Publish { topic, payload, .. } => topic.len() + payload.len(),
            _ => 0,
        }
    }
}

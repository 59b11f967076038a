//! Messages between workers.

use super::deferred::ResponseId;
use crate::base::ids::{LinkId, RecordName, SessionId};
use crate::base::time::Time;
use crate::mqtt::ProtocolError;
use crate::store::Message;
use crate::topics::Interest;
use smallvec::SmallVec;
use std::sync::Arc;

/// A deferred response, in another worker's hands: see [`MeshMessage::Done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) link: LinkId,
    pub(super) response: ResponseId,
    /// Whether the ticket came with [`MeshMessage::Interest`].
    pub(super) is_interest: bool,
}

/// A message from one worker to another.
#[derive(Debug)]
pub enum MeshMessage {
    /// Asks the receiver to deliver `message` to its subscribers when `plain`, and to one member of
    /// each of the shared groups `shares` (whole filters).
    Publish {
        /// The message.
        message: Arc<Message>,
        /// Whether subscribers outside of groups get the message.
        plain: bool,
        /// The groups for which the receiver was picked.
        shares: SmallVec<[Arc<str>; 1]>,
        /// The number of workers that were picked earlier and had no member any more.
        relayed: u8,
        /// The record that needs the receiver's part; 0 for none.
        record: RecordName,
        /// The time at which the message's PUBLISH was received.
        received: Time,
    },
    /// Tells the sender's interest in some filters. A ticket is answered with
    /// [`MeshMessage::Done`].
    Interest {
        /// All changes by one packet of a client.
        news: Arc<[News]>,
        /// The response that waits for the change.
        ticket: Option<Ticket>,
    },
    /// Asks the receiver to retain `message`, or to clear its topic, which lives there.
    Retain {
        /// The message.
        message: Arc<Message>,
        /// The response that waits for the change.
        ticket: Option<Ticket>,
        /// The record that needs the receiver's part with the version; 0 for none.
        record: RecordName,
        /// Whether the receiver may refuse, for lack of memory or for a limit of the user's.
        may_refuse: bool,
    },
    /// Tells that the work behind a ticket is done.
    Done {
        /// The ticket, unchanged.
        ticket: Ticket,
        /// The reason for which a message is not retained.
        refusal: Option<ProtocolError>,
    },
    /// Asks for the next retained messages that match.
    RetainedQuery(Box<RetainedQuery>),
    /// Answers a query with retained messages.
    RetainedPage(Box<RetainedPage>),
}

/// A worker's interest in a filter.
#[derive(Debug)]
pub struct News {
    /// The whole filter.
    pub(super) filter: Arc<str>,
    /// The number of subscribers.
    pub(super) members: u32,
    /// The number of connected subscribers.
    pub(super) online: u32,
}

impl News {
    pub(super) fn new((filter, interest): (Arc<str>, Interest)) -> Self {
        Self { filter, members: interest.members, online: interest.online }
    }
}

/// A query for a part of the retained messages that live on a worker.
#[derive(Debug)]
pub struct RetainedQuery {
    pub(super) session: SessionId,
    pub(super) replay: u32,
    pub(super) filter: Arc<str>,
    pub(super) after: Option<Arc<str>>,
    /// The maximum number of messages.
    pub(super) part: usize,
}

/// The answer to a [`RetainedQuery`].
#[derive(Debug)]
pub struct RetainedPage {
    pub(super) session: SessionId,
    pub(super) replay: u32,
    pub(super) messages: Vec<Arc<Message>>,
    /// The topic behind which the next part begins; None at the end.
    pub(super) next: Option<Arc<str>>,
}

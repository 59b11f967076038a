//! What workers say to each other.

use super::deferred::ResponseId;
use crate::base::ids::{LinkId, RecordName, SessionId};
use crate::store::Message;
use crate::topics::Interest;
use smallvec::SmallVec;
use std::sync::Arc;

/// Names a response that waits on its link: see [`MeshMessage::Done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) link: LinkId,
    pub(super) response: ResponseId,
    /// It came with [`MeshMessage::Interest`].
    pub(super) is_interest: bool,
}

/// A message from one worker to another.
#[derive(Debug)]
pub enum MeshMessage {
    /// Deliver `message` to your subscribers when `plain`, and to one member of each of the shared
    /// groups `shares` (whole filters).
    Publish {
        /// The message.
        message: Arc<Message>,
        /// Whether subscribers that are not in a group get it.
        plain: bool,
        /// The groups for which you were picked.
        shares: SmallVec<[Arc<str>; 1]>,
        /// So many workers that were picked before you had no member any more.
        relayed: u8,
        /// The record that the journal waits for your part of; 0 when there is none.
        record: RecordName,
    },
    /// The sender now has this of some filters. Answer a ticket with [`MeshMessage::Done`].
    Interest {
        /// All that one packet of a client has changed.
        news: Arc<[News]>,
        /// Who waits for it.
        ticket: Option<Ticket>,
    },
    /// Retain `message` (or clear its topic), which lives with you.
    Retain {
        /// The message.
        message: Arc<Message>,
        /// Who waits for it.
        ticket: Option<Ticket>,
        /// The record that the journal waits for your part of, which says under which version; 0
        /// when there is none.
        record: RecordName,
    },
    /// What the ticket stood for is done.
    Done {
        /// As it was sent.
        ticket: Ticket,
    },
    /// Send me the next retained messages that match.
    RetainedQuery(Box<RetainedQuery>),
    /// The answer.
    RetainedPage(Box<RetainedPage>),
}

/// What a worker has of a filter.
#[derive(Debug)]
pub struct News {
    /// The whole filter.
    pub(super) filter: Arc<str>,
    /// How many subscribers.
    pub(super) members: u32,
    /// How many of them are connected.
    pub(super) online: u32,
}

impl News {
    pub(super) fn new((filter, interest): (Arc<str>, Interest)) -> Self {
        Self { filter, members: interest.members, online: interest.online }
    }
}

/// Asks for a part of the retained messages that live on a worker.
#[derive(Debug)]
pub struct RetainedQuery {
    pub(super) session: SessionId,
    pub(super) replay: u32,
    pub(super) filter: Arc<str>,
    pub(super) after: Option<Arc<str>>,
    /// How many messages at most.
    pub(super) part: usize,
}

/// Answers a [`RetainedQuery`].
#[derive(Debug)]
pub struct RetainedPage {
    pub(super) session: SessionId,
    pub(super) replay: u32,
    pub(super) messages: Vec<Arc<Message>>,
    /// After which topic to ask on; None at the end.
    pub(super) next: Option<Arc<str>>,
}

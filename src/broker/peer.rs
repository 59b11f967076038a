//! The client whose packet is handled.

use crate::base::ids::{LinkId, SessionId};
use crate::mqtt::Version;

/// A client that was let in, resolved once for each of its packets. A peer names its link and its
/// session instead of borrowing them: the packet may close the one and end the other, its own
/// publish included, which may come back as more than the client takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) link: LinkId,
    pub(super) session: SessionId,
    pub(super) version: Version,
}

//! The numbers of what an import or an export takes, and of what it leaves out.

use std::fmt;

/// The number of each kind of thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions.
    pub sessions: u64,
    /// Subscriptions, shared ones among them.
    pub subscriptions: u64,
    /// Shared subscriptions.
    pub shared: u64,
    /// Messages that are retained on their topics.
    pub retained: u64,
    /// Messages that wait for a session's client.
    pub queued: u64,
    /// Messages that were sent to a session's client and not acknowledged.
    pub in_flight: u64,
    /// QoS 2 messages that clients have sent and not released.
    pub received: u64,
    /// Wills that are still to be published.
    pub wills: u64,
    /// Things that have no place here.
    pub left_out: LeftOut,
}

/// The numbers of what an import of Mosquitto's database leaves out, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Sessions whose time is over.
    pub sessions: u64,
    /// Messages whose time is over, for each session.
    pub expired: u64,
    /// QoS 0 messages that wait for a session's client: no session keeps them here.
    pub qos_0: u64,
    /// Messages for sessions, and subscriptions, whose session or message is not in the file.
    pub stray: u64,
    /// Chunks of a kind that is not known.
    pub unknown: u64,
}

impl LeftOut {
    fn list(&self) -> [(u64, &'static str); 5] {
        [
            (self.sessions, "expired sessions"),
            (self.expired, "expired messages"),
            (self.qos_0, "QoS 0 messages for sessions"),
            (self.stray, "entries whose session or message the file lacks"),
            (self.unknown, "chunks of unknown kinds"),
        ]
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, subscriptions, shared, retained, .. } = self;
        let Self { queued, in_flight, received, wills, left_out, .. } = self;
        write!(
            out,
            "{sessions} sessions, {subscriptions} subscriptions ({shared} shared), {retained} \
             retained messages, {queued} queued messages, {in_flight} messages in flight, \
             {received} received at QoS 2 and not released, {wills} wills"
        )?;
        let mut separator = "; left out: ";
        for (count, name) in left_out.list().into_iter().filter(|(count, _)| *count > 0) {
            write!(out, "{separator}{count} {name}")?;
            separator = ", ";
        }
        Ok(())
    }
}

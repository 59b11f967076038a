//! Counts of events since the start.

/// Counts since the worker started; none is ever reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections opened, with or without a CONNECT.
    pub links_opened: u64,
    /// Connections closed because their peer broke the protocol.
    pub links_refused: u64,
    /// Sessions that a new connection took over from an old one.
    pub takeovers: u64,
    /// PUBLISH packets received.
    pub publishes_received: u64,
    /// PUBLISH packets sent, first deliveries and resends alike.
    pub publishes_sent: u64,
    /// Deliveries given up because the subscriber's queue was full.
    pub dropped_queue_full: u64,
    /// Messages that wait for a window, a socket or a client.
    pub queued: u64,
    /// Deliveries given up, and publishes not retained, for lack of memory.
    pub dropped_memory: u64,
    /// Sessions, subscriptions and retained messages refused for lack of memory.
    pub refused_memory: u64,
    /// Sessions, subscriptions and retained messages refused since their client or user has as many
    /// as it may.
    pub refused_quota: u64,
    /// Deliveries given up because they exceed the subscriber's Maximum Packet Size.
    pub dropped_too_large: u64,
    /// Deliveries given up because the message had expired.
    pub dropped_expired: u64,
    /// Logins refused: wrong credentials, or none.
    pub logins_refused: u64,
    /// Connections refused because there were too many.
    pub excess_refused: u64,
    /// Connections closed because their client published above its limit.
    pub rates_exceeded: u64,
    /// PUBLISH packets refused because the client may not write to the topic, wills included.
    pub publishes_denied: u64,
    /// Subscriptions refused because the client may not read the topics.
    pub subscriptions_denied: u64,
    /// Deliveries given up because the client may not read the topic, or no longer may.
    pub deliveries_denied: u64,
    /// Messages to a shared group without a member to take them.
    pub dropped_no_member: u64,
}

impl Counters {
    /// The PUBLISH packets that were sent, and the messages that were queued.
    pub(super) const fn ways(&self) -> (u64, u64) {
        (self.publishes_sent, self.queued)
    }

    /// Adds another worker's counts.
    pub const fn add(&mut self, other: &Self) {
        self.links_opened += other.links_opened;
        self.links_refused += other.links_refused;
        self.takeovers += other.takeovers;
        self.publishes_received += other.publishes_received;
        self.publishes_sent += other.publishes_sent;
        self.dropped_queue_full += other.dropped_queue_full;
        self.queued += other.queued;
        self.dropped_memory += other.dropped_memory;
        self.refused_memory += other.refused_memory;
        self.refused_quota += other.refused_quota;
        self.dropped_too_large += other.dropped_too_large;
        self.dropped_expired += other.dropped_expired;
        self.logins_refused += other.logins_refused;
        self.excess_refused += other.excess_refused;
        self.rates_exceeded += other.rates_exceeded;
        self.publishes_denied += other.publishes_denied;
        self.subscriptions_denied += other.subscriptions_denied;
        self.deliveries_denied += other.deliveries_denied;
        self.dropped_no_member += other.dropped_no_member;
    }
}

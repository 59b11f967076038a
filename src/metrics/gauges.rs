//! The state of a worker at one moment.

use super::metrics;

impl Gauges {
    /// The bytes of retained messages with their topics.
    #[must_use]
    pub const fn retained_bytes(&self) -> u64 {
        let [retained, ..] = self.memory;
        retained
    }
}

metrics! {
    /// The state of a worker at one moment.
    Gauges {
        Gauge Things connections sys "connections/socket/count"
            : "Open connections, with or without a client.";
        Gauge Things clients_connected sys "clients/connected"
            : "Clients that are connected.";
        Gauge Things sessions sys "clients/total"
            : "Sessions, of clients that are connected or away.";
        Gauge Things links_waiting
            : "Connections whose socket has not taken all that was sent.";
        Gauge Things subscriptions sys "subscriptions/count"
            : "Subscriptions, shared ones included.";
        Gauge Things shared_subscriptions sys "shared_subscriptions/count"
            : "Shared subscriptions.";
        Gauge Things retained_messages sys "retained messages/count"
            : "Retained messages.";
        Gauge Things queued_messages
            : "Messages that wait for clients.";
        Gauge Bytes queued_bytes
            : "Bytes of messages that wait for clients, counted for each client.";
        Greatest Things queue_greatest
            : "The number of messages in the longest queue of a client.";
        Gauge Things inflight_messages
            : "Messages sent to clients and not acknowledged by them.";
        Greatest Things inflight_greatest
            : "The number of messages that one client has to acknowledge, of the client with most.";
        Gauge Bytes journal_waiting
            : "Bytes of changes that gather for the next commit.";
        Greatest Things journal_failing
            : "1 while the journal cannot be written, else 0.";
        Gauge Bytes memory
            by owner ["retained", "subscriptions", "sessions", "replays", "connections", "output",
                "journal", "metrics"]
            : "Memory of workers by what owns it, messages apart, at the last count.";
    }
}

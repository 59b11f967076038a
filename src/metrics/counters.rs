//! Counts of events since a worker started.

use super::{Dropped, Withdrawn, metrics};

metrics! {
    /// Counts since the worker started; none is ever reset.
    Counters {
        Counter Things connections_opened
            by transport ["tcp", "tls", "ws", "wss", "unix"]
            : "Connections opened, with or without a CONNECT.";
        Counter Things connects_accepted by version ["3.1", "3.1.1", "5.0"]
            : "CONNECT packets accepted.";
        Counter Things connects_refused
            by reason ["credentials", "identifier", "version", "protocol", "limit", "unavailable",
                "other"]
            : "CONNECT packets refused.";
        Counter Things clients_departed
            by reason ["disconnect", "closed", "network", "keep_alive", "taken_over", "protocol",
                "limit", "administrative", "shutdown"]
            : "Clients gone that had been let in.";
        Counter Things takeovers
            : "Sessions that a new connection took over from an old one.";
        Counter Things sessions_expired sys "clients/expired"
            : "Sessions without a connection that ended because their time was over.";
        Counter Things protocol_errors
            : "Connections closed because their peer broke the protocol or a limit.";
        Counter Things packets_received sys "messages/received"
            : "MQTT packets received, of all types.";
        Counter Things responses_sent
            : "MQTT packets sent, but for PUBLISH.";
        Counter Bytes received_bytes sys "bytes/received"
            : "Bytes of MQTT received, without those of the layers below.";
        Counter Bytes sent_bytes sys "bytes/sent"
            : "Bytes of MQTT sent, without those of the layers below.";
        Counter Things publishes_received by qos ["0", "1", "2"] sys "publish/messages/received"
            : "PUBLISH packets received.";
        Counter Bytes received_payload_bytes sys "publish/bytes/received"
            : "Bytes of payload in PUBLISH packets received.";
        Counter Things publishes_sent by qos ["0", "1", "2"] sys "publish/messages/sent"
            : "PUBLISH packets sent, first deliveries and resends alike.";
        Counter Bytes sent_payload_bytes sys "publish/bytes/sent"
            : "Bytes of payload in PUBLISH packets sent.";
        Counter Things messages_owed
            : "Messages owed to clients: a copy for each client and shared group that it is for, \
               and what waited for clients at the start.";
        Counter Things messages_retried
            : "Messages in flight to a client that came back, taken up to be sent again.";
        Counter Things messages_queued
            : "Messages that had to wait for a window, a socket or a client.";
        Counter Things messages_dropped
            by reason ["queue_full", "expired", "too_large", "no_member", "denied", "memory",
                "administrative"]
            sys "publish/messages/dropped"
            : "Messages that do not reach a client that they were for.";
        Counter Things messages_withdrawn
            by reason ["away", "session_over", "passed_on", "replaced"]
            : "Messages that a client is no longer owed, though none was dropped: QoS 0 while the \
               client is away, its session is over, another member of the group takes over, or a \
               newer retained message came first.";
        Counter Things publishes_denied
            : "PUBLISH packets refused because the client may not write to the topic, wills \
               included.";
        Counter Things subscriptions_denied
            : "Subscriptions refused because the client may not read the topics.";
        Counter Things refused_memory
            : "Sessions, subscriptions and retained messages refused for lack of memory.";
        Counter Things refused_quota
            : "Sessions, subscriptions and retained messages refused since their client or user \
               has as many as it may.";
        Counter Things logins_refused
            : "Logins refused: wrong credentials, or none.";
        Counter Things excess_refused
            : "Connections refused because there were too many.";
        Counter Things rates_exceeded
            : "Connections closed because their client published above its limit.";
        Counter Things handshakes by result ["done", "failed"]
            : "TLS handshakes that ended.";
        Counter Things mesh_messages
            : "Messages sent to other workers.";
        Counter Things sends
            : "Sends handed to the kernel; each takes all that a turn has for one connection.";
        Counter Things links_blocked
            : "Sends that a socket took only in part, so that its connection had to wait.";
        Counter Things purses_spent
            : "Parts of a turn that reached their limit of work, so that the rest had to wait.";
    }
}

impl Counters {
    /// Counts messages that do not reach a client.
    pub const fn drop(&mut self, reason: Dropped, count: u64) {
        self.messages_dropped[reason.place()] += count;
    }

    /// The messages that did not reach a client for this reason.
    #[must_use]
    pub const fn dropped(&self, reason: Dropped) -> u64 {
        self.messages_dropped[reason.place()]
    }

    /// Counts a message that is dropped before one client is picked for it.
    pub const fn drop_undecided(&mut self, reason: Dropped) {
        self.messages_owed += 1;
        self.drop(reason, 1);
    }

    /// Counts messages that a client is no longer owed.
    pub const fn withdraw(&mut self, reason: Withdrawn, count: u64) {
        self.messages_withdrawn[reason.place()] += count;
    }

    /// The messages that came due for clients so far, and those of them that were sent, dropped
    /// or withdrawn; the difference still waits.
    #[must_use]
    pub fn balance(&self) -> (u64, u64) {
        let ends = [&self.messages_dropped[..], &self.messages_withdrawn];
        let ended: u64 = ends.into_iter().flatten().sum();
        (self.messages_owed + self.messages_retried, self.ways().0 + ended)
    }

    /// The PUBLISH packets that were sent, and the messages that were queued.
    #[must_use]
    pub const fn ways(&self) -> (u64, u64) {
        let [at_most_once, at_least_once, exactly_once] = self.publishes_sent;
        (at_most_once + at_least_once + exactly_once, self.messages_queued)
    }
}

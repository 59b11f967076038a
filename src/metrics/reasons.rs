//! Labels: the reasons and kinds by which metrics are told apart.

use super::Counters;

/// Declares an enum whose variants are places in a metric's list of label values.
macro_rules! label {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// The place in the metric's list.
            #[inline]
            #[must_use]
            pub const fn place(self) -> usize {
                self as usize
            }
        }

        impl $name {
            /// The number of values.
            pub const COUNT: usize = [$(Self::$variant),+].len();
        }
    };
}

label! {
    /// The reason for which a message does not reach a client.
    Dropped {
        /// The client's queue was full.
        QueueFull,
        /// The message had expired.
        Expired,
        /// The client takes no packet as large.
        TooLarge,
        /// The shared group had no member to take it.
        NoMember,
        /// The client may not read the topic, or no longer may.
        Denied,
        /// Memory was short.
        Memory,
        /// An operator emptied the queue.
        Administrative,
    }
}

impl Dropped {
    /// The reason in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::QueueFull => "queue full",
            Self::Expired => "expired",
            Self::TooLarge => "larger than the client takes",
            Self::NoMember => "no member of the shared group",
            Self::Denied => "not permitted to the client",
            Self::Memory => "too little memory",
            Self::Administrative => "an operator emptied the queue",
        }
    }
}

label! {
    /// The reason for which a client is no longer owed a message that was not dropped.
    Withdrawn {
        /// The message has QoS 0, and the client is away or went before its turn came.
        Away,
        /// The session is over.
        SessionOver,
        /// Another member of the shared group is to get the message.
        PassedOn,
        /// A newer retained message of the topic reached the client first.
        Replaced,
    }
}

label! {
    /// The reason for which a client that was let in is gone.
    Departed {
        /// DISCONNECT came.
        Disconnect,
        /// The peer closed its connection without a word.
        Closed,
        /// The network lost it.
        Network,
        /// Nothing came for one and a half keep-alive periods.
        KeepAlive,
        /// Another connection took over its session.
        TakenOver,
        /// The client broke the protocol.
        Protocol,
        /// The client exceeded a limit.
        Limit,
        /// The client may not be here any more, or an operator sent it away.
        Administrative,
        /// The broker stopped.
        Shutdown,
    }
}

impl Departed {
    /// The reason as the metric names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let metric = Counters::TABLE.iter().find(|metric| metric.name == "clients_departed");
        metric.map_or("", |metric| metric.values[self.place()])
    }
}

label! {
    /// The reason for which a CONNECT is refused.
    RefusedConnect {
        /// The user name or password is wrong, or the client is not known.
        Credentials,
        /// The client identifier is not valid, or another user's.
        Identifier,
        /// The protocol version is not spoken here.
        Version,
        /// The packet makes no sense.
        Protocol,
        /// A limit of connections, sessions or attempts is reached.
        Limit,
        /// Memory is short, or the disk does not keep up.
        Unavailable,
        /// Any other reason.
        Other,
    }
}

label! {
    /// The way by which a connection comes.
    Transport {
        /// TCP.
        Tcp,
        /// TLS over TCP.
        Tls,
        /// WebSocket over TCP.
        WebSocket,
        /// WebSocket over TLS.
        SecureWebSocket,
        /// A Unix socket.
        Unix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_label_has_a_value_for_each_variant() {
        let counters = Counters::default();
        assert_eq!(counters.messages_dropped.len(), Dropped::COUNT);
        assert_eq!(counters.messages_withdrawn.len(), Withdrawn::COUNT);
        assert_eq!(counters.clients_departed.len(), Departed::COUNT);
        assert_eq!(counters.connects_refused.len(), RefusedConnect::COUNT);
        assert_eq!(counters.connections_opened.len(), Transport::COUNT);
        assert_eq!(Departed::Shutdown.name(), "shutdown");
    }
}

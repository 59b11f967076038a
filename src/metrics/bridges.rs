//! The figures of the bridges.

use super::metrics;

metrics! {
    /// The connections and messages of all bridges since the start.
    Bridges {
        Gauge Things bridges by state ["connected", "apart"]
            : "Bridges, by whether the other broker has let them in.";
        Counter Things bridge_connections
            : "Connections of bridges that the other broker has let in.";
        Counter Things bridge_messages by direction ["in", "out"]
            : "Messages that bridges have carried.";
        Counter Things bridge_messages_dropped
            : "Messages that bridges acknowledged and did not carry: too large, or in no rule.";
    }
}

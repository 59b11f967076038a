//! The state of the whole process.

use super::metrics;

metrics! {
    /// The state of the process, as far as it belongs to no worker.
    Process {
        Gauge Seconds uptime
            : "Time since the start.";
        Gauge Things workers
            : "Worker threads.";
        Gauge Bytes memory_used
            : "Memory of the process that --max-memory counts.";
        Gauge Bytes memory_limit
            : "The memory that --max-memory allows.";
        Gauge Bytes messages_kept
            : "Bytes of messages in queues and in flight, each message counted once, retained ones \
               apart.";
        Counter Things audit_events
            : "Events that the audit log has taken.";
        Counter Things audit_events_lost
            : "Events lost for the audit log: too many came at once, or the disk took none.";
        Greatest Things audit_failing
            : "1 while the audit log cannot be written, else 0.";
    }
}

//! The figures of the threads that verify logins.

use super::metrics;

metrics! {
    /// The ways that logins have gone since the start, but for those that their listener's rules
    /// decide at once.
    Logins {
        Counter Things logins_cached
            : "Logins that were right so short a time ago that nothing was computed.";
        Counter Things logins_hashed
            : "Logins that a thread verified: passwords, tokens and SCRAM.";
        Counter Things logins_delayed
            : "Logins that had to wait since too many before them had failed.";
        Counter Things logins_asked
            : "Logins about which the hook was asked.";
        Counter Things logins_crowded_out
            : "Logins refused as busy, since too many waited.";
        Gauge Things logins_waiting
            : "Logins that wait for a thread or for the hook, delayed ones included.";
    }
}

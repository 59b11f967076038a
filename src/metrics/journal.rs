//! The figures of the journal.

use super::metrics;

metrics! {
    /// The work of the journal's thread since the start, and the state of its files; all 0 without
    /// a data directory.
    Journal {
        Counter Things journal_commits
            : "Commits that the journal has.";
        Counter Things journal_syncs
            : "Syncs to disk of the journal's segments and of their folder.";
        Counter Bytes journal_written
            : "Bytes of the commits that the journal has.";
        Counter Things journal_failures
            : "Commits that could not be written, each try counted.";
        Counter Things journal_rewrites
            : "Rewrites of what lives, after which older segments went.";
        Gauge Things journal_rewriting
            : "1 while what lives is written anew, else 0.";
        Gauge Things journal_segments
            : "Segments of the journal.";
        Gauge Bytes journal_size
            : "Bytes of all segments.";
        Gauge Bytes journal_live
            : "Bytes that what lives took, at the start or at the last rewrite.";
    }
}

//! What the crash test plants, in builds with the feature `faults` only: a kill at a named point,
//! a defect that the test has to find, and many passes. `RINGMQ_FAULT` is a list with commas of
//! `crash:POINT:COUNT` and `bug:NAME`.

#[cfg(feature = "faults")]
mod planted {
    use crate::store::record::Record;
    use crate::store::{Entry, Limits, Submission};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Fault {
        kind: String,
        name: String,
        left: AtomicU32,
    }

    static FAULTS: LazyLock<Vec<Fault>> = LazyLock::new(|| {
        #[expect(
            clippy::disallowed_methods,
            reason = "no option of the broker's, and in no release"
        )]
        let text = std::env::var("RINGMQ_FAULT").unwrap_or_default();
        let fault = |text: &str| {
            let mut parts = text.split(':').map(str::to_owned);
            let (kind, name) = (parts.next()?, parts.next()?);
            let count = parts.next().and_then(|count| count.parse().ok()).unwrap_or(1);
            Some(Fault { kind, name, left: AtomicU32::new(count) })
        };
        text.split(',').filter_map(fault).collect()
    });

    /// The process passes the point: perhaps not any further.
    pub(crate) fn pass(point: &str) {
        let is_it = |fault: &&Fault| fault.kind == "crash" && fault.name == point;
        for fault in FAULTS.iter().filter(is_it) {
            if fault.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                let pid = std::process::id().to_string();
                let _ = std::process::Command::new("kill").args(["-9", &pid]).status();
                std::thread::park();
            }
        }
    }

    /// Makes of a submission what the planted defects would.
    pub(crate) fn spoil(submission: &mut Submission) {
        let Submission::Batch(batch) = submission else { return };
        batch.entries.retain(|entry| match entry {
            Entry::Record(record) => !has(match **record {
                Record::Released { .. } => "lost-pubrec",
                Record::Forgotten { .. } => "lost-pubrel",
                Record::Subscribed { .. } => "lost-subscription",
                Record::Session(_) => "lost-session",
                Record::Ended { .. } => "lost-end",
                _ => "",
            }),
            Entry::Publish(publish) => !(publish.retained.is_some() && has("lost-retained")),
        });
        for entry in &mut batch.entries {
            if let Entry::Publish(publish) = entry {
                publish.received = publish.received.filter(|_| !has("forgotten-packet-id"));
                if has("lost-recipients") {
                    publish.recipients.clear();
                }
            }
        }
        if has("swapped-order") {
            batch.entries.reverse();
        }
    }

    /// Small segments and many passes: a test does not run for days.
    pub(crate) const LIMITS: Limits =
        Limits { segment_bytes_max: 1 << 17, pass_bytes_min: 1 << 18, pass_segments_max: 6 };

    /// Whether the defect is planted.
    pub(crate) fn has(bug: &str) -> bool {
        FAULTS.iter().any(|fault| fault.kind == "bug" && fault.name == bug)
    }
}

#[cfg(feature = "faults")]
pub(crate) use planted::{LIMITS, has, pass, spoil};

/// The process passes a point at which a test may kill it.
#[cfg(not(feature = "faults"))]
pub(crate) const fn pass(_point: &str) {}

/// When segments end, and when all that lives is written anew.
#[cfg(not(feature = "faults"))]
pub(crate) const LIMITS: crate::store::Limits = crate::store::Limits::USUAL;

/// Makes of a submission what planted defects would.
#[cfg(not(feature = "faults"))]
pub(crate) const fn spoil(_submission: &mut crate::store::Submission) {}

/// Whether a test has planted the defect.
#[cfg(not(feature = "faults"))]
pub(crate) const fn has(_bug: &str) -> bool {
    false
}

//! Faults that the crash test plants, in builds with the feature `faults` only: a kill at a named
//! point, a defect that the test has to find, a wrong wall clock, and many rewrites. `RINGMQ_FAULT`
//! is a list with commas of `crash:POINT:COUNT`, `bug:NAME` and `clock:SECONDS`.

#[cfg(feature = "faults")]
mod planted {
    use crate::base::ids::{DeliveryName, DeliveryNumber, SessionNumber};
    use crate::store::record::Record;
    use crate::store::{Batch, Entry, Epoch, Limits, Submission};
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{LazyLock, Mutex, PoisonError};

    struct Planted {
        kind: String,
        name: String,
        left: AtomicU32,
    }

    static FAULTS: LazyLock<Vec<Planted>> = LazyLock::new(|| {
        #[expect(
            clippy::disallowed_methods,
            reason = "no option of the broker's, and in no release"
        )]
        let text = std::env::var("RINGMQ_FAULT").unwrap_or_default();
        let fault = |text: &str| {
            let mut parts = text.split(':').map(str::to_owned);
            let (kind, name) = (parts.next()?, parts.next()?);
            let count = parts.next().and_then(|count| count.parse().ok()).unwrap_or(1);
            Some(Planted { kind, name, left: AtomicU32::new(count) })
        };
        text.split(',').filter_map(fault).collect()
    });

    /// Notes that the process reaches a point; a planted crash ends the process there.
    pub(crate) fn reach(point: &str) {
        let is_it = |fault: &&Planted| fault.kind == "crash" && fault.name == point;
        for fault in FAULTS.iter().filter(is_it) {
            if fault.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                let pid = std::process::id().to_string();
                let _ = std::process::Command::new("kill").args(["-9", &pid]).status();
                std::thread::park();
            }
        }
    }

    /// Changes a submission as the planted defects would.
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
            match entry {
                Entry::Publish(publish) => {
                    publish.received = publish.received.filter(|_| !has("forgotten-packet-id"));
                    if has("lost-recipients") {
                        publish.recipients.clear();
                    }
                }
                Entry::Record(record) => {
                    if let Record::Subscribed { subscription, .. } = &mut **record {
                        subscription.owed = subscription.owed.take().filter(|_| !has("lost-debt"));
                    }
                }
            }
        }
        if has("ended-copies") {
            end_copies(batch);
        }
        if has("swapped-order") {
            batch.entries.reverse();
        }
    }

    /// The time of a clock that is wrong by the planted seconds; no clock shows a time before 1970.
    pub(crate) fn wall_ms(right_ms: u64) -> u64 {
        let clock = FAULTS.iter().find(|fault| fault.kind == "clock");
        let seconds = clock.and_then(|fault| fault.name.parse().ok()).unwrap_or(0_i64);
        right_ms.saturating_add_signed(seconds * 1_000)
    }

    /// Deliveries of a session that are copies of one message.
    static COPIES: Mutex<BTreeMap<DeliveryName, Vec<DeliveryNumber>>> = Mutex::new(BTreeMap::new());

    /// Makes the end of one copy of a message the end of every copy that the session gets.
    fn end_copies(batch: &mut Batch) {
        let mut copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in &batch.entries {
            let Entry::Publish(publish) = entry else { continue };
            let Record::Published(published) = publish.record(Epoch(0), false) else { continue };
            let plain = published.groups.iter().flat_map(|group| group.sessions.0.iter());
            let mut known: BTreeMap<SessionNumber, Vec<DeliveryNumber>> = BTreeMap::new();
            for session in plain {
                known.entry(*session).or_default().push(published.message.into());
            }
            for (session, delivery) in &published.others {
                known.entry(*session).or_default().push(delivery.number_of(published.message));
            }
            for (session, numbers) in known.into_iter().filter(|(_, numbers)| numbers.len() > 1) {
                for &number in &numbers {
                    copies.insert(DeliveryName { session, number }, numbers.clone());
                }
            }
        }
        let others = |over: &DeliveryName| {
            let numbers = copies.get(over).cloned().unwrap_or_default();
            let others = numbers.into_iter().filter(|other| *other != over.number);
            others.map(|number| DeliveryName { number, ..*over }).collect::<Vec<_>>()
        };
        let ended: Vec<DeliveryName> = batch.done.iter().flat_map(others).collect();
        batch.done.extend(ended);
    }

    /// Limits for small segments and many rewrites: a test does not run for days.
    pub(crate) const LIMITS: Limits =
        Limits { segment_bytes_max: 1 << 17, rewrite_bytes_min: 1 << 18, rewrite_segments_max: 6 };

    /// Whether the defect is planted.
    pub(crate) fn has(bug: &str) -> bool {
        FAULTS.iter().any(|fault| fault.kind == "bug" && fault.name == bug)
    }
}

#[cfg(feature = "faults")]
pub(crate) use planted::{LIMITS, has, reach, spoil, wall_ms};

/// The process reaches a point at which a test may kill it.
#[cfg(not(feature = "faults"))]
pub(crate) const fn reach(_point: &str) {}

/// The limits for the end of a segment and the begin of a rewrite.
#[cfg(not(feature = "faults"))]
pub(crate) const LIMITS: crate::store::Limits = crate::store::Limits::USUAL;

/// Changes a submission as planted defects would; here nothing is planted.
#[cfg(not(feature = "faults"))]
pub(crate) const fn spoil(_submission: &mut crate::store::Submission) {}

/// The time of the wall clock, which a test may have set wrong.
#[cfg(not(feature = "faults"))]
pub(crate) const fn wall_ms(right_ms: u64) -> u64 {
    right_ms
}

/// Whether a test has planted the defect.
#[cfg(not(feature = "faults"))]
pub(crate) const fn has(_bug: &str) -> bool {
    false
}

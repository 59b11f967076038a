//! The shard's way to the audit log. What a client causes once it is let in has an allowance, so
//! that no client fills the log: lines beyond it are counted.

use crate::audit::{Entry, Trail};
use crate::base::ids::LinkId;
use crate::base::maps::HashMap;
use crate::base::time::Time;
use crate::limits::{AUDIT_BURST_MAX, AUDIT_LINE_INTERVAL};

/// The trail, and what each client has caused there.
#[derive(Debug)]
pub(super) struct AuditTrail {
    trail: Trail,
    /// By slot of the link; only of clients that have caused anything.
    allowances: HashMap<u32, Allowance>,
}

#[derive(Debug)]
struct Allowance {
    link: LinkId,
    /// The time at which the whole allowance is there again.
    full_at: Time,
    /// Lines that were left out since the last one.
    left_out: u64,
}

impl AuditTrail {
    pub(super) fn new(trail: Trail) -> Self {
        Self { trail, allowances: HashMap::default() }
    }

    /// Notes an event.
    pub(super) fn note(&self, entry: &Entry) {
        self.trail.note(entry);
    }

    /// Notes an event that the client of a link has caused, or counts it as left out.
    pub(super) fn note_of(&mut self, now: Time, link: LinkId, entry: impl FnOnce() -> Entry) {
        let new = || Allowance { link, full_at: now, left_out: 0 };
        let allowance = self.allowances.entry(link.slot).or_insert_with(new);
        if allowance.link != link {
            *allowance = new();
        }
        if allowance.full_at.since(now) >= AUDIT_LINE_INTERVAL * AUDIT_BURST_MAX {
            allowance.left_out += 1;
            return;
        }
        allowance.full_at = allowance.full_at.max(now).after(AUDIT_LINE_INTERVAL);
        let entry = entry();
        let entry = match std::mem::take(&mut allowance.left_out) {
            0 => entry,
            count => entry.number("left_out_before", count),
        };
        self.trail.note(&entry);
    }

    /// Forgets the allowance of a link that ends; the number of lines that were left out.
    pub(super) fn forget(&mut self, link: LinkId) -> u64 {
        let known = self.allowances.remove(&link.slot).filter(|known| known.link == link);
        known.map_or(0, |known| known.left_out)
    }

    /// The bytes that the allowances take.
    pub(super) fn memory(&self) -> usize {
        self.allowances.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_client_has_an_allowance_and_the_rest_is_counted() {
        let noted = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&noted);
        let trail = Trail::new(move |entry| sink.lock().unwrap().push(entry.clone()));
        let mut audit = AuditTrail::new(trail);
        let (mut now, link) = (Time::ZERO, LinkId::new(3, 1));
        let count = || noted.lock().unwrap().len();
        for _ in 0..AUDIT_BURST_MAX + 5 {
            audit.note_of(now, link, || Entry::new("x"));
        }
        assert_eq!(count(), AUDIT_BURST_MAX as usize);
        // Others have theirs.
        audit.note_of(now, LinkId::new(4, 2), || Entry::new("x"));
        assert_eq!(count(), AUDIT_BURST_MAX as usize + 1);
        now = now.after(AUDIT_LINE_INTERVAL);
        audit.note_of(now, link, || Entry::new("x"));
        audit.note_of(now, link, || Entry::new("x"));
        let last = noted.lock().unwrap().last().unwrap().clone();
        assert_eq!(last, Entry::new("x").number("left_out_before", 5));
        assert_eq!((audit.forget(link), audit.forget(link)), (1, 0));
        audit.note_of(now, LinkId::new(3, 9), || Entry::new("x"));
        assert_eq!(audit.forget(link), 0);
    }
}

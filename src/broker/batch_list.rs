//! A list of entries for the journal, and the acknowledgements of them that have come meanwhile.

use super::record_ref::RecordRef;
use crate::base::ids::{DeliveryNumber, SessionNumber};
use crate::base::time::Time;
use crate::limits::{JOURNAL_LINGER, JOURNAL_LINGER_MAX};

/// A list whose entries have numbers, and when it is to be handed over.
#[derive(Debug)]
pub(super) struct BatchList<T> {
    list: Vec<T>,
    /// The acknowledgements that each entry awaits: apart from the entries, since each
    /// acknowledgement looks at one.
    awaited: Vec<Awaited>,
    acknowledged: Acknowledged,
    /// The number of the first entry.
    first: u64,
    pub(super) due: Option<Time>,
    /// The number of entries that may still turn out to be needless.
    hopeful: usize,
    /// The latest time until which those entries wait, as long as acknowledgements keep coming and
    /// nothing else is due.
    linger_until: Option<Time>,
}

/// The number of acknowledgements that an entry awaits, and whether they make the entry needless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Awaited(u32);

impl Awaited {
    /// The bit of an entry that stays, whichever recipients acknowledge it.
    const STAYS: u32 = 1 << 31;
    /// The value for an entry that no recipient can acknowledge.
    pub(super) const NOTHING: Self = Self(u32::MAX);

    pub(super) const fn new(recipients: u32, may_vanish: bool) -> Self {
        debug_assert!(recipients < Self::STAYS - 1);
        Self(if may_vanish { recipients } else { recipients | Self::STAYS })
    }

    /// True when the entry is needless as far as its recipients go.
    pub(super) const fn is_over(self) -> bool {
        self.0 == 0
    }

    /// True when all recipients have acknowledged the entry.
    pub(super) const fn is_from_nobody(self) -> bool {
        self.0 & !Self::STAYS == 0
    }
}

/// The recipient that has acknowledged an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acknowledger {
    /// The session of this number has acknowledged the delivery that the message's id names.
    Session(SessionNumber),
    /// The delivery of this number has been acknowledged, whichever session got it.
    Delivery(DeliveryNumber),
}

/// The acknowledgements of all entries: most clients acknowledge many in their order, so runs are
/// kept.
#[derive(Debug, Default)]
struct Acknowledged {
    runs: Vec<Run>,
    /// (place, number) of deliveries with numbers of their own.
    deliveries: Vec<(u32, DeliveryNumber)>,
}

/// A session whose client has acknowledged `count` entries from `place` on.
#[derive(Debug, Clone, Copy)]
struct Run {
    session: SessionNumber,
    place: u32,
    count: u32,
}

/// The recipients that have acknowledged each entry, in the order of entries.
#[derive(Debug)]
pub(super) struct Acknowledgers {
    sessions: Sorted<SessionNumber>,
    deliveries: Sorted<DeliveryNumber>,
}

/// The recipients that have acknowledged one entry, sorted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct By<'a> {
    pub(super) sessions: &'a [SessionNumber],
    pub(super) deliveries: &'a [DeliveryNumber],
}

impl By<'_> {
    pub(super) const fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.deliveries.is_empty()
    }
}

#[derive(Debug)]
struct Sorted<T> {
    /// (place, number), sorted.
    pairs: Vec<(u32, T)>,
    /// The place behind the pairs of entries that have been asked for.
    start: usize,
    numbers: Vec<T>,
}

impl Acknowledged {
    #[inline]
    fn add(&mut self, by: Acknowledger, place: u32) {
        let session = match by {
            Acknowledger::Session(session) => session,
            Acknowledger::Delivery(number) => return self.deliveries.push((place, number)),
        };
        match self.runs.last_mut() {
            Some(last) if last.session == session && last.place + last.count == place => {
                last.count += 1;
            }
            _ => self.runs.push(Run { session, place, count: 1 }),
        }
    }
}

impl Acknowledgers {
    /// The recipients that have acknowledged the entry at `place`, which is behind every place
    /// asked for before.
    pub(super) fn of(&mut self, place: u32) -> By<'_> {
        By { sessions: self.sessions.of(place), deliveries: self.deliveries.of(place) }
    }
}

impl<T: Ord + Copy> Sorted<T> {
    fn new(mut pairs: Vec<(u32, T)>) -> Self {
        pairs.sort_unstable();
        Self { pairs, start: 0, numbers: Vec::new() }
    }

    fn of(&mut self, place: u32) -> &[T] {
        let rest = &self.pairs[self.start..];
        let rest = &rest[rest.partition_point(|pair| pair.0 < place)..];
        let mine = &rest[..rest.partition_point(|pair| pair.0 == place)];
        self.start = self.pairs.len() - rest.len() + mine.len();
        self.numbers.clear();
        self.numbers.extend(mine.iter().map(|pair| pair.1));
        &self.numbers
    }
}

impl<T> BatchList<T> {
    pub(super) fn new() -> Self {
        Self {
            list: Vec::new(),
            awaited: Vec::new(),
            acknowledged: Acknowledged::default(),
            first: RecordRef::FIRST,
            due: None,
            hopeful: 0,
            linger_until: None,
        }
    }

    /// The number of the first entry.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next entry.
    pub(super) const fn next(&self) -> u64 {
        self.first + self.list.len() as u64
    }

    /// The number of entries.
    pub(super) const fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn push(&mut self, entry: T, awaited: Awaited) {
        self.list.push(entry);
        self.awaited.push(awaited);
    }

    /// Something is to be handed over by then.
    pub(super) fn hurry(&mut self, due: Time) {
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
        self.linger_until = None;
    }

    /// Something may turn out to be needless.
    pub(super) fn hope(&mut self, now: Time) {
        self.hopeful += 1;
        let (soon, latest) = (now.after(JOURNAL_LINGER), now.after(JOURNAL_LINGER_MAX));
        // Whoever waits for it does not wait for what is lazy.
        if self.due.is_none_or(|due| due > soon) {
            self.linger_until = Some(self.due.map_or(latest, |due| due.min(latest)));
            self.due = Some(soon);
        }
    }

    /// The entry is acknowledged; false when it is not here.
    #[inline]
    pub(super) fn acknowledge(&mut self, now: Time, number: u64, by: Acknowledger) -> bool {
        let Some(place) = number.checked_sub(self.first) else { return false };
        let Some(awaited) = self.awaited.get_mut(place as usize) else { return false };
        if *awaited == Awaited::NOTHING {
            return false;
        }
        debug_assert!(!awaited.is_from_nobody());
        awaited.0 -= 1;
        let is_over = awaited.is_over();
        self.acknowledged.add(by, place as u32);
        self.hopeful = self.hopeful.saturating_sub(usize::from(is_over));
        if is_over && self.hopeful == 0 && self.linger_until.is_some() {
            self.hurry(now);
        } else if let Some(until) = self.linger_until {
            // An acknowledgement came: others may, too.
            self.due = Some(until.min(now.after(JOURNAL_LINGER)));
        }
        true
    }

    /// True when `is_so` holds for all entries.
    pub(super) fn all(&self, is_so: impl Fn(&T, Awaited) -> bool) -> bool {
        self.list.iter().zip(&self.awaited).all(|(entry, &awaited)| is_so(entry, awaited))
    }

    /// The recipients that have acknowledged entries which others have not, or which stay
    /// nevertheless.
    pub(super) fn take_acknowledged(&mut self) -> Acknowledgers {
        let mut pairs = Vec::new();
        for run in self.acknowledged.runs.drain(..) {
            let places = run.place..run.place + run.count;
            let is_wanted = |place: &u32| !self.awaited[*place as usize].is_from_nobody();
            pairs.extend(places.filter(is_wanted).map(|place| (place, run.session)));
        }
        let deliveries = std::mem::take(&mut self.acknowledged.deliveries);
        Acknowledgers { sessions: Sorted::new(pairs), deliveries: Sorted::new(deliveries) }
    }

    /// The entries; the next one has the number after the last of them.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (T, Awaited)> + use<T> {
        self.first = self.next();
        self.due = None;
        self.linger_until = None;
        self.hopeful = 0;
        self.acknowledged.runs.clear();
        self.acknowledged.deliveries.clear();
        std::mem::take(&mut self.list).into_iter().zip(std::mem::take(&mut self.awaited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::JOURNAL_LAZY;

    #[test]
    fn what_is_lazy_does_not_hold_up_what_may_be_needless() {
        let mut gathering = BatchList::new();
        gathering.push((), Awaited::NOTHING);
        gathering.hurry(Time::ZERO.after(JOURNAL_LAZY));
        gathering.push((), Awaited::new(1, true));
        gathering.hope(Time::ZERO);
        assert_eq!(gathering.due, Some(Time::ZERO.after(JOURNAL_LINGER)));
        gathering.push((), Awaited::new(1, true));
        gathering.hope(Time::ZERO);
        let by = Acknowledger::Session(SessionNumber(9));
        assert!(gathering.acknowledge(Time::ZERO.after(JOURNAL_LINGER), RecordRef::FIRST + 1, by));
        assert_eq!(gathering.due, Some(Time::ZERO.after(JOURNAL_LINGER * 2)), "others may, too");
        let late = Time::ZERO.after(JOURNAL_LINGER_MAX - JOURNAL_LINGER / 2);
        gathering.push((), Awaited::new(1, true));
        gathering.hope(late);
        assert!(gathering.acknowledge(late, RecordRef::FIRST + 2, by));
        assert_eq!(gathering.due, Some(Time::ZERO.after(JOURNAL_LINGER_MAX)));
    }

    #[test]
    fn who_has_acknowledged_what_is_told_in_order() {
        let mut gathering = BatchList::new();
        for recipients in [2, 1, 4] {
            gathering.push((), Awaited::new(recipients, true));
        }
        let (one, two, three) = (RecordRef::FIRST, RecordRef::FIRST + 1, RecordRef::FIRST + 2);
        for (number, session) in
            [(one, 9), (two, 9), (three, 9), (three, 7), (one - 1, 7), (three + 1, 7)]
        {
            let by = Acknowledger::Session(SessionNumber(session));
            let is_here = gathering.acknowledge(Time::ZERO, number, by);
            assert_eq!(is_here, (RecordRef::FIRST..RecordRef::FIRST + 3).contains(&number));
        }
        assert!(gathering.acknowledge(
            Time::ZERO,
            RecordRef::FIRST + 2,
            Acknowledger::Delivery(DeliveryNumber(70))
        ));
        let mut acknowledgers = gathering.take_acknowledged();
        let by = |sessions, deliveries| By { sessions, deliveries };
        assert_eq!(acknowledgers.of(0), by(&[SessionNumber(9)], &[]));
        assert!(acknowledgers.of(1).is_empty(), "nobody is left to be told apart");
        assert_eq!(
            acknowledgers.of(2),
            by(&[SessionNumber(7), SessionNumber(9)], &[DeliveryNumber(70)])
        );
        let left: Vec<bool> = gathering.take().map(|(_, awaited)| awaited.is_over()).collect();
        assert_eq!(left, [false, true, false]);
        assert!(!gathering.acknowledge(Time::ZERO, three, Acknowledger::Session(SessionNumber(8))));
        assert_eq!(gathering.next(), RecordRef::FIRST + 3);
    }
}

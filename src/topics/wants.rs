//! The subscribers of one filter, here and elsewhere, in as few bytes as they need: a filter mostly
//! has a single subscriber, or is another worker's alone.

use super::buckets::NONE;
use super::groups::GroupId;
use super::slabs::Slabs;
use super::subscribers::{Subscriber, Subscribers};
use super::worker_set::WorkerSet;
use crate::base::ids::WorkerId;
use crate::base::visits::visit;

/// The subscribers of a filter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Wants {
    /// No subscriber anywhere.
    #[default]
    Nobody,
    /// One subscriber here.
    One(Subscriber),
    /// One other worker with subscribers that are not shared.
    Elsewhere(WorkerId),
    /// Shared groups alone, of which this is the first.
    Shared(GroupId),
    /// More than that, at this place of [`Crowds`].
    Many(u32),
}

const _: () = assert!(size_of::<Wants>() == size_of::<Subscriber>());

/// All subscribers of a filter.
#[derive(Debug)]
pub(super) struct Everyone {
    pub(super) subscribers: Subscribers,
    /// Other workers with subscribers that are not shared.
    pub(super) workers: WorkerSet,
    /// The first of the shared groups, or [`NONE`].
    pub(super) group: GroupId,
}

/// The subscribers of filters that have many.
#[derive(Debug)]
pub(super) struct Crowds(Slabs<Everyone>);

impl Wants {
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }
}

impl Crowds {
    pub(super) const fn new() -> Self {
        Self(Slabs::new())
    }

    /// The bytes that the lists take, without subscribers beyond the first of each.
    pub(super) const fn memory(&self) -> usize {
        self.0.memory()
    }

    /// Changes the subscribers of a filter.
    pub(super) fn change<R>(
        &mut self,
        wants: &mut Wants,
        change: impl FnOnce(&mut Everyone) -> R,
    ) -> R {
        visit(1);
        if let Wants::Many(place) = *wants {
            let everyone = &mut self.0[place];
            let result = change(everyone);
            if let Some(few) = everyone.few() {
                *wants = few;
                self.0.remove(place);
            }
            return result;
        }
        let mut everyone = Everyone::from(*wants);
        let result = change(&mut everyone);
        let few = everyone.few();
        *wants = few.unwrap_or_else(|| Wants::Many(self.0.insert(everyone)));
        result
    }

    /// The subscribers here.
    #[inline]
    pub(super) fn subscribers<'a>(&'a self, wants: &'a Wants) -> &'a [Subscriber] {
        match wants {
            Wants::One(subscriber) => std::slice::from_ref(subscriber),
            Wants::Many(place) => self.0[*place].subscribers.as_slice(),
            Wants::Nobody | Wants::Elsewhere(_) | Wants::Shared(_) => &[],
        }
    }

    /// The subscription of `session`.
    pub(super) fn subscriber<'a>(
        &'a self,
        wants: &'a Wants,
        session: u32,
    ) -> Option<&'a Subscriber> {
        match wants {
            Wants::Many(place) => self.0[*place].subscribers.get(session),
            few => self.subscribers(few).iter().find(|subscriber| subscriber.session == session),
        }
    }
}

impl std::ops::Index<u32> for Crowds {
    type Output = Everyone;

    fn index(&self, place: u32) -> &Everyone {
        &self.0[place]
    }
}

impl Everyone {
    /// The subscribers, where they are so few that they need no memory of their own.
    fn few(&self) -> Option<Wants> {
        let is_shared = self.group != NONE;
        let is_elsewhere = !self.workers.is_empty();
        match (self.subscribers.as_slice(), is_elsewhere, is_shared) {
            ([], false, false) => Some(Wants::Nobody),
            ([one], false, false) => Some(Wants::One(*one)),
            ([], true, false) => self.workers.only().map(Wants::Elsewhere),
            ([], false, true) => Some(Wants::Shared(self.group)),
            _ => None,
        }
    }
}

impl From<Wants> for Everyone {
    /// The subscribers of a filter that has not [`Wants::Many`].
    fn from(wants: Wants) -> Self {
        let mut everyone = Self {
            subscribers: Subscribers::default(),
            workers: WorkerSet::default(),
            group: NONE,
        };
        match wants {
            Wants::Nobody => {}
            Wants::One(subscriber) => {
                everyone.subscribers.insert(subscriber);
            }
            Wants::Elsewhere(worker) => everyone.workers.insert(worker),
            Wants::Shared(group) => everyone.group = group,
            Wants::Many(_) => unreachable!("many are not copied"),
        }
        everyone
    }
}

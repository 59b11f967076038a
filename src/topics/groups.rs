//! Shared groups: their members here, and the interest of other workers.

use super::buckets::{Buckets, Items, NONE};
use super::filter_tree::NodeId;
use super::members::Members;
use super::slabs::Slabs;
use crate::base::ids::WorkerId;
use crate::base::visits::{Planted, is_planted, visit};
use foldhash::fast::FixedState;
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Names a shared group while any worker has members of it.
pub(crate) type GroupId = u32;

/// The members of a shared group, here and elsewhere.
#[derive(Debug)]
pub struct Group {
    /// The whole filter, `$share/name/filter`.
    pub filter: Arc<str>,
    /// The members here.
    pub members: Members,
    /// The interest of the other workers.
    pub elsewhere: SmallVec<[Interest; 1]>,
    /// A count that moves the choice around the members.
    pub turn: u32,
    /// The node of the group's filter.
    pub(super) node: NodeId,
    /// The groups of the same node before and behind this one, or [`NONE`].
    before: GroupId,
    behind: GroupId,
    /// The next group in the chain of [`Groups::by_filter`].
    next: GroupId,
}

/// One worker's interest in a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// The worker.
    pub worker: WorkerId,
    /// The number of subscribers; for a filter that is not shared 1 for any number.
    pub members: u32,
    /// The number of connected subscribers; 0 for a filter that is not shared.
    pub online: u32,
}

/// All groups; those of a node are a list.
#[derive(Debug)]
pub(super) struct Groups {
    slots: Slots,
    /// By whole filter.
    by_filter: Buckets,
    /// The bytes of all filters.
    filter_bytes: usize,
}

#[derive(Debug)]
struct Slots {
    groups: Slabs<Group>,
    hasher: FixedState,
}

impl Groups {
    pub(super) fn new(seed: u64) -> Self {
        let slots = Slots { groups: Slabs::new(), hasher: FixedState::with_seed(seed) };
        Self { slots, by_filter: Buckets::new(), filter_bytes: 0 }
    }

    /// The group of a whole filter.
    pub(super) fn find(&self, filter: &str) -> Option<GroupId> {
        if is_planted(Planted::GroupScan) {
            let mut all = self.slots.groups.iter();
            return all.find(|(_, group)| *group.filter == *filter).map(|(id, _)| id);
        }
        let mut id = self.by_filter.first(self.slots.hasher.hash_one(filter));
        while id != NONE {
            visit(1);
            let group = &self[id];
            if *group.filter == *filter {
                return Some(id);
            }
            id = group.next;
        }
        None
    }

    /// Adds a group to the list of its node, which begins with `first`, and returns the new first
    /// one.
    pub(super) fn add(&mut self, filter: &str, node: NodeId, first: GroupId) -> GroupId {
        self.filter_bytes += filter.len();
        let id = self.slots.groups.insert(Group {
            filter: filter.into(),
            members: Members::default(),
            elsewhere: SmallVec::new(),
            turn: 0,
            node,
            before: NONE,
            behind: first,
            next: NONE,
        });
        if first != NONE {
            self[first].before = id;
        }
        self.by_filter.insert(id, &mut self.slots);
        id
    }

    /// Removes a group. Returns the new first one of its node where this one was the first.
    pub(super) fn remove(&mut self, id: GroupId) -> Option<GroupId> {
        self.by_filter.remove(id, &mut self.slots);
        let Group { filter, before, behind, .. } = self.slots.groups.remove(id);
        self.filter_bytes -= filter.len();
        if behind != NONE {
            self[behind].before = before;
        }
        if before == NONE {
            return Some(behind);
        }
        self[before].behind = behind;
        None
    }

    /// As [`Buckets::take_moved_bytes`].
    pub(super) const fn take_moved_bytes(&mut self) -> usize {
        self.by_filter.take_moved_bytes()
    }

    /// The bytes that the groups take, without members beyond the first of each.
    pub(super) const fn memory(&self) -> usize {
        let groups = &self.slots.groups;
        // With the two counts of each filter's `Arc`.
        let filters = self.filter_bytes + groups.len() * size_of::<[usize; 2]>();
        groups.memory() + self.by_filter.memory() + filters
    }

    /// The groups of a node, whose first one is `first` or [`NONE`].
    pub(super) fn list(&self, first: GroupId) -> impl Iterator<Item = GroupId> {
        let present = |id: GroupId| (id != NONE).then_some(id);
        let all = std::iter::successors(present(first), move |id| present(self[*id].behind));
        all.inspect(|_| visit(1))
    }
}

impl Items for Slots {
    fn next(&mut self, item: GroupId) -> &mut GroupId {
        &mut self.groups[item].next
    }

    fn hash(&self, item: GroupId) -> u64 {
        self.hasher.hash_one(&*self.groups[item].filter)
    }
}

impl std::ops::Index<GroupId> for Groups {
    type Output = Group;

    fn index(&self, id: GroupId) -> &Group {
        &self.slots.groups[id]
    }
}

impl std::ops::IndexMut<GroupId> for Groups {
    fn index_mut(&mut self, id: GroupId) -> &mut Group {
        &mut self.slots.groups[id]
    }
}

impl Group {
    /// True when no worker has a member.
    pub(super) fn is_empty(&self) -> bool {
        self.members.as_slice().is_empty() && self.elsewhere.is_empty()
    }

    /// The interest of this worker, `worker`.
    pub(super) fn interest(&self, worker: WorkerId) -> Interest {
        Interest {
            worker,
            members: self.members.as_slice().len() as u32,
            online: self.members.online(),
        }
    }
}

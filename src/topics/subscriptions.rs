//! The subscriptions of this worker's sessions and the interest of the other workers, in one tree:
//! one walk tells a publish where to go.

use super::filter_tree::{FilterTree, NodeId};
use super::members::Members;
use super::subscribers::{Subscriber, Subscribers};
use crate::base::ids::WorkerId;
use crate::base::maps::{self, HashMap};
use crate::mqtt::TopicFilter;
use slab::Slab;
use smallvec::SmallVec;
use std::sync::Arc;

/// Names a shared group while any worker has members of it.
pub(crate) type GroupId = u32;

/// A set of workers: at most `limits::WORKERS_MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerSet(u128);

impl WorkerSet {
    /// Adds a worker.
    pub(crate) const fn insert(&mut self, worker: WorkerId) {
        self.0 |= 1 << worker.0;
    }

    /// Takes a worker out.
    pub(crate) const fn remove(&mut self, worker: WorkerId) {
        self.0 &= !(1 << worker.0);
    }

    /// Adds every worker of the other set.
    pub(crate) const fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// True when the set is empty.
    #[must_use]
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The workers in the set, ascending.
    pub fn iter(self) -> impl Iterator<Item = WorkerId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let worker = rest.trailing_zeros();
            (rest != 0).then(|| {
                rest &= rest - 1;
                WorkerId(worker as u16)
            })
        })
    }
}

/// The subscribers of a filter, here and elsewhere.
#[derive(Debug, Default)]
struct Wants {
    subscribers: Subscribers,
    /// Other workers with subscribers that are not shared.
    workers: WorkerSet,
    groups: SmallVec<[GroupId; 1]>,
}

impl Wants {
    fn is_empty(&self) -> bool {
        self.subscribers.as_slice().is_empty() && self.workers.is_empty() && self.groups.is_empty()
    }
}

/// The members of a shared group, here and elsewhere.
#[derive(Debug)]
pub struct Group {
    /// The whole filter, `$share/name/filter`.
    pub filter: Arc<str>,
    /// The members here.
    pub members: Members,
    /// The interest of the other workers.
    pub elsewhere: SmallVec<[Interest; 2]>,
    /// A count that moves the choice around the members.
    pub turn: u32,
    node: NodeId,
    /// The place of the group among those of its node.
    index: u32,
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

/// The place of a session's subscription in the tree, which the session keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    node: NodeId,
    /// The group, or [`NOT_SHARED`].
    group: GroupId,
}

const NOT_SHARED: GroupId = GroupId::MAX;

impl Place {
    /// The group, when the subscription is a shared one.
    #[must_use]
    pub(crate) fn group(self) -> Option<GroupId> {
        (self.group != NOT_SHARED).then_some(self.group)
    }
}

/// The result of a subscription.
#[derive(Debug)]
pub struct Subscribed {
    /// The place of the subscription.
    pub place: Place,
    /// Whether the session had the subscription already, and the new one replaced it.
    pub existed: bool,
    /// The interest that the other workers must be told.
    pub news: Option<Interest>,
}

/// The result of an unsubscription.
#[derive(Debug)]
pub struct Unsubscribed {
    /// The place where the subscription was.
    pub place: Place,
    /// The whole filter and the interest that the other workers must be told.
    pub news: Option<(Arc<str>, Interest)>,
}

/// The matches of a topic. The lists are reused from publish to publish.
#[derive(Debug, Default)]
pub struct Matches {
    /// Filters with subscribers here: see [`Subscriptions::subscribers`].
    pub nodes: Vec<NodeId>,
    /// Shared groups with members anywhere.
    pub groups: Vec<GroupId>,
    /// Other workers with subscribers that are not shared.
    pub workers: WorkerSet,
    /// The number of tree nodes that were visited.
    pub visits: usize,
}

/// The tree and the groups.
#[derive(Debug)]
pub struct Subscriptions {
    tree: FilterTree<Wants>,
    groups: Slab<Group>,
    /// By whole filter.
    group_ids: HashMap<Arc<str>, GroupId>,
    worker: WorkerId,
}

impl Subscriptions {
    /// Makes an empty index for worker `worker`.
    #[must_use]
    pub fn new(worker: WorkerId, seed: u64) -> Self {
        Self {
            tree: FilterTree::new(seed),
            groups: Slab::new(),
            group_ids: maps::seeded(seed),
            worker,
        }
    }

    /// Adds or replaces a subscription of a connected session.
    pub fn subscribe(&mut self, filter: TopicFilter<'_>, subscriber: Subscriber) -> Subscribed {
        let node = self.tree.insert(filter.filter);
        if filter.share_name.is_none() {
            let subscribers = &mut self.tree[node].subscribers;
            let existed = subscribers.insert(subscriber);
            let first = !existed && subscribers.as_slice().len() == 1;
            let news = first.then_some(Interest { worker: self.worker, members: 1, online: 0 });
            return Subscribed { place: Place { node, group: NOT_SHARED }, existed, news };
        }
        let id = self.group_at(node, filter.text);
        let group = &mut self.groups[id as usize];
        let existed = group.members.insert(subscriber);
        let news = (!existed).then(|| group.interest(self.worker));
        Subscribed { place: Place { node, group: id }, existed, news }
    }

    /// True when `session` has a subscription to the filter.
    #[must_use]
    pub(crate) fn has(&self, session: u32, filter: TopicFilter<'_>) -> bool {
        let place = self.place(filter);
        place.is_some_and(|place| self.subscriber(session, place).is_some())
    }

    fn place(&self, filter: TopicFilter<'_>) -> Option<Place> {
        let node = self.tree.find(filter.filter)?;
        let group = match filter.share_name {
            None => NOT_SHARED,
            Some(_) => self.find_group(filter.text)?,
        };
        Some(Place { node, group })
    }

    /// Removes the subscription of `session`, if it has one to the filter.
    pub fn unsubscribe(&mut self, session: u32, filter: TopicFilter<'_>) -> Option<Unsubscribed> {
        self.remove(session, self.place(filter)?)
    }

    /// Removes the subscription at `place`, if `session` has it.
    pub(crate) fn remove(&mut self, session: u32, place: Place) -> Option<Unsubscribed> {
        let news = match place.group() {
            None => {
                let subscribers = &mut self.tree[place.node].subscribers;
                subscribers.remove(session)?;
                let last = subscribers.as_slice().is_empty();
                last.then(|| {
                    let interest = Interest { worker: self.worker, members: 0, online: 0 };
                    (self.tree.filter(place.node).into(), interest)
                })
            }
            Some(id) => {
                let group = &mut self.groups[id as usize];
                group.members.remove(session)?;
                let news = (group.filter.clone(), group.interest(self.worker));
                self.drop_empty_group(id);
                Some(news)
            }
        };
        self.tree.prune(place.node, Wants::is_empty);
        Some(Unsubscribed { place, news })
    }

    /// Notes that the member `session` of the group came or went, and returns the interest for the
    /// other workers.
    pub(crate) fn set_online(
        &mut self,
        session: u32,
        id: GroupId,
        online: bool,
    ) -> (Arc<str>, Interest) {
        let group = &mut self.groups[id as usize];
        group.members.set_online(session, online);
        (group.filter.clone(), group.interest(self.worker))
    }

    /// The interest that the other workers must know, for an existing subscription.
    #[must_use]
    pub(crate) fn interest(&self, place: Place) -> Interest {
        match place.group() {
            None => Interest { worker: self.worker, members: 1, online: 0 },
            Some(id) => self.groups[id as usize].interest(self.worker),
        }
    }

    /// Stores another worker's interest in a filter.
    pub fn learn(&mut self, filter: TopicFilter<'_>, interest: Interest) {
        let node = self.tree.insert(filter.filter);
        if filter.share_name.is_none() {
            let workers = &mut self.tree[node].workers;
            if interest.members > 0 {
                workers.insert(interest.worker);
            } else {
                workers.remove(interest.worker);
            }
        } else {
            let id = self.group_at(node, filter.text);
            let elsewhere = &mut self.groups[id as usize].elsewhere;
            elsewhere.retain(|known| known.worker != interest.worker);
            if interest.members > 0 {
                elsewhere.push(interest);
            }
            self.drop_empty_group(id);
        }
        self.tree.prune(node, Wants::is_empty);
    }

    /// Fills `matches` with the filters, groups and workers that match `topic`.
    pub fn matching(&mut self, topic: &str, matches: &mut Matches) {
        matches.nodes.clear();
        matches.groups.clear();
        matches.workers = WorkerSet::default();
        matches.visits = self.tree.matching(topic, |node, wants| {
            if !wants.subscribers.as_slice().is_empty() {
                matches.nodes.push(node);
            }
            matches.workers.extend(wants.workers);
            matches.groups.extend_from_slice(&wants.groups);
        });
    }

    /// The subscribers of a filter that matched.
    #[must_use]
    pub fn subscribers(&self, node: NodeId) -> &[Subscriber] {
        self.tree[node].subscribers.as_slice()
    }

    /// A group that matched.
    #[must_use]
    pub fn group(&self, id: GroupId) -> &Group {
        &self.groups[id as usize]
    }

    /// A group that matched, as a mutable reference to move its turn.
    pub(crate) fn group_mut(&mut self, id: GroupId) -> &mut Group {
        &mut self.groups[id as usize]
    }

    /// The group of a shared filter, if any worker has members of it.
    #[must_use]
    pub(crate) fn find_share(&self, filter: TopicFilter<'_>) -> Option<GroupId> {
        self.find_group(filter.text)
    }

    /// The whole filter of a subscription, in the client's own text.
    #[must_use]
    pub fn filter(&self, place: Place) -> Arc<str> {
        match place.group() {
            None => self.tree.filter(place.node).into(),
            Some(id) => self.groups[id as usize].filter.clone(),
        }
    }

    /// The subscription of `session` at `place`.
    #[must_use]
    pub fn subscriber(&self, session: u32, place: Place) -> Option<&Subscriber> {
        match place.group() {
            None => self.tree[place.node].subscribers.get(session),
            Some(id) => self.groups[id as usize].members.get(session),
        }
    }

    /// Sets whether deliveries for the subscription of `session` at `place` are checked.
    pub(crate) fn set_checked(&mut self, session: u32, place: Place, is_checked: bool) {
        match place.group() {
            None => self.tree[place.node].subscribers.set_checked(session, is_checked),
            Some(id) => self.groups[id as usize].members.set_checked(session, is_checked),
        }
    }

    /// The bytes that all of it takes.
    #[must_use]
    pub(crate) fn memory(&self) -> usize {
        self.tree.len() * 200
    }

    /// The number of nodes in the tree: 0 without any subscription anywhere.
    #[must_use]
    pub(crate) fn node_count(&self) -> usize {
        self.tree.len()
    }

    fn find_group(&self, text: &str) -> Option<GroupId> {
        self.group_ids.get(text).copied()
    }

    fn group_at(&mut self, node: NodeId, text: &str) -> GroupId {
        if let Some(id) = self.find_group(text) {
            return id;
        }
        let filter: Arc<str> = text.into();
        let siblings = &mut self.tree[node].groups;
        let id = self.groups.insert(Group {
            filter: filter.clone(),
            members: Members::default(),
            elsewhere: SmallVec::new(),
            turn: 0,
            node,
            index: siblings.len() as u32,
        }) as GroupId;
        siblings.push(id);
        self.group_ids.insert(filter, id);
        id
    }

    fn drop_empty_group(&mut self, id: GroupId) {
        let group = &self.groups[id as usize];
        if !group.members.as_slice().is_empty() || !group.elsewhere.is_empty() {
            return;
        }
        let group = self.groups.remove(id as usize);
        self.group_ids.remove(&group.filter);
        let siblings = &mut self.tree[group.node].groups;
        siblings.swap_remove(group.index as usize);
        if let Some(&moved) = siblings.get(group.index as usize) {
            self.groups[moved as usize].index = group.index;
        }
    }
}

impl Group {
    fn interest(&self, worker: WorkerId) -> Interest {
        Interest {
            worker,
            members: self.members.as_slice().len() as u32,
            online: self.members.online(),
        }
    }
}

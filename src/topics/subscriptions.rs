//! The subscriptions of this worker's sessions and the interest of the other workers, in one tree:
//! one walk tells a publish where to go.

use super::filter_tree::{FilterTree, NodeId};
use super::groups::{Group, GroupId, Groups, Interest};
use super::subscribers::Subscriber;
use super::wants::{Crowds, Wants};
use super::worker_set::WorkerSet;
use crate::base::ids::WorkerId;
use crate::mqtt::TopicFilter;
use std::sync::Arc;

/// The place of a session's subscription in the index, which the session keeps: a node of the tree,
/// or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u32);

/// The bit of a place that names a group.
const SHARED: u32 = 1 << 31;

impl Place {
    /// The place of a shared subscription that is before all others, behind those of nodes.
    pub(crate) const FIRST_SHARED: Self = Self(SHARED);

    fn of_node(node: NodeId) -> Self {
        assert!(node < SHARED, "fewer than 2³¹ nodes");
        Self(node)
    }

    fn of_group(group: GroupId) -> Self {
        assert!(group < SHARED, "fewer than 2³¹ groups");
        Self(group | SHARED)
    }

    /// The group, when the subscription is a shared one.
    #[must_use]
    pub(crate) fn group(self) -> Option<GroupId> {
        (self.0 & SHARED != 0).then_some(self.0 & !SHARED)
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
    crowds: Crowds,
    groups: Groups,
    /// The number of subscribers and members besides the first of each filter and group.
    further: usize,
    worker: WorkerId,
}

impl Subscriptions {
    /// Makes an empty index for worker `worker`.
    #[must_use]
    pub fn new(worker: WorkerId, seed: u64) -> Self {
        let (tree, groups) = (FilterTree::new(seed), Groups::new(seed));
        Self { tree, crowds: Crowds::new(), groups, further: 0, worker }
    }

    /// Adds or replaces a subscription of a connected session.
    pub fn subscribe(&mut self, filter: TopicFilter<'_>, subscriber: Subscriber) -> Subscribed {
        let node = self.tree.insert(filter.filter);
        if filter.share_name.is_some() {
            let id = self.group_at(node, filter.text);
            let group = &mut self.groups[id];
            let existed = group.members.insert(subscriber);
            self.further += usize::from(!existed && group.members.as_slice().len() > 1);
            let news = (!existed).then(|| group.interest(self.worker));
            return Subscribed { place: Place::of_group(id), existed, news };
        }
        let (existed, count) = self.crowds.change(&mut self.tree[node], |everyone| {
            let existed = everyone.subscribers.insert(subscriber);
            (existed, everyone.subscribers.as_slice().len())
        });
        self.further += usize::from(!existed && count > 1);
        let is_first = !existed && count == 1;
        let news = is_first.then_some(Interest { worker: self.worker, members: 1, online: 0 });
        Subscribed { place: Place::of_node(node), existed, news }
    }

    /// True when `session` has a subscription to the filter.
    #[must_use]
    pub(crate) fn has(&self, session: u32, filter: TopicFilter<'_>) -> bool {
        let place = self.place(filter);
        place.is_some_and(|place| self.subscriber(session, place).is_some())
    }

    fn place(&self, filter: TopicFilter<'_>) -> Option<Place> {
        match filter.share_name {
            None => self.tree.find(filter.filter).map(Place::of_node),
            Some(_) => self.groups.find(filter.text).map(Place::of_group),
        }
    }

    /// Removes the subscription of `session`, if it has one to the filter.
    pub fn unsubscribe(&mut self, session: u32, filter: TopicFilter<'_>) -> Option<Unsubscribed> {
        self.remove(session, self.place(filter)?)
    }

    /// Removes the subscription at `place`, if `session` has it.
    pub(crate) fn remove(&mut self, session: u32, place: Place) -> Option<Unsubscribed> {
        if let Some(id) = place.group() {
            let group = &mut self.groups[id];
            group.members.remove(session)?;
            self.further -= usize::from(!group.members.as_slice().is_empty());
            let news = Some((group.filter.clone(), group.interest(self.worker)));
            self.drop_empty_group(id);
            return Some(Unsubscribed { place, news });
        }
        let Place(node) = place;
        let (gone, is_last) = self.crowds.change(&mut self.tree[node], |everyone| {
            let gone = everyone.subscribers.remove(session);
            (gone, everyone.subscribers.as_slice().is_empty())
        });
        gone?;
        self.further -= usize::from(!is_last);
        let nothing = Interest { worker: self.worker, members: 0, online: 0 };
        let news = is_last.then(|| (self.tree.filter(node).into(), nothing));
        self.tree.prune(node, Wants::is_empty);
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
        let group = &mut self.groups[id];
        group.members.set_online(session, online);
        (group.filter.clone(), group.interest(self.worker))
    }

    /// The interest that the other workers must know, for an existing subscription.
    #[must_use]
    pub(crate) fn interest(&self, place: Place) -> Interest {
        match place.group() {
            None => Interest { worker: self.worker, members: 1, online: 0 },
            Some(id) => self.groups[id].interest(self.worker),
        }
    }

    /// Stores another worker's interest in a filter.
    pub fn learn(&mut self, filter: TopicFilter<'_>, interest: Interest) {
        let node = self.tree.insert(filter.filter);
        if filter.share_name.is_some() {
            let id = self.group_at(node, filter.text);
            let elsewhere = &mut self.groups[id].elsewhere;
            elsewhere.retain(|known| known.worker != interest.worker);
            if interest.members > 0 {
                elsewhere.push(interest);
            }
            return self.drop_empty_group(id);
        }
        self.crowds.change(&mut self.tree[node], |everyone| match interest.members {
            0 => everyone.workers.remove(interest.worker),
            _ => everyone.workers.insert(interest.worker),
        });
        self.tree.prune(node, Wants::is_empty);
    }

    /// Fills `matches` with the filters, groups and workers that match `topic`.
    pub fn matching(&mut self, topic: &str, matches: &mut Matches) {
        matches.nodes.clear();
        matches.groups.clear();
        matches.workers = WorkerSet::default();
        matches.visits = self.tree.matching(topic, |node, wants| match *wants {
            Wants::Nobody => {}
            Wants::One(_) => matches.nodes.push(node),
            Wants::Elsewhere(worker) => matches.workers.insert(worker),
            Wants::Shared(group) => matches.groups.extend(self.groups.list(group)),
            Wants::Many(place) => {
                let everyone = &self.crowds[place];
                let is_here = !everyone.subscribers.as_slice().is_empty();
                matches.nodes.extend(is_here.then_some(node));
                matches.workers.extend(everyone.workers);
                matches.groups.extend(self.groups.list(everyone.group));
            }
        });
    }

    /// Fills `matches` with this very filter, a shared one with its share name, if anybody here has
    /// it.
    pub fn exactly(&self, filter: &str, matches: &mut Matches) {
        *matches = Matches::default();
        let Ok(filter) = TopicFilter::parse(filter, usize::MAX) else { return };
        match self.place(filter) {
            None => {}
            Some(place) => match place.group() {
                Some(group) => matches.groups.push(group),
                None => matches.nodes.push(place.0),
            },
        }
    }

    /// The subscribers of a filter that matched.
    #[must_use]
    pub fn subscribers(&self, node: NodeId) -> &[Subscriber] {
        self.crowds.subscribers(&self.tree[node])
    }

    /// A group that matched.
    #[must_use]
    pub fn group(&self, id: GroupId) -> &Group {
        &self.groups[id]
    }

    /// A group that matched, as a mutable reference to move its turn.
    pub(crate) fn group_mut(&mut self, id: GroupId) -> &mut Group {
        &mut self.groups[id]
    }

    /// The group of a shared filter, if any worker has members of it.
    #[must_use]
    pub(crate) fn find_share(&self, filter: TopicFilter<'_>) -> Option<GroupId> {
        self.groups.find(filter.text)
    }

    /// The whole filter of a subscription, in the client's own text.
    #[must_use]
    pub fn filter(&self, place: Place) -> Arc<str> {
        match place.group() {
            None => self.tree.filter(place.0).into(),
            Some(id) => self.groups[id].filter.clone(),
        }
    }

    /// The filter of a node, without a share name.
    #[must_use]
    pub(crate) fn filter_of(&self, node: NodeId) -> String {
        self.tree.filter(node)
    }

    /// The subscription of `session` at `place`.
    #[must_use]
    pub fn subscriber(&self, session: u32, place: Place) -> Option<&Subscriber> {
        match place.group() {
            None => self.crowds.subscriber(&self.tree[place.0], session),
            Some(id) => self.groups[id].members.get(session),
        }
    }

    /// Sets whether deliveries for the subscription of `session` at `place` are checked.
    pub(crate) fn set_checked(&mut self, session: u32, place: Place, is_checked: bool) {
        match place.group() {
            None => self.crowds.change(&mut self.tree[place.0], |everyone| {
                everyone.subscribers.set_checked(session, is_checked);
            }),
            Some(id) => self.groups[id].members.set_checked(session, is_checked),
        }
    }

    /// The bytes that all of it takes.
    #[must_use]
    pub(crate) const fn memory(&self) -> usize {
        // Lists of subscribers are three quarters full; those of many have an index as well.
        let further = self.further * size_of::<Subscriber>() * 2;
        self.tree.memory() + self.crowds.memory() + self.groups.memory() + further
    }

    /// The number of nodes in the tree: 0 without any subscription anywhere.
    #[must_use]
    pub(crate) const fn node_count(&self) -> usize {
        self.tree.len()
    }

    /// As [`FilterTree::take_moved_bytes`], with those of the groups.
    pub(crate) const fn take_moved_bytes(&mut self) -> usize {
        self.tree.take_moved_bytes() + self.groups.take_moved_bytes()
    }

    fn group_at(&mut self, node: NodeId, text: &str) -> GroupId {
        if let Some(id) = self.groups.find(text) {
            return id;
        }
        self.crowds.change(&mut self.tree[node], |everyone| {
            everyone.group = self.groups.add(text, node, everyone.group);
            everyone.group
        })
    }

    /// Removes a group, and its node, where no worker has a member.
    fn drop_empty_group(&mut self, id: GroupId) {
        let group = &self.groups[id];
        if !group.is_empty() {
            return;
        }
        let node = group.node;
        if let Some(first) = self.groups.remove(id) {
            self.crowds.change(&mut self.tree[node], |everyone| everyone.group = first);
        }
        self.tree.prune(node, Wants::is_empty);
    }
}

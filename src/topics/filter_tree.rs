//! A tree of topic filters. A node stands for the levels between two places where something
//! happens: where filters part, or where one ends. So `n` filters make at most `2n` nodes, however
//! many levels they have.
//!
//! ```text
//! filters  site/hall/1/heat, site/hall/1/light, site/+/#
//!
//! nodes    site ─┬─ hall/1 ─┬─ heat
//!                │          └─ light
//!                └─ +/#
//! ```
//!
//! Matching walks the tree with a list of its own instead of recursion: a topic of any depth needs
//! no stack, and never visits a node twice.

use super::buckets::{Buckets, Items, NONE};
use super::slabs::Slabs;
use crate::base::visits::{moved, visit};
use foldhash::fast::FixedState;
use smallvec::SmallVec;
use std::hash::{BuildHasher, Hasher};

/// Names a node while its filter has a value.
pub(crate) type NodeId = u32;

const ROOT: NodeId = 0;

/// The bit of [`Node::others`] that tells of a child `#`.
const HASH: u32 = 1 << 31;

/// Bytes of a level that are compared in the time of one visit.
const VISIT_BYTES: usize = 256;

/// Filters, each with a value.
#[derive(Debug)]
pub struct FilterTree<T> {
    nodes: Nodes<T>,
    /// Every node but the root, by its parent and its first level.
    edges: Buckets,
    pending: Vec<(NodeId, u32)>,
    /// The hash of `#`.
    hash: u64,
    /// Bytes of levels that moved from node to node since they were last asked for.
    moved_bytes: usize,
    /// The bytes of all levels.
    level_bytes: usize,
}

#[derive(Debug)]
struct Nodes<T> {
    slots: Slabs<Node<T>>,
    hasher: FixedState,
    /// An odd number that no peer knows.
    factor: u64,
}

#[derive(Debug)]
struct Node<T> {
    /// The levels behind those of the parent, at least one, as in the filter.
    levels: Box<str>,
    parent: NodeId,
    /// The next node in the chain of [`FilterTree::edges`].
    next: NodeId,
    /// The child whose first level is `+`.
    plus: NodeId,
    /// The number of the other children, and [`HASH`] where one of them is `#`.
    others: u32,
    /// The ids of the other children, combined by XOR: the id of the only one.
    other: NodeId,
    value: T,
}

/// A level of the topic that is matched.
#[derive(Debug)]
struct TopicLevel<'a> {
    text: &'a [u8],
    hash: u64,
}

impl<T: Default> FilterTree<T> {
    /// Makes an empty tree; `seed` goes into the hash of levels, which peers choose.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        let factor = hasher.hash_one("nodes") | 1;
        let mut nodes = Nodes { slots: Slabs::new(), hasher, factor };
        nodes.slots.insert(Node::new("", NONE));
        let hash = nodes.hash_level(b"#");
        Self {
            nodes,
            edges: Buckets::new(),
            pending: Vec::new(),
            hash,
            moved_bytes: 0,
            level_bytes: 0,
        }
    }

    /// The node of a valid filter, if there is one.
    #[must_use]
    pub(crate) fn find(&self, filter: &str) -> Option<NodeId> {
        let (mut node, mut rest) = (ROOT, filter);
        loop {
            let (child, Node { levels, .. }) = self.child(node, first_level(rest))?;
            if *rest == **levels {
                return Some(child);
            }
            rest = rest.strip_prefix(&**levels)?.strip_prefix('/')?;
            node = child;
        }
    }

    /// The node of a valid filter, which is made if it is missing.
    pub fn insert(&mut self, filter: &str) -> NodeId {
        let (mut node, mut rest) = (ROOT, filter);
        loop {
            let Some((child, Node { levels, .. })) = self.child(node, first_level(rest)) else {
                return self.add(node, rest);
            };
            let common = common_levels(levels, rest);
            node = if common == levels.len() { child } else { self.split(child, common) };
            if common == rest.len() {
                return node;
            }
            rest = &rest[common + 1..];
        }
    }

    fn child(&self, parent: NodeId, level: &[u8]) -> Option<(NodeId, &Node<T>)> {
        self.child_by_hash(parent, level, self.nodes.hash_level(level))
    }

    /// The child whose first level is `level`; `hash` is that of the level.
    #[inline]
    fn child_by_hash(&self, parent: NodeId, level: &[u8], hash: u64) -> Option<(NodeId, &Node<T>)> {
        let mut id = self.edges.first(self.nodes.hash_below(parent, hash));
        while id != NONE {
            visit(1);
            let node = &self.nodes.slots[id];
            if node.parent == parent && begins_with(&node.levels, level) {
                return Some((id, node));
            }
            id = node.next;
        }
        None
    }

    /// The child whose first level is `level`, which is not `+`.
    #[inline]
    fn other_child(&self, id: NodeId, node: &Node<T>, level: &[u8], hash: u64) -> Option<NodeId> {
        if node.others & !HASH == 1 {
            let is_child = begins_with(&self.nodes.slots[node.other].levels, level);
            return is_child.then_some(node.other);
        }
        self.child_by_hash(id, level, hash).map(|(child, _)| child)
    }

    /// Adds a node.
    fn add(&mut self, parent: NodeId, levels: &str) -> NodeId {
        let id = self.nodes.slots.insert(Node::new(levels, parent));
        self.link(id);
        id
    }

    /// Puts a node below its parent.
    fn link(&mut self, id: NodeId) {
        self.level_bytes += self.nodes.slots[id].levels.len();
        self.edges.insert(id, &mut self.nodes);
        let (above, is_plus, is_hash) = self.nodes.above(id);
        if is_plus {
            above.plus = id;
            return;
        }
        above.others += if is_hash { HASH + 1 } else { 1 };
        above.other ^= id;
    }

    /// Takes a node from below its parent.
    fn unlink(&mut self, id: NodeId) {
        self.level_bytes -= self.nodes.slots[id].levels.len();
        self.edges.remove(id, &mut self.nodes);
        let (above, is_plus, is_hash) = self.nodes.above(id);
        if is_plus {
            above.plus = NONE;
            return;
        }
        above.others -= if is_hash { HASH + 1 } else { 1 };
        above.other ^= id;
    }

    /// Gives the first levels of a node, `length` bytes, to a new node above it.
    fn split(&mut self, id: NodeId, length: usize) -> NodeId {
        self.unlink(id);
        let node = &mut self.nodes.slots[id];
        let levels = std::mem::take(&mut node.levels);
        self.moved_bytes += levels.len();
        moved(levels.len());
        node.levels = levels[length + 1..].into();
        let parent = node.parent;
        let above = self.add(parent, &levels[..length]);
        self.nodes.slots[id].parent = above;
        self.link(id);
        above
    }

    /// Removes `node`, whose value is empty, and every ancestor that `is_empty` and has no other
    /// child. One with an only child stays as the first levels of that child.
    pub(crate) fn prune(&mut self, mut node: NodeId, is_empty: impl Fn(&T) -> bool) {
        while node != ROOT {
            visit(1);
            let Node { parent, plus, others, other, ref value, .. } = self.nodes.slots[node];
            if !is_empty(value) {
                return;
            }
            match (plus, others & !HASH) {
                (NONE, 0) => {}
                (NONE, 1) => return self.merge(node, other),
                (plus, 0) => return self.merge(node, plus),
                _ => return,
            }
            self.unlink(node);
            self.nodes.slots.remove(node);
            node = parent;
        }
    }

    /// Gives the levels of a node without a value to its only child.
    fn merge(&mut self, id: NodeId, child: NodeId) {
        self.unlink(child);
        self.unlink(id);
        let Node { levels, parent, .. } = self.nodes.slots.remove(id);
        let below = &mut self.nodes.slots[child];
        below.levels = [&levels, "/", &below.levels].concat().into();
        below.parent = parent;
        self.moved_bytes += below.levels.len();
        moved(below.levels.len());
        self.link(child);
    }

    /// Calls `found` with every node whose filter matches the valid topic name `topic`. Returns the
    /// number of visits: levels that were compared, as often as they were.
    // [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.2-1]
    pub fn matching(&mut self, topic: &str, mut found: impl FnMut(NodeId, &T)) -> usize {
        let texts = topic.as_bytes().split(is_separator);
        let levels = texts.map(|text| TopicLevel { text, hash: self.nodes.hash_level(text) });
        let levels: SmallVec<[TopicLevel<'_>; 16]> = levels.collect();
        let mut pending = std::mem::take(&mut self.pending);
        pending.push((ROOT, 0));
        let mut visits = 0;
        while let Some((id, depth)) = pending.pop() {
            visits += 1;
            let node = &self.nodes.slots[id];
            let depth = match id {
                ROOT => Some(0),
                _ => behind(node.levels.as_bytes(), &levels, depth, &mut visits),
            };
            let Some(depth) = depth else { continue };
            let level = levels.get(depth as usize);
            if level.is_none() {
                found(id, &node.value);
            }
            let wildcards = id != ROOT || !topic.starts_with('$');
            if node.others & HASH != 0 && wildcards {
                let hash = self.other_child(id, node, b"#", self.hash);
                pending.extend(hash.map(|child| (child, depth)));
            }
            let Some(TopicLevel { text, hash }) = level else { continue };
            if node.plus != NONE && wildcards {
                pending.push((node.plus, depth));
            }
            if node.others & !HASH != 0
                && let Some(child) = self.other_child(id, node, text, *hash)
            {
                pending.push((child, depth));
            }
        }
        self.pending = pending;
        visit(visits);
        visits
    }

    /// The filter that `node` stands for.
    #[must_use]
    pub(crate) fn filter(&self, mut node: NodeId) -> String {
        let mut levels = Vec::new();
        while node != ROOT {
            visit(1);
            let node_here = &self.nodes.slots[node];
            levels.push(&*node_here.levels);
            node = node_here.parent;
        }
        levels.reverse();
        levels.join("/")
    }

    /// The number of nodes without the root.
    #[must_use]
    pub(crate) const fn len(&self) -> usize {
        self.nodes.slots.len() - 1
    }

    /// The bytes that the tree takes, without what its values refer to.
    #[must_use]
    pub(crate) const fn memory(&self) -> usize {
        self.nodes.slots.memory() + self.edges.memory() + self.level_bytes
    }

    /// The bytes of levels and edges that changes of the tree have moved since the last call: other
    /// filters' bytes, which the filters that were inserted or pruned do not show.
    pub(crate) const fn take_moved_bytes(&mut self) -> usize {
        std::mem::replace(&mut self.moved_bytes, 0) + self.edges.take_moved_bytes()
    }
}

/// The depth of the topic behind the levels of a node, the first of which matches the topic's level
/// at `depth`; None when the topic has other levels. A `#` takes all that are left.
fn behind(
    node: &[u8],
    topic: &[TopicLevel<'_>],
    mut depth: u32,
    visits: &mut usize,
) -> Option<u32> {
    let first = match node.first() {
        Some(b'#') => return Some(topic.len() as u32),
        Some(b'+') => 1,
        _ => topic[depth as usize].text.len(),
    };
    depth += 1;
    *visits += first / VISIT_BYTES;
    let Some(rest) = node.get(first + 1..) else { return Some(depth) };
    for level in rest.split(is_separator) {
        *visits += 1 + level.len() / VISIT_BYTES;
        if level == b"#" {
            return Some(topic.len() as u32);
        }
        let of_topic = topic.get(depth as usize)?;
        if level != b"+" && level != of_topic.text {
            return None;
        }
        depth += 1;
    }
    Some(depth)
}

/// True for the byte between two levels.
const fn is_separator(byte: &u8) -> bool {
    *byte == b'/'
}

fn first_level(levels: &str) -> &[u8] {
    levels.as_bytes().split(is_separator).next().unwrap_or_default()
}

/// True when `level` is the first of the levels.
#[inline]
fn begins_with(levels: &str, level: &[u8]) -> bool {
    let behind = levels.as_bytes().strip_prefix(level);
    behind.is_some_and(|behind| behind.first().is_none_or(|next| *next == b'/'))
}

/// The length of the levels with which both begin, of which there is at least one.
fn common_levels(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let ends = |levels: &[u8]| levels.get(same).is_none_or(|next| *next == b'/');
    if ends(one) && ends(other) {
        return same;
    }
    one[..same].iter().rposition(|byte| *byte == b'/').expect("the first level is the same")
}

impl<T> std::ops::Index<NodeId> for FilterTree<T> {
    type Output = T;

    fn index(&self, node: NodeId) -> &T {
        &self.nodes.slots[node].value
    }
}

impl<T> std::ops::IndexMut<NodeId> for FilterTree<T> {
    fn index_mut(&mut self, node: NodeId) -> &mut T {
        &mut self.nodes.slots[node].value
    }
}

impl<T> Nodes<T> {
    #[inline]
    fn hash_level(&self, level: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(level);
        hasher.finish()
    }

    /// The hash of a node by its parent and the hash of its first level.
    #[inline]
    fn hash_below(&self, parent: NodeId, level: u64) -> u64 {
        let product = u128::from(level ^ u64::from(parent)) * u128::from(self.factor);
        product as u64 ^ (product >> 64) as u64
    }

    /// The parent of a node, and whether the node's first level is `+` and whether it is `#`.
    fn above(&mut self, id: NodeId) -> (&mut Node<T>, bool, bool) {
        let node = &self.slots[id];
        let first = first_level(&node.levels);
        let (parent, is_plus, is_hash) = (node.parent, first == b"+", first == b"#");
        (&mut self.slots[parent], is_plus, is_hash)
    }
}

impl<T> Items for Nodes<T> {
    fn next(&mut self, item: NodeId) -> &mut NodeId {
        &mut self.slots[item].next
    }

    fn hash(&self, item: NodeId) -> u64 {
        let node = &self.slots[item];
        self.hash_below(node.parent, self.hash_level(first_level(&node.levels)))
    }
}

impl<T: Default> Node<T> {
    fn new(levels: &str, parent: NodeId) -> Self {
        Self {
            levels: levels.into(),
            parent,
            next: NONE,
            plus: NONE,
            others: 0,
            other: 0,
            value: T::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use crate::mqtt;
    use std::collections::BTreeMap;

    /// Few levels, of which some begin others, so that filters and topics meet often.
    fn text(prng: &mut Prng, alphabet: &[&str], levels_max: u64) -> String {
        let count = 1 + prng.below(levels_max);
        let level = |_| alphabet[prng.below(alphabet.len() as u64) as usize];
        (0..count).map(level).collect::<Vec<_>>().join("/")
    }

    fn filter(prng: &mut Prng, levels_max: u64) -> String {
        let filter = text(prng, &["a", "a", "aa", "b", "", "+", "+", "$x"], levels_max);
        if prng.chance(20) { filter + "/#" } else { filter }
    }

    /// A tree, and its filters as they are known in the plainest way: with their nodes.
    struct Both {
        tree: FilterTree<u32>,
        plain: BTreeMap<String, NodeId>,
    }

    impl Both {
        fn insert(&mut self, filter: &str) {
            let node = self.tree.insert(filter);
            self.tree[node] = 1;
            let known = self.plain.insert(filter.to_owned(), node);
            assert!(known.is_none_or(|known| known == node), "{filter} keeps its node");
        }

        /// Inserts a filter for nothing, unless it is there.
        fn touch(&mut self, filter: &str) {
            let node = self.tree.insert(filter);
            self.tree.prune(node, |value| *value == 0);
        }

        fn remove(&mut self, filter: &str) {
            let found = self.tree.find(filter).filter(|node| self.tree[*node] > 0);
            assert_eq!(found, self.plain.remove(filter), "{filter}");
            if let Some(node) = found {
                self.tree[node] = 0;
                self.tree.prune(node, |value| *value == 0);
            }
        }

        /// Compares everything.
        fn check(&self) {
            let (nodes, filters) = (self.tree.len(), self.plain.len());
            assert!(nodes <= (2 * filters).saturating_sub(1), "{nodes} nodes, {filters} filters");
            for (filter, node) in &self.plain {
                assert_eq!(self.tree.find(filter), Some(*node), "{filter}");
                assert_eq!((self.tree.filter(*node), self.tree[*node]), (filter.clone(), 1));
            }
        }

        fn check_matching(&mut self, topic: &str) {
            let mut found = Vec::new();
            let visits = self.tree.matching(topic, |node, value| {
                found.extend((*value > 0).then_some(node));
            });
            found.sort_unstable();
            let is_match = |(filter, _): &(&String, &NodeId)| mqtt::matches(filter, topic);
            let mut expected: Vec<_> =
                self.plain.iter().filter(is_match).map(|(_, node)| *node).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{topic}");
            let levels: usize = self.plain.keys().map(|filter| mqtt::level_count(filter)).sum();
            assert!(visits <= 1 + levels, "{visits} visits of {levels} levels");
        }
    }

    #[test]
    fn it_is_what_a_list_of_filters_is() {
        for seed in 0..300 {
            let mut prng = Prng::new(seed);
            let mut both = Both { tree: FilterTree::new(seed), plain: BTreeMap::new() };
            let levels_max = 1 + seed % 9;
            for step in 0..300 {
                let filter = filter(&mut prng, levels_max);
                let grows = step / 75 % 2 == 0;
                match prng.below(10) {
                    0 => both.touch(&filter),
                    1..7 if grows => both.insert(&filter),
                    7.. if !grows => both.insert(&filter),
                    _ => {
                        let known = both.plain.range(filter.clone()..).next();
                        let known = known.map_or(filter, |(known, _)| known.clone());
                        both.remove(&known);
                    }
                }
                if step % 5 == 0 {
                    both.check();
                }
                let topic = text(&mut prng, &["a", "a", "aa", "b", "", "$x"], levels_max + 1);
                both.check_matching(&topic);
            }
            both.check();
            for filter in both.plain.keys().cloned().collect::<Vec<_>>() {
                both.remove(&filter);
            }
            assert_eq!(both.tree.len(), 0, "seed {seed}");
            let Node { plus, others, other, .. } = both.tree.nodes.slots[ROOT];
            assert_eq!((plus, others, other), (NONE, 0, 0), "seed {seed}");
        }
    }

    #[test]
    fn a_level_that_is_compared_is_a_visit() {
        let mut tree = FilterTree::<u32>::new(1);
        tree.insert(&("a/".repeat(100) + "b"));
        tree.insert(&("+/".repeat(50) + "b"));
        assert_eq!(tree.len(), 2);
        let mut visits = |topic: &str| tree.matching(topic, |_, _| panic!("none matches"));
        assert_eq!(visits("x"), 1 + 2, "the root, and what follows the + to its end");
        assert_eq!(visits(&("a/".repeat(10) + "x")), 1 + 11 + 12);
        assert_eq!(visits(&("a/".repeat(100) + "x")), 1 + 101 + 51);
    }
}

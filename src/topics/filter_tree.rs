//! A tree of topic filters, one node a level, with a value at each node.
//!
//! Matching walks the tree with a list of its own instead of recursion: a topic of any depth needs
//! no stack, and never visits a node twice.

use super::levels::{LevelId, Levels};
use crate::base::maps::HashMap;
use slab::Slab;
use smallvec::SmallVec;

/// Names a node while it exists.
pub(crate) type NodeId = u32;

const ROOT: NodeId = 0;
const NONE: NodeId = NodeId::MAX;

/// Filters, each with a value.
#[derive(Debug)]
pub struct FilterTree<T> {
    levels: Levels,
    nodes: Slab<Node<T>>,
    /// The child by a level's text; `+` and `#` have fields of their own.
    edges: HashMap<(NodeId, LevelId), NodeId>,
    pending: Vec<(NodeId, u32)>,
}

#[derive(Debug)]
struct Node<T> {
    parent: NodeId,
    level: Level,
    plus: NodeId,
    hash: NodeId,
    /// The number of children of every kind.
    children: u32,
    value: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Text(LevelId),
    Plus,
    Hash,
}

impl<T: Default> FilterTree<T> {
    /// Makes an empty tree; `seed` goes into the hash of levels, which peers choose.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(NONE, Level::Hash));
        Self { levels: Levels::new(seed), nodes, edges: HashMap::default(), pending: Vec::new() }
    }

    /// The node of a valid filter, if there is one.
    #[must_use]
    pub(crate) fn find(&self, filter: &str) -> Option<NodeId> {
        let mut node = ROOT;
        for text in filter.split('/') {
            node = match text {
                "+" => self.nodes[node as usize].plus,
                "#" => self.nodes[node as usize].hash,
                _ => *self.edges.get(&(node, self.levels.find(text)))?,
            };
            if node == NONE {
                return None;
            }
        }
        Some(node)
    }

    /// The node of a valid filter, which is made if it is missing.
    pub fn insert(&mut self, filter: &str) -> NodeId {
        filter.split('/').fold(ROOT, |node, text| self.child(node, text))
    }

    fn child(&mut self, parent: NodeId, text: &str) -> NodeId {
        let known = match text {
            "+" => self.nodes[parent as usize].plus,
            "#" => self.nodes[parent as usize].hash,
            _ => self.edges.get(&(parent, self.levels.find(text))).copied().unwrap_or(NONE),
        };
        if known != NONE {
            return known;
        }
        let level = match text {
            "+" => Level::Plus,
            "#" => Level::Hash,
            _ => Level::Text(self.levels.acquire(text)),
        };
        let id = self.nodes.insert(Node::new(parent, level)) as NodeId;
        let node = &mut self.nodes[parent as usize];
        node.children += 1;
        match level {
            Level::Plus => node.plus = id,
            Level::Hash => node.hash = id,
            Level::Text(level) => drop(self.edges.insert((parent, level), id)),
        }
        id
    }

    /// Removes `node`, whose value is empty, and every ancestor that `is_empty` and has no other
    /// child. Does nothing while the node has children.
    pub(crate) fn prune(&mut self, mut node: NodeId, is_empty: impl Fn(&T) -> bool) {
        while node != ROOT {
            let Node { parent, level, children, ref value, .. } = self.nodes[node as usize];
            if children > 0 || !is_empty(value) {
                return;
            }
            self.nodes.remove(node as usize);
            let above = &mut self.nodes[parent as usize];
            above.children -= 1;
            match level {
                Level::Plus => above.plus = NONE,
                Level::Hash => above.hash = NONE,
                Level::Text(level) => {
                    self.edges.remove(&(parent, level));
                    self.levels.release(level);
                }
            }
            node = parent;
        }
    }

    /// Calls `found` with every node whose filter matches the valid topic name `topic`. Returns the
    /// number of nodes that were visited.
    // [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.2-1]
    pub fn matching(&mut self, topic: &str, mut found: impl FnMut(NodeId, &T)) -> usize {
        let topic_levels: SmallVec<[LevelId; 16]> =
            topic.split('/').map(|text| self.levels.find(text)).collect();
        let mut pending = std::mem::take(&mut self.pending);
        pending.push((ROOT, 0));
        let mut visits = 0;
        while let Some((id, depth)) = pending.pop() {
            visits += 1;
            let node = &self.nodes[id as usize];
            let wildcards = depth > 0 || !topic.starts_with('$');
            if node.hash != NONE && wildcards {
                found(node.hash, &self.nodes[node.hash as usize].value);
            }
            let Some(&level) = topic_levels.get(depth as usize) else {
                found(id, &node.value);
                continue;
            };
            if node.plus != NONE && wildcards {
                pending.push((node.plus, depth + 1));
            }
            if level != LevelId::UNKNOWN
                && let Some(&child) = self.edges.get(&(id, level))
            {
                pending.push((child, depth + 1));
            }
        }
        self.pending = pending;
        visits
    }

    /// The filter that `node` stands for.
    #[must_use]
    pub(crate) fn filter(&self, mut node: NodeId) -> String {
        let mut texts = Vec::new();
        while node != ROOT {
            let Node { parent, level, .. } = self.nodes[node as usize];
            texts.push(match level {
                Level::Plus => "+",
                Level::Hash => "#",
                Level::Text(level) => self.levels.text(level),
            });
            node = parent;
        }
        texts.reverse();
        texts.join("/")
    }

    /// The number of nodes without the root.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - 1
    }
}

impl<T> std::ops::Index<NodeId> for FilterTree<T> {
    type Output = T;

    fn index(&self, node: NodeId) -> &T {
        &self.nodes[node as usize].value
    }
}

impl<T> std::ops::IndexMut<NodeId> for FilterTree<T> {
    fn index_mut(&mut self, node: NodeId) -> &mut T {
        &mut self.nodes[node as usize].value
    }
}

impl<T: Default> Node<T> {
    fn new(parent: NodeId, level: Level) -> Self {
        Self { parent, level, plus: NONE, hash: NONE, children: 0, value: T::default() }
    }
}

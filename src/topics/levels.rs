//! Topic levels as numbers, so that the tree compares four bytes instead of strings.

use crate::base::maps::{self, HashMap};
use slab::Slab;

/// A level that is in use by at least one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LevelId(u32);

impl LevelId {
    /// The number of levels that no filter has.
    pub(super) const UNKNOWN: Self = Self(u32::MAX);
}

/// The levels in use, with their counts.
#[derive(Debug)]
pub(super) struct Levels {
    ids: HashMap<Box<str>, LevelId>,
    texts: Slab<(Box<str>, u32)>,
}

impl Levels {
    pub(super) fn new(seed: u64) -> Self {
        Self { ids: maps::seeded(seed), texts: Slab::new() }
    }

    /// The number of `text`, or [`LevelId::UNKNOWN`].
    pub(super) fn find(&self, text: &str) -> LevelId {
        self.ids.get(text).copied().unwrap_or(LevelId::UNKNOWN)
    }

    /// The number of `text`, with one use more.
    pub(super) fn acquire(&mut self, text: &str) -> LevelId {
        if let Some(&id) = self.ids.get(text) {
            self.texts[id.0 as usize].1 += 1;
            return id;
        }
        let id = LevelId(self.texts.insert((text.into(), 1)) as u32);
        self.ids.insert(text.into(), id);
        id
    }

    /// Takes one use away.
    pub(super) fn release(&mut self, id: LevelId) {
        let (text, uses) = &mut self.texts[id.0 as usize];
        *uses -= 1;
        if *uses == 0 {
            self.ids.remove(text);
            self.texts.remove(id.0 as usize);
        }
    }

    /// The text of a level in use.
    pub(super) fn text(&self, id: LevelId) -> &str {
        &self.texts[id.0 as usize].0
    }
}

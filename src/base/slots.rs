//! Slots reused, ids never: an id names a slot and its generation, so a stale id finds nothing.

use slab::Slab;

/// Names one occupant of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// The slot, dense from 0.
    pub slot: u32,
    /// How many occupants the slots had had when this one came; wraps after 2³² of them.
    pub generation: u32,
}

/// A slab whose occupants are found by [`Id`].
///
/// Each occupant has an allocation of its own: when the slab grows only pointers move, and its
/// former memory, which the allocator may keep, is small.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Slab<(u32, Box<T>)>,
    generation: u32,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Slab::new(), generation: 0 }
    }
}

impl<T> Slots<T> {
    /// Puts `value` into a free slot.
    pub fn insert(&mut self, value: T) -> Id {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.slots.insert((self.generation, Box::new(value)));
        let slot = u32::try_from(slot).expect("fewer than 2³² slots");
        Id { slot, generation: self.generation }
    }

    /// The occupant `id`, unless it has gone.
    #[must_use]
    pub fn get(&self, id: Id) -> Option<&T> {
        let (generation, value) = self.slots.get(id.slot as usize)?;
        (*generation == id.generation).then_some(&**value)
    }

    /// The occupant `id`, unless it has gone.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(id.slot as usize)?;
        (*generation == id.generation).then_some(&mut **value)
    }

    /// The id of whoever occupies `slot` now.
    #[must_use]
    pub fn id_at(&self, slot: u32) -> Option<Id> {
        let (generation, _) = self.slots.get(slot as usize)?;
        Some(Id { slot, generation: *generation })
    }

    /// Takes the occupant out; its id finds nothing from now on.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        Some(*self.slots.remove(id.slot as usize).1)
    }

    /// Everyone, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots.iter().map(|(slot, (generation, value))| {
            (Id { slot: slot as u32, generation: *generation }, &**value)
        })
    }

    /// How many slots are occupied.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True when no slot is occupied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// The occupant of a slot that is known to be occupied, as a dense index knows it.
///
/// # Panics
/// When the slot is free: the index is wrong.
impl<T> std::ops::Index<u32> for Slots<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: u32) -> &T {
        &self.slots[slot as usize].1
    }
}

impl<T> std::ops::IndexMut<u32> for Slots<T> {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.slots[slot as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slots = Slots::default();
        let old = slots.insert("old");
        assert_eq!(slots.remove(old), Some("old"));
        let new = slots.insert("new");
        assert_eq!(new.slot, old.slot);
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.get(new), Some(&"new"));
    }
}

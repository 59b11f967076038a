//! Slots that grow without moving their occupants, and whose memory goes with them.

use crate::base::visits::visit;
use slab::Slab;

/// The slots of one slab.
const SLAB_SLOTS: usize = 128;

/// Values in slots, which are named by numbers from 0. Memory comes and goes a slab of
/// [`SLAB_SLOTS`] slots at a time: one long list would be copied as it grows, into twice the room,
/// and keep that room when it is empty.
#[derive(Debug)]
pub(super) struct Slabs<T> {
    slabs: Vec<Slab<T>>,
    /// The slabs with a free slot, each once.
    roomy: Vec<u32>,
    len: usize,
}

impl<T> Slabs<T> {
    pub(super) const fn new() -> Self {
        Self { slabs: Vec::new(), roomy: Vec::new(), len: 0 }
    }

    /// The number of occupied slots.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The bytes that the slots take, if no slab is empty.
    pub(super) const fn memory(&self) -> usize {
        self.slabs.len() * (SLAB_SLOTS * size_of::<T>() + size_of::<Slab<T>>())
    }

    /// Puts `value` into a free slot.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        visit(1);
        let number = self.roomy.last().map_or(self.slabs.len(), |number| *number as usize);
        if number == self.slabs.len() {
            self.roomy.push(number as u32);
            self.slabs.push(Slab::new());
        }
        let slab = &mut self.slabs[number];
        if slab.capacity() == 0 {
            *slab = Slab::with_capacity(SLAB_SLOTS);
        }
        let slot = slab.insert(value);
        if slab.len() == SLAB_SLOTS {
            self.roomy.pop();
        }
        self.len += 1;
        u32::try_from(number * SLAB_SLOTS + slot).expect("fewer than 2³² slots")
    }

    /// Takes the occupant of an occupied slot.
    pub(super) fn remove(&mut self, slot: u32) -> T {
        visit(1);
        let number = slot as usize / SLAB_SLOTS;
        let slab = &mut self.slabs[number];
        if slab.len() == SLAB_SLOTS {
            self.roomy.push(number as u32);
        }
        let value = slab.remove(slot as usize % SLAB_SLOTS);
        if slab.is_empty() {
            *slab = Slab::new();
        }
        self.len -= 1;
        value
    }

    /// The occupied slots with their occupants.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let first = |number: usize| (number * SLAB_SLOTS) as u32;
        let slabs = self.slabs.iter().enumerate();
        let all = slabs.flat_map(move |(number, slab)| {
            slab.iter().map(move |(slot, value)| (first(number) + slot as u32, value))
        });
        all.inspect(|_| visit(1))
    }
}

impl<T> std::ops::Index<u32> for Slabs<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: u32) -> &T {
        &self.slabs[slot as usize / SLAB_SLOTS][slot as usize % SLAB_SLOTS]
    }
}

impl<T> std::ops::IndexMut<u32> for Slabs<T> {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.slabs[slot as usize / SLAB_SLOTS][slot as usize % SLAB_SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use std::collections::BTreeMap;

    #[test]
    fn occupants_keep_their_slots_and_empty_slabs_have_no_memory() {
        let mut prng = Prng::new(1);
        let (mut slabs, mut plain) = (Slabs::new(), BTreeMap::new());
        for step in 0..20_000_u64 {
            let grows = step / 4000 % 2 == 0;
            if prng.chance(if grows { 70 } else { 30 }) {
                let slot = slabs.insert(step);
                assert_eq!(plain.insert(slot, step), None, "slot {slot} was free");
            } else if let Some((&slot, _)) = plain.range(prng.below(3000) as u32..).next() {
                assert_eq!(Some(slabs.remove(slot)), plain.remove(&slot));
            }
            assert_eq!(slabs.len(), plain.len());
        }
        assert!(plain.iter().all(|(slot, value)| slabs[*slot] == *value));
        while let Some((slot, value)) = plain.pop_first() {
            assert_eq!(slabs.remove(slot), value);
        }
        assert!(slabs.slabs.iter().all(|slab| slab.capacity() == 0));
        assert!((0..10_000).all(|value| slabs.insert(value) < 10_112));
    }
}

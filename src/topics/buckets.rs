//! A hash table of chains that grows and shrinks by one chain at a time (linear hashing): no
//! insertion moves everything that is there into twice the room, and what has gone leaves no
//! memory behind.
//!
//! ```text
//! heads  │ 0 │ 1 │ 2 │ 3 │ 4 │     chain 4 is new: it has got its items from chain 0; when
//!          │       │       │       chain 5 comes, chain 1 is divided, and so on
//!          7 ▸ 3   9       2 ▸ 5
//! ```

use crate::base::visits::{moved, visit};

/// The end of a chain.
pub(super) const NONE: u32 = u32::MAX;

/// The items of a table, by number.
pub(super) trait Items {
    /// The item behind this one in its chain, which only the table changes.
    fn next(&mut self, item: u32) -> &mut u32;

    /// The hash of an item.
    fn hash(&self, item: u32) -> u64;
}

/// The table: there are about as many chains as items.
#[derive(Debug)]
pub(super) struct Buckets {
    /// The first item of each chain.
    heads: Vec<u32>,
    len: usize,
    /// Bytes of `heads` that moved since they were last asked for.
    moved_bytes: usize,
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self { heads: vec![NONE], len: 0, moved_bytes: 0 }
    }

    /// The bytes that the chains take, without their items.
    pub(super) const fn memory(&self) -> usize {
        self.heads.capacity() * size_of::<u32>()
    }

    /// The bytes that the table has moved since the last call, to grow or to shrink.
    pub(super) const fn take_moved_bytes(&mut self) -> usize {
        std::mem::replace(&mut self.moved_bytes, 0)
    }

    fn note_moved(&mut self) {
        let bytes = self.heads.len() * size_of::<u32>();
        moved(bytes);
        self.moved_bytes += bytes;
    }

    /// The first item of the chain for a hash.
    #[inline]
    pub(super) fn first(&self, hash: u64) -> u32 {
        visit(1);
        self.heads[self.place(hash)]
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        let mask = self.heads.len().next_power_of_two() - 1;
        let place = hash as usize & mask;
        if place < self.heads.len() { place } else { place & (mask >> 1) }
    }

    /// Adds an item.
    pub(super) fn insert(&mut self, item: u32, items: &mut impl Items) {
        self.put(item, items);
        self.len += 1;
        if self.len > self.heads.len() {
            self.divide(items);
        }
    }

    fn put(&mut self, item: u32, items: &mut impl Items) {
        visit(1);
        let place = self.place(items.hash(item));
        *items.next(item) = std::mem::replace(&mut self.heads[place], item);
    }

    /// Removes an item that is there.
    pub(super) fn remove(&mut self, item: u32, items: &mut impl Items) {
        visit(1);
        let place = self.place(items.hash(item));
        let behind = *items.next(item);
        let mut link = &mut self.heads[place];
        while *link != item {
            visit(1);
            let before = *link;
            link = items.next(before);
        }
        *link = behind;
        self.len -= 1;
        while self.len < self.heads.len() / 2 {
            self.unite(items);
        }
    }

    /// Adds a chain, which takes its items from another one.
    fn divide(&mut self, items: &mut impl Items) {
        let chains = self.heads.len();
        visit(1);
        if chains == self.heads.capacity() {
            self.note_moved();
            self.heads.reserve_exact(chains / 8 + 16);
        }
        self.heads.push(NONE);
        let mut item = std::mem::replace(&mut self.heads[origin(chains)], NONE);
        while item != NONE {
            let behind = *items.next(item);
            self.put(item, items);
            item = behind;
        }
    }

    /// Removes the last chain, whose items go back to where they came from.
    fn unite(&mut self, items: &mut impl Items) {
        let Some(first) = self.heads.pop() else { return };
        visit(1);
        let last = self.heads.len();
        let mut link = &mut self.heads[origin(last)];
        while *link != NONE {
            visit(1);
            let before = *link;
            link = items.next(before);
        }
        *link = first;
        if self.heads.len() + 16 < self.heads.capacity() / 2 {
            self.note_moved();
            self.heads.shrink_to(self.heads.len() + 16);
        }
    }
}

/// The chain from which the one at `place`, which is not the first, has got its items.
const fn origin(place: usize) -> usize {
    place ^ (1 << place.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use std::collections::BTreeSet;

    /// Each item with its hash.
    struct Numbers(Vec<(u32, u64)>);

    impl Items for Numbers {
        fn next(&mut self, item: u32) -> &mut u32 {
            &mut self.0[item as usize].0
        }

        fn hash(&self, item: u32) -> u64 {
            self.0[item as usize].1
        }
    }

    fn chain(buckets: &Buckets, numbers: &mut Numbers, hash: u64) -> Vec<u32> {
        let mut chain = Vec::new();
        let mut item = buckets.first(hash);
        while item != NONE {
            chain.push(item);
            item = *numbers.next(item);
        }
        chain
    }

    #[test]
    fn every_item_is_in_the_chain_for_its_hash_and_chains_are_short() {
        for seed in 0..20 {
            let mut prng = Prng::new(seed);
            let mut numbers = Numbers((0..2000).map(|_| (NONE, prng.next())).collect());
            let (mut buckets, mut there) = (Buckets::new(), BTreeSet::new());
            for step in 0..8000 {
                let item = prng.below(2000) as u32;
                let grows = step / 2000 % 2 == 0;
                if grows && there.insert(item) {
                    buckets.insert(item, &mut numbers);
                } else if !grows && there.remove(&item) {
                    buckets.remove(item, &mut numbers);
                }
                let hash = numbers.hash(item);
                let is_there = chain(&buckets, &mut numbers, hash);
                assert_eq!(is_there.contains(&item), there.contains(&item), "seed {seed}");
                assert!(is_there.len() < 24, "seed {seed}: {} in one chain", is_there.len());
            }
            for item in std::mem::take(&mut there) {
                let hash = numbers.hash(item);
                assert!(chain(&buckets, &mut numbers, hash).contains(&item), "seed {seed}");
                buckets.remove(item, &mut numbers);
            }
            assert!(buckets.heads.iter().all(|head| *head == NONE));
            assert!(buckets.heads.len() == 1 && buckets.heads.capacity() < 64);
        }
    }
}

//! A queue that grows without moving its items: a thousand long queues that all get one more do not
//! all have to be copied in the same turn, as those of [`VecDeque`](std::collections::VecDeque)
//! would. An item in the middle is found by its place, and leaves no gap:
//!
//! ```text
//! places   0 .. 63         64 .. 127       192 .. 255     a piece for 64 places that follow
//! piece  │ – 1 – 3 4 … │ │ 64 65 …   │   │ 192 – 194 │     each other, unless all items are gone
//! kept     0 1 0 1 1 …     1 1 …           1 0 1          one bit a place
//! items    1 3 4 …         64 65 …         192 194        only those that are there
//! ```

use super::visits::visit;
use std::collections::{BTreeMap, VecDeque};

/// Places of one piece, the bits of a word: few enough that a new piece costs next to nothing, and
/// enough that most queues are one.
const PIECE_PLACES: u64 = u64::BITS as u64;

/// First in, first out; but items may leave from the middle.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// The number of the first piece, and the piece; empty only when the queue is.
    first_number: u64,
    first: Piece<T>,
    /// The pieces behind it, by number; none of them is empty.
    rest: BTreeMap<u64, Piece<T>>,
    len: usize,
    /// The place of the next item.
    next: u64,
}

/// The items of [`PIECE_PLACES`] places.
#[derive(Debug)]
struct Piece<T> {
    /// The places that have an item, the first one in the lowest bit.
    kept: u64,
    items: VecDeque<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { first_number: 0, first: Piece::new(0), rest: BTreeMap::new(), len: 0, next: 0 }
    }
}

impl<T> Queue<T> {
    /// The number of items.
    #[must_use]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The item that has been there longest.
    #[must_use]
    pub(crate) fn front(&self) -> Option<&T> {
        self.first.items.front()
    }

    /// Puts an item behind the others, and returns its place, which is greater than all before it.
    pub(crate) fn push_back(&mut self, item: T) -> u64 {
        visit(1);
        let place = self.next;
        self.next += 1;
        let number = place / PIECE_PLACES;
        if self.is_empty() {
            self.first_number = number;
        }
        self.len += 1;
        let piece = match number == self.first_number {
            true => &mut self.first,
            false => self.rest.entry(number).or_insert_with(|| Piece::new(PIECE_PLACES as usize)),
        };
        piece.kept |= bit(place);
        piece.items.push_back(item);
        place
    }

    /// Takes the item that has been there longest, with its place.
    pub(crate) fn pop_front(&mut self) -> Option<(u64, T)> {
        visit(1);
        let item = self.first.items.pop_front()?;
        let offset = u64::from(self.first.kept.trailing_zeros());
        self.first.kept &= self.first.kept - 1;
        let place = self.first_number * PIECE_PLACES + offset;
        self.note_taken();
        Some((place, item))
    }

    /// Takes the item at a place.
    pub(crate) fn take(&mut self, place: u64) -> Option<T> {
        visit(1);
        let number = place / PIECE_PLACES;
        if number == self.first_number {
            let item = self.first.take(place)?;
            self.note_taken();
            return Some(item);
        }
        let piece = self.rest.get_mut(&number)?;
        let item = piece.take(place)?;
        if piece.items.is_empty() {
            self.rest.remove(&number);
        }
        self.len -= 1;
        Some(item)
    }

    /// The item at a place, if it is there.
    pub(crate) fn get(&self, place: u64) -> Option<&T> {
        visit(1);
        let number = place / PIECE_PLACES;
        let is_first = number == self.first_number;
        let piece = if is_first { &self.first } else { self.rest.get(&number)? };
        piece.items.get(piece.index(place)?)
    }

    /// The items with their places, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let first = std::iter::once((&self.first_number, &self.first));
        let pieces = first.chain(&self.rest);
        let items = pieces.flat_map(|(number, piece)| piece.iter(number * PIECE_PLACES));
        items.inspect(|_| visit(1))
    }

    /// Counts an item that has left the first piece.
    fn note_taken(&mut self) {
        self.len -= 1;
        if self.first.items.is_empty()
            && let Some((number, piece)) = self.rest.pop_first()
        {
            (self.first_number, self.first) = (number, piece);
        }
    }
}

impl<T> Piece<T> {
    fn new(capacity: usize) -> Self {
        Self { kept: 0, items: VecDeque::with_capacity(capacity) }
    }

    /// The number of items before the one at a place, if there is one.
    fn index(&self, place: u64) -> Option<usize> {
        let bit = bit(place);
        (self.kept & bit != 0).then(|| (self.kept & (bit - 1)).count_ones() as usize)
    }

    fn take(&mut self, place: u64) -> Option<T> {
        let index = self.index(place)?;
        self.kept &= !bit(place);
        let item = self.items.remove(index);
        if self.items.len() * 4 < self.items.capacity() {
            self.items.shrink_to(self.items.len() * 2);
        }
        item
    }

    fn iter(&self, from: u64) -> impl Iterator<Item = (u64, &T)> {
        let mut rest = self.kept;
        self.items.iter().map(move |item| {
            let offset = u64::from(rest.trailing_zeros());
            rest &= rest - 1;
            (from + offset, item)
        })
    }
}

/// The bit of a place within its piece.
const fn bit(place: u64) -> u64 {
    1 << (place % PIECE_PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn it_is_what_a_plain_queue_is() {
        let mut prng = Prng::new(1);
        let (mut queue, mut plain) = (Queue::default(), VecDeque::new());
        let mut longest = 0;
        for step in 0..10_000_u64 {
            match prng.below(100) {
                0 if prng.chance(20) => {
                    let divisor = 1 + prng.below(4);
                    let goes = |item: &u64| !item.is_multiple_of(divisor);
                    let gone: Vec<u64> =
                        queue.iter().filter(|(_, item)| goes(item)).map(|(at, _)| at).collect();
                    assert!(
                        gone.into_iter().all(|place| queue.take(place).is_some_and(|i| goes(&i)))
                    );
                    plain.retain(|(_, item)| !goes(item));
                }
                1..30 => assert_eq!(queue.pop_front(), plain.pop_front()),
                30..45 if !plain.is_empty() => {
                    let among = prng.below(plain.len() as u64) as usize;
                    let (place, item) = plain.remove(among).unwrap();
                    assert_eq!(queue.take(place), Some(item));
                    assert_eq!(queue.take(place), None, "it is gone");
                }
                _ => plain.push_back((queue.push_back(step), step)),
            }
            assert_eq!((queue.len(), queue.front()), (plain.len(), plain.front().map(|(_, i)| i)));
            assert_eq!(queue.is_empty(), plain.is_empty());
            assert!(queue.iter().eq(plain.iter().map(|(place, item)| (*place, item))));
            longest = longest.max(plain.len());
        }
        assert!(longest > PIECE_PLACES as usize * 2, "{longest} are in more than one piece");
    }

    #[test]
    fn items_that_leave_from_the_middle_leave_no_memory_behind() {
        let mut queue = Queue::default();
        queue.push_back(0);
        for item in 1..100_000 {
            let place = queue.push_back(item);
            if item % 1000 != 0 {
                assert_eq!(queue.take(place), Some(item));
            }
        }
        assert_eq!(queue.len(), 100);
        let capacity: usize = queue.rest.values().map(|piece| piece.items.capacity()).sum();
        assert!(capacity <= 4 * queue.len() + PIECE_PLACES as usize, "room for {capacity}");
        assert!(queue.rest.len() <= queue.len());
    }
}

//! A queue that grows without moving its items: a thousand long queues that all get one more do not
//! all have to be copied in the same turn, as those of [`VecDeque`] would.

use std::collections::VecDeque;

/// Items kept in one piece: few enough that a new piece costs next to nothing, and enough that most
/// queues are one.
const PIECE_ITEMS: usize = 64;

/// First in, first out.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    first: VecDeque<T>,
    /// None of them is empty.
    rest: VecDeque<VecDeque<T>>,
    len: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { first: VecDeque::new(), rest: VecDeque::new(), len: 0 }
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
        self.first.front()
    }

    /// Puts an item behind the others.
    pub(crate) fn push_back(&mut self, item: T) {
        self.len += 1;
        let last = self.rest.back_mut().unwrap_or(&mut self.first);
        if last.len() < PIECE_ITEMS {
            return last.push_back(item);
        }
        let mut piece = VecDeque::with_capacity(PIECE_ITEMS);
        piece.push_back(item);
        self.rest.push_back(piece);
    }

    /// Takes the item that has been there longest.
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let item = self.first.pop_front()?;
        self.len -= 1;
        self.refill();
        Some(item)
    }

    /// The items, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.rest.iter().flatten())
    }

    /// Keeps the items for which `keep` is true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.first.retain(&mut keep);
        self.rest.iter_mut().for_each(|piece| piece.retain(&mut keep));
        self.rest.retain(|piece| !piece.is_empty());
        self.len = self.first.len() + self.rest.iter().map(VecDeque::len).sum::<usize>();
        self.refill();
    }

    fn refill(&mut self) {
        if self.first.is_empty()
            && let Some(piece) = self.rest.pop_front()
        {
            self.first = piece;
        }
    }
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
        for step in 0..5_000_u64 {
            match prng.below(100) {
                0 if prng.chance(20) => {
                    let divisor = 1 + prng.below(4);
                    queue.retain(|item| item % divisor == 0);
                    plain.retain(|item| item % divisor == 0);
                }
                1..45 => assert_eq!(queue.pop_front(), plain.pop_front()),
                _ => {
                    queue.push_back(step);
                    plain.push_back(step);
                }
            }
            assert_eq!((queue.len(), queue.front()), (plain.len(), plain.front()));
            assert_eq!(queue.is_empty(), plain.is_empty());
            assert!(queue.iter().eq(&plain));
            longest = longest.max(plain.len());
        }
        assert!(longest > PIECE_ITEMS * 2, "{longest} are in more than one piece");
    }
}

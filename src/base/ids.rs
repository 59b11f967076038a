//! Ids, each of a type of its own, and the slots that some of them name.
//!
//! A link is no session and a worker no listener: where one is wanted, another does not compile.
//!
//! ```compile_fail
//! use ringmq::base::ids::{LinkId, SessionId, Slots};
//! let mut sessions: Slots<SessionId, &str> = Slots::default();
//! let link = LinkId::new(0, 1);
//! sessions.remove(link); // A link names no session.
//! ```

use serde::{Deserialize, Serialize};
use slab::Slab;
use std::fmt;
use std::marker::PhantomData;

/// Names one occupant of one slot: a slot, dense from 0, and a generation, which is how many
/// occupants all slots had had when this one came. Slots are reused, generations are not before
/// 2³² occupants have come; so the id of an occupant that has gone finds nothing.
pub trait SlotId: Copy + Eq {
    /// The id of a slot's occupant.
    fn new(slot: u32, generation: u32) -> Self;

    /// The slot.
    fn slot(self) -> u32;

    /// The generation.
    fn generation(self) -> u32;
}

macro_rules! slot_id {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            /// The slot, dense from 0.
            pub slot: u32,
            /// The number of occupants that the slots had had when this one came.
            pub generation: u32,
        }

        impl $name {
            /// The id of a slot's occupant.
            #[must_use]
            pub const fn new(slot: u32, generation: u32) -> Self {
                Self { slot, generation }
            }
        }

        impl SlotId for $name {
            fn new(slot: u32, generation: u32) -> Self {
                Self { slot, generation }
            }

            fn slot(self) -> u32 {
                self.slot
            }

            fn generation(self) -> u32 {
                self.generation
            }
        }
    };
}

slot_id! {
    /// Names a connection of one worker, in the ring's tokens and in the shard alike.
    LinkId
}

slot_id! {
    /// Names a session of one worker while the session exists.
    SessionId
}

macro_rules! index {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u16);

        impl $name {
            /// The id of the `index`th, counted from 0.
            ///
            /// # Panics
            /// Beyond 65,535; options allow fewer.
            #[must_use]
            pub const fn at(index: usize) -> Self {
                assert!(index <= u16::MAX as usize, "options allow fewer");
                Self(index as u16)
            }

            /// The place in a list of all.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

index! {
    /// Names a worker of the process, counted from 0.
    WorkerId
}

index! {
    /// Names a listener of the options, counted from 0.
    ListenerId
}

impl WorkerId {
    /// The ids of the first `count` workers.
    pub fn all(count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(Self::at)
    }
}

/// One `T` for each worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByWorker<T>(Box<[T]>);

impl<T> ByWorker<T> {
    /// A table of the results of `make` for each of `workers` workers.
    #[must_use]
    pub fn new(workers: usize, make: impl FnMut(WorkerId) -> T) -> Self {
        Self(WorkerId::all(workers).map(make).collect())
    }

    /// The number of workers.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.0.len()
    }

    /// Everything, from the first worker's.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &T)> {
        self.0.iter().enumerate().map(|(worker, each)| (WorkerId::at(worker), each))
    }

    /// Everything, from the first worker's.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (WorkerId, &mut T)> {
        self.0.iter_mut().enumerate().map(|(worker, each)| (WorkerId::at(worker), each))
    }

    /// Everything, from the first worker's, without saying whose.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Everything, from the first worker's, without saying whose.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// Everything, from the first worker's, without saying whose.
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.0.into_iter()
    }

    /// Everything, from the first worker's.
    pub fn into_pairs(self) -> impl Iterator<Item = (WorkerId, T)> {
        self.0.into_iter().enumerate().map(|(worker, each)| (WorkerId::at(worker), each))
    }
}

impl<T> FromIterator<T> for ByWorker<T> {
    fn from_iter<I: IntoIterator<Item = T>>(each: I) -> Self {
        Self(each.into_iter().collect())
    }
}

impl<T> std::ops::Index<WorkerId> for ByWorker<T> {
    type Output = T;

    #[inline]
    fn index(&self, worker: WorkerId) -> &T {
        &self.0[worker.index()]
    }
}

impl<T> std::ops::IndexMut<WorkerId> for ByWorker<T> {
    #[inline]
    fn index_mut(&mut self, worker: WorkerId) -> &mut T {
        &mut self.0[worker.index()]
    }
}

macro_rules! number {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Names nothing.
            pub const NONE: Self = Self(0);

            /// True for [`Self::NONE`].
            #[must_use]
            pub const fn is_none(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

number! {
    /// Names a session, also to later processes: no other session ever has the same number.
    SessionNumber
}

number! {
    /// Names a message in the journal: no other message ever has the same id. A message of which
    /// nothing is ever to be there has none.
    MessageId
}

number! {
    /// Names a delivery among those of its session: the message's id where the session gets the
    /// message as an ordinary subscriber, a number of its own for any other copy.
    DeliveryNumber
}

number! {
    /// Names a record to other workers, whose parts of it are awaited: the id of its message, or a
    /// number of its own where a message goes on to another member of a group.
    RecordName
}

number! {
    /// Numbers a shard's publishes, in order: the packet identifier that most subscribers share
    /// follows from it.
    Serial
}

number! {
    /// Numbers a worker's parts of other workers' records, in order.
    PartNumber
}

/// Names a delivery: whose, and which of the session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeliveryName {
    /// The session.
    pub session: SessionNumber,
    /// The delivery among those of the session.
    pub number: DeliveryNumber,
}

impl From<MessageId> for DeliveryNumber {
    fn from(id: MessageId) -> Self {
        Self(id.0)
    }
}

impl From<MessageId> for RecordName {
    fn from(id: MessageId) -> Self {
        Self(id.0)
    }
}

/// A slab whose occupants are found by ids of the type `Key`.
///
/// Each occupant has an allocation of its own: when the slab grows only pointers move, and its
/// former memory, which the allocator may keep, is small.
#[derive(Debug)]
pub struct Slots<Key, T> {
    slots: Slab<(u32, Box<T>)>,
    generation: u32,
    key: PhantomData<Key>,
}

impl<Key, T> Default for Slots<Key, T> {
    fn default() -> Self {
        Self { slots: Slab::new(), generation: 0, key: PhantomData }
    }
}

impl<Key: SlotId, T> Slots<Key, T> {
    /// Puts `value` into a free slot.
    pub fn insert(&mut self, value: T) -> Key {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.slots.insert((self.generation, Box::new(value)));
        let slot = u32::try_from(slot).expect("fewer than 2³² slots");
        Key::new(slot, self.generation)
    }

    /// The occupant `id`, unless it has gone.
    #[must_use]
    pub fn get(&self, id: Key) -> Option<&T> {
        let (generation, value) = self.slots.get(id.slot() as usize)?;
        (*generation == id.generation()).then_some(&**value)
    }

    /// The occupant `id`, unless it has gone.
    pub fn get_mut(&mut self, id: Key) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(id.slot() as usize)?;
        (*generation == id.generation()).then_some(&mut **value)
    }

    /// The id of the present occupant of `slot`.
    #[must_use]
    pub fn id_at(&self, slot: u32) -> Option<Key> {
        let (generation, _) = self.slots.get(slot as usize)?;
        Some(Key::new(slot, *generation))
    }

    /// Takes the occupant out; its id finds nothing from now on.
    pub fn remove(&mut self, id: Key) -> Option<T> {
        self.get(id)?;
        Some(*self.slots.remove(id.slot() as usize).1)
    }

    /// Everyone, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots
            .iter()
            .map(|(slot, (generation, value))| (Key::new(slot as u32, *generation), &**value))
    }

    /// The number of occupied slots.
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
impl<Key, T> std::ops::Index<u32> for Slots<Key, T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: u32) -> &T {
        &self.slots[slot as usize].1
    }
}

impl<Key, T> std::ops::IndexMut<u32> for Slots<Key, T> {
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
        let mut slots = Slots::<LinkId, _>::default();
        let old = slots.insert("old");
        assert_eq!(slots.remove(old), Some("old"));
        let new = slots.insert("new");
        assert_eq!(new.slot, old.slot);
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.get(new), Some(&"new"));
    }
}

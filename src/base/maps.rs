//! Hash maps whose order and cost are the same in every run with the same seed.

use foldhash::fast::FixedState;

/// A hash map with a hasher fixed at build time.
///
/// Keys that a peer chooses (topics, client identifiers) are hashed with a seed of the process:
/// see `seeded`.
pub type HashMap<K, V> = hashbrown::HashMap<K, V, FixedState>;

/// The set to [`HashMap`].
pub(crate) type HashSet<K> = hashbrown::HashSet<K, FixedState>;

/// An empty map whose hashes depend on `seed`, so that a peer cannot prepare collisions.
#[must_use]
pub(crate) fn seeded<K, V>(seed: u64) -> HashMap<K, V> {
    HashMap::with_hasher(FixedState::with_seed(seed))
}

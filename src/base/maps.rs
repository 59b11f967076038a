//! Hash maps whose order and cost are the same in every run with the same seed.

use foldhash::fast::FixedState;

/// A hash map with a hasher fixed at build time.
///
/// Keys that a peer chooses (topics, client identifiers) are hashed with a seed of the process, so
/// that no peer can prepare collisions: see [`FixedState::with_seed`].
pub type HashMap<K, V> = hashbrown::HashMap<K, V, FixedState>;

/// The set to [`HashMap`].
pub(crate) type HashSet<K> = hashbrown::HashSet<K, FixedState>;

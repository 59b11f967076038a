//! Random numbers from the kernel, the only ones in the broker: nobody can guess them, so they are
//! fit for salts, nonces, keys, and seeds of hash maps whose keys a peer chooses. Choices that have
//! to replay come from a seeded `Prng` instead.

/// Bytes that cannot be guessed.
///
/// # Panics
/// The kernel has no random bytes to give; without them nothing is safe.
pub(crate) fn bytes<const COUNT: usize>() -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

/// A number that cannot be guessed.
///
/// # Panics
/// As [`bytes`].
pub(crate) fn number() -> u64 {
    u64::from_ne_bytes(bytes())
}

//! A small seeded generator, for choices that must replay: never for secrets.

/// SplitMix64 (Steele, Lea, Flood 2014): one 64-bit state, equidistributed.
#[derive(Debug, Clone)]
pub struct Prng(u64);

impl Prng {
    /// The generator that `seed` names.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; `bound` is at least 1.
    pub const fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0);
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }

    /// True `percent` times in a hundred.
    pub const fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

//! The random numbers of a run.

/// A pseudo-random generator (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// The seed is mixed, because otherwise the run would repeat the previous one, shifted by one number.
    pub(crate) const fn new(run: u64) -> Self {
        Self(mix(run))
    }

    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        u32::try_from(mix(self.0) % u64::from(end)).unwrap()
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.below(u32::try_from(length).unwrap()) as usize
    }
}

const fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

//! The bytes of a run, read as decisions.

/// Reads one decision from each byte. After the last byte, every decision is 0.
pub(crate) struct Decisions<'a> {
    bytes: &'a [u8],
    total: usize,
}

impl<'a> Decisions<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, total: bytes.len() }
    }

    pub(crate) fn next_byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    /// Decides on a number below `end`.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        u32::from(self.next_byte().unwrap_or(0)) % end
    }

    /// Decides on one of the bits that are set, and returns its position. Returns `None` if no bit is set.
    pub(crate) fn pick_bit(&mut self, mut bits: u32) -> Option<usize> {
        if bits == 0 {
            return None;
        }
        for _ in 0..self.below(bits.count_ones()) {
            bits &= bits - 1;
        }
        Some(bits.trailing_zeros() as usize)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns `true` if at most an eighth of the bytes is left.
    pub(crate) const fn is_almost_empty(&self) -> bool {
        self.bytes.len() * 8 <= self.total
    }
}

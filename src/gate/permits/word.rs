//! The state word of a gate: the limit, the available permits and three flags, packed into 64 bits.
//!
//! ```text
//! bit  63     LOCKED
//! bit  62     WAITERS
//! bit  61     CLOSED
//! bits 30-60  available permits, plus 2^30; a smaller value is debt
//! bits  0-29  the limit
//! ```
//!
//! The number of available permits always lies in `-Limit::MAX..=Limit::MAX`. With the bias of 2^30 its field neither
//! borrows nor carries, so each change of it is one addition to the whole word.
//!
//! A limit of 0 means that the gate is paused: no weight fits. The state stores the configured limit meanwhile.

use crate::gate::holders::record::HeldPermits;
use crate::plan::Limit;

/// A value of the state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) struct Word(pub(super) u64);

impl Word {
    /// A thread holds the lock. Only that thread changes the word.
    pub(super) const LOCKED: u64 = 1 << 63;
    /// Requests wait, or `drained` futures do. Only a thread that holds the lock admits requests and releases permits.
    pub(in crate::gate) const WAITERS: u64 = 1 << 62;
    /// The gate is closed.
    pub(in crate::gate) const CLOSED: u64 = 1 << 61;

    /// Returns a word with `limit` available permits and no flag set.
    pub(in crate::gate) const fn new(limit: Limit) -> Self {
        Self(permits(PERMIT_BIAS)).with_limit(limit.get())
    }

    /// Returns the word after admitting a request of this weight without the lock, or `None` if the weight does not fit or
    /// the slow path must decide. The weight must not be 0.
    #[inline]
    pub(super) const fn try_acquired(self, weight: u32) -> Option<Self> {
        // One comparison checks the permits and all flags. With a flag, which is a bit above the permit field, `left` is not below the
        // bound, even under the largest debt. Without a flag, the subtraction wraps if too few permits are available, with the same
        // effect. For a weight above the bias the bound is 0, so nothing is below it. The bits of the limit do not matter.
        let left = self.0.wrapping_sub(permits(PERMIT_BIAS.wrapping_add(weight as u64)));
        if left < permits(PERMIT_BIAS.saturating_sub(weight as u64)) {
            Some(self.acquired(weight))
        } else {
            None
        }
    }

    /// Returns the word with this weight taken from the available permits.
    #[inline]
    pub(in crate::gate) const fn acquired(self, weight: u32) -> Self {
        Self(self.0.wrapping_sub(permits(weight as u64)))
    }

    /// Returns the word with this weight given back to the available permits.
    #[inline]
    pub(in crate::gate) const fn released(self, weight: u32) -> Self {
        Self(self.0.wrapping_add(permits(weight as u64)))
    }

    /// As [`released`](Self::released), for permits without a record.
    #[inline]
    pub(super) const fn released_untracked(self, held: HeldPermits) -> Self {
        Self(self.0.wrapping_add(permits(held.to_bits())))
    }

    /// Returns the word under another limit. One addition changes the limit and the available permits by the same amount, so the
    /// number of permits in use stays the same.
    #[inline]
    pub(in crate::gate) const fn with_limit(self, limit: u32) -> Self {
        let growth = (limit as u64).wrapping_sub(self.limit() as u64);
        Self(self.0.wrapping_add(growth.wrapping_mul(permits(1) | 1)))
    }

    #[inline]
    pub(in crate::gate) const fn with(self, flag: u64) -> Self {
        Self(self.0 | flag)
    }

    #[inline]
    pub(in crate::gate) const fn without(self, flag: u64) -> Self {
        Self(self.0 & !flag)
    }

    /// Returns `true` if at least one of these flags is set.
    #[inline]
    pub(in crate::gate) const fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    /// Returns `true` if this weight is available, whatever the flags say.
    #[inline]
    pub(in crate::gate) const fn fits(self, weight: u32) -> bool {
        self.field() >= PERMIT_BIAS.wrapping_add(weight as u64)
    }

    #[inline]
    pub(in crate::gate) const fn limit(self) -> u32 {
        (self.0 & LIMIT_MASK) as u32
    }

    /// Returns `true` if the gate is paused.
    #[inline]
    pub(in crate::gate) const fn is_paused(self) -> bool {
        self.limit() == 0
    }

    /// Returns the number of available permits; 0 under debt.
    #[expect(clippy::cast_possible_truncation, reason = "at most Limit::MAX")]
    #[inline]
    pub(in crate::gate) const fn available(self) -> u32 {
        self.field().saturating_sub(PERMIT_BIAS) as u32
    }

    /// Returns the number of permits in use.
    #[expect(clippy::cast_possible_truncation, reason = "at most Limit::MAX")]
    pub(in crate::gate) const fn in_use(self) -> u32 {
        PERMIT_BIAS.wrapping_add(self.limit() as u64).saturating_sub(self.field()) as u32
    }

    /// Returns the number of permits in use above the limit.
    #[expect(clippy::cast_possible_truncation, reason = "at most Limit::MAX")]
    #[inline]
    pub(in crate::gate) const fn debt(self) -> u32 {
        PERMIT_BIAS.saturating_sub(self.field()) as u32
    }

    const fn field(self) -> u64 {
        (self.0 >> PERMIT_SHIFT) & PERMIT_MASK
    }
}

const LIMIT_MASK: u64 = (1 << 30) - 1;
const PERMIT_SHIFT: u32 = 30;
const PERMIT_MASK: u64 = (1 << 31) - 1;
/// The value of the permit field when no permit is available and there is no debt.
const PERMIT_BIAS: u64 = 1 << 30;

const fn permits(weight: u64) -> u64 {
    weight << PERMIT_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = Limit::MAX.get();

    /// The extreme values of the permit field and of the limit change no other field and no flag.
    #[test]
    fn fields_do_not_overlap() {
        for flags in [0, Word::LOCKED, Word::LOCKED | Word::CLOSED | Word::WAITERS] {
            let fields =
                |word: Word| (word.limit(), word.available(), word.in_use(), word.debt(), word.0 & flags);
            let full = Word::new(Limit::MAX).with(flags);
            assert_eq!(fields(full), (MAX, MAX, 0, 0, flags));
            let empty = full.acquired(MAX);
            assert_eq!(fields(empty), (MAX, 0, MAX, 0, flags));
            assert_eq!(fields(empty.with_limit(1)), (1, 0, MAX, MAX - 1, flags));
            let paid = empty.with_limit(1).released(MAX);
            assert_eq!(fields(paid), (1, 1, 0, 0, flags));
            assert_eq!(paid.with_limit(MAX), full);
            assert_eq!(full.without(flags), Word::new(Limit::MAX));
            // A paused gate has the limit 0. What is in use stays so.
            let paused = empty.with_limit(0);
            assert_eq!(fields(paused), (0, 0, MAX, MAX, flags));
            assert!(paused.is_paused() && !paused.fits(1) && !paused.released(MAX).fits(1));
            assert_eq!(paused.with_limit(MAX), empty);
        }
    }

    /// The fast path admits a request exactly if its weight fits and no flag is set, for any debt.
    #[test]
    fn fast_path_checks_room_and_flags() {
        let counts = [0, 1, 2, 3, 8, MAX / 2, MAX - 8, MAX - 1, MAX];
        let weights = [1, 2, 3, 8, MAX / 2, MAX - 8, MAX - 1, MAX, MAX + 1, 1 << 31, u32::MAX];
        let flags = [0, Word::LOCKED, Word::WAITERS, Word::CLOSED, Word::WAITERS | Word::CLOSED];
        for (taken, limit) in counts.iter().flat_map(|taken| counts[1..].iter().map(|limit| (*taken, *limit)))
        {
            let open = Word::new(Limit::MAX).acquired(taken).with_limit(limit);
            let room = i64::from(limit) - i64::from(taken);
            assert_eq!((open.limit(), open.in_use()), (limit, taken));
            for (flag, weight) in flags.iter().flat_map(|flag| weights.map(|weight| (*flag, weight))) {
                let word = open.with(flag);
                assert_eq!(word.fits(weight), i64::from(weight) <= room);
                let is_admitted = flag == 0 && i64::from(weight) <= room;
                let expected = is_admitted.then(|| word.acquired(weight));
                assert_eq!(
                    word.try_acquired(weight),
                    expected,
                    "{weight} of {limit}, {taken} in use, {flag:x}"
                );
            }
        }
    }
}

//! The word: permits available, requests admitted and refused at once, and what releases must look out for, in 64 bits
//! that one atomic operation changes at once.
//!
//! ```text
//! bit 63      OVERDUE: the count of admissions has to be moved out before it overflows
//! bits 43-62  how many requests were admitted since that was last done
//! bits 36-42  how many were refused for want of a permit
//! bits  4-35  permits available, plus 2^31; below that, the difference is debt
//! bits  0-3   DRAINING, ORPHANED, CLOSED, WAITING
//! ```
//!
//! Available never leaves `-Limit::MAX..=Limit::MAX`, so its field neither borrows nor carries, and any change of it is
//! one addition.

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// Somebody is in line: nobody but the holder of the lock admits, and whoever gives permits back takes the lock.
    pub(super) const WAITING: u64 = 1;
    /// The gate is closed.
    pub(super) const CLOSED: u64 = 1 << 1;
    /// The last handle is gone: whoever gives the last permits back gives the gate's place back.
    pub(super) const ORPHANED: u64 = 1 << 2;
    /// Somebody waits for the gate to be drained: nobody but the holder of the lock admits, and whoever gives permits
    /// back takes the lock, so that no moment without a permit out goes by unseen.
    pub(super) const DRAINING: u64 = 1 << 3;
    const OVERDUE: u64 = 1 << 63;

    /// What a request cannot be admitted past without the lock.
    const STOPS_ADMISSION: u64 = Self::WAITING | Self::CLOSED | Self::DRAINING | Self::OVERDUE;
    /// What a release has to take the lock for.
    const CALLS_RELEASE: u64 = Self::WAITING | Self::DRAINING | Self::ORPHANED;

    /// `limit` permits available, and nothing else.
    pub(super) const fn of_limit(limit: u32) -> Self {
        Self(permits(NONE.wrapping_add(limit as u64)))
    }

    /// The word after admitting a request of this weight at once; `None` if it has to take the lock.
    #[inline]
    pub(super) const fn admitting(self, weight: u32) -> Option<Self> {
        if self.0 & Self::STOPS_ADMISSION == 0 && self.fits(weight) {
            Some(Self(self.0.wrapping_add(ADMISSION).wrapping_sub(permits(weight as u64))))
        } else {
            None
        }
    }

    /// The word after admitting a request of this weight, or with somebody in line if there is no room; and which of them.
    /// `None` if something else stands against it.
    #[inline]
    pub(super) const fn admitting_or_announcing(self, weight: u32) -> Option<(Self, bool)> {
        if self.0 & (Self::STOPS_ADMISSION ^ Self::WAITING) != 0 {
            None
        } else if self.fits(weight) {
            Some((Self(self.0.wrapping_add(ADMISSION).wrapping_sub(permits(weight as u64))), true))
        } else {
            Some((Self(self.0 | Self::WAITING), false))
        }
    }

    /// The word after refusing a request for one permit at once; `None` if it has to take the lock.
    #[inline]
    pub(super) const fn refusing_one(self) -> Option<Self> {
        let is_plain = self.0 & (Self::STOPS_ADMISSION ^ Self::WAITING) == 0;
        if is_plain && (self.has(Self::WAITING) || !self.fits(1)) && !self.is_full_of_refusals() {
            Some(Self(self.0.wrapping_add(REFUSAL)))
        } else {
            None
        }
    }

    /// Whether there is room for this weight, whatever else stands against it.
    #[inline]
    pub(super) const fn fits(self, weight: u32) -> bool {
        self.field() >= NONE.wrapping_add(weight as u64)
    }

    /// What giving back this weight adds to the word.
    #[inline]
    pub(super) const fn returning(weight: u32) -> u64 {
        permits(weight as u64)
    }

    /// What admitting so many requests of so much weight together adds to the word.
    pub(super) const fn admissions(requests: u64, weight: u32) -> u64 {
        ADMISSION.wrapping_mul(requests).wrapping_sub(permits(weight as u64))
    }

    /// What a change of the limit adds to the word.
    pub(super) const fn resizing(from: u32, to: u32) -> u64 {
        permits(to as u64).wrapping_sub(permits(from as u64))
    }

    /// Whether whoever has given permits back, and met this, must take the lock.
    #[inline]
    pub(super) const fn calls_release(self) -> bool {
        self.0 & Self::CALLS_RELEASE != 0
    }

    /// Whether somebody is in line, and nothing else is to be looked out for.
    #[inline]
    pub(super) const fn only_waits(self) -> bool {
        self.0 & (Self::STOPS_ADMISSION | Self::CALLS_RELEASE) == Self::WAITING
    }

    pub(super) const fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// Permits available under this limit; 0 under debt.
    #[expect(clippy::cast_possible_truncation, reason = "at most Limit::MAX")]
    pub(super) const fn available(self) -> u32 {
        self.field().saturating_sub(NONE) as u32
    }

    /// Permits out under this limit.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "permits go out up to a limit, so at most Limit::MAX"
    )]
    pub(super) const fn out(self, limit: u32) -> u32 {
        NONE.wrapping_add(limit as u64).saturating_sub(self.field()) as u32
    }

    /// Requests admitted since the count was last moved out.
    pub(super) const fn admitted(self) -> u64 {
        self.0 >> ADMISSION_SHIFT
    }

    /// Requests refused since that count was last moved out.
    pub(super) const fn refused(self) -> u64 {
        (self.0 >> REFUSAL_SHIFT) & REFUSALS
    }

    /// Whether a count has to be moved out.
    pub(super) const fn is_overdue(self) -> bool {
        self.has(Self::OVERDUE) || self.is_full_of_refusals()
    }

    const fn is_full_of_refusals(self) -> bool {
        self.refused() == REFUSALS
    }

    /// What moving out so many admissions and refusals takes from the word.
    pub(super) const fn moving_out(admitted: u64, refused: u64) -> u64 {
        (admitted << ADMISSION_SHIFT).wrapping_add(refused << REFUSAL_SHIFT)
    }

    const fn field(self) -> u64 {
        (self.0 >> PERMIT_SHIFT) & 0xffff_ffff
    }
}

const PERMIT_SHIFT: u32 = 4;
const REFUSAL_SHIFT: u32 = 36;
/// A model checker gets to 4 admissions and one refusal, not to 2^20 and 127.
const ADMISSION_SHIFT: u32 = if cfg!(gate_loom) { 61 } else { 43 };
/// As many refusals as the word counts.
const REFUSALS: u64 = if cfg!(gate_loom) { 1 } else { 127 };
/// The field's value when nothing is available and nothing is owed.
const NONE: u64 = 1 << 31;
const ADMISSION: u64 = 1 << ADMISSION_SHIFT;
const REFUSAL: u64 = 1 << REFUSAL_SHIFT;

const fn permits(weight: u64) -> u64 {
    weight << PERMIT_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Limit;

    const MAX: u32 = Limit::MAX.get();

    /// Taking all, owing all and getting all back touches nothing but its own field, at both ends.
    #[test]
    fn permits_keep_to_their_field() {
        let full = Word::of_limit(MAX);
        let taken = full.admitting(MAX).unwrap();
        assert_eq!((taken.available(), taken.out(MAX), taken.admitted()), (0, MAX, 1));
        let owing = Word(taken.0.wrapping_add(Word::resizing(MAX, 1)));
        assert_eq!((owing.available(), owing.out(1), owing.admitted()), (0, MAX, 1));
        assert!(!owing.fits(1) && owing.admitting(1).is_none());
        let paid = Word(owing.0.wrapping_add(Word::returning(MAX)));
        assert_eq!((paid.available(), paid.out(1), paid.admitted()), (1, 0, 1));
    }

    /// A request is admitted exactly where its weight fits and no flag stands against it.
    #[test]
    fn admission_heeds_room_and_flags() {
        let word = Word::of_limit(3);
        assert!(word.admitting(3).is_some() && word.admitting(4).is_none());
        for flag in [Word::WAITING, Word::CLOSED, Word::DRAINING, Word::OVERDUE] {
            assert!(Word(word.0 | flag).admitting(1).is_none());
        }
    }

    /// The count of admissions runs full before it overflows, and is moved out whole.
    #[test]
    fn admissions_run_full_before_they_overflow() {
        let almost = Word(Word::of_limit(2).0.wrapping_add(Word::admissions((1 << 20) - 1, 0)));
        assert!(!almost.is_overdue());
        let overdue = almost.admitting(1).unwrap();
        assert!(overdue.is_overdue() && overdue.admitting(1).is_none());
        assert_eq!(overdue.admitted(), 1 << 20);
        let moved = Word(overdue.0.wrapping_sub(Word::moving_out(overdue.admitted(), 0)));
        assert_eq!((moved.admitted(), moved.available()), (0, 1));
    }

    /// A request for one permit is refused exactly where it must wait and the gate is open, until the count is full.
    #[test]
    fn refusals_run_full_and_touch_nothing_else() {
        let empty = Word::of_limit(1).admitting(1).unwrap();
        let mut word = empty;
        for refused in 1..=127 {
            word = word.refusing_one().unwrap();
            assert_eq!((word.refused(), word.admitted(), word.available()), (refused, 1, 0));
        }
        assert!(word.refusing_one().is_none() && word.is_overdue());
        assert!(Word(word.0.wrapping_sub(Word::moving_out(0, 127))) == empty);
        let full = Word::of_limit(1);
        assert!(full.refusing_one().is_none() && Word(full.0 | Word::WAITING).refusing_one().is_some());
        for flag in [Word::CLOSED, Word::DRAINING, Word::OVERDUE] {
            assert!(Word(empty.0 | flag).refusing_one().is_none());
        }
    }
}

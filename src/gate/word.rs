//! The word: the limit, permits available, and what releases must look out for, in 64 bits that one atomic operation
//! changes at once.
//!
//! ```text
//! bit  63     GUARDED
//! bit  62     CLOSED
//! bits 31-61  permits available, plus 2^30; below that, the difference is debt
//! bits  1-30  the limit; 0 once the last handle is gone
//! bit  0      RINGS
//! ```
//!
//! Available never leaves `-Limit::MAX..=Limit::MAX`, so its field neither borrows nor carries, and any change of it is
//! one addition. The flag that releases look out for is the sign, so that they need not see the word that they add to.

use crate::plan::Limit;

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// Somebody is in line or waits for the gate to be drained, or the last handle is gone: nobody but the holder of the
    /// lock admits or changes the limit, and whoever gives permits back takes the lock.
    pub(super) const GUARDED: u64 = 1 << 63;
    /// The gate is closed.
    pub(super) const CLOSED: u64 = 1 << 62;
    /// Somebody is told of changes of the limit: nobody but the holder of the lock makes one.
    pub(super) const RINGS: u64 = 1;

    /// `limit` permits available, and nothing else.
    pub(super) const fn of_limit(limit: u32) -> Self {
        Self(permits(NONE).wrapping_add(Self::resizing(0, limit)))
    }

    /// The word after admitting a request of this weight, which is not 0, at once; `None` if it has to take the lock.
    #[inline]
    pub(super) const fn admitting(self, weight: u32) -> Option<Self> {
        // Of the word as it would be, since that has to be reckoned anyway. If it has borrowed from a flag, or has one, this
        // is more than can be left.
        let admitted = Self(self.0.wrapping_sub(permits(weight as u64)));
        let left = (admitted.0 >> PERMIT_SHIFT).wrapping_sub(NONE);
        if left < NONE.saturating_sub(weight as u64) { Some(admitted) } else { None }
    }

    /// The word guarded for a request of this weight, if it has to wait and may be admitted one day; `None` if it need not
    /// or may not, or if the word is guarded as it is.
    #[inline]
    pub(super) const fn guarding(self, weight: u32) -> Option<Self> {
        // A word with one of both flags shows more than any weight.
        let lacks = self.0 >> PERMIT_SHIFT < NONE.wrapping_add(weight as u64);
        if lacks && self.may_ever_admit(weight) { Some(Self(self.0 | Self::GUARDED)) } else { None }
    }

    /// Whether a request for one permit is refused for want of one, whoever else waits.
    #[inline]
    pub(super) const fn refuses_one(self) -> bool {
        !self.has(Self::CLOSED) && !self.fits(1)
    }

    /// Whether there is room for this weight, whatever else stands against it.
    #[inline]
    pub(super) const fn fits(self, weight: u32) -> bool {
        self.field() >= NONE.wrapping_add(weight as u64)
    }

    /// Whether a request of this weight is admitted under this limit, sooner or later.
    #[inline]
    pub(super) const fn may_ever_admit(self, weight: u32) -> bool {
        weight.wrapping_sub(1) < self.limit()
    }

    /// What giving back this weight adds to the word.
    #[inline]
    pub(super) const fn returning(weight: u32) -> u64 {
        permits(weight as u64)
    }

    /// The word under another limit.
    #[inline]
    pub(super) const fn under(self, limit: u32) -> Self {
        Self(self.0.wrapping_add(Self::resizing(self.limit(), limit)))
    }

    /// The word under another limit, if nobody has to be told; `None` if that takes the lock.
    #[inline]
    pub(super) const fn resizing_at_once(self, limit: u32) -> Option<Self> {
        if self.has(Self::GUARDED | Self::RINGS) { None } else { Some(self.under(limit)) }
    }

    /// Whether whoever has given permits back, and left this, must take the lock.
    #[inline]
    pub(super) const fn calls_release(self) -> bool {
        self.has(Self::GUARDED)
    }

    #[inline]
    pub(super) const fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    /// The limit; 0 if there is no handle.
    #[inline]
    pub(super) const fn limit(self) -> u32 {
        ((self.0 >> LIMIT_SHIFT) & LIMITS) as u32
    }

    /// The limit of a gate that has a handle.
    pub(super) fn in_force(self) -> Limit {
        Limit::saturating(self.limit().into())
    }

    /// Permits available; below 0 the debt.
    #[expect(clippy::cast_possible_wrap, reason = "of 31 bits")]
    #[inline]
    pub(super) const fn room(self) -> i64 {
        self.field().wrapping_sub(NONE) as i64
    }

    /// Permits available; 0 under debt.
    #[expect(clippy::cast_possible_truncation, reason = "at most Limit::MAX")]
    #[inline]
    pub(super) const fn available(self) -> u32 {
        self.field().saturating_sub(NONE) as u32
    }

    /// Permits out.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "permits go out up to a limit, so at most Limit::MAX"
    )]
    pub(super) const fn out(self) -> u32 {
        NONE.wrapping_add(self.limit() as u64).saturating_sub(self.field()) as u32
    }

    /// Permits out above the limit.
    #[expect(clippy::cast_possible_truncation, reason = "at most Limit::MAX")]
    #[inline]
    pub(super) const fn debt(self) -> u32 {
        NONE.saturating_sub(self.field()) as u32
    }

    const fn field(self) -> u64 {
        (self.0 >> PERMIT_SHIFT) & PERMITS
    }

    /// What a change of the limit adds to the word.
    const fn resizing(from: u32, to: u32) -> u64 {
        (to as u64).wrapping_sub(from as u64).wrapping_mul(permits(1) | 1 << LIMIT_SHIFT)
    }
}

const LIMIT_SHIFT: u32 = 1;
const LIMITS: u64 = (1 << 30) - 1;
const PERMIT_SHIFT: u32 = 31;
const PERMITS: u64 = (1 << 31) - 1;
/// The field's value when nothing is available and nothing is owed.
const NONE: u64 = 1 << 30;

const fn permits(weight: u64) -> u64 {
    weight << PERMIT_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = Limit::MAX.get();

    /// Taking all, owing all and getting all back touches nothing but its own field, at both ends and under any flag.
    #[test]
    fn fields_keep_to_themselves() {
        for flags in [0, Word::RINGS, Word::RINGS | Word::CLOSED | Word::GUARDED] {
            let books =
                |word: Word| (word.limit(), word.available(), word.out(), word.debt(), word.0 & flags);
            let full = Word(Word::of_limit(MAX).0 | flags);
            assert_eq!(books(full), (MAX, MAX, 0, 0, flags));
            let taken = Word(full.0.wrapping_sub(Word::returning(MAX)));
            assert_eq!(books(taken), (MAX, 0, MAX, 0, flags));
            assert_eq!(books(taken.under(1)), (1, 0, MAX, MAX - 1, flags));
            let orphaned = taken.under(0);
            assert_eq!(books(orphaned), (0, 0, MAX, MAX, flags));
            assert!(!orphaned.fits(1) && orphaned.admitting(1).is_none());
            let paid = Word(orphaned.under(1).0.wrapping_add(Word::returning(MAX)));
            assert_eq!(books(paid), (1, 1, 0, 0, flags));
            assert!(paid.under(MAX) == full);
        }
    }

    /// A request is admitted exactly where its weight fits and no flag stands against it, whatever is owed or asked for.
    #[test]
    fn admission_heeds_room_and_flags() {
        let counts = [0, 1, 2, 3, 8, MAX / 2, MAX - 8, MAX - 1, MAX];
        let weights = [1, 2, 3, 8, MAX / 2, MAX - 8, MAX - 1, MAX, MAX + 1, 1 << 31, u32::MAX];
        let flags = [0, Word::RINGS, Word::GUARDED, Word::CLOSED, Word::GUARDED | Word::CLOSED];
        for (taken, limit) in counts.iter().flat_map(|taken| counts.map(|limit| (*taken, limit))) {
            let open = Word(Word::of_limit(taken).0.wrapping_sub(Word::returning(taken))).under(limit);
            let room = i64::from(limit) - i64::from(taken);
            assert_eq!((open.limit(), open.out(), open.room()), (limit, taken, room));
            for (flag, weight) in flags.iter().flat_map(|flag| weights.map(|weight| (*flag, weight))) {
                let left = Word(open.0 | flag).admitting(weight).map(Word::room);
                let is_admitted = flag & !Word::RINGS == 0 && i64::from(weight) <= room;
                let expected = is_admitted.then(|| room - i64::from(weight));
                assert_eq!(left, expected, "{weight} of {limit} with {taken} out, {flag:x}");
                assert_eq!(open.may_ever_admit(weight), weight <= limit);
            }
            assert!(!open.may_ever_admit(0));
        }
    }

    /// The word is guarded for whoever finds it open and with too little room, and may be admitted one day; nobody else.
    #[test]
    fn only_who_may_wait_guards() {
        for limit in [2, MAX] {
            let taken = Word::of_limit(limit).admitting(limit - 1).unwrap();
            let guarded = taken.guarding(2).unwrap();
            assert!(guarded.calls_release() && guarded.out() == limit - 1 && guarded.limit() == limit);
            let in_debt = taken.admitting(1).unwrap().under(1);
            assert!(in_debt.guarding(1).is_some() && in_debt.guarding(2).is_none());
            for weight in [0, 1, limit + 1, MAX + 1, 1 << 31, u32::MAX] {
                assert!(taken.guarding(weight).is_none(), "{weight} of {limit}");
            }
            for flag in [Word::GUARDED, Word::CLOSED] {
                assert!(
                    Word(taken.0 | flag).guarding(2).is_none()
                        && Word(in_debt.0 | flag).guarding(1).is_none()
                );
            }
        }
    }

    /// A request for one permit is refused without the lock where there is none, and nowhere else.
    #[test]
    fn refusal_is_for_want_of_a_permit() {
        let full = Word::of_limit(1);
        let empty = full.admitting(1).unwrap();
        assert!(empty.refuses_one() && Word(empty.0 | Word::GUARDED).refuses_one());
        assert!(empty.under(2).admitting(1).unwrap().under(1).refuses_one(), "under debt");
        assert!(!full.refuses_one() && !Word(empty.0 | Word::CLOSED).refuses_one());
    }
}

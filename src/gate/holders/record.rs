//! Identifies the record of the permits of one request, at a gate that tracks its holders.

/// The number of a record. A number is used again after its permits were released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) struct RecordId(u32);

impl RecordId {
    /// No record: the permits belong to a gate that does not track its holders.
    pub(in crate::gate) const NONE: Self = Self(0);

    /// Returns the number of the record in this slot. Slots from `u32::MAX` on have none.
    #[inline]
    pub(in crate::gate) fn of_slot(slot: usize) -> Self {
        Self(u32::try_from(slot).map_or(0, |slot| slot.wrapping_add(1)))
    }

    #[inline]
    pub(in crate::gate) const fn slot(self) -> Option<usize> {
        match self.0.checked_sub(1) {
            Some(slot) => Some(slot as usize),
            None => None,
        }
    }

    #[inline]
    pub(in crate::gate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns the value as the [detail](crate::gate::queue::Removal::detail) of a removal.
    pub(in crate::gate) const fn to_detail(self) -> i64 {
        self.0 as i64
    }

    pub(in crate::gate) fn from_detail(detail: i64) -> Self {
        Self(u32::try_from(detail).unwrap_or(0))
    }
}

/// The permits of one request, with their record. Both are in one word, so that a permit without a record costs nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) struct HeldPermits(u64);

impl HeldPermits {
    #[inline]
    pub(in crate::gate) const fn new(weight: u32, record: RecordId) -> Self {
        Self((record.0 as u64) << 32 | weight as u64)
    }

    #[inline]
    pub(in crate::gate) const fn untracked(weight: u32) -> Self {
        Self::new(weight, RecordId::NONE)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    #[inline]
    pub(in crate::gate) const fn weight(self) -> u32 {
        self.0 as u32
    }

    /// Returns both as one word. Without a record it is the weight.
    #[inline]
    pub(in crate::gate) const fn to_bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(in crate::gate) const fn record(self) -> RecordId {
        RecordId((self.0 >> 32) as u32)
    }
}

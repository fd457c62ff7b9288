//! Permits: proof of admission, released on drop.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::handle::Gate;

/// An admission through a [`Gate`], borrowed from its handle. Dropping it releases its permits.
///
/// It stays valid whatever happens to the gate: neither a lowered limit nor closing the gate revokes it.
#[must_use = "a permit that is dropped at once protects no work"]
pub struct Permit<'g> {
    gate: &'g Gate,
    weight: u32,
}

/// An admission through a [`Gate`] that keeps the gate alive, to be stored or sent. Dropping it releases its permits.
#[must_use = "a permit that is dropped at once protects no work"]
pub struct OwnedPermit {
    gate: Gate,
    weight: u32,
}

impl<'g> Permit<'g> {
    /// Takes over `weight` permits that were acquired just now.
    #[inline]
    pub(super) const fn new(gate: &'g Gate, weight: u32) -> Self {
        Self { gate, weight }
    }

    /// Returns the number of permits.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// Returns the gate.
    #[must_use]
    pub const fn gate(&self) -> &'g Gate {
        self.gate
    }

    /// Moves `weight` permits into a permit of their own. Returns `None`, and changes nothing, if there are fewer.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// let mut all = jobs.try_acquire_many(4)?;
    /// let one = all.split(1);
    /// assert_eq!((all.weight(), one.map(|permit| permit.weight())), (3, Some(1)));
    /// assert_eq!(jobs.available(), 1); // `one` was dropped
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    pub const fn split(&mut self, weight: u32) -> Option<Self> {
        match self.weight.checked_sub(weight) {
            Some(rest) => {
                self.weight = rest;
                Some(Self { gate: self.gate, weight })
            }
            None => None,
        }
    }

    /// Takes over the permits of another permit of the same gate.
    ///
    /// # Errors
    ///
    /// Returns `other`, and changes nothing, if it belongs to another gate.
    pub fn merge(&mut self, mut other: Self) -> Result<(), Self> {
        if !Arc::ptr_eq(self.gate.shared(), other.gate.shared()) {
            return Err(other);
        }
        self.weight = self.weight.saturating_add(take_weight(&mut other.weight));
        Ok(())
    }

    /// Keeps the permits in use for good: nothing releases them. To lower the limit, use [`Gate::resize_by`].
    pub fn forget(mut self) {
        take_weight(&mut self.weight);
    }

    /// Turns it into a permit with a handle of its own.
    #[inline]
    pub(super) fn into_owned(self) -> OwnedPermit {
        let owned = OwnedPermit::new(self.gate.clone(), self.weight);
        mem::forget(self); // its permits have a new owner, and it has nothing else to drop
        owned
    }
}

impl OwnedPermit {
    /// Takes over `weight` permits that were acquired just now.
    #[inline]
    pub(super) const fn new(gate: Gate, weight: u32) -> Self {
        Self { gate, weight }
    }

    /// Returns the number of permits.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// Returns the gate.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Moves `weight` permits into a permit of their own. Returns `None`, and changes nothing, if there are fewer.
    pub fn split(&mut self, weight: u32) -> Option<Self> {
        self.weight = self.weight.checked_sub(weight)?;
        Some(Self { gate: self.gate.clone(), weight })
    }

    /// Takes over the permits of another permit of the same gate.
    ///
    /// # Errors
    ///
    /// Returns `other`, and changes nothing, if it belongs to another gate.
    pub fn merge(&mut self, mut other: Self) -> Result<(), Self> {
        if !Arc::ptr_eq(self.gate.shared(), other.gate.shared()) {
            return Err(other);
        }
        self.weight = self.weight.saturating_add(take_weight(&mut other.weight));
        Ok(())
    }

    /// Keeps the permits in use for good: nothing releases them. To lower the limit, use [`Gate::resize_by`].
    pub fn forget(mut self) {
        take_weight(&mut self.weight);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.gate.shared().release(self.weight);
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        self.gate.shared().release(self.weight);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_permit("Permit", self.gate, self.weight, f)
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_permit("OwnedPermit", &self.gate, self.weight, f)
    }
}

/// Takes the permits out of a permit that is about to be dropped.
const fn take_weight(weight: &mut u32) -> u32 {
    mem::replace(weight, 0)
}

fn debug_permit(kind: &str, gate: &Gate, weight: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(kind).field("gate", &gate.name()).field("weight", &weight).finish_non_exhaustive()
}

//! Permits: proof of admission, released on drop.

use std::fmt;
use std::mem;

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

fn debug_permit(kind: &str, gate: &Gate, weight: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(kind).field("gate", &gate.name()).field("weight", &weight).finish_non_exhaustive()
}

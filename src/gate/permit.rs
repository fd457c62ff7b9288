//! Permits: admission held, and given back on drop.

use std::fmt;

use super::Gate;
use super::inner::Inner;

/// One admission through a [`Gate`], borrowed from its handle; dropping it gives its permits back.
///
/// It stays valid whatever becomes of the gate: a limit lowered below what is out does not take it away, and neither
/// does closing the gate.
#[must_use = "a permit that is dropped at once admits nothing"]
pub struct Permit<'g> {
    gate: &'g Gate,
    weight: u32,
}

/// One admission through a [`Gate`] that can be stored, sent and outlive every handle. Dropping it gives its permits
/// back.
///
/// It is no handle itself, and costs no more than a [`Permit`].
#[must_use = "a permit that is dropped at once admits nothing"]
pub struct OwnedPermit {
    inner: &'static Inner,
    weight: u32,
}

impl<'g> Permit<'g> {
    /// Owns `weight` permits that have just been counted out.
    #[inline]
    pub(super) const fn new(gate: &'g Gate, weight: u32) -> Self {
        Self { gate, weight }
    }

    /// How many permits it stands for.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// The gate it belongs to.
    #[must_use]
    pub const fn gate(&self) -> &'g Gate {
        self.gate
    }
}

impl OwnedPermit {
    /// Owns `weight` permits that have just been counted out.
    #[inline]
    pub(super) const fn new(gate: &Gate, weight: u32) -> Self {
        Self { inner: gate.inner(), weight }
    }

    /// How many permits it stands for.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// A handle of the gate it belongs to, even if every other is gone.
    #[must_use]
    pub fn gate(&self) -> Gate {
        Gate::of_permit(self.inner)
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.gate.inner().give_back(self.weight);
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        self.inner.give_back(self.weight);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe("Permit", self.gate, self.weight, f)
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe("OwnedPermit", &self.gate(), self.weight, f)
    }
}

fn describe(kind: &str, gate: &Gate, weight: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(kind).field("gate", &gate.name()).field("weight", &weight).finish_non_exhaustive()
}

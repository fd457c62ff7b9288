//! Permits: admission held, and given back on drop.

use std::borrow::Borrow;
use std::fmt;

use super::Gate;

/// One admission through a [`Gate`], borrowed from its handle; dropping it gives its permits back.
///
/// It stays valid whatever becomes of the gate: a limit lowered below what is out does not take it away, and neither
/// does closing the gate.
#[must_use = "a permit that is dropped at once admits nothing"]
pub struct Permit<'g>(Held<&'g Gate>);

/// One admission through a [`Gate`], with a handle of its own: it can be stored, sent and outlive the handle it came
/// from. Dropping it gives its permits back.
#[must_use = "a permit that is dropped at once admits nothing"]
pub struct OwnedPermit(Held<Gate>);

impl<'g> Permit<'g> {
    /// How many permits it stands for.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.0.weight
    }

    /// The gate it belongs to.
    #[must_use]
    pub const fn gate(&self) -> &'g Gate {
        self.0.gate
    }
}

impl OwnedPermit {
    /// How many permits it stands for.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.0.weight
    }

    /// The gate it belongs to.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.0.gate
    }
}

impl<'g> From<Held<&'g Gate>> for Permit<'g> {
    fn from(held: Held<&'g Gate>) -> Self {
        Self(held)
    }
}

impl From<Held<Gate>> for OwnedPermit {
    fn from(held: Held<Gate>) -> Self {
        Self(held)
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe("Permit", f)
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe("OwnedPermit", f)
    }
}

/// Permits that are out, by a borrowed handle or an owned one: the one place that gives them back.
pub(super) struct Held<G: Borrow<Gate>> {
    gate: G,
    weight: u32,
}

impl<G: Borrow<Gate>> Held<G> {
    /// Owns `weight` permits that the engine has just counted out.
    pub(super) const fn new(gate: G, weight: u32) -> Self {
        Self { gate, weight }
    }

    fn describe(&self, kind: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(kind)
            .field("gate", &self.gate.borrow().name())
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

impl<G: Borrow<Gate>> Drop for Held<G> {
    fn drop(&mut self) {
        self.gate.borrow().inner().release(self.weight).make();
    }
}

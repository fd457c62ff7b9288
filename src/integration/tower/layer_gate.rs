//! The gate of a layer: one of this process, or one that shares its limit.

use crate::gate::{Gate, Key};
use crate::plan::GateName;

#[cfg(feature = "fleet")]
use crate::fleet::SharedGate;

/// The gate of a [`GateLayer`](super::GateLayer): a [`Gate`], or a `SharedGate` of the feature `fleet`. Both convert to it.
#[derive(Clone, Debug)]
pub struct LayerGate(pub(super) GateKind);

#[derive(Clone, Debug)]
pub(super) enum GateKind {
    Local(Gate),
    #[cfg(feature = "fleet")]
    Shared(SharedGate),
}

impl LayerGate {
    /// Returns the name of the gate.
    #[must_use]
    pub fn name(&self) -> GateName {
        match &self.0 {
            GateKind::Local(gate) => gate.name(),
            #[cfg(feature = "fleet")]
            GateKind::Shared(gate) => gate.name(),
        }
    }

    pub(super) fn has_keys(&self) -> bool {
        match &self.0 {
            GateKind::Local(gate) => gate.has_keys(),
            #[cfg(feature = "fleet")]
            GateKind::Shared(gate) => gate.has_keys(),
        }
    }

    pub(super) fn is_key(&self) -> bool {
        match &self.0 {
            GateKind::Local(gate) => gate.as_key().is_some(),
            #[cfg(feature = "fleet")]
            GateKind::Shared(gate) => gate.is_key(),
        }
    }

    /// Returns the gate of a key. The gate must have keys.
    pub(super) fn key(&self, key: Key) -> Self {
        Self(match &self.0 {
            GateKind::Local(gate) => GateKind::Local(gate.key(key)),
            #[cfg(feature = "fleet")]
            GateKind::Shared(gate) => GateKind::Shared(gate.key(key)),
        })
    }
}

impl From<Gate> for LayerGate {
    fn from(gate: Gate) -> Self {
        Self(GateKind::Local(gate))
    }
}

#[cfg(feature = "fleet")]
impl From<SharedGate> for LayerGate {
    fn from(gate: SharedGate) -> Self {
        Self(GateKind::Shared(gate))
    }
}

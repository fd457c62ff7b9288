//! Probes.
/// P
pub trait ResourceProbe {}

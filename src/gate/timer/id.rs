//! Names for timers and runtimes.

pub(in crate::gate) use tokio::runtime::Id as RuntimeId;

/// Identifies one timer of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gate) struct TimerId(pub(super) u16);

impl TimerId {
    /// Of requests that no timer ends: those without a deadline, and those of blocked threads.
    pub(in crate::gate) const NONE: Self = Self(u16::MAX);
}

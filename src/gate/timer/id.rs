//! The identifiers of timers and runtimes.

pub(in crate::gate) use tokio::runtime::Id as RuntimeId;

/// Identifies one timer of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gate) struct TimerId(pub(super) u16);

impl TimerId {
    /// No timer: the request has no deadline, or a blocked thread ends the wait itself.
    pub(in crate::gate) const NONE: Self = Self(u16::MAX);
}

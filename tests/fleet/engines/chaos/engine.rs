//! The engine of a ledger, as the faults see it.

use super::child::ChildRole;

/// The servers of a ledger. They end with this value.
pub(super) trait ChaosEngine {
    /// Returns the URL at which a worker finds the ledger. It stays the same.
    fn url(&self, worker: usize) -> String;

    /// Returns the faults that this engine can have.
    fn faults(&self) -> &'static [EngineFault];

    /// Causes one fault, and returns when the ledger can answer again.
    fn cause(&mut self, fault: EngineFault);
}

/// A fault of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EngineFault {
    /// The gate is deleted: FLUSHALL, or the row.
    LoseState,
    /// The server ends all connections.
    EndConnections,
    /// The server ends at once, and starts again: Redis without its state, PostgreSQL by recovering from its log.
    Crash,
    /// The primary ends at once, and its replica is promoted.
    #[cfg(feature = "redis")]
    Promote,
    /// The replica is promoted while the primary goes on. For this time, every second worker uses the old primary.
    #[cfg(feature = "redis")]
    SplitBrain(std::time::Duration),
}

/// The workers of a run, and how their clients use the ledger.
#[derive(Clone, Copy)]
pub(super) struct Workers {
    pub(super) role: ChildRole,
    /// The replicas that must have each exchange.
    pub(super) replicas: u32,
}

//! What a shared gate tells: its state, and why it rejects.

use std::time::Duration;

use crate::gate::TryAcquireError;
use crate::plan::GateName;
use crate::plan::debug_as_display::impl_debug_as_display;

use super::lease::LeasePhase;
use super::step::{Fence, LimitVersion};

/// The state of a shared gate and of its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedStatus {
    /// The gate.
    pub gate: GateName,
    /// The permits in use in this process.
    pub in_use: u32,
    /// The requests that wait in this process.
    pub waiting: usize,
    /// The block: the permits that may be in use in this process. 0 while the gate is paused.
    pub cap: u32,
    /// The phase of the lease.
    pub phase: LeasePhase,
    /// The time until the deadline of the lease; zero if there is none.
    pub remaining: Duration,
    /// The limit of the fleet.
    pub limit: LimitVersion,
    /// The fence of the last exchange.
    pub fence: Fence,
    /// The exchanges that the ledger has answered.
    pub exchanges: u64,
    /// How many exchanges in a row have failed.
    pub failures: u32,
    /// Why the last one has failed.
    pub last_error: Option<String>,
}

/// Why a request at a shared gate that would not wait was rejected.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedTryError {
    /// The gate has no permits from the ledger.
    #[error(
        "gate `{gate}` is paused: it has no lease from the ledger for `{name}` ({reason}); wait with `acquire`, or check the ledger"
    )]
    Unleased {
        /// The gate.
        gate: GateName,
        /// The name of the gate in the ledger.
        name: String,
        /// What the lease waits for, or why the last exchange has failed.
        reason: String,
    },
    /// The gate rejects the request.
    #[error(transparent)]
    Rejected(TryAcquireError),
}

/// The error of a permit whose lease has ended.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the lease of gate `{gate}` has ended since the permit was granted; end the work")]
pub struct LeaseLost {
    pub(super) gate: GateName,
}

impl_debug_as_display!(SharedTryError, LeaseLost);

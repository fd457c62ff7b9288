//! The state of a shared gate, and the errors of its rejected requests.

use std::time::Duration;

use crate::gate::{AcquireError, Histogram, TryAcquireError};
use crate::plan::debug_as_display::impl_debug_as_display;
use crate::plan::{GateName, LeaseExplanation, LeaseState, Limit};

use crate::fleet::step::{Fence, LimitVersion};

/// The state of a shared gate and of its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedStatus {
    /// The gate.
    pub gate: GateName,
    /// The name of the gate in the ledger.
    pub name: String,
    /// The permits in use in this process, those of children and keys included.
    pub in_use: u32,
    /// The requests that wait in this process.
    pub waiting: usize,
    /// The local limit: the upper bound of the block that this process requests from its ledger.
    pub local_limit: Limit,
    /// The block: the permits that the ledger has leased to this process. 0 while there is no lease.
    pub cap: u32,
    /// The permits that may be in use without a lease, by the [policy](crate::plan::Unreachable) for an unreachable ledger. With the
    /// policy `Local`, this is 0 while there is a lease.
    pub without_lease: u32,
    /// The state of the lease.
    pub state: LeaseState,
    /// The time until the deadline of the lease; zero if there is none.
    pub remaining: Duration,
    /// The limit of the fleet.
    pub limit: LimitVersion,
    /// The fence of the last exchange.
    pub fence: Fence,
    /// The exchanges that the ledger has answered.
    pub exchanges: u64,
    /// The exchanges that have failed.
    pub failed_exchanges: u64,
    /// The times that the answered exchanges took.
    pub exchange_times: Histogram,
    /// How many exchanges in a row have failed.
    pub failures: u32,
    /// The error of the last exchange. `None` if the ledger has answered it.
    pub last_error: Option<String>,
}

impl SharedStatus {
    /// Returns the lease as a step of an explanation.
    #[must_use]
    pub fn explanation(&self) -> LeaseExplanation {
        LeaseExplanation {
            name: self.name.clone(),
            limit: self.limit.limit,
            version: self.limit.version,
            block: self.cap,
            without_lease: self.without_lease,
            remaining: self.remaining,
            state: self.state,
            problem: self.last_error.clone(),
        }
    }
}

/// The error of a shared gate that has no permits from its ledger.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "gate `{gate}` is paused: it has had no permits from the ledger for `{name}` for {paused_for:?} ({reason}); wait longer, or check the ledger"
)]
pub struct Unleased {
    /// The gate.
    pub gate: GateName,
    /// The name of the gate in the ledger.
    pub name: String,
    /// The time for which the gate has had no permits.
    pub paused_for: Duration,
    /// The error of the last exchange, or why the ledger has granted no permits.
    pub reason: String,
}

/// The error of a request that may wait, and that a shared gate has rejected.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedAcquireError {
    /// The deadline of the request passed while the gate had no permits from the ledger.
    #[error("the deadline of a request passed after it had waited {waited:?}: {unleased}")]
    Unleased {
        /// Why the gate has no permits.
        unleased: Unleased,
        /// How long the request has waited.
        waited: Duration,
    },
    /// The gate rejects the request.
    #[error(transparent)]
    Rejected(#[from] AcquireError),
}

impl SharedAcquireError {
    /// Returns the name of the gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::Unleased { unleased, .. } => unleased.gate,
            Self::Rejected(error) => error.gate(),
        }
    }
}

impl SharedTryError {
    /// Returns the name of the gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::Unleased(unleased) => unleased.gate,
            Self::Rejected(error) => error.gate(),
        }
    }
}

/// The error of a request that does not wait, and that a shared gate has rejected.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedTryError {
    /// The gate has no permits from the ledger.
    #[error(transparent)]
    Unleased(#[from] Unleased),
    /// The gate rejects the request.
    #[error(transparent)]
    Rejected(#[from] TryAcquireError),
}

/// The error of a permit whose lease has ended.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the lease of gate `{gate}` has ended since the permit was granted; end the work")]
pub struct LeaseLost {
    pub(super) gate: GateName,
}

impl_debug_as_display!(Unleased, SharedAcquireError, SharedTryError, LeaseLost);

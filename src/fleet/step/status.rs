//! What a ledger knows about a gate, for people to read.

use super::ask::LimitVersion;

/// What a ledger knows about a gate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerStatus {
    /// The epoch; 0 if the ledger has no state.
    pub epoch: u64,
    /// The limit, and its version. `None` before the first exchange or `set_limit`.
    pub limit: Option<LimitVersion>,
    /// What the operator gave as the origin of the limit. Empty if the limit comes from the processes, also if they have restored an
    /// operator's limit after a loss of the state.
    pub set_by: String,
    /// How long the ledger still learns, in milliseconds of the lease clock.
    pub learning_ms: u64,
    /// The number of exchanges.
    pub exchanges: u64,
    /// The permits that are granted to all holders, with those that are reserved for them.
    pub granted: u64,
    /// The holders, in the order of their last exchange.
    pub holders: Vec<HolderStatus>,
}

/// What a ledger knows about a holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HolderStatus {
    /// The holder.
    pub holder: String,
    /// The permits that the holder may have in use.
    pub granted: u64,
    /// The permits that are kept for the holder until its next exchange.
    pub reserved: u64,
    /// The permits that the holder could use.
    pub wants: u32,
    /// The number of its last exchange.
    pub seq: u64,
    /// The time until its entry expires, in milliseconds of the lease clock. 0 if it has expired.
    pub expires_ms: u64,
    /// The number of the exchange since which the holder has been short of permits; 0 if it is not.
    pub short_since: u64,
}

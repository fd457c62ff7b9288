//! The gates of a plan that share their limits with other processes, with the answers of their ledgers.
//!
//! A ledger is only read. This program never takes a lease.

#[cfg(any(feature = "redis", feature = "postgres"))]
mod ask;
mod report;

#[cfg(any(feature = "redis", feature = "postgres"))]
pub(crate) use ask::ask;
pub(crate) use report::{LedgerAnswer, SharedGateReport};

#[cfg(not(any(feature = "redis", feature = "postgres")))]
use concurrency_governor::GateName;
#[cfg(not(any(feature = "redis", feature = "postgres")))]
use concurrency_governor::config::ShareConfig;

/// Reports that this program cannot query a ledger.
#[cfg(not(any(feature = "redis", feature = "postgres")))]
pub(crate) fn ask(shares: &[(GateName, ShareConfig)]) -> Vec<SharedGateReport> {
    let reason = "this program was built without the features `redis` and `postgres`";
    SharedGateReport::not_asked(shares, reason)
}

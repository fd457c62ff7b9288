//! One limit for many processes.
//!
//! Each process leases a block of permits from a *ledger*, and admits requests against its block without another call. In this module, a
//! *holder* is a process with a lease, or one that requests a lease. An *exchange* is one message of a holder to the ledger, with its
//! answer.
//!
//! - A [`Share`] declares how this process takes part. [`Share::open`] returns a [`SharedGate`], which grants [`SharedPermit`]s.
//! - [`LedgerState::exchange`] is the pure step that every ledger makes: it takes an [`Ask`] and returns a [`Grant`].
//! - [`Lease`] is the pure state of a holder: how many permits it may admit, until when, and what it reports.
//! - A [`Ledger`] keeps the limit: [`MemoryLedger`] in memory, and `RedisLedger` and `PostgresLedger` behind features.
//!
//! [The page about fleets](crate::_documentation::fleet) has the rules and their conditions. It defines the times of a lease: `ttl`,
//! grace, guard and span.

mod share;

mod shared;

#[cfg(any(feature = "postgres", feature = "redis"))]
mod engine_ledger;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

#[cfg(any(feature = "postgres", feature = "redis"))]
mod answer;
mod ledger;
mod ledger_url;
#[cfg(any(feature = "postgres-tls", feature = "redis-tls"))]
mod tls;

mod boot_clock;
mod lease;
mod step;

#[cfg(any(feature = "postgres", feature = "redis"))]
pub use engine_ledger::EngineLedger;
pub use lease::{Lease, LeasePhase};
pub use ledger::{Ledger, LedgerError};
pub use ledger_url::InvalidLedgerUrl;
pub use memory::MemoryLedger;
#[cfg(feature = "postgres")]
pub use postgres::PostgresLedger;
#[cfg(feature = "redis")]
pub use redis::RedisLedger;
pub use share::{Share, ShareError};
pub use shared::{
    BlockReturn, LeaseLost, SharedAcquire, SharedAcquireError, SharedGate, SharedPermit, SharedRequest,
    SharedStatus, SharedTryError, Unleased, UnreturnedBlock,
};

pub(crate) use shared::LeasedItems;

pub use crate::plan::Unreachable;

pub use step::{
    Ask, Claim, Fence, Grant, HolderStatus, LeaseTerms, LedgerServer, LedgerState, LedgerStatus,
    LimitVersion, Replayed, TermsError,
};

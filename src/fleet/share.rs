//! What a process declares to share a limit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::gate::Gate;
use crate::plan::debug_as_display::impl_debug_with_causes;
use crate::plan::{GateName, Limit, Unreachable};

use super::ledger::{Ledger, LedgerError, check_name};
use super::ledger_url::InvalidLedgerUrl;
use super::shared::{SharedCore, SharedGate, start};
use super::step::{LeaseTerms, TermsError};

/// A limit that many processes share, and how this process takes part.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::{GateName, Limit};
/// use concurrency_governor::fleet::{MemoryLedger, Share};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ledger = MemoryLedger::new(); // or a `RedisLedger`, or a `PostgresLedger`
/// let share = Share::of(ledger, "prod/io").limit(Limit::new(200)).max_hold(Duration::from_secs(30));
/// let io = share.open(GateName::new("io"))?;
/// let page = io.run(async { "the page" }).await?;
/// # assert_eq!(page, "the page");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Share {
    ledger: Arc<dyn Ledger>,
    name: String,
    limit: Option<Limit>,
    ttl: Duration,
    max_hold: Duration,
    unreachable: Unreachable,
}

impl Share {
    /// Creates a share of the gate that the ledger has under `name`.
    pub fn of(ledger: impl Ledger + 'static, name: impl Into<String>) -> Self {
        Self::new(Arc::new(ledger), name.into())
    }

    /// Creates a share of the gate that the ledger of a URL has under `name`: `redis://..` with the feature `redis`, or `postgres://..`
    /// with the feature `postgres`. `EngineLedger` lists the URLs, also those with TLS.
    ///
    /// # Errors
    ///
    /// [`InvalidLedgerUrl`] if the URL is none of these, or needs a feature that the program was built without. It does not show the URL,
    /// which can have a password.
    pub fn at(url: &str, name: impl Into<String>) -> Result<Self, InvalidLedgerUrl> {
        Ok(Self::new(ledger_at(url)?, name.into()))
    }

    fn new(ledger: Arc<dyn Ledger>, name: String) -> Self {
        Self {
            ledger,
            name,
            limit: None,
            ttl: Duration::from_secs(10),
            max_hold: Duration::from_secs(30),
            unreachable: Unreachable::Closed,
        }
    }

    /// Sets the limit of the fleet. The ledger uses it if it has no limit yet. To change the limit later, for all processes, call
    /// [`Ledger::set_limit`].
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets the longest time for which a permit is held: 30 s by default. If work takes longer, and this process loses its lease
    /// meanwhile, the ledger may have granted the permits to another process. Then the fleet exceeds its limit.
    #[must_use]
    pub fn max_hold(mut self, max_hold: Duration) -> Self {
        self.max_hold = max_hold;
        self
    }

    /// Sets how long a lease lasts: 10 s by default. The process renews it after a third of this time.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets what the process admits while it has no lease, because its ledger cannot be reached: nothing by default.
    #[must_use]
    pub fn unreachable(mut self, unreachable: Unreachable) -> Self {
        self.unreachable = unreachable;
        self
    }

    /// Opens a gate on the share, and starts the thread that renews its lease.
    ///
    /// Until the ledger has granted permits, the gate is paused and requests wait. With [`Unreachable::Reserved`], the reserved permits
    /// can be acquired from the start.
    ///
    /// # Errors
    ///
    /// [`ShareError`] if the share has no limit, a name or a time is not valid, or the thread cannot be started.
    pub fn open(self, name: impl Into<GateName>) -> Result<SharedGate, ShareError> {
        self.attach(Gate::new(name, Limit::MAX), Arc::default())
    }

    /// Returns the part of the limit that the ledger leases: the limit without the permits that the processes reserve.
    fn leased_limit(&self, gate: GateName) -> Result<Limit, ShareError> {
        let limit = self.limit.ok_or(ShareError::NoLimit { gate })?;
        let Unreachable::Reserved { permits, processes } = self.unreachable else { return Ok(limit) };
        let reserved = u64::from(permits).saturating_mul(processes.into());
        let rest = u64::from(limit.get()).checked_sub(reserved).filter(|rest| *rest > 0 && reserved > 0);
        rest.map(Limit::saturating).ok_or(ShareError::Reserve { gate, limit, permits, processes })
    }

    /// Checks the settings of the share, and that the ledger can be used: it has a version that this program knows, accepts the user,
    /// can be written to, and does not evict keys. A ledger that cannot be reached passes.
    pub(crate) async fn check(&self, gate: GateName) -> Result<(), ShareError> {
        self.leased_limit(gate)?;
        LeaseTerms::new(self.ttl, self.max_hold)?;
        check_name("gate", &self.name)?;
        // A connection belongs to the runtime that opened it, here that of the caller. The thread of the lease opens another one.
        let ledger = self.ledger.with_own_connection();
        let checks = async {
            ledger.check().await?;
            ledger.status(&self.name).await
        };
        match timeout(CHECK_TIMEOUT, checks).await {
            Ok(Err(error)) if error.is_lasting() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Makes the share set the limit of a gate, and starts the thread that renews its lease. The gate must be new, and have no parent.
    /// `changes` is notified when the state of the lease or the limit of the fleet has changed.
    pub(crate) fn attach(self, gate: Gate, changes: Arc<Notify>) -> Result<SharedGate, ShareError> {
        let limit = self.leased_limit(gate.name())?;
        let terms = LeaseTerms::new(self.ttl, self.max_hold)?;
        check_name("gate", &self.name)?;
        let gate = SharedGate::new(SharedCore::new(gate, self.name, terms, limit, self.unreachable, changes));
        start(Arc::clone(gate.core()), &*self.ledger).map_err(ShareError::Thread)?;
        Ok(gate)
    }
}

/// Opens the ledger of a URL.
#[cfg(any(feature = "postgres", feature = "redis"))]
fn ledger_at(url: &str) -> Result<Arc<dyn Ledger>, InvalidLedgerUrl> {
    Ok(Arc::new(super::engine_ledger::EngineLedger::at(url)?))
}

/// Returns the error that names the feature that the ledger of a URL needs.
#[cfg(not(any(feature = "postgres", feature = "redis")))]
fn ledger_at(url: &str) -> Result<Arc<dyn Ledger>, InvalidLedgerUrl> {
    Err(super::ledger_url::EngineUrl::parse(url)?.engine.missing())
}

/// The time after which [`Share::check`] treats a ledger as unreachable.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Share").field("name", &self.name).field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// The error for a share that cannot be opened.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The share has no limit.
    #[error("the share of gate `{gate}` has no limit; set one with `Share::limit`")]
    NoLimit {
        /// The gate.
        gate: GateName,
    },
    /// The permits that all processes reserve together are 0, or reach or exceed the limit.
    #[error(
        "the share of gate `{gate}` reserves {permits} permits for each of {processes} processes, and its limit is {limit} (allowed: a sum of at least 1 and below the limit)"
    )]
    Reserve {
        /// The gate.
        gate: GateName,
        /// The limit of the fleet.
        limit: Limit,
        /// The permits that each process reserves.
        permits: u32,
        /// The number of processes.
        processes: u32,
    },
    /// A time is out of range.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The name in the ledger is not valid, or the engine cannot be a ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The thread that renews the lease cannot be started.
    #[error("cannot start the thread that renews leases")]
    Thread(#[source] std::io::Error),
}

impl_debug_with_causes!(ShareError);

//! A ledger in the memory of this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;

use crate::plan::Limit;

use super::ledger::{Ledger, LedgerError, check_name};
use super::step::{Ask, Grant, LedgerServer, LedgerState, LedgerStatus, LimitVersion};

/// A ledger in the memory of this process, for tests and for gates that share a limit within one process. All clones of a ledger have
/// the same state.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use concurrency_governor::Limit;
/// use concurrency_governor::fleet::{Lease, LeaseTerms, Ledger, LimitVersion, MemoryLedger};
///
/// let ledger = MemoryLedger::new();
/// let terms = LeaseTerms::from_parts(Duration::from_secs(10), Duration::ZERO, Duration::ZERO)?;
/// let mut lease = Lease::new("a", terms, LimitVersion::configured(Limit::new(24)));
/// let ask = lease.begin(Duration::ZERO, 0, 30);
/// let (seq, grant) = (ask.seq, ledger.exchange("io", ask).await?);
/// assert!(lease.finish(seq, &grant));
/// assert_eq!(lease.cap(), 24);
/// assert_eq!(ledger.status("io").await?.holders.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryLedger {
    started: Instant,
    gates: Arc<Mutex<HashMap<String, LedgerState>>>,
}

impl MemoryLedger {
    /// Creates an empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now(), gates: Arc::default() }
    }

    /// Runs `step` on the state of a gate, at the present time.
    fn with_gate<T>(&self, gate: &str, step: impl FnOnce(&mut LedgerState, LedgerServer<'_>) -> T) -> T {
        let mut gates = self.lock();
        // The clock is read under the lock, so that it does not go back from one step to the next.
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let server = LedgerServer { now_ms, run: "memory" };
        // The process loses this memory only together with all its leases, so a new gate has no leases.
        step(gates.entry(gate.to_owned()).or_insert_with(|| LedgerState::without_leases(server)), server)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, LedgerState>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn exchange(&self, gate: &str, ask: Ask<'_>) -> Result<Grant, LedgerError> {
        check_name("gate", gate)?;
        check_name("holder", ask.holder)?;
        let answer = self.with_gate(gate, |state, server| state.exchange(&ask, server));
        answer.map_err(|replayed| LedgerError::Replayed { last: replayed.last })
    }

    async fn set_limit(&self, gate: &str, limit: Limit, by: &str) -> Result<LimitVersion, LedgerError> {
        check_name("gate", gate)?;
        Ok(self.with_gate(gate, |state, server| state.set_limit(limit, by, server)))
    }

    fn with_own_connection(&self) -> Arc<dyn Ledger> {
        Arc::new(self.clone())
    }

    async fn status(&self, gate: &str) -> Result<LedgerStatus, LedgerError> {
        check_name("gate", gate)?;
        Ok(self.lock().get(gate).map(LedgerState::status).unwrap_or_default())
    }
}

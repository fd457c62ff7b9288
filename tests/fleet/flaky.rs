//! A ledger in memory that fails while the test wants it.

use std::future::pending;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use concurrency_governor::Limit;
use concurrency_governor::fleet::{
    Ask, Grant, Ledger, LedgerError, LedgerStatus, LimitVersion, MemoryLedger,
};

/// A ledger in memory that fails or hangs while the test wants it.
#[derive(Clone, Default)]
pub(crate) struct FlakyLedger {
    ledger: MemoryLedger,
    failing: Arc<Mutex<Failing>>,
    /// The most that any exchange wanted since the last call of `most_wanted`.
    most_asked: Arc<Mutex<u32>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Failing {
    Yes,
    #[default]
    No,
    /// It does not answer.
    Hangs,
    /// Its exchanges panic.
    Panics,
}

impl FlakyLedger {
    pub(crate) fn fails(&self, failing: Failing) {
        *self.failing.lock().unwrap() = failing;
    }

    /// Returns the most that any exchange wanted since the last call.
    pub(crate) fn most_wanted(&self) -> u32 {
        std::mem::take(&mut self.most_asked.lock().unwrap())
    }

    /// Returns whether it fails, or hangs.
    async fn is_failing(&self) -> bool {
        let failing = *self.failing.lock().unwrap();
        match failing {
            Failing::Hangs => pending().await,
            Failing::Panics => panic!("the test lets it panic"),
            Failing::Yes | Failing::No => {}
        }
        failing == Failing::Yes
    }
}

#[async_trait]
impl Ledger for FlakyLedger {
    async fn exchange(&self, gate: &str, ask: Ask<'_>) -> Result<Grant, LedgerError> {
        if self.is_failing().await {
            return Err(LedgerError::Engine { engine: "the test", source: "the test lets it fail".into() });
        }
        let wants = ask.wants;
        let grant = self.ledger.exchange(gate, ask).await;
        let mut most_asked = self.most_asked.lock().unwrap();
        *most_asked = wants.max(*most_asked);
        grant
    }

    async fn set_limit(&self, gate: &str, limit: Limit, by: &str) -> Result<LimitVersion, LedgerError> {
        self.ledger.set_limit(gate, limit, by).await
    }

    fn with_own_connection(&self) -> Arc<dyn Ledger> {
        Arc::new(self.clone())
    }

    async fn check(&self) -> Result<(), LedgerError> {
        if self.is_failing().await {
            return Err(LedgerError::Unsuitable { engine: "the test", problem: "it is read-only".into() });
        }
        Ok(())
    }

    async fn status(&self, gate: &str) -> Result<LedgerStatus, LedgerError> {
        self.ledger.status(gate).await
    }
}

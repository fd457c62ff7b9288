//! A ledger that cannot be reached.

use std::sync::Arc;

use async_trait::async_trait;
use concurrency_governor::Limit;
use concurrency_governor::fleet::{Ask, Grant, Ledger, LedgerError, LedgerStatus, LimitVersion};

#[derive(Clone)]
pub(crate) struct NoLedger;

impl NoLedger {
    fn error<T>() -> Result<T, LedgerError> {
        Err(LedgerError::Engine { engine: "the test", source: "it cannot be reached".into() })
    }
}

#[async_trait]
impl Ledger for NoLedger {
    async fn exchange(&self, _: &str, _: Ask<'_>) -> Result<Grant, LedgerError> {
        Self::error()
    }

    async fn set_limit(&self, _: &str, _: Limit, _: &str) -> Result<LimitVersion, LedgerError> {
        Self::error()
    }

    fn with_own_connection(&self) -> Arc<dyn Ledger> {
        Arc::new(self.clone())
    }

    async fn status(&self, _: &str) -> Result<LedgerStatus, LedgerError> {
        Self::error()
    }
}

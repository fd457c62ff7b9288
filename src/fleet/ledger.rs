//! The place where the limit of a fleet is kept.

use std::sync::Arc;

use async_trait::async_trait;

use crate::plan::Limit;
use crate::plan::debug_as_display::impl_debug_with_causes;

use super::step::{Ask, Grant, LedgerStatus, LimitVersion};

/// Keeps the limit of a fleet, and grants blocks of it to the holders.
///
/// An implementation makes one step of [`LedgerState::exchange`](super::LedgerState::exchange) for each call, one after the other for
/// each gate, with the clock of one server.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Makes one exchange.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the ledger cannot be reached or rejects the exchange. Then the ledger may or may not have made the step. The
    /// holder makes another exchange, with a higher number.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is the same as an error.
    async fn exchange(&self, gate: &str, ask: Ask<'_>) -> Result<Grant, LedgerError>;

    /// Sets the limit of a gate for all holders. Each holder receives it with its next exchange. `by` names the operator or the program
    /// that sets it.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the ledger cannot be reached. Then the limit may or may not be set.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is the same as an error.
    async fn set_limit(&self, gate: &str, limit: Limit, by: &str) -> Result<LimitVersion, LedgerError>;

    /// Returns the same ledger with a connection of its own, which its first call opens in the runtime of that call. So calls do not
    /// wait for another runtime that is blocked.
    fn with_own_connection(&self) -> Arc<dyn Ledger>;

    /// Checks that the engine can be a ledger. Does nothing by default.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the engine cannot be reached, rejects the user or password, or does not have what a ledger needs.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    async fn check(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Returns what the ledger knows about a gate.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the ledger cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    async fn status(&self, gate: &str) -> Result<LedgerStatus, LedgerError>;
}

/// The error of a call to a ledger.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The exchange has a number that is not above the last one of its holder.
    #[error(
        "the ledger has already processed exchange {last} of this process; another process uses the same name, or the message was delayed (the next exchange follows automatically)"
    )]
    Replayed {
        /// The number of the last exchange.
        last: u64,
    },
    /// The name of a gate or holder is not valid.
    #[error("{what} {given:?} is not valid: it must have 1 to 200 printable ASCII characters without spaces")]
    Name {
        /// What is not valid.
        what: &'static str,
        /// The name that was given.
        given: String,
    },
    /// The engine does not have what the ledger needs.
    #[error("{engine} cannot be a ledger: {problem}")]
    Unsuitable {
        /// The engine.
        engine: &'static str,
        /// What is missing, and what to do.
        problem: String,
    },
    /// The engine rejects the user, the password or the certificate of this process, or the user may not do what the ledger needs.
    #[error("{engine} rejects the user, password or certificate of the ledger, or denies the user a command")]
    Denied {
        /// The engine.
        engine: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate of the server is not signed by a trusted authority (CA), has another host name, or is not valid now.
    #[error("the certificate of {engine} is not trusted")]
    Untrusted {
        /// The engine.
        engine: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Fewer replicas than required have acknowledged the exchange, so it has failed.
    #[error("{acknowledged} of {required} replicas have acknowledged the exchange, so it has failed")]
    NotReplicated {
        /// The replicas that have acknowledged.
        acknowledged: u64,
        /// The replicas that must acknowledge.
        required: u64,
    },
    /// The engine did not answer, or its answer was an error.
    #[error("the call to {engine} has failed")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl LedgerError {
    /// Returns `true` if the same call cannot succeed later, unless an operator changes something.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Name { .. } | Self::Unsuitable { .. } | Self::Denied { .. } | Self::Untrusted { .. }
        )
    }
}

impl_debug_with_causes!(LedgerError);

/// Checks a name of a gate or a holder: short, and safe as a part of a key and of a line of a log.
pub(super) fn check_name(what: &'static str, given: &str) -> Result<(), LedgerError> {
    let is_valid = (1..=200).contains(&given.len()) && given.bytes().all(|byte| byte.is_ascii_graphic());
    if is_valid { Ok(()) } else { Err(LedgerError::Name { what, given: given.to_owned() }) }
}

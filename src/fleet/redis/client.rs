//! The timeouts and the errors of the client of Redis.

use std::time::Duration;

use redis::{AsyncConnectionConfig, ErrorKind, RedisError};

use crate::fleet::ledger::LedgerError;

/// Returns the timeouts for opening a connection and for each response.
pub(super) fn connection_config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(TIMEOUT)).set_response_timeout(Some(TIMEOUT))
}

/// The time after which opening a connection, or a call, fails.
const TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn engine_error(error: RedisError) -> LedgerError {
    let is_denied = error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
    #[cfg(feature = "redis-tls")]
    let is_denied = is_denied || crate::fleet::tls::is_client_rejected(&error);
    if is_denied {
        return LedgerError::Denied { engine: ENGINE, source: Box::new(error) };
    }
    #[cfg(feature = "redis-tls")]
    if crate::fleet::tls::is_untrusted(&error) {
        return LedgerError::Untrusted { engine: ENGINE, source: Box::new(error) };
    }
    LedgerError::Engine { engine: ENGINE, source: Box::new(error) }
}

pub(super) fn unsuitable(problem: String) -> LedgerError {
    LedgerError::Unsuitable { engine: ENGINE, problem }
}

const ENGINE: &str = "Redis";

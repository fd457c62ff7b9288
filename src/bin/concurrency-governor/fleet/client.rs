//! A connection to a ledger of either engine.

#[cfg(feature = "postgres")]
use concurrency_governor::fleet::PostgresLedger;
#[cfg(feature = "redis")]
use concurrency_governor::fleet::RedisLedger;
use concurrency_governor::fleet::{Ledger, LedgerError};

use super::address::LedgerUrl;

/// A ledger, and its name without user and password.
pub(super) struct LedgerClient {
    /// Such as "Redis at 127.0.0.1:6379".
    pub(super) name: String,
    engine: LedgerEngine,
}

enum LedgerEngine {
    #[cfg(feature = "redis")]
    Redis(Box<RedisLedger>),
    #[cfg(feature = "postgres")]
    Postgres(PostgresLedger),
}

impl LedgerClient {
    /// Opens the ledger of a URL. It connects at the first call.
    pub(super) fn open(url: &LedgerUrl) -> Result<Self, LedgerUrlError> {
        match url.scheme() {
            #[cfg(feature = "redis")]
            "redis" => Self::open_redis(url),
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => Self::open_postgres(url),
            _ => Err(LedgerUrlError),
        }
    }

    #[cfg(feature = "redis")]
    fn open_redis(url: &LedgerUrl) -> Result<Self, LedgerUrlError> {
        use redis::IntoConnectionInfo;

        // The errors of the parsers can quote the URL, so they are dropped.
        let server = url.as_str().into_connection_info().map_err(|_| LedgerUrlError)?;
        let name = format!("Redis at {}", server.addr());
        let ledger = RedisLedger::new(server).map_err(|_| LedgerUrlError)?;
        Ok(Self { name, engine: LedgerEngine::Redis(Box::new(ledger)) })
    }

    #[cfg(feature = "postgres")]
    fn open_postgres(url: &LedgerUrl) -> Result<Self, LedgerUrlError> {
        use tokio_postgres::config::Host;

        let config: tokio_postgres::Config = url.as_str().parse().map_err(|_| LedgerUrlError)?;
        let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
            let ports = config.get_ports();
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(host) => format!("{host}:{port}"),
                #[cfg(unix)]
                Host::Unix(folder) => folder.display().to_string(),
            }
        });
        let name = format!("PostgreSQL at {}", hosts.collect::<Vec<_>>().join(","));
        Ok(Self { name, engine: LedgerEngine::Postgres(PostgresLedger::new(config)) })
    }

    pub(super) fn ledger(&self) -> &dyn Ledger {
        match &self.engine {
            #[cfg(feature = "redis")]
            LedgerEngine::Redis(ledger) => &**ledger,
            #[cfg(feature = "postgres")]
            LedgerEngine::Postgres(ledger) => ledger,
        }
    }

    /// Checks that the server can be a ledger.
    pub(super) async fn check(&self) -> Result<(), LedgerError> {
        match &self.engine {
            #[cfg(feature = "redis")]
            LedgerEngine::Redis(ledger) => ledger.check().await,
            #[cfg(feature = "postgres")]
            LedgerEngine::Postgres(ledger) => ledger.check().await,
        }
    }

    /// Returns the names of the gates, in their order.
    pub(super) async fn gates(&self) -> Result<Vec<String>, LedgerError> {
        match &self.engine {
            #[cfg(feature = "redis")]
            LedgerEngine::Redis(ledger) => ledger.gates().await,
            #[cfg(feature = "postgres")]
            LedgerEngine::Postgres(ledger) => ledger.gates().await,
        }
    }
}

/// The text is not the URL of a ledger. It does not quote the text.
#[derive(Debug, thiserror::Error)]
#[error("not the URL of a ledger that this program can use (allowed: {ALLOWED}, without TLS)")]
pub(crate) struct LedgerUrlError;

const ALLOWED: &str = if cfg!(all(feature = "redis", feature = "postgres")) {
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB] or postgres://[USER:PASSWORD@]HOST[:PORT][/DB]"
} else if cfg!(feature = "redis") {
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB]"
} else {
    "postgres://[USER:PASSWORD@]HOST[:PORT][/DB]"
};

//! The server that Redis Sentinel names as the primary.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError};

use super::client::{connection_config, engine_error, unsuitable};
use crate::fleet::ledger::LedgerError;

/// The sentinels that know which server is the primary.
pub(super) struct Sentinels {
    servers: Vec<Client>,
    primary: String,
    /// The sentinel that is queried first: the one that has answered last, or the one after the last that has not answered.
    first: AtomicUsize,
}

impl Sentinels {
    pub(super) fn new(
        primary: &str,
        sentinels: impl IntoIterator<Item = impl IntoConnectionInfo>,
    ) -> Result<Self, LedgerError> {
        let servers: Result<Vec<_>, RedisError> = sentinels.into_iter().map(Client::open).collect();
        let servers = servers.map_err(engine_error)?;
        if servers.is_empty() {
            return Err(unsuitable("no sentinels are given".to_owned()));
        }
        Ok(Self { servers, primary: primary.to_owned(), first: AtomicUsize::new(0) })
    }

    /// Queries the sentinels in turn until one names the present primary, and returns the connection info of this server. Everything
    /// except the address is copied from `settings`.
    pub(super) async fn find_primary(
        &self,
        settings: &ConnectionInfo,
    ) -> Result<ConnectionInfo, LedgerError> {
        // Relaxed: the value only decides which sentinel is queried first.
        let first = self.first.load(Ordering::Relaxed);
        let mut failure = None;
        for (at, sentinel) in self.servers.iter().enumerate().cycle().skip(first).take(self.servers.len()) {
            // The caller may drop this future before a sentinel that is gone has timed out. Then the next call must not begin with it.
            self.first.store(at.saturating_add(1), Ordering::Relaxed);
            match self.query(sentinel).await {
                Ok(Some((host, port))) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(settings.clone().set_addr(address_like(settings.addr(), host, port)));
                }
                Ok(None) => {}
                Err(error) => failure = Some(engine_error(error)),
            }
        }
        Err(failure.unwrap_or_else(|| {
            unsuitable(format!("its sentinels do not know the primary {:?}", self.primary))
        }))
    }

    /// Queries one sentinel for the address of the primary. Returns `None` if the sentinel does not know the name.
    async fn query(&self, sentinel: &Client) -> Result<Option<(String, u16)>, RedisError> {
        let mut connection =
            sentinel.get_multiplexed_async_connection_with_config(&connection_config()).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.primary).query_async(&mut connection).await
    }
}

/// Returns the address of a server, with the TLS settings of `other`.
fn address_like(other: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match other {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

//! A ledger in Redis or Valkey: one Lua script on one hash for each gate.

mod client;
mod sentinel;
mod status;

mod message_pack;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue, IntoConnectionInfo, RedisError, Script, ScriptInvocation};
use tokio::sync::Mutex;

use crate::plan::Limit;

use super::answer::read_answer;
use super::ledger::{Ledger, LedgerError, check_name};
use super::step::{Ask, Claim, Grant, LedgerStatus, LimitVersion};
use client::{connection_config, engine_error, unsuitable};
use message_pack::pack_numbers;
use sentinel::Sentinels;
use status::read_status;

/// A ledger in Redis 5 or later, or in Valkey.
///
/// The state of a gate is one hash, `cg:{NAME}`, so that it is lost as a whole or not at all. Each exchange is one call of a script,
/// which reads the clock of the server.
///
/// All clones of a ledger use one connection. The first call opens it, and so does the next call after one that has failed.
///
/// ```no_run
/// # async fn f() -> Result<(), concurrency_governor::fleet::LedgerError> {
/// use concurrency_governor::fleet::{Ledger, RedisLedger};
///
/// let ledger = RedisLedger::new("redis://127.0.0.1/")?;
/// ledger.check().await?;
/// println!("{:?}", ledger.status("io").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisLedger {
    /// The server. With sentinels, its address is ignored.
    client: Client,
    sentinels: Option<Arc<Sentinels>>,
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
    exchange: Script,
    set_limit: Script,
    replicas: u64,
    replica_timeout: Duration,
}

impl RedisLedger {
    /// Creates a ledger. It connects at the first call.
    ///
    /// A URL with `rediss://` connects over TLS, with the feature `redis-tls`. The crate `redis` then chooses the trusted certificates. To
    /// name files of certificates in the URL, use [`EngineLedger`](super::EngineLedger).
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the text is not the address of a server, or asks for TLS without the feature.
    pub fn new(server: impl IntoConnectionInfo) -> Result<Self, LedgerError> {
        Ok(Self {
            client: Client::open(server).map_err(engine_error)?,
            sentinels: None,
            connection: Arc::default(),
            exchange: Script::new(&format!("{CLOCK}{EXCHANGE}")),
            set_limit: Script::new(&format!("{CLOCK}{SET_LIMIT}")),
            replicas: 0,
            replica_timeout: Duration::ZERO,
        })
    }

    /// Connects to the server that Redis Sentinel names as the primary. Each new connection queries the sentinels in turn until one names
    /// the primary. After a failover, exchanges fail until the sentinels name the new primary. The host of [`new`](Self::new) is not
    /// used then, but its user, password, database and TLS are.
    ///
    /// A promoted replica may lack the last exchanges. To prevent this, require that replicas [acknowledge](Self::acknowledged_by) them.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), concurrency_governor::fleet::LedgerError> {
    /// use concurrency_governor::fleet::RedisLedger;
    ///
    /// let sentinels = ["redis://sentinel-1:26379/", "redis://sentinel-2:26379/", "redis://sentinel-3:26379/"];
    /// let ledger = RedisLedger::new("redis://me:secret@any/")?.behind_sentinels("mymaster", sentinels)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if `sentinels` is empty, or a text in it is not the address of a server.
    pub fn behind_sentinels(
        mut self,
        primary: &str,
        sentinels: impl IntoIterator<Item = impl IntoConnectionInfo>,
    ) -> Result<Self, LedgerError> {
        self.sentinels = Some(Arc::new(Sentinels::new(primary, sentinels)?));
        Ok(self)
    }

    /// Requires that this number of replicas acknowledges each exchange and each new limit within `timeout`, which is at most 800 ms: a
    /// longer one is lowered. Otherwise the call fails with [`LedgerError::NotReplicated`]. Without this requirement, a promoted replica
    /// may lack the last exchanges. It begins an epoch in any case, because its `run_id` differs.
    #[must_use]
    pub fn acknowledged_by(mut self, replicas: u32, timeout: Duration) -> Self {
        (self.replicas, self.replica_timeout) = (replicas.into(), timeout.min(MOST_REPLICA_TIMEOUT));
        self
    }

    /// Checks that the server can be a ledger: that it is a primary, that scripts may read its clock and its `run_id`, and that it does
    /// not evict keys without an expiry time.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the server cannot be reached, rejects the user or password, is a read-only replica, denies `INFO` in
    /// scripts, or has a memory limit with one of the policies `allkeys-..`.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn check(&self) -> Result<(), LedgerError> {
        let role: Vec<redis::Value> = self.query(&redis::cmd("ROLE")).await?;
        let role: Option<String> =
            role.into_iter().next().and_then(|role| redis::from_redis_value(role).ok());
        if role.as_deref() != Some("master") {
            let role = role.unwrap_or_default();
            return Err(unsuitable(format!("its role is {role:?}; connect to the primary")));
        }
        let script = Script::new(&format!("{CLOCK}return {{ now, run }}"));
        let mut connection = self.connect().await?;
        let answer: Result<(u64, String), _> = script.prepare_invoke().invoke_async(&mut connection).await;
        match answer {
            // A server that is busy, loads its data or does not answer has other codes, or none.
            Err(error) if matches!(error.code(), Some("ERR" | "NOPERM")) => {
                return Err(unsuitable(format!(
                    "a script cannot read its clock and its run; allow TIME and INFO in scripts ({error})"
                )));
            }
            answer => self.finish(answer).await?,
        };
        let memory: String = self.query(redis::cmd("INFO").arg("memory")).await?;
        let value = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default()
        };
        let (most, policy) = (value("maxmemory"), value("maxmemory_policy"));
        if policy.starts_with("allkeys-") && most != "0" {
            return Err(unsuitable(format!(
                "its maxmemory-policy is {policy}, which evicts the gates; use volatile-lru or noeviction"
            )));
        }
        Ok(())
    }

    /// Returns the names of the gates, sorted. It visits all keys of the database, in steps.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the server cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn gates(&self) -> Result<Vec<String>, LedgerError> {
        let (mut cursor, mut gates) = (0_u64, BTreeSet::new());
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg("cg:{*}").arg("COUNT").arg(1000);
            let keys: Vec<String>;
            (cursor, keys) = self.query(&command).await?;
            let names = keys.iter().filter_map(|key| key.strip_prefix("cg:{")?.strip_suffix('}'));
            gates.extend(names.filter(|name| check_name("gate", name).is_ok()).map(str::to_owned));
            if cursor == 0 {
                return Ok(gates.into_iter().collect());
            }
        }
    }

    /// Calls a script, and waits until enough replicas have acknowledged what it wrote.
    async fn invoke_replicated<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, LedgerError> {
        let answer = self.invoke(call).await?;
        if self.replicas > 0 {
            let mut command = redis::cmd("WAIT");
            // A timeout of 0 would wait for ever.
            let millis = u64::try_from(self.replica_timeout.as_millis()).unwrap_or(u64::MAX).max(1);
            let acknowledged: u64 = self.query(command.arg(self.replicas).arg(millis)).await?;
            if acknowledged < self.replicas {
                // The replicas may follow another primary by now.
                *self.connection.lock().await = None;
                return Err(LedgerError::NotReplicated { acknowledged, required: self.replicas });
            }
        }
        Ok(answer)
    }

    /// Calls a script.
    async fn invoke<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, LedgerError> {
        let mut connection = self.connect().await?;
        self.finish(call.invoke_async(&mut connection).await).await
    }

    /// Runs a command.
    async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, LedgerError> {
        let mut connection = self.connect().await?;
        self.finish(command.query_async(&mut connection).await).await
    }

    /// Returns the connection, and opens it if there is none.
    async fn connect(&self) -> Result<MultiplexedConnection, LedgerError> {
        let mut current = self.connection.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        #[cfg(feature = "redis-tls")]
        if matches!(self.client.get_connection_info().addr(), redis::ConnectionAddr::TcpTls { .. }) {
            super::tls::crypto_provider();
        }
        let client = match &self.sentinels {
            None => self.client.clone(),
            Some(sentinels) => {
                let primary = sentinels.find_primary(self.client.get_connection_info()).await?;
                Client::open(primary).map_err(engine_error)?
            }
        };
        let connection = client.get_multiplexed_async_connection_with_config(&connection_config()).await;
        let connection = connection.map_err(engine_error)?;
        *current = Some(connection.clone());
        Ok(connection)
    }

    /// Drops the connection after an error: its next answer could be that of this call, or the server could have ceased to be the primary.
    async fn finish<T>(&self, answer: Result<T, RedisError>) -> Result<T, LedgerError> {
        if answer.is_err() {
            *self.connection.lock().await = None;
        }
        answer.map_err(engine_error)
    }
}

impl fmt::Debug for RedisLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client knows the password.
        f.debug_struct("RedisLedger").field("replicas", &self.replicas).finish_non_exhaustive()
    }
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn exchange(&self, gate: &str, ask: Ask<'_>) -> Result<Grant, LedgerError> {
        check_name("gate", gate)?;
        check_name("holder", ask.holder)?;
        let mut call = self.exchange.key(key_of(gate));
        let [ttl, grace, guard] = [ask.terms.ttl(), ask.terms.grace(), ask.terms.guard()]
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let (is_lapsed, limit) = (u64::from(ask.claim == Claim::Lapsed), ask.limit.limit.get().into());
        let (held, wants, version) = (ask.held.into(), ask.wants.into(), ask.limit.version);
        let numbers = [ask.seq, ask.epoch, held, wants, is_lapsed, ttl, grace, guard, limit, version];
        call.arg(ask.holder).arg(pack_numbers(&numbers));
        let answer: Vec<u64> = self.invoke_replicated(&call).await?;
        let unknown = || Err(unsuitable(format!("the script returned {answer:?}")));
        read_answer(&answer).unwrap_or_else(unknown)
    }

    async fn set_limit(&self, gate: &str, limit: Limit, by: &str) -> Result<LimitVersion, LedgerError> {
        check_name("gate", gate)?;
        let mut call = self.set_limit.key(key_of(gate));
        call.arg(limit.get()).arg(by);
        let version = self.invoke_replicated(&call).await?;
        Ok(LimitVersion { limit, version })
    }

    fn with_own_connection(&self) -> Arc<dyn Ledger> {
        Arc::new(Self { connection: Arc::default(), ..self.clone() })
    }

    async fn check(&self) -> Result<(), LedgerError> {
        Self::check(self).await
    }

    async fn status(&self, gate: &str) -> Result<LedgerStatus, LedgerError> {
        check_name("gate", gate)?;
        let mut command = redis::cmd("HGETALL");
        let fields: HashMap<Vec<u8>, Vec<u8>> = self.query(command.arg(key_of(gate))).await?;
        if fields.is_empty() {
            return Ok(LedgerStatus::default());
        }
        read_status(&fields).ok_or_else(|| {
            unsuitable(format!("the gate {gate:?} has another layout, and this program knows 1"))
        })
    }
}

/// Below the time after which a call to the server fails.
const MOST_REPLICA_TIMEOUT: Duration = Duration::from_millis(800);

const CLOCK: &str = include_str!("redis/clock.lua");
const EXCHANGE: &str = include_str!("redis/exchange.lua");
const SET_LIMIT: &str = include_str!("redis/set_limit.lua");

/// Returns the key of a gate. The braces make Redis Cluster choose the node by the name alone.
fn key_of(gate: &str) -> String {
    format!("cg:{{{gate}}}")
}

//! A ledger in PostgreSQL: one row for each gate, which an exchange locks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Config, Error, NoTls, Row, Socket};

use crate::plan::Limit;

use super::answer::read_answer;
use super::ledger::{Ledger, LedgerError, check_name};
use super::step::{Ask, Claim, Grant, HolderStatus, LedgerStatus, LimitVersion};

/// A ledger in PostgreSQL 14 or later.
///
/// Its tables and functions are in the schema `concurrency_governor`; [`install`](Self::install) creates them. Each exchange is one
/// statement, and needs neither session state nor a named prepared statement, so it works through pgbouncer in its transaction mode.
/// The clock is that of the server, read while the gate's row is locked.
///
/// All clones of a ledger use one connection.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use concurrency_governor::fleet::{Ledger, PostgresLedger};
///
/// let ledger = PostgresLedger::new("host=127.0.0.1 user=app dbname=app".parse()?);
/// ledger.install().await?; // once; or run `PostgresLedger::SCHEMA` in a migration
/// ledger.check().await?;
/// println!("{:?}", ledger.status("io").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresLedger {
    connector: Arc<dyn PostgresConnector>,
    /// The connection. The first call opens it, and so does the next call after it has failed.
    client: Arc<Mutex<Option<Arc<Client>>>>,
}

impl PostgresLedger {
    /// The SQL that creates the tables and functions. It can run again at any time.
    pub const SCHEMA: &str = include_str!("postgres/schema.sql");

    /// Creates a ledger that connects without TLS. It connects at the first call.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with_tls(config, NoTls)
    }

    /// Creates a ledger that connects with TLS. It connects at the first call.
    pub fn with_tls<T>(config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Self { connector: Arc::new(TlsConnector { config, tls }), client: Arc::default() }
    }

    /// Creates the tables and functions, and replaces functions of an earlier version.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the server cannot be reached or the user may not create them.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the server either makes all of these changes or none.
    pub async fn install(&self) -> Result<(), LedgerError> {
        let client = self.connect().await?;
        let installed = timeout(INSTALL_TIMEOUT, client.batch_execute(Self::SCHEMA)).await;
        installed.map_err(|elapsed| engine_error(elapsed.into()))?.map_err(postgres_error)
    }

    /// Checks that the server can be a ledger: that it may be written to, and has the tables and functions.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the server cannot be reached, rejects the user, is a read-only standby, or lacks tables or functions.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn check(&self) -> Result<(), LedgerError> {
        let query = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', \
            to_regclass('concurrency_governor.gate') IS NOT NULL, \
            current_setting('server_version_num')::bigint, \
            to_regprocedure('concurrency_governor.exchange(text, text, bigint, bigint, bigint, bigint, boolean, bigint, bigint, bigint, \
                bigint, bigint)') IS NOT NULL \
            AND to_regprocedure('concurrency_governor.set_limit_at(text, bigint, text, bigint)') IS NOT NULL \
            AND to_regprocedure('concurrency_governor.now_ms()') IS NOT NULL";
        let row = self.query_one(query, &[]).await?;
        let (is_read_only, has_tables, version): (bool, bool, i64) =
            (read(&row, 0)?, read(&row, 1)?, read(&row, 2)?);
        let has_functions: bool = read(&row, 3)?;
        if is_read_only {
            return Err(unsuitable("it is read-only; connect to the primary".into()));
        }
        if version < 140_000 {
            return Err(unsuitable(format!("its version is {version}, and must be at least 140000")));
        }
        if !has_tables {
            return Err(unsuitable("its tables are missing; call `PostgresLedger::install`".into()));
        }
        if !has_functions {
            let problem = "it lacks functions of this version; call `PostgresLedger::install`";
            return Err(unsuitable(problem.into()));
        }
        Ok(())
    }

    /// Returns the names of the gates, sorted.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the server cannot be reached or has no tables.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn gates(&self) -> Result<Vec<String>, LedgerError> {
        let rows = self.query("SELECT name FROM concurrency_governor.gate ORDER BY name", &[]).await?;
        rows.iter().map(|row| read(row, 0)).collect()
    }

    /// Runs a statement that returns one row.
    async fn query_one(&self, query: &str, values: &[TypedValue<'_>]) -> Result<Row, LedgerError> {
        let row = self.query(query, values).await?.pop();
        row.ok_or_else(|| unsuitable("it returned no row".into()))
    }

    /// Runs a statement.
    async fn query(&self, query: &str, values: &[TypedValue<'_>]) -> Result<Vec<Row>, LedgerError> {
        let client = self.connect().await?;
        let answer = match timeout(TIMEOUT, client.query_typed(query, values)).await {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(error)) => postgres_error(error),
            Err(elapsed) => engine_error(elapsed.into()),
        };
        // The next call must not wait for this one. Also, the server could have ended the connection, or ceased to be the primary.
        self.disconnect(&client).await;
        Err(answer)
    }

    /// Returns the connection, and opens it if there is none.
    async fn connect(&self) -> Result<Arc<Client>, LedgerError> {
        let mut current = self.client.lock().await;
        if let Some(client) = current.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = timeout(TIMEOUT, self.connector.connect()).await;
        let client = client.map_err(|elapsed| engine_error(elapsed.into()))?;
        let client = Arc::new(client.map_err(postgres_error)?);
        *current = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Drops a connection, unless another call has replaced it. Its task ends when the last call on it has ended.
    async fn disconnect(&self, failed: &Arc<Client>) {
        let mut current = self.client.lock().await;
        if current.as_ref().is_some_and(|client| Arc::ptr_eq(client, failed)) {
            *current = None;
        }
    }
}

impl fmt::Debug for PostgresLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration has the password.
        f.debug_struct("PostgresLedger").finish_non_exhaustive()
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn exchange(&self, gate: &str, ask: Ask<'_>) -> Result<Grant, LedgerError> {
        check_name("gate", gate)?;
        check_name("holder", ask.holder)?;
        let is_lapsed = ask.claim == Claim::Lapsed;
        let [ttl, grace, guard] = [ask.terms.ttl(), ask.terms.grace(), ask.terms.guard()].map(as_millis);
        let (seq, epoch, version) =
            (saturating_i64(ask.seq), saturating_i64(ask.epoch), saturating_i64(ask.limit.version));
        let [held, wants, limit] = [ask.held, ask.wants, ask.limit.limit.get()].map(i64::from);
        let query = "SELECT concurrency_governor.exchange($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        let values: [TypedValue<'_>; 12] = [
            (&gate, Type::TEXT),
            (&ask.holder, Type::TEXT),
            (&seq, Type::INT8),
            (&epoch, Type::INT8),
            (&held, Type::INT8),
            (&wants, Type::INT8),
            (&is_lapsed, Type::BOOL),
            (&ttl, Type::INT8),
            (&grace, Type::INT8),
            (&guard, Type::INT8),
            (&limit, Type::INT8),
            (&version, Type::INT8),
        ];
        let answer: Vec<i64> = read(&self.query_one(query, &values).await?, 0)?;
        let answer: Vec<u64> = answer.into_iter().map(from_i64).collect();
        let unknown = || Err(unsuitable(format!("the function returned {answer:?}")));
        read_answer(&answer).unwrap_or_else(unknown)
    }

    async fn set_limit(&self, gate: &str, limit: Limit, by: &str) -> Result<LimitVersion, LedgerError> {
        check_name("gate", gate)?;
        let query = "SELECT concurrency_governor.set_limit_at($1, $2, $3, concurrency_governor.now_ms())";
        let permits = i64::from(limit.get());
        let values: [TypedValue<'_>; 3] = [(&gate, Type::TEXT), (&permits, Type::INT8), (&by, Type::TEXT)];
        let version: i64 = read(&self.query_one(query, &values).await?, 0)?;
        Ok(LimitVersion { limit, version: from_i64(version) })
    }

    fn with_own_connection(&self) -> Arc<dyn Ledger> {
        Arc::new(Self { connector: Arc::clone(&self.connector), client: Arc::default() })
    }

    async fn check(&self) -> Result<(), LedgerError> {
        Self::check(self).await
    }

    async fn status(&self, gate: &str) -> Result<LedgerStatus, LedgerError> {
        check_name("gate", gate)?;
        // One statement sees one state. A gate without holders has one row.
        let query = "SELECT g.epoch, g.permits, g.version, g.set_by, greatest(0, g.learning_until - g.clock), g.exchanges, g.granted, \
            h.name, h.granted, h.reserved, h.wants, h.seq, greatest(0, h.expiry - g.clock), h.ticket, g.layout \
            FROM concurrency_governor.gate g LEFT JOIN concurrency_governor.holder h ON h.gate = g.name \
            WHERE g.name = $1 ORDER BY h.position";
        let rows = self.query(query, &[(&gate, Type::TEXT)]).await?;
        let Some(first) = rows.first() else { return Ok(LedgerStatus::default()) };
        let layout: i64 = read(first, 14)?;
        if layout != 1 {
            return Err(unsuitable(format!(
                "the gate {gate:?} has the layout {layout}, and this program knows 1"
            )));
        }
        let number = |row: &Row, column: usize| read(row, column).map(from_i64);
        let mut holders = Vec::with_capacity(rows.len());
        for row in &rows {
            let Some(holder) = read::<Option<String>>(row, 7)? else { continue };
            holders.push(HolderStatus {
                holder,
                granted: number(row, 8)?,
                reserved: number(row, 9)?,
                wants: u32::try_from(number(row, 10)?).unwrap_or(u32::MAX),
                seq: number(row, 11)?,
                expires_ms: number(row, 12)?,
                short_since: number(row, 13)?,
            });
        }
        let (limit, version) = (number(first, 1)?, number(first, 2)?);
        Ok(LedgerStatus {
            epoch: number(first, 0)?,
            limit: (limit > 0).then(|| LimitVersion { limit: Limit::saturating(limit), version }),
            set_by: read(first, 3)?,
            learning_ms: number(first, 4)?,
            exchanges: number(first, 5)?,
            granted: number(first, 6)?,
            holders,
        })
    }
}

/// Reads a column. A wrong type is reported as an error, because the functions in the database can have been changed.
fn read<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, LedgerError> {
    row.try_get(column).map_err(|error| engine_error(error.into()))
}

/// A value of a statement, with its type, so that the client need not query the server for the type.
type TypedValue<'a> = (&'a (dyn ToSql + Sync), Type);

/// Opens connections with one configuration.
#[async_trait]
trait PostgresConnector: Send + Sync {
    async fn connect(&self) -> Result<Client, Error>;
}

struct TlsConnector<T> {
    config: Config,
    tls: T,
}

#[async_trait]
impl<T> PostgresConnector for TlsConnector<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    async fn connect(&self) -> Result<Client, Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        // The task ends when the client is dropped or the connection breaks; the next call then finds the client closed.
        tokio::spawn(connection);
        Ok(client)
    }
}

/// The time after which opening a connection, or a call, fails.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The time after which the installation fails.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(30);

fn as_millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn saturating_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts a number of the tables. None of them is negative.
fn from_i64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn postgres_error(error: Error) -> LedgerError {
    let denials = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    match error.code() {
        Some(code) if denials.contains(code) => {
            LedgerError::Denied { engine: ENGINE, source: Box::new(error) }
        }
        #[cfg(feature = "postgres-tls")]
        _ if super::tls::is_client_rejected(&error) => {
            LedgerError::Denied { engine: ENGINE, source: Box::new(error) }
        }
        #[cfg(feature = "postgres-tls")]
        _ if super::tls::is_untrusted(&error) => {
            LedgerError::Untrusted { engine: ENGINE, source: Box::new(error) }
        }
        _ => engine_error(error.into()),
    }
}

fn engine_error(source: Box<dyn std::error::Error + Send + Sync>) -> LedgerError {
    LedgerError::Engine { engine: ENGINE, source }
}

fn unsuitable(problem: String) -> LedgerError {
    LedgerError::Unsuitable { engine: ENGINE, problem }
}

const ENGINE: &str = "PostgreSQL";

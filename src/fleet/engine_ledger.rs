//! A ledger in the engine that a URL names.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::plan::Limit;

use super::ledger::{Ledger, LedgerError};
#[cfg(feature = "redis")]
use super::ledger_url::SentinelUrls;
use super::ledger_url::{EngineKind, EngineUrl, InvalidLedgerUrl};
#[cfg(feature = "postgres")]
use super::postgres::PostgresLedger;
#[cfg(feature = "redis")]
use super::redis::RedisLedger;
use super::step::{Ask, Grant, LedgerStatus, LimitVersion};

/// A ledger in the engine that a URL names.
///
/// | URL | engine | feature |
/// |---|---|---|
/// | `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `valkey://..` | Redis, Valkey | `redis` |
/// | `redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]..]/PRIMARY[/DB]` | the primary that these sentinels name | `redis` |
/// | `rediss://..`, `valkeys://..`, `rediss+sentinel://..` | the same with TLS | `redis-tls` |
/// | `postgres://[USER:PASSWORD@]HOST[:PORT]/DB`, `postgresql://..` | PostgreSQL | `postgres` |
/// | the same with `?sslmode=require` or `?sslmode=verify-full` | the same with TLS | `postgres-tls` |
///
/// With TLS, the certificate of the server and its host name are always checked. The server's certificate must be signed by an
/// authority (CA) that the host trusts, or that is in the PEM file of the parameter `sslrootcert=FILE`, which both engines have. If the
/// server asks for a certificate of its clients, `sslcert=FILE` names the certificate of this process, and `sslkey=FILE` its private key,
/// both in PEM. As with OpenSSL, the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the authorities that the host trusts.
///
/// All clones of a ledger use one connection.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use concurrency_governor::fleet::{EngineLedger, Ledger};
///
/// let ledger = EngineLedger::at(&std::env::var("LEDGER")?)?;
/// println!("{}: {:?}", ledger.server(), ledger.gates().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EngineLedger {
    server: String,
    /// The user and the password of the URL.
    secrets: Vec<String>,
    engine: Engine,
}

#[derive(Clone)]
enum Engine {
    #[cfg(feature = "redis")]
    Redis(Box<RedisLedger>),
    #[cfg(feature = "postgres")]
    Postgres(PostgresLedger),
}

impl EngineLedger {
    /// Opens the ledger of a URL. It connects at the first call.
    ///
    /// # Errors
    ///
    /// [`InvalidLedgerUrl`] if the text is not such a URL, names a file that cannot be used, or needs a feature that the program was built
    /// without.
    pub fn at(url: &str) -> Result<Self, InvalidLedgerUrl> {
        let url = EngineUrl::parse(url)?;
        match url.engine {
            #[cfg(feature = "redis")]
            EngineKind::Redis => Self::open_redis(&url),
            #[cfg(not(feature = "redis"))]
            EngineKind::Redis => Err(url.engine.missing()),
            #[cfg(feature = "postgres")]
            EngineKind::Postgres => Self::open_postgres(&url),
            #[cfg(not(feature = "postgres"))]
            EngineKind::Postgres => Err(url.engine.missing()),
        }
    }

    #[cfg(feature = "redis")]
    fn open_redis(url: &EngineUrl) -> Result<Self, InvalidLedgerUrl> {
        if cfg!(not(feature = "redis-tls")) && url.tls.is_some() {
            return Err(InvalidLedgerUrl::MissingTls { feature: "redis-tls" });
        }
        let server = redis_server(&url.rest, url, InvalidLedgerUrl::Unknown)?;
        let settings = server.redis_settings();
        let secrets = [settings.username(), settings.password()].into_iter().flatten();
        let secrets = secrets.map(str::to_owned).collect();
        let mut place = format!("Redis at {}", server.addr());
        let mut ledger = RedisLedger::new(server).map_err(|_| InvalidLedgerUrl::Unknown)?;
        // Connections to the sentinels use the same certificates as those to the server, and no password.
        if let Some(SentinelUrls { urls, hosts, primary }) = &url.sentinels {
            let servers: Result<Vec<_>, _> = urls
                .iter()
                .map(|sentinel| redis_server(sentinel, url, InvalidLedgerUrl::Sentinels))
                .collect();
            ledger = ledger.behind_sentinels(primary, servers?).map_err(|_| InvalidLedgerUrl::Sentinels)?;
            place = format!("Redis, the primary {primary} of the sentinels at {hosts}");
        }
        Ok(Self { server: place, secrets, engine: Engine::Redis(Box::new(ledger)) })
    }

    #[cfg(feature = "postgres")]
    fn open_postgres(url: &EngineUrl) -> Result<Self, InvalidLedgerUrl> {
        use tokio_postgres::config::{Host, SslMode};

        let mut config: tokio_postgres::Config = url.rest.parse().map_err(|_| InvalidLedgerUrl::Unknown)?;
        // Either each host has its own port, or one port is given for all.
        let ports = config.get_ports();
        let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(host) => format!("{host}:{port}"),
                #[cfg(unix)]
                Host::Unix(folder) => folder.display().to_string(),
            }
        });
        let server = format!("PostgreSQL at {}", hosts.collect::<Vec<_>>().join(","));
        let user = config.get_user().map(str::to_owned);
        let password = config.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
        let secrets = user.into_iter().chain(password).collect();
        let ledger = match &url.tls {
            None => {
                config.ssl_mode(SslMode::Disable);
                PostgresLedger::new(config)
            }
            #[cfg(feature = "postgres-tls")]
            Some(files) => {
                config.ssl_mode(SslMode::Require);
                PostgresLedger::with_tls(config, super::tls::postgres_with_files(files)?)
            }
            #[cfg(not(feature = "postgres-tls"))]
            Some(_) => return Err(InvalidLedgerUrl::MissingTls { feature: "postgres-tls" }),
        };
        Ok(Self { server, secrets, engine: Engine::Postgres(ledger) })
    }

    /// Returns the engine and its address without user and password, such as "Redis at 127.0.0.1:6379".
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns the names of the gates, sorted.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if the server cannot be reached or cannot be a ledger.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn gates(&self) -> Result<Vec<String>, LedgerError> {
        match &self.engine {
            #[cfg(feature = "redis")]
            Engine::Redis(ledger) => ledger.gates().await,
            #[cfg(feature = "postgres")]
            Engine::Postgres(ledger) => ledger.gates().await,
        }
    }

    /// Describes an error of this ledger and its causes on one line. Servers quote the user that they reject, so the user and the password
    /// of the URL are replaced by `***`.
    #[must_use]
    pub fn describe(&self, error: &LedgerError) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let reason = error.to_string();
            // The error of a system call has itself as its cause.
            if !text.ends_with(&reason) {
                text = format!("{text}: {reason}");
            }
            cause = error.source();
        }
        self.secrets.iter().fold(text, |text, secret| hide_word(&text, secret))
    }

    fn ledger(&self) -> &dyn Ledger {
        match &self.engine {
            #[cfg(feature = "redis")]
            Engine::Redis(ledger) => &**ledger,
            #[cfg(feature = "postgres")]
            Engine::Postgres(ledger) => ledger,
        }
    }
}

impl fmt::Debug for EngineLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineLedger").field("server", &self.server).finish_non_exhaustive()
    }
}

#[async_trait]
impl Ledger for EngineLedger {
    async fn exchange(&self, gate: &str, ask: Ask<'_>) -> Result<Grant, LedgerError> {
        self.ledger().exchange(gate, ask).await
    }

    async fn set_limit(&self, gate: &str, limit: Limit, by: &str) -> Result<LimitVersion, LedgerError> {
        self.ledger().set_limit(gate, limit, by).await
    }

    fn with_own_connection(&self) -> Arc<dyn Ledger> {
        self.ledger().with_own_connection()
    }

    async fn check(&self) -> Result<(), LedgerError> {
        self.ledger().check().await
    }

    async fn status(&self, gate: &str) -> Result<LedgerStatus, LedgerError> {
        self.ledger().status(gate).await
    }
}

/// Returns the address of a server of Redis, with the certificates of the URL. The errors of the client can quote the text, which
/// may have a password, so this function returns `invalid` instead.
#[cfg(feature = "redis")]
fn redis_server(
    text: &str,
    url: &EngineUrl,
    invalid: InvalidLedgerUrl,
) -> Result<redis::ConnectionInfo, InvalidLedgerUrl> {
    use redis::IntoConnectionInfo;

    let server = text.into_connection_info().map_err(|_| invalid)?;
    #[cfg(feature = "redis-tls")]
    let server = super::tls::redis_with_files(server, url.tls.as_ref())?;
    #[cfg(not(feature = "redis-tls"))]
    let _ = url; // it asks for no TLS
    Ok(server)
}

/// Replaces a word by `***` wherever it stands alone.
fn hide_word(text: &str, word: &str) -> String {
    if word.is_empty() {
        return text.to_owned();
    }
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once(word) {
        shown.push_str(before);
        let stands_alone = !is_part(shown.chars().next_back()) && !is_part(after.chars().next());
        shown.push_str(if stands_alone { "***" } else { word });
        rest = after;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::{EngineLedger, InvalidLedgerUrl, hide_word};

    /// A program without the feature for TLS, or for an engine, says so, and opens nothing.
    #[test]
    fn missing_features_are_named() {
        let secure = "rediss://h/";
        let expected = if cfg!(feature = "redis-tls") {
            None
        } else if cfg!(feature = "redis") {
            Some(InvalidLedgerUrl::MissingTls { feature: "redis-tls" })
        } else {
            Some(InvalidLedgerUrl::MissingEngine { engine: "Redis", feature: "redis" })
        };
        assert_eq!(EngineLedger::at(secure).err(), expected);
        let secure = "postgres://h/db?sslmode=require";
        let expected = if cfg!(feature = "postgres") {
            InvalidLedgerUrl::MissingTls { feature: "postgres-tls" }
        } else {
            InvalidLedgerUrl::MissingEngine { engine: "PostgreSQL", feature: "postgres" }
        };
        // A host need not have certificates.
        let found = EngineLedger::at(secure).err().filter(|error| *error != InvalidLedgerUrl::NoRoots);
        assert_eq!(found, Some(expected).filter(|_| cfg!(not(feature = "postgres-tls"))));
    }

    /// A name is hidden where it stands alone, and no other word is changed.
    #[test]
    fn words_are_hidden_where_they_stand_alone() {
        assert_eq!(hide_word("user \"me\" of some me: me", "me"), "user \"***\" of some ***: ***");
        assert_eq!(hide_word("nothing", "me"), "nothing");
        assert_eq!(hide_word("nothing", ""), "nothing");
    }
}

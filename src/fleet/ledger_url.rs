//! The URL of a ledger: which engine it names, and whether the connection has TLS.

use std::path::PathBuf;

use crate::plan::debug_as_display::impl_debug_as_display;

/// The URL of a ledger, split into what this crate interprets and what the client of the engine interprets.
#[cfg_attr(
    not(any(feature = "postgres", feature = "redis", test)),
    expect(dead_code, reason = "without an engine, a URL is parsed only to name the missing feature")
)]
pub(super) struct EngineUrl {
    pub(super) engine: EngineKind,
    /// The URL without the parameters of TLS.
    pub(super) rest: String,
    /// `None` for a connection without TLS.
    pub(super) tls: Option<TlsFiles>,
    /// `Some` if sentinels name the server of Redis that is the primary.
    #[cfg_attr(
        all(feature = "postgres", not(any(feature = "redis", test))),
        expect(
            dead_code,
            reason = "without Redis, a URL of Redis is parsed only to name the missing feature"
        )
    )]
    pub(super) sentinels: Option<SentinelUrls>,
}

/// The sentinels that a URL names.
#[cfg_attr(
    not(any(feature = "redis", test)),
    expect(dead_code, reason = "without Redis, a URL of Redis is parsed only to name the missing feature")
)]
pub(super) struct SentinelUrls {
    /// The URL of each sentinel.
    pub(super) urls: Vec<String>,
    /// The addresses of the sentinels, as they were given.
    pub(super) hosts: String,
    /// The name by which the sentinels know the primary.
    pub(super) primary: String,
}

/// An engine that a URL can name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EngineKind {
    Redis,
    Postgres,
}

/// The certificates of a connection with TLS.
#[cfg_attr(
    not(any(feature = "postgres-tls", feature = "redis-tls", test)),
    expect(dead_code, reason = "without TLS, only the presence of the files matters")
)]
pub(super) struct TlsFiles {
    pub(super) roots: TrustedRoots,
    /// The certificate that this process sends to the server, if it has one.
    pub(super) client: Option<ClientFiles>,
}

/// The PEM files of the certificate that this process sends to the server.
#[cfg_attr(
    not(any(feature = "postgres-tls", feature = "redis-tls", test)),
    expect(dead_code, reason = "without TLS, only the presence of the files matters")
)]
pub(super) struct ClientFiles {
    /// The certificate, and the intermediate certificates up to the authority.
    pub(super) certificate: PathBuf,
    /// The private key of the certificate.
    pub(super) key: PathBuf,
}

/// The certificates of the authorities (CA) that may sign the certificate of the server.
#[cfg_attr(
    not(any(feature = "postgres-tls", feature = "redis-tls", test)),
    expect(dead_code, reason = "without TLS, only the presence of the files matters")
)]
pub(super) enum TrustedRoots {
    /// The certificates that the host trusts.
    Host,
    /// The certificates in this PEM file.
    File(PathBuf),
}

impl EngineKind {
    /// Returns the error of a program without the feature of this engine.
    #[cfg(not(all(feature = "postgres", feature = "redis")))]
    pub(super) const fn missing(self) -> InvalidLedgerUrl {
        match self {
            Self::Redis => InvalidLedgerUrl::MissingEngine { engine: "Redis", feature: "redis" },
            Self::Postgres => InvalidLedgerUrl::MissingEngine { engine: "PostgreSQL", feature: "postgres" },
        }
    }
}

impl EngineUrl {
    /// Splits a URL. It does not read a file, and does not connect.
    pub(super) fn parse(url: &str) -> Result<Self, InvalidLedgerUrl> {
        let (scheme, address) = url.split_once("://").ok_or(InvalidLedgerUrl::Unknown)?;
        let (scheme, has_sentinels) = match scheme.strip_suffix("+sentinel") {
            Some(scheme) => (scheme, true),
            None => (scheme, false),
        };
        let (engine, scheme_has_tls) = match scheme {
            "redis" | "valkey" => (EngineKind::Redis, false),
            "rediss" | "valkeys" => (EngineKind::Redis, true),
            "postgres" | "postgresql" => (EngineKind::Postgres, false),
            _ => return Err(InvalidLedgerUrl::Unknown),
        };
        if has_sentinels && engine != EngineKind::Redis {
            return Err(InvalidLedgerUrl::Unknown);
        }
        // The client of Redis accepts `#insecure` if another crate has enabled its feature for that.
        if engine == EngineKind::Redis && scheme_has_tls && address.contains('#') {
            return Err(InvalidLedgerUrl::Fragment);
        }
        let (address, query) = address.split_once('?').unwrap_or((address, ""));

        let (mut parameters, mut others) = (TlsParameters::default(), Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", given)) if engine == EngineKind::Postgres => parameters.mode = Some(given),
                // The client would ignore it, and a connection without TLS could be the result.
                Some(("sslmode", _)) => return Err(InvalidLedgerUrl::RedisSslMode),
                Some(("sslrootcert", given)) => parameters.root_file = Some(percent_decode(given)),
                Some(("sslcert", given)) => parameters.certificate_file = Some(percent_decode(given)),
                Some(("sslkey", given)) => parameters.key_file = Some(percent_decode(given)),
                // The rest is for the client of the engine.
                _ => others.push(parameter),
            }
        }
        let has_tls = match parameters.mode {
            None => scheme_has_tls,
            Some("disable") => false,
            Some("require" | "verify-full") => true,
            Some(_) => return Err(InvalidLedgerUrl::SslMode),
        };
        let tls = if has_tls {
            Some(parameters.into_files()?)
        } else {
            parameters.reject_files()?;
            None
        };
        let (address, sentinels) = if has_sentinels {
            split_sentinels(scheme, address).ok_or(InvalidLedgerUrl::Sentinels)?
        } else {
            (address.to_owned(), None)
        };
        let separator = if others.is_empty() { "" } else { "?" };
        // The client of PostgreSQL reads the user and password up to the first `@`, also if it is in a parameter.
        let others = others.join("&").replace('@', "%40");
        let rest = format!("{scheme}://{address}{separator}{others}");
        Ok(Self { engine, rest, tls, sentinels })
    }
}

/// The parameters of a URL that configure TLS. Both engines have the parameters of libpq.
#[derive(Default)]
struct TlsParameters<'u> {
    mode: Option<&'u str>,
    root_file: Option<String>,
    certificate_file: Option<String>,
    key_file: Option<String>,
}

impl TlsParameters<'_> {
    fn into_files(self) -> Result<TlsFiles, InvalidLedgerUrl> {
        let roots = match self.root_file {
            Some(file) if file != "system" => TrustedRoots::File(file.into()),
            _ => TrustedRoots::Host,
        };
        let client = match (self.certificate_file, self.key_file) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                Some(ClientFiles { certificate: certificate.into(), key: key.into() })
            }
            (Some(_), None) => {
                return Err(InvalidLedgerUrl::IncompleteClient { given: "sslcert", missing: "sslkey" });
            }
            (None, Some(_)) => {
                return Err(InvalidLedgerUrl::IncompleteClient { given: "sslkey", missing: "sslcert" });
            }
        };
        Ok(TlsFiles { roots, client })
    }

    /// Rejects files that a connection without TLS would not use.
    fn reject_files(&self) -> Result<(), InvalidLedgerUrl> {
        let files = [
            ("sslrootcert", &self.root_file),
            ("sslcert", &self.certificate_file),
            ("sslkey", &self.key_file),
        ];
        let given = files.into_iter().find(|(_, file)| file.is_some());
        given.map_or(Ok(()), |(parameter, _)| Err(InvalidLedgerUrl::FileWithoutTls { parameter }))
    }
}

/// Splits `[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]..]/PRIMARY[/DB]` into the address of a server with the same user, password and
/// database, and the sentinels. Returns `None` if a part is missing.
fn split_sentinels(scheme: &str, address: &str) -> Option<(String, Option<SentinelUrls>)> {
    let (credentials, rest) = match address.rfind('@') {
        Some(at) => address.split_at_checked(at.saturating_add(1))?,
        None => ("", address),
    };
    let (hosts, path) = rest.split_once('/')?;
    let (primary, database) = path.split_once('/').unwrap_or((path, ""));
    if primary.is_empty() || hosts.split(',').any(str::is_empty) {
        return None;
    }
    let url = |host: &str| {
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let port = if has_port && !host.ends_with(']') { "" } else { DEFAULT_SENTINEL_PORT };
        format!("{scheme}://{host}{port}/")
    };
    let sentinels = SentinelUrls {
        urls: hosts.split(',').map(url).collect(),
        hosts: hosts.to_owned(),
        primary: percent_decode(primary),
    };
    // `primary` stands for the host, which the sentinels name.
    Some((format!("{credentials}primary/{database}"), Some(sentinels)))
}

const DEFAULT_SENTINEL_PORT: &str = ":26379";

/// Decodes percent-encoded bytes, such as `%2F` to `/`. An invalid sequence is kept unchanged.
fn percent_decode(given: &str) -> String {
    let mut bytes = Vec::with_capacity(given.len());
    let mut rest = given.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits =
            tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The error for a text that is not the URL of a ledger that this program can use. It does not show the URL, which can have a
/// password. The text continues a sentence that begins with the origin of the URL: "environment variable LEDGER is not the URL of a ledger".
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLedgerUrl {
    /// The text is not the URL of a ledger.
    #[error(
        "is not the URL of a ledger (allowed: redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://.. for TLS, postgres://[USER:PASSWORD@]HOST[:PORT]/DB)"
    )]
    Unknown,
    /// The engine needs a feature that the program does not have.
    #[error("names a ledger in {engine}, and this program was built without the feature `{feature}`")]
    MissingEngine {
        /// The engine, such as "Redis".
        engine: &'static str,
        /// The feature of this crate.
        feature: &'static str,
    },
    /// The URL asks for TLS, which needs a feature that the program does not have.
    #[error("asks for TLS, and this program was built without the feature `{feature}`")]
    MissingTls {
        /// The feature of this crate.
        feature: &'static str,
    },
    /// The sentinels, or the name of their primary, are missing.
    #[error(
        "does not name sentinels and their primary (allowed: redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]..]/PRIMARY[/DB])"
    )]
    Sentinels,
    /// The mode leaves open whether the connection has TLS, or asks for fewer checks than are always made.
    #[error(
        "has an `sslmode` that is not supported (allowed: disable, require, verify-full; the last two check the same)"
    )]
    SslMode,
    /// The URL of a Redis has the parameter `sslmode`.
    #[error("has `sslmode`, which Redis does not have (allowed: rediss:// for TLS, redis:// for none)")]
    RedisSslMode,
    /// The URL names a certificate or a key, but does not ask for TLS.
    #[error(
        "has `{parameter}`, and does not ask for TLS (allowed: with rediss://, or with sslmode=require or verify-full)"
    )]
    FileWithoutTls {
        /// The parameter.
        parameter: &'static str,
    },
    /// The URL names the certificate of the client without its key, or the key without the certificate.
    #[error(
        "has `{given}` without `{missing}` (allowed: both, for a server that asks for a certificate, or none)"
    )]
    IncompleteClient {
        /// The parameter that is given.
        given: &'static str,
        /// The parameter that is missing.
        missing: &'static str,
    },
    /// The URL has a fragment, such as `#insecure`.
    #[error(
        "ends in a fragment such as #insecure (allowed: none; the certificate of the server is always checked)"
    )]
    Fragment,
    /// A certificate or a key that the URL names cannot be used. The text does not show what is in the file.
    #[error("names a file in `{parameter}` that cannot be used: {file}: {problem}")]
    UnusableFile {
        /// The parameter that names the file.
        parameter: &'static str,
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// The host trusts no certificates.
    #[error(
        "asks for TLS, and the host has no certificates of authorities (CA); install them, or name a file in `sslrootcert`"
    )]
    NoRoots,
    /// The crypto provider that the process has installed supports neither TLS 1.2 nor TLS 1.3.
    #[error(
        "asks for TLS, but the crypto provider that this process has installed for rustls supports neither TLS 1.2 nor TLS 1.3"
    )]
    NoVersion,
}

impl_debug_as_display!(InvalidLedgerUrl);

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what the client gets, and the trusted certificates.
    fn split(url: &str) -> Result<(String, String), InvalidLedgerUrl> {
        let url = EngineUrl::parse(url)?;
        let Some(files) = url.tls else { return Ok((url.rest, "plain".to_owned())) };
        let roots = match files.roots {
            TrustedRoots::Host => "host".to_owned(),
            TrustedRoots::File(file) => file.display().to_string(),
        };
        Ok(match files.client {
            None => (url.rest, roots),
            Some(ClientFiles { certificate, key }) => {
                (url.rest, format!("{roots}, {} with {}", certificate.display(), key.display()))
            }
        })
    }

    /// The parameters for TLS are removed from the URL, and the rest is unchanged.
    #[test]
    fn parameters_of_tls_are_taken_out() {
        for (given, rest, tls) in [
            ("redis://me:p%3Fw@h:1/2?protocol=resp3", "redis://me:p%3Fw@h:1/2?protocol=resp3", "plain"),
            (
                "rediss://h/?sslrootcert=%2Fca%20x.pem&protocol=resp3",
                "rediss://h/?protocol=resp3",
                "/ca x.pem",
            ),
            ("valkeys://h", "valkeys://h", "host"),
            ("postgres://h/db?connect_timeout=3", "postgres://h/db?connect_timeout=3", "plain"),
            ("postgres://h/db?sslmode=disable", "postgres://h/db", "plain"),
            ("postgresql://h/db?a=b&sslmode=verify-full&c=d", "postgresql://h/db?a=b&c=d", "host"),
            ("postgres://h/db?sslmode=require&sslrootcert=system", "postgres://h/db", "host"),
            ("postgres://h?sslmode=require&sslrootcert=100%.pem", "postgres://h", "100%.pem"),
            (
                "rediss://h/2?sslcert=%2Fme.pem&protocol=resp3&sslkey=me.key",
                "rediss://h/2?protocol=resp3",
                "host, /me.pem with me.key",
            ),
            (
                "postgres://h/db?sslkey=k&sslmode=verify-full&sslcert=c&sslrootcert=ca",
                "postgres://h/db",
                "ca, c with k",
            ),
            // The client of PostgreSQL would take a plain `@` in a parameter for the end of the password.
            (
                "postgres://h/db?sslmode=verify-full&sslcert=/me@prod.pem&sslkey=k&options=a@b",
                "postgres://h/db?options=a%40b",
                "host, /me@prod.pem with k",
            ),
            ("postgres://me:a%3Fb@h/db?sslmode=require", "postgres://me:a%3Fb@h/db", "host"),
        ] {
            assert_eq!(split(given).unwrap(), (rest.to_owned(), tls.to_owned()), "{given}");
        }
    }

    /// The sentinels are taken out of a URL. The user, password and database are those of the server.
    #[test]
    fn sentinels_are_taken_out() {
        let url =
            "rediss+sentinel://me:p%40w@s-1,s-2:26380,[::1]/my%20master/3?sslrootcert=ca.pem&protocol=resp3";
        let parsed = EngineUrl::parse(url).unwrap();
        assert_eq!(parsed.rest, "rediss://me:p%40w@primary/3?protocol=resp3");
        let sentinels = parsed.sentinels.unwrap();
        assert_eq!(sentinels.urls, ["rediss://s-1:26379/", "rediss://s-2:26380/", "rediss://[::1]:26379/"]);
        assert_eq!((&*sentinels.hosts, &*sentinels.primary), ("s-1,s-2:26380,[::1]", "my master"));
        let plain = EngineUrl::parse("valkey+sentinel://s:1/cg").unwrap();
        assert_eq!(
            (&*plain.rest, plain.sentinels.unwrap().urls),
            ("valkey://primary/", vec!["valkey://s:1/".to_owned()])
        );
        for incomplete in
            ["redis+sentinel://s", "redis+sentinel://s/", "redis+sentinel:///cg", "redis+sentinel://s,/cg"]
        {
            assert_eq!(split(incomplete), Err(InvalidLedgerUrl::Sentinels), "{incomplete}");
        }
        assert_eq!(split("postgres+sentinel://s/cg"), Err(InvalidLedgerUrl::Unknown));
    }

    /// A URL is rejected if it asks for TLS without a checked certificate, or for only a part of what TLS needs. It never leads to a
    /// connection without TLS.
    #[test]
    fn weak_forms_of_tls_are_rejected() {
        for (given, error) in [
            ("postgres://h/db?sslmode=prefer", InvalidLedgerUrl::SslMode),
            ("postgres://h/db?sslmode=verify-ca", InvalidLedgerUrl::SslMode),
            ("postgres://h/db?sslmode=", InvalidLedgerUrl::SslMode),
            ("postgres://me:a?sslmode=x@h/db?sslmode=require", InvalidLedgerUrl::SslMode),
            ("redis://h/?sslmode=require", InvalidLedgerUrl::RedisSslMode),
            ("rediss://h/?sslmode=disable", InvalidLedgerUrl::RedisSslMode),
            (
                "postgres://h/db?sslrootcert=ca.pem",
                InvalidLedgerUrl::FileWithoutTls { parameter: "sslrootcert" },
            ),
            ("redis://h/?sslcert=c&sslkey=k", InvalidLedgerUrl::FileWithoutTls { parameter: "sslcert" }),
            (
                "postgres://h/db?sslmode=disable&sslkey=k",
                InvalidLedgerUrl::FileWithoutTls { parameter: "sslkey" },
            ),
            (
                "rediss://h/?sslcert=c",
                InvalidLedgerUrl::IncompleteClient { given: "sslcert", missing: "sslkey" },
            ),
            (
                "postgres://h/?sslmode=require&sslkey=k",
                InvalidLedgerUrl::IncompleteClient { given: "sslkey", missing: "sslcert" },
            ),
            ("rediss://h/#insecure", InvalidLedgerUrl::Fragment),
            ("https://h/", InvalidLedgerUrl::Unknown),
            ("h", InvalidLedgerUrl::Unknown),
        ] {
            assert_eq!(split(given), Err(error), "{given}");
        }
    }
}

//! The URL of a ledger: which engine it names, and whether the connection has TLS.

use std::path::PathBuf;

use crate::plan::debug_as_display::impl_debug_as_display;

/// The URL of a ledger, split into what this crate interprets and what the client of the engine interprets.
#[cfg_attr(
    not(any(feature = "postgres", feature = "redis", test)),
    expect(dead_code, reason = "without an engine, only the feature that is missing counts")
)]
pub(super) struct EngineUrl {
    pub(super) engine: EngineKind,
    /// The URL without the parameters that ask for TLS.
    pub(super) rest: String,
    /// The certificates to trust. `None` for a connection without TLS.
    pub(super) tls: Option<TrustedRoots>,
}

/// An engine that a URL can name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EngineKind {
    Redis,
    Postgres,
}

/// The certificates of the authorities (CA) that may sign the certificate of the server.
#[cfg_attr(
    not(any(feature = "postgres-tls", feature = "redis-tls", test)),
    expect(dead_code, reason = "without TLS, it only counts that there are some")
)]
pub(super) enum TrustedRoots {
    /// Those that the host trusts.
    Host,
    /// Those in this PEM file.
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
        let (engine, scheme_has_tls) = match scheme {
            "redis" | "valkey" => (EngineKind::Redis, false),
            "rediss" | "valkeys" => (EngineKind::Redis, true),
            "postgres" | "postgresql" => (EngineKind::Postgres, false),
            _ => return Err(InvalidLedgerUrl::Unknown),
        };
        // The client of Redis accepts this fragment if another part of the program has enabled it.
        if engine == EngineKind::Redis && scheme_has_tls && address.contains('#') {
            return Err(InvalidLedgerUrl::Fragment);
        }
        // The client of PostgreSQL reads the user and password up to the first `@`, whatever characters they have.
        let credentials = match engine {
            EngineKind::Redis => 0,
            EngineKind::Postgres => address.find('@').unwrap_or(0),
        };
        let start = address.get(credentials..).and_then(|rest| rest.find('?'));
        let start = start.map(|start| start.saturating_add(credentials));
        let (address, query) =
            start.and_then(|start| address.split_at_checked(start)).unwrap_or((address, ""));

        let (mut mode, mut root_file, mut others) = (None, None, Vec::new());
        for parameter in query.trim_start_matches('?').split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", given)) if engine == EngineKind::Postgres => mode = Some(given),
                Some(("sslrootcert", given)) => root_file = Some(percent_decode(given)),
                _ => others.push(parameter),
            }
        }
        let has_tls = match mode {
            None => scheme_has_tls,
            Some("disable") => false,
            Some("require" | "verify-full") => true,
            Some(_) => return Err(InvalidLedgerUrl::SslMode),
        };
        let tls = match root_file {
            Some(_) if !has_tls => return Err(InvalidLedgerUrl::RootWithoutTls),
            Some(file) if file != "system" => Some(TrustedRoots::File(file.into())),
            _ => has_tls.then_some(TrustedRoots::Host),
        };
        let separator = if others.is_empty() { "" } else { "?" };
        Ok(Self { engine, rest: format!("{scheme}://{address}{separator}{}", others.join("&")), tls })
    }
}

/// Decodes `%2F` to `/`. What is no such sequence stays as it is.
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
/// password. The text follows the name of the place that has the URL: "environment variable LEDGER is not the URL of a ledger".
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
    /// The mode would neither require TLS nor exclude it, or would check less than is always checked.
    #[error(
        "has an `sslmode` that is not supported (allowed: disable, require, verify-full; the last two check the same)"
    )]
    SslMode,
    /// The URL names certificates, and does not ask for TLS.
    #[error(
        "has `sslrootcert`, and does not ask for TLS (allowed: with rediss://, or with sslmode=require or verify-full)"
    )]
    RootWithoutTls,
    /// The URL has a fragment, such as `#insecure`.
    #[error(
        "ends in a fragment such as #insecure (allowed: none; the certificate of the server is always checked)"
    )]
    Fragment,
    /// The certificates that the URL names cannot be used.
    #[error("names certificates in `sslrootcert` that cannot be used: {file}: {problem}")]
    RootFile {
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
    /// The cryptography that the process has installed has no version of TLS that is in use.
    #[error(
        "asks for TLS, and the process has installed cryptography for rustls that supports neither TLS 1.2 nor TLS 1.3"
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
        let tls = match url.tls {
            None => "plain".to_owned(),
            Some(TrustedRoots::Host) => "host".to_owned(),
            Some(TrustedRoots::File(file)) => file.display().to_string(),
        };
        Ok((url.rest, tls))
    }

    /// What asks for TLS is taken out of the URL, and the rest stays as it was.
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
            // This question mark belongs to the password.
            ("postgres://me:a?sslmode=x@h/db?sslmode=require", "postgres://me:a?sslmode=x@h/db", "host"),
        ] {
            assert_eq!(split(given).unwrap(), (rest.to_owned(), tls.to_owned()), "{given}");
        }
    }

    /// A URL that asks for less than TLS with a checked certificate is rejected, and never a plain connection.
    #[test]
    fn weak_forms_of_tls_are_rejected() {
        for (given, error) in [
            ("postgres://h/db?sslmode=prefer", InvalidLedgerUrl::SslMode),
            ("postgres://h/db?sslmode=verify-ca", InvalidLedgerUrl::SslMode),
            ("postgres://h/db?sslmode=", InvalidLedgerUrl::SslMode),
            ("postgres://h/db?sslrootcert=ca.pem", InvalidLedgerUrl::RootWithoutTls),
            ("redis://h/?sslrootcert=ca.pem", InvalidLedgerUrl::RootWithoutTls),
            ("rediss://h/#insecure", InvalidLedgerUrl::Fragment),
            ("https://h/", InvalidLedgerUrl::Unknown),
            ("h", InvalidLedgerUrl::Unknown),
        ] {
            assert_eq!(split(given), Err(error), "{given}");
        }
    }
}

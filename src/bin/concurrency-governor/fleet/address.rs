//! The URL of a ledger, which can contain a password.

use std::convert::Infallible;
use std::env::VarError;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{env, fmt, fs, io};

/// The origin of the URL of the ledger. The environment variable is read only if neither flag is given.
#[derive(Debug, clap::Args)]
pub(crate) struct LedgerArgs {
    /// The URL of the ledger
    ///
    /// redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss:// with TLS,
    /// redis+sentinel:// with the addresses of sentinels, or
    /// postgres://[USER:PASSWORD@]HOST[:PORT]/DB. Other users of the host
    /// can read the arguments of a program. So pass a URL with a password by
    /// --ledger-file or in the environment variable.
    #[arg(long = "ledger", value_name = "URL", conflicts_with = "file", verbatim_doc_comment)]
    pub(crate) url: Option<LedgerUrl>,

    /// A file with the URL of the ledger
    #[arg(long = "ledger-file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// A URL as it was given. It is parsed when the ledger is opened, and not by clap, whose error would print it with its password.
#[derive(Clone)]
pub(crate) struct LedgerUrl(String);

impl LedgerUrl {
    /// Reads the URL from the flag, the file, or the environment variable.
    pub(super) fn find(args: &LedgerArgs) -> Result<Self, AddressError> {
        let url = match (&args.url, &args.file) {
            (Some(url), _) => url.0.clone(),
            (None, Some(file)) => fs::read_to_string(file)
                .map_err(|error| AddressError::File { file: file.display().to_string(), error })?,
            (None, None) => env::var(VARIABLE).map_err(|error| match error {
                VarError::NotPresent => AddressError::Missing,
                VarError::NotUnicode(_) => AddressError::NotUtf8,
            })?,
        };
        Ok(Self(url.trim().to_owned()))
    }

    /// Returns where the URL of these arguments comes from.
    pub(super) fn origin(args: &LedgerArgs) -> String {
        match (&args.url, args.file.as_deref().map(Path::display)) {
            (Some(_), _) => "`--ledger`".to_owned(),
            (None, Some(file)) => format!("`--ledger-file {file}`"),
            (None, None) => VARIABLE.to_owned(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LedgerUrl {
    type Err = Infallible;

    fn from_str(given: &str) -> Result<Self, Infallible> {
        Ok(Self(given.to_owned()))
    }
}

impl fmt::Debug for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LedgerUrl(..)")
    }
}

/// No URL is given, or its file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("no ledger is given (allowed: `--ledger URL`, `--ledger-file FILE`, or a URL in {VARIABLE})")]
    Missing,
    #[error("{VARIABLE} is not UTF-8 (allowed: the URL of a ledger)")]
    NotUtf8,
    #[error("`--ledger-file {file}`: {error}")]
    File { file: String, error: io::Error },
}

const VARIABLE: &str = "CONCURRENCY_GOVERNOR_LEDGER";

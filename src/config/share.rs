//! The table `share` of a gate: a limit that it shares with other processes.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

#[cfg(feature = "fleet")]
use crate::fleet::Share;
use crate::plan::debug_as_display::impl_debug_as_display;
use crate::plan::{Limit, Unreachable};

/// How a gate shares its limit with other processes: the table `share` of a gate in a plan.
///
/// The URL of the ledger may have a password, so the plan has only the name of an environment variable or of a file that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareConfig {
    pub(super) name: String,
    pub(super) ledger: LedgerSource,
    pub(super) limit: Limit,
    pub(super) max_hold: Duration,
    pub(super) ttl: Duration,
    pub(super) unreachable: Unreachable,
}

/// Where the URL of a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LedgerSource {
    /// In an environment variable of this name.
    Env(String),
    /// In this file.
    File(PathBuf),
}

impl ShareConfig {
    /// Returns the name of the gate in the ledger.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the URL of the ledger is.
    #[must_use]
    pub fn ledger(&self) -> &LedgerSource {
        &self.ledger
    }

    /// Returns the limit of the fleet. It is used only if the ledger has no limit for this gate yet.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Returns the longest time for which a permit is held. Default: 30 s.
    #[must_use]
    pub fn max_hold(&self) -> Duration {
        self.max_hold
    }

    /// Returns how long a lease lasts. Default: 10 s.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Returns what the process admits while its ledger cannot be reached. Default: nothing.
    #[must_use]
    pub fn unreachable(&self) -> Unreachable {
        self.unreachable
    }

    /// Reads the URL of the ledger, and creates the share. It does not connect. The error is a text without the URL.
    #[cfg(feature = "fleet")]
    pub(super) fn open(&self) -> Result<Share, String> {
        let url = self.ledger.read().map_err(|error| error.to_string())?;
        let share = Share::at(&url, &self.name).map_err(|error| format!("{} {error}", self.ledger))?;
        Ok(share.limit(self.limit).max_hold(self.max_hold).ttl(self.ttl).unreachable(self.unreachable))
    }
}

impl LedgerSource {
    /// Reads the URL of the ledger, which can have a password.
    ///
    /// # Errors
    ///
    /// [`LedgerSourceError`] if the variable is not set, or the file cannot be read.
    pub fn read(&self) -> Result<String, LedgerSourceError> {
        let url = match self {
            Self::Env(variable) => {
                std::env::var(variable).map_err(|_| LedgerSourceError::NotSet { variable: variable.clone() })
            }
            Self::File(file) => std::fs::read_to_string(file)
                .map_err(|error| LedgerSourceError::Unreadable { file: file.clone(), error }),
        };
        url.map(|url| url.trim().to_owned())
    }
}

impl fmt::Display for LedgerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(variable) => write!(f, "environment variable {variable}"),
            Self::File(file) => write!(f, "file {}", file.display()),
        }
    }
}

/// The error for a variable or a file from which the URL of a ledger cannot be read.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LedgerSourceError {
    /// The environment variable is not set, or is not UTF-8.
    #[error("environment variable {variable} is not set, or is not UTF-8")]
    NotSet {
        /// The variable.
        variable: String,
    },
    /// The file cannot be read.
    #[error("file {} cannot be read: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
}

impl_debug_as_display!(LedgerSourceError);

/// Serializes in the shape of a plan file.
impl Serialize for ShareConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        match &self.ledger {
            LedgerSource::Env(variable) => map.serialize_entry("ledger_env", variable)?,
            LedgerSource::File(file) => map.serialize_entry("ledger_file", file)?,
        }
        map.serialize_entry("limit", &self.limit)?;
        if self.max_hold != DEFAULT_MAX_HOLD {
            map.serialize_entry("max_hold", &humantime::format_duration(self.max_hold).to_string())?;
        }
        if self.ttl != DEFAULT_TTL {
            map.serialize_entry("ttl", &humantime::format_duration(self.ttl).to_string())?;
        }
        if self.unreachable != Unreachable::default() {
            map.serialize_entry("unreachable", &self.unreachable.to_string())?;
        }
        map.end()
    }
}

/// The defaults of `fleet::Share`.
pub(super) const DEFAULT_MAX_HOLD: Duration = Duration::from_secs(30);
pub(super) const DEFAULT_TTL: Duration = Duration::from_secs(10);

//! Flag values that several commands share.

use std::collections::BTreeSet;
use std::time::Duration;

/// Parses the value of `--for`: how long a command runs.
pub(crate) fn parse_run_length(given: &str) -> Result<Duration, FlagError> {
    let length = humantime::parse_duration(given).ok();
    length.filter(|length| (MIN_RUN_LENGTH..=MAX_RUN_LENGTH).contains(length)).ok_or(FlagError::RunLength)
}

/// Checks that a flag names each gate or resource at most once.
pub(crate) fn reject_duplicates(
    flag: &'static str,
    names: impl Iterator<Item = String>,
) -> Result<(), FlagError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if let Some(name) = seen.replace(name) {
            return Err(FlagError::Duplicate { flag, name });
        }
    }
    Ok(())
}

/// A flag is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlagError {
    /// The caller puts the flag and its value in front of the message.
    #[error("not a length of time in the allowed range (allowed: 1ms to 24h, such as 30s or 5m)")]
    RunLength,
    #[error("`{flag}` names `{name}` twice (allowed: once; remove one of them)")]
    Duplicate { flag: &'static str, name: String },
    #[error("`{flag}` has no effect without `{needs}` (allowed: both, or neither)")]
    Alone { flag: &'static str, needs: &'static str },
}

const MIN_RUN_LENGTH: Duration = Duration::from_millis(1);

/// One day. A longer time is most likely a mistake.
pub(crate) const MAX_RUN_LENGTH: Duration = Duration::from_secs(24 * 3600);

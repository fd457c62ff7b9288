//! What a process admits while its ledger cannot be reached.

use std::fmt;
use std::str::FromStr;

use super::debug_as_display::impl_debug_as_display;

/// What a process admits while it has no lease, because its ledger cannot be reached.
///
/// It prints as a text that parses back: `closed`, `reserved 2 for 15` (2 permits for each of 15 processes) or `local`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreachable {
    /// Nothing. The limit of the fleet is kept, and requests wait.
    #[default]
    Closed,
    /// Each process has `permits` of its own, always, with a lease or without one. They are subtracted from the limit in
    /// advance, so the ledger shares only the rest, `limit - permits * processes`. The limit in the ledger, which an
    /// operator can set, is this rest. A process uses its own permits before those of its lease.
    ///
    /// The limit of the fleet is kept, as long as at most `processes` processes run.
    Reserved {
        /// The permits of each process, at least 1.
        permits: u32,
        /// The largest number of processes, at least 1.
        processes: u32,
    },
    /// The local limit, once an exchange has failed and the lease has ended. **The limit of the fleet is not kept:** `N` processes then
    /// admit up to `N` times their local limits. When the ledger answers again, the process admits nothing until enough work has
    /// ended.
    Local,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Reserved { permits, processes } => write!(f, "reserved {permits} for {processes}"),
            Self::Local => f.write_str("local"),
        }
    }
}

impl FromStr for Unreachable {
    type Err = InvalidUnreachable;

    fn from_str(given: &str) -> Result<Self, InvalidUnreachable> {
        let words: Vec<&str> = given.split_whitespace().collect();
        let parsed = match words[..] {
            ["closed"] => Some(Self::Closed),
            ["local"] => Some(Self::Local),
            ["reserved", permits, "for", processes] => {
                let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
                number(permits)
                    .zip(number(processes))
                    .map(|(permits, processes)| Self::Reserved { permits, processes })
            }
            _ => None,
        };
        parsed.ok_or_else(|| InvalidUnreachable { given: given.to_owned() })
    }
}

/// The error for a text that is not a policy for a ledger that cannot be reached.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not a policy for an unreachable ledger (allowed: `closed`, `local`, or `reserved N for P` with N permits for each of P processes, both at least 1)"
)]
pub struct InvalidUnreachable {
    given: String,
}

impl_debug_as_display!(InvalidUnreachable);

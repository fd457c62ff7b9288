//! What an explanation says about a lease: a part of the limit of a fleet.

use std::fmt;
use std::time::Duration;

use super::limit::Limit;
use super::reading::Escaped;

/// The lease of a gate whose limit is shared by many processes, as one more step of its explanation.
///
/// It prints as one line, such as `lease of prod/io: 12 of 200 for 6.2s, leased (limit from the processes)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseExplanation {
    /// The name of the gate in the ledger.
    pub name: String,
    /// The limit of the fleet.
    pub limit: Limit,
    /// The version of that limit: 0 if it is from the configuration of the processes, and higher if an operator has set it.
    pub version: u64,
    /// The block: the permits that the ledger has leased to this process. 0 while there is no lease.
    pub block: u32,
    /// The permits that may be in use without a lease, by the policy for a ledger that cannot be reached.
    pub without_lease: u32,
    /// The time until the deadline of the lease. Zero if it has passed, or there is no lease.
    pub remaining: Duration,
    /// The state of the lease.
    pub state: LeaseState,
    /// Why the last exchange with the ledger has failed, if it has.
    pub problem: Option<String>,
}

/// The state of a lease. Without a lease, a process still admits what its [policy](super::Unreachable) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseState {
    /// The ledger has not answered yet. Nothing is admitted by a lease.
    Starting,
    /// The ledger has granted the block until the deadline.
    Leased,
    /// The ledger does not know all leases yet. It renews leases, and grants nothing new.
    Learning,
    /// The deadline has passed. Nothing is admitted by a lease, and the permits in use are returned as their work ends.
    Draining,
    /// The deadline has passed and no permit is in use, or there never was a lease and an exchange has failed. Nothing is admitted by a
    /// lease.
    Unreachable,
    /// The gate is closed, and the ledger has the block back.
    Left,
}

impl LeaseState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Leased, Self::Learning, Self::Draining, Self::Unreachable, Self::Left];

    /// Returns the state as one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Leased => "leased",
            Self::Learning => "learning",
            Self::Draining => "draining",
            Self::Unreachable => "unreachable",
            Self::Left => "left",
        }
    }
}

impl fmt::Display for LeaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for LeaseExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, limit, version, block, without_lease, remaining, state, problem } = self;
        write!(f, "lease of {name}: {block} of {limit}")?;
        if !remaining.is_zero() {
            // A tenth of a second is enough for a reader.
            let tenths = u64::try_from(remaining.as_millis() / 100).unwrap_or(u64::MAX);
            write!(f, " for {:?}", Duration::from_millis(tenths.saturating_mul(100)))?;
        }
        if *without_lease > 0 {
            write!(f, ", {without_lease} without a lease")?;
        }
        write!(f, ", {state}")?;
        match version {
            0 => f.write_str(" (limit from the processes)")?,
            version => write!(f, " (limit set by an operator, version {version})")?,
        }
        problem.as_ref().map_or(Ok(()), |problem| write!(f, ": {}", Escaped(problem)))
    }
}

//! What an exchange takes and returns.

use std::fmt;
use std::time::Duration;

use crate::plan::Limit;

/// What a holder reports and asks for in one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The holder: a text that no other process uses, also after a restart of the process.
    pub holder: &'a str,
    /// The number of the exchange. Each exchange of a holder has a higher number than the one before.
    pub seq: u64,
    /// The highest epoch that the holder has seen; 0 before its first answer.
    pub epoch: u64,
    /// The permits that the holder has in use, or its cap if that is higher. After a lapse, only the permits in use.
    pub held: u32,
    /// The demand of the holder: the permits in use, and those of the requests that wait.
    pub wants: u32,
    /// Whether the lease of the holder is still valid.
    pub claim: Claim,
    /// The times of the lease, as the holder is configured.
    pub terms: LeaseTerms,
    /// The newest limit that the holder knows: the one from its configuration, or a later one from an answer of the ledger.
    pub limit: LimitVersion,
}

/// Whether the lease of a holder is still valid by its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The holder has a valid lease, or never had one.
    Current,
    /// The deadline has passed. The holder reports only the permits that are still in use.
    Lapsed,
}

/// The limit of a fleet, with a version: of two limits, the one with the higher version is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitVersion {
    /// The limit.
    pub limit: Limit,
    /// 0 for a limit from the configuration of a process. A limit that an operator sets has a higher version than the one
    /// that the ledger knows.
    pub version: u64,
}

impl LimitVersion {
    /// Returns a limit from the configuration of a process.
    #[must_use]
    pub const fn configured(limit: Limit) -> Self {
        Self { limit, version: 0 }
    }
}

/// What an exchange grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The permits that the holder may have in use until its deadline.
    pub cap: u32,
    /// The fair share of the holder. If it is below the cap, the holder returns the difference as its work ends.
    pub target: u32,
    /// The number of this exchange in the order of all exchanges of the gate, and the epoch.
    pub fence: Fence,
    /// How long the ledger still learns, and grants no new permits. Zero if it knows all leases.
    pub learning: Duration,
    /// The limit of the fleet.
    pub limit: LimitVersion,
    /// The permits that are granted to all holders together, this one included.
    pub granted: u64,
    /// The number of holders, this one included.
    pub holders: u64,
}

/// A number that rises with each exchange of a gate, whatever process makes it. Work can pass it to a store that rejects
/// lower numbers. With a limit above 1, this also rejects valid work of other processes; use it where one process at a time may write.
///
/// Fences are ordered by the epoch, then by the exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence {
    /// Rises when the ledger was restarted or has lost its state. After a loss it can be lower, if the server's clock has also stepped
    /// back and the first exchange comes from a new process.
    pub epoch: u64,
    /// The number of the exchange since the state of the gate was created, or created again after a loss.
    pub seq: u64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

/// The rejection of an exchange whose number is not above the last one of its holder. The ledger changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The number of the last exchange.
    pub last: u64,
}

/// The clock and the identity of the ledger's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerServer<'a> {
    /// The time of the server, in milliseconds since any fixed moment. It may step forwards or backwards.
    pub now_ms: u64,
    /// A text that differs after each start of the server.
    pub run: &'a str,
}

/// The times of a lease, in milliseconds.
///
/// - `ttl`: how long a lease lasts, from the instant at which the holder sends its exchange.
/// - `grace`: how long work may continue after the lease has ended. At least the longest hold of a permit.
/// - `guard`: by how much one step of the server's clock, of any size, may advance the clock of the leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    ttl: u64,
    grace: u64,
    guard: u64,
}

impl LeaseTerms {
    /// Creates terms for permits that are held for at most `max_hold`. The grace is `max_hold`, plus 2 % of `ttl` + `max_hold`, plus one
    /// second. The guard is half the `ttl`.
    ///
    /// # Errors
    ///
    /// [`TermsError`] if `ttl` is not in 100 ms to 1 day, or `max_hold` is above 30 days.
    pub fn new(ttl: Duration, max_hold: Duration) -> Result<Self, TermsError> {
        const SECOND: Duration = Duration::from_secs(1);
        check_time("longest hold time", max_hold, Duration::ZERO, DAY.saturating_mul(30))?;
        // The ledger counts the `ttl` and the grace by a clock that may be 1 % fast. A holder that measures its work by a clock that is 1 %
        // slow holds its permits for 1 % longer.
        let clock_margin = ttl.saturating_add(max_hold).checked_div(50).unwrap_or_default();
        let grace = max_hold.saturating_add(clock_margin).saturating_add(SECOND);
        Self::from_parts(ttl, grace, ttl.checked_div(2).unwrap_or_default())
    }

    /// Creates terms from their three times. `ttl` is rounded down to whole milliseconds. The other times are rounded up.
    ///
    /// # Errors
    ///
    /// [`TermsError`] if `ttl` is not in 100 ms to 1 day, or another time is above 31 days.
    pub fn from_parts(ttl: Duration, grace: Duration, guard: Duration) -> Result<Self, TermsError> {
        check_time("ttl", ttl, Duration::from_millis(100), DAY)?;
        check_time("grace", grace, Duration::ZERO, MONTH)?;
        check_time("guard", guard, Duration::ZERO, MONTH)?;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let rounded_up = |time: Duration| millis(time.saturating_add(Duration::from_nanos(999_999)));
        Ok(Self { ttl: millis(ttl), grace: rounded_up(grace), guard: rounded_up(guard) })
    }

    /// Returns how long a lease lasts.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl)
    }

    /// Returns how long work may continue after the lease has ended.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace)
    }

    /// Returns by how much one step of the server's clock may advance the clock of the leases.
    #[must_use]
    pub fn guard(&self) -> Duration {
        Duration::from_millis(self.guard)
    }

    /// Returns how long the ledger keeps an entry after its last exchange: `ttl` + `grace` + `guard`.
    #[must_use]
    pub fn span(&self) -> Duration {
        Duration::from_millis(self.span_ms())
    }

    /// Returns the time after which the target of a holder with a permit above its equal share falls, while other holders wait for one:
    /// a third of `ttl`.
    #[must_use]
    pub fn turn(&self) -> Duration {
        Duration::from_millis(self.turn_ms())
    }

    pub(super) fn span_ms(&self) -> u64 {
        self.ttl.saturating_add(self.grace).saturating_add(self.guard)
    }

    pub(super) fn guard_ms(&self) -> u64 {
        self.guard
    }

    pub(super) fn turn_ms(&self) -> u64 {
        self.ttl.checked_div(3).unwrap_or(0)
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = DAY.saturating_mul(31);

fn check_time(
    name: &'static str,
    given: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), TermsError> {
    if given < least || given > most {
        return Err(TermsError { name, given, least, most });
    }
    Ok(())
}

/// The error for a time of a lease that is out of range.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {name} of a lease is {given:?}, and must be in {least:?} to {most:?}")]
pub struct TermsError {
    name: &'static str,
    given: Duration,
    least: Duration,
    most: Duration,
}

crate::plan::debug_as_display::impl_debug_as_display!(TermsError);

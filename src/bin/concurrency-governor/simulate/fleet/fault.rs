//! The faults of a simulated fleet, as given on the command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A fault: what happens, to which part of the hosts, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FleetFault {
    pub(super) kind: FleetFaultKind,
    /// The part of the hosts in percent. Faults of the ledger have none.
    share: Option<u8>,
    pub(super) from: Duration,
    /// The end, at or after the start.
    pub(super) until: Duration,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FleetFaultKind {
    /// The server of the ledger restarts, and has lost its state.
    RedisRestart,
    /// The server of the ledger restarts with its state.
    PostgresRestart,
    /// The ledger loses its state, and its server keeps running.
    Flush,
    /// Hosts are cut off from the ledger.
    Partition,
    /// The processes of hosts crash, and new ones start.
    Crash,
    /// Hosts are suspended, with their work.
    Pause,
}

impl FleetFault {
    /// Returns the part of the hosts that have the fault, in percent.
    pub(super) fn share(&self) -> u8 {
        self.share.unwrap_or(DEFAULT_SHARE)
    }
}

impl FleetFaultKind {
    const ALL: [(&'static str, Self); 6] = [
        ("redis-restart", Self::RedisRestart),
        ("postgres-restart", Self::PostgresRestart),
        ("flush", Self::Flush),
        ("partition", Self::Partition),
        ("crash", Self::Crash),
        ("pause", Self::Pause),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    const fn is_of_hosts(self) -> bool {
        matches!(self, Self::Partition | Self::Crash | Self::Pause)
    }
}

/// Parses `redis-restart@20s`, `redis-restart@20s..25s` or `partition=10%@20s..30s`.
impl FromStr for FleetFault {
    type Err = FleetFaultError;

    fn from_str(given: &str) -> Result<Self, FleetFaultError> {
        let (what, when) = given.rsplit_once('@').ok_or(FleetFaultError::Syntax)?;
        let (name, share) = match what.split_once('=') {
            Some((name, share)) => (name, Some(share)),
            None => (what, None),
        };
        let kind = FleetFaultKind::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| FleetFaultError::Kind { name: name.to_owned() })?;
        let share = match share {
            None => None,
            Some(_) if !kind.is_of_hosts() => return Err(FleetFaultError::ShareOfLedger),
            Some(share) => {
                let percent = share.strip_suffix('%').and_then(|percent| percent.parse().ok());
                Some(percent.filter(|percent| (1..=100).contains(percent)).ok_or(FleetFaultError::Share)?)
            }
        };
        let time = |given: &str| humantime::parse_duration(given.trim()).map_err(|_| FleetFaultError::Time);
        let (from, until) = match when.split_once("..") {
            Some((from, until)) => (time(from)?, time(until)?),
            None => (time(when)?, time(when)?),
        };
        let lasts = from < until;
        match kind {
            _ if from < MIN_FROM => Err(FleetFaultError::FirstSecond),
            _ if until < from => Err(FleetFaultError::EndBeforeStart),
            FleetFaultKind::Partition | FleetFaultKind::Pause if !lasts => Err(FleetFaultError::NoEnd),
            FleetFaultKind::Flush if lasts => Err(FleetFaultError::EndOfFlush),
            _ => Ok(Self { kind, share, from, until }),
        }
    }
}

/// Writes the form that [`FromStr`] parses.
impl fmt::Display for FleetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration;
        write!(f, "{}", self.kind.name())?;
        if let Some(share) = self.share {
            write!(f, "={share}%")?;
        }
        write!(f, "@{}", text(self.from))?;
        if self.from < self.until { write!(f, "..{}", text(self.until)) } else { Ok(()) }
    }
}

/// The text is not a fault. The caller puts the flag and its value in front.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FleetFaultError {
    #[error("not a fault (allowed: FAULT@TIME, such as redis-restart@20s or partition=10%@20s..30s)")]
    Syntax,
    #[error(
        "`{name}` is not a fault (allowed: redis-restart, postgres-restart, flush, partition, crash, pause)"
    )]
    Kind { name: String },
    #[error("a fault of the ledger takes no percentage (allowed with partition, crash and pause)")]
    ShareOfLedger,
    #[error("the percentage of hosts is out of range (allowed: 1% to 100%)")]
    Share,
    #[error("the time is not a duration (allowed: such as 20s, or 20s..30s)")]
    Time,
    #[error(
        "the fault begins in the first second, with which its recovery is compared (allowed: from 1s on)"
    )]
    FirstSecond,
    #[error("the fault ends before it begins (allowed: FAULT@FROM..UNTIL, such as pause@20s..22s)")]
    EndBeforeStart,
    #[error("the fault has no end (allowed: FAULT@FROM..UNTIL, such as pause@20s..22s)")]
    NoEnd,
    #[error("a flush has no end (allowed: one time, such as flush@20s)")]
    EndOfFlush,
}

/// A fault has recovered when the fleet has as much in flight as in the second before the fault.
const MIN_FROM: Duration = Duration::from_secs(1);

/// Half of the hosts.
const DEFAULT_SHARE: u8 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of a fault can be parsed again.
    #[test]
    fn faults_are_parsed_as_they_are_displayed() {
        for text in
            ["redis-restart@20s", "postgres-restart@20s..1m", "flush@1s", "crash=1%@5s", "pause=100%@5s..6s"]
        {
            assert_eq!(text.parse::<FleetFault>().unwrap().to_string(), text);
        }
    }

    /// Each kind of mistake has its own error.
    #[test]
    fn invalid_texts_are_rejected_with_their_reason() {
        for (text, error) in [
            ("flush", FleetFaultError::Syntax),
            ("flood@1s", FleetFaultError::Kind { name: "flood".to_owned() }),
            ("flush=10%@1s", FleetFaultError::ShareOfLedger),
            ("crash=0%@1s", FleetFaultError::Share),
            ("crash=10@1s", FleetFaultError::Share),
            ("crash@soon", FleetFaultError::Time),
            ("crash@2s..1s", FleetFaultError::EndBeforeStart),
            ("partition@2s", FleetFaultError::NoEnd),
            ("pause@2s..2s", FleetFaultError::NoEnd),
            ("flush@2s..3s", FleetFaultError::EndOfFlush),
            ("crash@999ms", FleetFaultError::FirstSecond),
        ] {
            assert_eq!(text.parse::<FleetFault>(), Err(error), "{text}");
        }
    }
}

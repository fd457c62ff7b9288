//! What a governor tells its observers.

use std::fmt;
use std::time::Duration;

use crate::plan::{BuildError, Explanation, GateName, Limit, Reading, Resource};
use crate::probe::ProbeError;

/// Something that a [`Governor`](crate::Governor) did or met. It prints as one line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A gate's limit changed.
    LimitChanged {
        /// The gate.
        gate: GateName,
        /// The limit before.
        from: Limit,
        /// The limit now.
        to: Limit,
        /// Permits still out above the new limit; returns pay them back first.
        debt: u32,
        /// Where the new limit comes from.
        explanation: Box<Explanation>,
    },
    /// A reading changed, and the limits were derived anew from it.
    ReadingChanged {
        /// The resource.
        resource: Resource,
        /// The reading before.
        from: Reading,
        /// The reading now.
        to: Reading,
    },
    /// A reading rose, and the rise is not believed yet: see [`RefreshPolicy::rise_after`](crate::governor::RefreshPolicy::rise_after).
    RiseHeld {
        /// The resource.
        resource: Resource,
        /// The reading that still holds.
        held: Reading,
        /// The reading that was seen.
        seen: Reading,
        /// How many more times in a row it has to be seen.
        remaining: u32,
    },
    /// A probe failed, having worked before or failed otherwise. The last good reading holds, marked stale.
    ProbeFailed {
        /// The resource.
        resource: Resource,
        /// What happened.
        fault: ProbeFault,
        /// The reading that holds: [`Reading::Unknown`] if there never was a good one.
        kept: Reading,
    },
    /// A probe works again.
    ProbeRecovered {
        /// The resource.
        resource: Resource,
        /// What it measured.
        reading: Reading,
    },
    /// New readings were refused, since a setting is now above what is derived and the policy is to reject that. The
    /// limits and the resolution stay as they were.
    RefreshRejected {
        /// Every problem.
        error: BuildError,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LimitChanged { gate, from, to, debt: 0, .. } => {
                write!(f, "gate {gate}: limit {from} -> {to}")
            }
            Self::LimitChanged { gate, from, to, debt, .. } => {
                let permits = if *debt == 1 { "permit" } else { "permits" };
                write!(f, "gate {gate}: limit {from} -> {to}, {debt} {permits} out above it")
            }
            Self::ReadingChanged { resource, from, to } => write!(f, "{resource}: {from} -> {to}"),
            Self::RiseHeld { resource, held, seen, remaining } => {
                let times = if *remaining == 1 { "time" } else { "times" };
                write!(f, "{resource}: {seen} seen, {held} holds until it is seen {remaining} more {times}")
            }
            Self::ProbeFailed { resource, fault, kept } => write!(f, "{resource}: {fault}; {kept} holds"),
            Self::ProbeRecovered { resource, reading } => write!(f, "{resource}: measured again, {reading}"),
            Self::RefreshRejected { error } => write!(f, "new readings refused: {error}"),
        }
    }
}

/// Why a probe gave no measurement.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProbeFault {
    /// It failed with an error.
    Failed(ProbeError),
    /// It did not answer before its deadline.
    TimedOut {
        /// How long it was given.
        after: Duration,
    },
    /// It has not stopped since its last deadline passed, so it was not asked again: it blocks its thread.
    Stuck,
    /// It panicked.
    Panicked {
        /// The panic's message, where it has one.
        message: String,
    },
}

impl fmt::Display for ProbeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error:#}"),
            Self::TimedOut { after } => write!(f, "the probe did not answer within {after:?}"),
            Self::Stuck => f.write_str("the probe still blocks a thread since its last deadline"),
            Self::Panicked { message } => write!(f, "the probe panicked: {message}"),
        }
    }
}

/// Told about every [`Event`] of a governor, in the thread that caused it and with no lock held.
///
/// A closure `Fn(&Event)` is one. What it does delays the refresh that it is told about; a panic in it is caught and
/// ends nothing else.
pub trait Observer: Send + Sync {
    /// Takes note of an event.
    fn observe(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
    }
}

//! The events that a governor reports to its observers.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::feedback::FeedbackDecision;
use crate::gate::{Holder, Stall, WaitCycle};
use crate::plan::{
    BuildError, Escaped, Explanation, GateName, LeaseExplanation, LeaseState, Limit, Reading, Resource,
};
use crate::probe::ProbeError;

/// An event of a [`Governor`](crate::Governor). It prints as one line.
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
        /// The permits that are in use above the new limit. Releases reduce the debt before a waiter is admitted.
        debt: u32,
        /// The explanation of the new limit.
        explanation: Box<Explanation>,
    },
    /// A reading changed, and the limits were derived from it again, unless [`RefreshRejected`](Self::RefreshRejected) follows.
    ReadingChanged {
        /// The resource.
        resource: Resource,
        /// The reading before.
        from: Reading,
        /// The reading now.
        to: Reading,
    },
    /// The rule of an adaptive gate changed the limit that it chooses. Decisions that keep the limit are not reported;
    /// [`Governor::feedback`](crate::Governor::feedback) has all decisions.
    FeedbackDecided {
        /// The gate.
        gate: GateName,
        /// The decision, with the numbers that reproduce it.
        decision: Box<FeedbackDecision>,
    },
    /// A reading rose, or changed from or to an unknown one, but the governor does not use it yet: see
    /// [`RefreshPolicy::rise_after`](crate::governor::RefreshPolicy::rise_after).
    RiseHeld {
        /// The resource.
        resource: Resource,
        /// The reading that stays in effect.
        held: Reading,
        /// The reading that was measured.
        seen: Reading,
        /// The time for which the change must last further.
        remaining: Duration,
    },
    /// A probe failed for the first time since it worked or was added, or in another way than before. The last good reading stays in
    /// effect, marked stale.
    ProbeFailed {
        /// The resource.
        resource: Resource,
        /// The kind of failure.
        fault: ProbeFault,
        /// The reading that stays in effect: [`Reading::Unknown`] if the probe never succeeded.
        kept: Reading,
    },
    /// A probe works again.
    ProbeRecovered {
        /// The resource.
        resource: Resource,
        /// The measured reading.
        reading: Reading,
    },
    /// New readings were rejected: a setting is now above the derived limit, and the policy is to reject that. The limits
    /// and the resolution are unchanged.
    RefreshRejected {
        /// Every problem.
        error: BuildError,
    },
    /// The lease of a gate that shares its limit with other processes has another state than before.
    LeaseChanged {
        /// The gate.
        gate: GateName,
        /// The state before.
        from: LeaseState,
        /// The state now.
        to: LeaseState,
        /// The lease.
        lease: Box<LeaseExplanation>,
    },
    /// The limit of a fleet that this process knows from its ledger has changed.
    FleetLimitChanged {
        /// The gate.
        gate: GateName,
        /// The limit before.
        from: Limit,
        /// The limit now.
        to: Limit,
        /// The version of the limit: 0 if the processes have set it, and higher if an operator has.
        version: u64,
    },
    /// Permits of a gate that [tracks its holders](crate::GateSpec::track_holders) are in use for longer than declared.
    /// This event and the next two are reported at most once per 30 s and gate.
    PermitOverdue {
        /// The gate at which the permits were requested.
        gate: GateName,
        /// The number of overdue holders.
        overdue: usize,
        /// The one that has held its permits for longest.
        oldest: Box<Holder>,
    },
    /// Requests were admitted, and their futures have not been polled since, for longer than the gate declares as overdue: some task
    /// keeps futures that it does not poll, such as the losers of a `select!`. Their permits are in use.
    GrantUnclaimed {
        /// The gate at which the permits were requested.
        gate: GateName,
        /// The number of such requests.
        unclaimed: usize,
        /// The one that was admitted first.
        oldest: Box<Holder>,
    },
    /// Requests wait, and nothing was acquired or released for longer than the gate declares as overdue.
    Stalled {
        /// The gate that has no room.
        gate: GateName,
        /// The requests that wait there.
        waiting: usize,
        /// Since when nothing has moved.
        since: Instant,
        /// How long ago that was.
        lasted: Duration,
        /// The permits that have been in use for longest.
        suspects: Vec<Holder>,
    },
    /// Tasks wait for each other's permits, so that none of them can continue. It is reported unless each gate of the cycle was in such a
    /// report within the last 30 s.
    WaitCycle {
        /// The tasks, and what they wait for.
        cycle: WaitCycle,
    },
}

impl From<Stall> for Event {
    fn from(stall: Stall) -> Self {
        let Stall { gate, waiting, since, lasted, suspects } = stall;
        Self::Stalled { gate, waiting, since, lasted, suspects }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LimitChanged { gate, from, to, debt: 0, .. } => {
                write!(f, "gate {gate}: limit {from} -> {to}")
            }
            Self::LimitChanged { gate, from, to, debt, .. } => {
                let permits = if *debt == 1 { "permit" } else { "permits" };
                write!(f, "gate {gate}: limit {from} -> {to}, {debt} {permits} in use above it")
            }
            Self::ReadingChanged { resource, from, to } => write!(f, "{resource}: {from} -> {to}"),
            Self::FeedbackDecided { gate, decision } => write!(f, "gate {gate}: feedback {decision}"),
            Self::RiseHeld { resource, held, seen, remaining } => {
                // Whole milliseconds are enough for a reader.
                let millis = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
                let remaining = Duration::from_millis(millis);
                write!(
                    f,
                    "{resource}: measured {seen}, keeping {held} until the rise has lasted {remaining:?} more"
                )
            }
            Self::ProbeFailed { resource, fault, kept } => write!(f, "{resource}: {fault}; keeping {kept}"),
            Self::ProbeRecovered { resource, reading } => write!(f, "{resource}: measured again, {reading}"),
            Self::RefreshRejected { error } => write!(f, "new readings rejected: {error}"),
            Self::LeaseChanged { gate, from, to, lease } => {
                write!(f, "gate {gate}: lease {from} -> {to}; {lease}")
            }
            Self::FleetLimitChanged { gate, from, to, version } => {
                write!(f, "gate {gate}: the limit of the fleet {from} -> {to} (version {version})")
            }
            Self::PermitOverdue { gate, overdue: 1, oldest } => {
                write!(f, "gate {gate}: a permit is overdue: {oldest}")
            }
            Self::PermitOverdue { gate, overdue, oldest } => {
                write!(f, "gate {gate}: {overdue} holders are overdue; the oldest: {oldest}")
            }
            Self::GrantUnclaimed { gate, unclaimed: 1, oldest } => {
                write!(f, "gate {gate}: an admitted request is not polled: {oldest}")
            }
            Self::GrantUnclaimed { gate, unclaimed, oldest } => {
                write!(f, "gate {gate}: {unclaimed} admitted requests are not polled; the oldest: {oldest}")
            }
            Self::Stalled { gate, waiting, since, lasted, suspects } => {
                let (gate, waiting, since, lasted) = (*gate, *waiting, *since, *lasted);
                Stall { gate, waiting, since, lasted, suspects: suspects.clone() }.fmt(f)
            }
            Self::WaitCycle { cycle } => write!(f, "wait cycle: {cycle}"),
        }
    }
}

/// The reason why a probe returned no measurement.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProbeFault {
    /// The probe returned an error.
    Failed(ProbeError),
    /// The probe did not answer before its deadline.
    TimedOut {
        /// The time from the start of the measurement to the deadline.
        after: Duration,
    },
    /// No measurement has started before the deadline: the probe has blocked its thread since an earlier deadline, or no thread of the
    /// runtime was free.
    Stuck,
    /// The probe panicked.
    Panicked {
        /// The panic message, if it is a text.
        message: String,
    },
}

impl fmt::Display for ProbeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => Escaped(&format!("{error:#}")).fmt(f),
            Self::TimedOut { after } => write!(f, "the probe did not answer within {after:?}"),
            Self::Stuck => {
                f.write_str("the probe was not called: it still blocks a thread, or no thread was free")
            }
            Self::Panicked { message } => write!(f, "the probe panicked: {}", Escaped(message)),
        }
    }
}

/// Receives every [`Event`] of a governor, on the thread that caused the event and with no lock held.
///
/// A closure `Fn(&Event)` is an observer. An observer delays the change that calls it, so it must be fast. The governor
/// catches a panic of an observer and continues.
///
/// When an observer is called, the gates have their new limits, the resolution is published, and the waiters that were
/// admitted are woken. The events of one change arrive in their order. Events of concurrent changes arrive in any order,
/// because each thread reports its own. An observer that keeps a state implements
/// [`observe_numbered`](Self::observe_numbered), and leaves out what is older than the state:
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex, PoisonError};
/// use concurrency_governor::event::{Event, Observer};
/// use concurrency_governor::{Formula, GateName, GateSpec, Governor, Limit, OverrideLayer, Overrides};
///
/// const JOBS: GateSpec = GateSpec::new("jobs", Formula::fixed(8));
///
/// /// The newest limit of each gate, with the number of its event.
/// #[derive(Clone, Default)]
/// struct NewestLimits(Arc<Mutex<BTreeMap<GateName, (u64, Limit)>>>);
///
/// impl Observer for NewestLimits {
///     fn observe_numbered(&self, number: u64, event: &Event) {
///         let Event::LimitChanged { gate, to, .. } = event else { return };
///         let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         let newest = limits.entry(*gate).or_insert((number, *to));
///         *newest = (*newest).max((number, *to));
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let limits = NewestLimits::default();
/// let governor = Governor::builder().gate(JOBS).observer(limits.clone()).build().await?;
/// governor.set_overrides(Overrides::new().then(OverrideLayer::new("admin").set(JOBS, 3)))?;
/// # let limits = limits.0.lock().unwrap_or_else(PoisonError::into_inner);
/// assert_eq!(limits.get(&JOBS.name()), Some(&(1, Limit::new(3))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Observer: Send + Sync {
    /// Handles an event. Implement either this or [`observe_numbered`](Self::observe_numbered). Does nothing by default.
    fn observe(&self, event: &Event) {
        let _ = event;
    }

    /// Handles an event and its number. The governor calls this method. By default, it calls
    /// [`observe`](Self::observe).
    ///
    /// The events of a governor are numbered from 1, without gaps, in the order of the changes that they report. So of two
    /// events about a gate or a resource, the one with the higher number is the newer.
    fn observe_numbered(&self, number: u64, event: &Event) {
        let _ = number;
        self.observe(event);
    }
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
    }
}

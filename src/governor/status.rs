//! The status of a governor.

use crate::feedback::{Band, History, OutcomeCounts, Reason};
use crate::plan::{AdaptiveRule, GateName, Limit, Reading, Resource};

/// A snapshot of what a governor has measured and done since it was built; from
/// [`Governor::status`](super::Governor::status). Counts saturate.
///
/// ```
/// use concurrency_governor::testing::MockProbe;
/// use concurrency_governor::{Formula, GateSpec, Governor, Reading, Resource};
///
/// const JOBS: GateSpec = GateSpec::new("jobs", Formula::scale(Resource::CPU, 2));
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let cpu = MockProbe::new(Resource::CPU, Reading::whole(8));
/// let governor = Governor::builder().gate(JOBS).probe(cpu.clone()).build().await?;
/// cpu.fail("the host is gone");
/// governor.refresh().await?;
///
/// let status = governor.status();
/// assert_eq!((status.refreshes, status.rejected), (1, 0));
/// let cpu = &status.probes[0];
/// assert_eq!((cpu.reading, cpu.measured, cpu.failed), (Reading::whole(8), 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GovernorStatus {
    /// Completed refreshes, both explicit and in the background, rejected ones included.
    pub refreshes: u64,
    /// Rejected refreshes, which left the limits as they were.
    pub rejected: u64,
    /// The probes, sorted by the name of their resource.
    pub probes: Vec<ProbeStatus>,
}

/// The state of one probe of a governor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeStatus {
    /// The resource that the probe measures.
    pub resource: Resource,
    /// The reading in force.
    pub reading: Reading,
    /// Whether the reading in force is from before a failed measurement. It stays so while a rise is held after the failure.
    pub stale: bool,
    /// The number of successful measurements.
    pub measured: u64,
    /// The number of failed measurements: an error, a panic or a missed deadline.
    pub failed: u64,
}

/// The state of the feedback of one adaptive gate; from [`Governor::feedback`](super::Governor::feedback). Counts saturate.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FeedbackStatus {
    /// The gate.
    pub gate: GateName,
    /// The rule that chooses the limit.
    pub rule: AdaptiveRule,
    /// The floor, and the ceiling that is derived from the host.
    pub band: Band,
    /// The limit that the rule has chosen. Each refresh that is not rejected applies it to the gate, unless `is_paused`.
    pub limit: Limit,
    /// Whether an operator's setting is in force instead. Meanwhile nothing is decided.
    pub is_paused: bool,
    /// The outcomes since the governor was built.
    pub outcomes: OutcomeCounts,
    /// The number of decisions by reason, those that kept the limit included.
    pub decisions: Vec<(Reason, u64)>,
    /// The last decisions, with everything that they depend on.
    pub history: History,
}

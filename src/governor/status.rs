//! What a governor says about itself.

use std::collections::BTreeMap;

use super::measure::{Outcome, Prober};
use crate::plan::{Reading, Readings, Resource};

/// A governor at one instant: what it has measured and done since it was built. Counts saturate.
///
/// ```
/// use concurrency_governor::testing::MockProbe;
/// use concurrency_governor::{Formula, GateSpec, Governor, Reading, Resource};
///
/// const JOBS: GateSpec = GateSpec::new("jobs", Formula::scale(Resource::CPU, 2));
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let host = MockProbe::new(Resource::CPU, Reading::whole(8));
/// let governor = Governor::builder().gate(JOBS).probe(host.clone()).build().await?;
/// host.fail("the host is gone");
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
    /// Refreshes that came to their end, those in the background and those rejected included.
    pub refreshes: u64,
    /// Of these: were rejected, so that the limits stayed as they were.
    pub rejected: u64,
    /// Every probe, by its resource's name.
    pub probes: Vec<ProbeStatus>,
}

/// What came of one probe of a governor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeStatus {
    /// What it measures.
    pub resource: Resource,
    /// The reading that holds.
    pub reading: Reading,
    /// Whether that is an old one, kept since the last measurement failed.
    pub stale: bool,
    /// How many measurements it gave.
    pub measured: u64,
    /// How many times it gave none: it failed, panicked or missed its deadline.
    pub failed: u64,
}

/// What a governor counts.
#[derive(Debug, Default)]
pub(super) struct Books {
    refreshes: u64,
    rejected: u64,
    /// Measurements and failures.
    probes: BTreeMap<Resource, (u64, u64)>,
}

impl Books {
    /// Counts what came of asking every probe.
    pub(super) fn measured(&mut self, taken: &[(Resource, Taken)]) {
        for (resource, taken) in taken {
            let (measured, failed) = self.probes.entry(*resource).or_default();
            let counter = match taken {
                Taken::Measured => measured,
                Taken::Failed => failed,
            };
            *counter = counter.saturating_add(1);
        }
    }

    /// Counts a refresh.
    pub(super) fn refreshed(&mut self, taken: &[(Resource, Taken)], is_refused: bool) {
        self.measured(taken);
        self.refreshes = self.refreshes.saturating_add(1);
        self.rejected = self.rejected.saturating_add(is_refused.into());
    }

    pub(super) fn status(&self, readings: &Readings) -> GovernorStatus {
        let probes = self.probes.iter().map(|(&resource, &(measured, failed))| {
            let stale = readings.get(resource).is_some_and(|held| held.staleness().is_some());
            ProbeStatus { resource, reading: readings.reading(resource), stale, measured, failed }
        });
        GovernorStatus { refreshes: self.refreshes, rejected: self.rejected, probes: probes.collect() }
    }
}

/// Whether a probe gave a measurement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taken {
    Measured,
    Failed,
}

/// What came of asking every probe, less the details.
pub(super) fn taken(prober: &Prober, outcomes: &[Outcome]) -> Vec<(Resource, Taken)> {
    let taken = |outcome: &Outcome| if outcome.is_ok() { Taken::Measured } else { Taken::Failed };
    prober.resources().zip(outcomes.iter().map(taken)).collect()
}

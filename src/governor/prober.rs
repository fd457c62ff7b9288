//! Measures all probes concurrently. A probe that fails, hangs, blocks or panics affects no other probe, except that the results are
//! applied together: after the slowest measurement, at most after the deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::damping::{Damper, DampingDecision};
use super::status::ProbeStatus;
use crate::catch_panic::panic_message;
use crate::event::{Event, ProbeFault};
use crate::plan::{Measurement, Reading, Readings, Resource};
use crate::probe::{ProbeError, ResourceProbe};

/// The probes of a governor, with the history of each.
pub(super) struct Prober {
    deadline: Duration,
    probes: Vec<TrackedProbe>,
}

/// Which probes a refresh measures.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RefreshScope {
    All,
    /// Those with these indices.
    Only(Vec<usize>),
}

impl RefreshScope {
    fn contains(&self, probe: usize) -> bool {
        match self {
            Self::All => true,
            Self::Only(probes) => probes.contains(&probe),
        }
    }
}

/// One probe with its history.
struct TrackedProbe {
    resource: Resource,
    probe: Arc<dyn ResourceProbe>,
    rises_at_once: bool,
    /// Locked by a running measurement. A probe that blocks its thread keeps the lock beyond its deadline. Until then,
    /// the probe is not called again, because each call would block one more thread.
    measuring: Arc<Mutex<()>>,
    /// The reading in force. `None` before the first result.
    damper: Option<Damper>,
    /// The last fault as text, or `None` if the last measurement succeeded. Observers are notified of a fault when it changes.
    last_fault: Option<String>,
    measured: u64,
    failed: u64,
}

impl Prober {
    pub(super) fn new(probes: Vec<Arc<dyn ResourceProbe>>, deadline: Duration) -> Self {
        Self { deadline, probes: probes.into_iter().map(TrackedProbe::new).collect() }
    }

    /// Adds probes behind the others. Returns their indices.
    pub(super) fn add(&mut self, probes: impl IntoIterator<Item = Arc<dyn ResourceProbe>>) -> Vec<usize> {
        let before = self.probes.len();
        self.probes.extend(probes.into_iter().map(TrackedProbe::new));
        (before..self.probes.len()).collect()
    }

    /// Removes the probes that were added last, so that this many are left.
    pub(super) fn truncate(&mut self, probes: usize) {
        self.probes.truncate(probes);
    }

    /// Returns the probes in their order.
    pub(super) fn probes(&self) -> Vec<Arc<dyn ResourceProbe>> {
        self.probes.iter().map(|tracked| Arc::clone(&tracked.probe)).collect()
    }

    /// Returns `true` if the scope contains the probe of a resource.
    pub(super) fn has_in_scope(&self, scope: &RefreshScope, resource: Resource) -> bool {
        let index = self.probes.iter().position(|tracked| tracked.resource == resource);
        index.is_some_and(|index| scope.contains(index))
    }

    /// Measures the probes of the scope concurrently, each in its own task. Returns one result per probe, in their order, and `None` for
    /// each probe that was not measured.
    ///
    /// Dropping the future aborts the measurements.
    pub(super) async fn measure(&self, scope: &RefreshScope) -> Vec<Option<Result<Measurement, ProbeFault>>> {
        let deadline = Instant::now().checked_add(self.deadline);
        let spawn = |(index, tracked): (usize, &TrackedProbe)| {
            scope.contains(index).then(|| MeasurementTask::spawn(&tracked.probe, &tracked.measuring))
        };
        let tasks: Vec<Option<MeasurementTask>> = self.probes.iter().enumerate().map(spawn).collect();
        let mut results = Vec::with_capacity(tasks.len());
        for task in tasks {
            results.push(match task {
                Some(task) => Some(task.finish(deadline, self.deadline).await),
                None => None,
            });
        }
        results
    }

    /// Applies the results of [`measure`](Self::measure). Returns the readings in force, and the events to observe.
    pub(super) fn apply(
        &mut self,
        results: Vec<Option<Result<Measurement, ProbeFault>>>,
        rise_after: Duration,
    ) -> (Readings, Vec<Event>) {
        let now = Instant::now();
        let mut events = Vec::new();
        for (tracked, result) in self.probes.iter_mut().zip(results) {
            match result {
                Some(Ok(measurement)) => {
                    let rise_after = if tracked.rises_at_once { Duration::ZERO } else { rise_after };
                    tracked.record_measurement(measurement, now, rise_after, &mut events);
                }
                Some(Err(fault)) => tracked.record_fault(fault, &mut events),
                None => {}
            }
        }
        let current = |tracked: &TrackedProbe| {
            let damper = tracked.damper.as_ref()?;
            Some((tracked.resource, damper.current().clone()))
        };
        (self.probes.iter().filter_map(current).collect(), events)
    }

    /// Returns the first instant from which an unconfirmed rise takes effect, if it is still measured then.
    pub(super) fn rise_due(&self, rise_after: Duration) -> Option<Instant> {
        self.probes.iter().filter_map(|tracked| tracked.damper.as_ref()?.rise_due(rise_after)).min()
    }

    /// Returns the status of each probe, sorted by resource.
    pub(super) fn statuses(&self) -> Vec<ProbeStatus> {
        let status = |tracked: &TrackedProbe| {
            let current = tracked.damper.as_ref().map(Damper::current);
            ProbeStatus {
                resource: tracked.resource,
                reading: current.map_or(Reading::Unknown, Measurement::reading),
                stale: current.is_some_and(|measurement| measurement.staleness().is_some()),
                measured: tracked.measured,
                failed: tracked.failed,
            }
        };
        let mut statuses: Vec<ProbeStatus> = self.probes.iter().map(status).collect();
        statuses.sort_by_key(|status| status.resource);
        statuses
    }
}

impl TrackedProbe {
    fn new(probe: Arc<dyn ResourceProbe>) -> Self {
        Self {
            resource: probe.resource(),
            rises_at_once: probe.rises_at_once(),
            probe,
            measuring: Arc::default(),
            damper: None,
            last_fault: None,
            measured: 0,
            failed: 0,
        }
    }

    fn record_measurement(
        &mut self,
        measurement: Measurement,
        now: Instant,
        rise_after: Duration,
        events: &mut Vec<Event>,
    ) {
        let resource = self.resource;
        let seen = measurement.reading();
        self.measured = self.measured.saturating_add(1);
        if self.last_fault.take().is_some() {
            events.push(Event::ProbeRecovered { resource, reading: seen });
        }
        let Some(damper) = &mut self.damper else {
            self.damper = Some(Damper::new(measurement));
            return;
        };
        let from = damper.current().reading();
        let decision = damper.update(measurement, now, rise_after);
        let to = damper.current().reading();
        match decision {
            DampingDecision::Held { remaining } => {
                events.push(Event::RiseHeld { resource, held: to, seen, remaining });
            }
            DampingDecision::Accepted if from != to => {
                events.push(Event::ReadingChanged { resource, from, to });
            }
            DampingDecision::Accepted => {}
        }
    }

    fn record_fault(&mut self, fault: ProbeFault, events: &mut Vec<Event>) {
        self.failed = self.failed.saturating_add(1);
        let text = fault.to_string();
        let damper = self.damper.get_or_insert_with(|| Damper::new(Reading::Unknown.into()));
        damper.record_failure(&text);
        let is_new = self.last_fault.as_ref() != Some(&text);
        self.last_fault = Some(text);
        if is_new {
            let kept = damper.current().reading();
            events.push(Event::ProbeFailed { resource: self.resource, fault, kept });
        }
    }
}

/// A running measurement, in a task of its own. Dropping it aborts the measurement.
pub(super) struct MeasurementTask {
    resource: Resource,
    task: JoinHandle<Result<Measurement, ProbeError>>,
    /// Whether the task has called the probe, or still waits for an earlier call to end.
    has_started: Arc<AtomicBool>,
}

impl MeasurementTask {
    /// Measures the probe after the measurement that holds the lock, if there is one.
    pub(super) fn spawn(probe: &Arc<dyn ResourceProbe>, measuring: &Arc<Mutex<()>>) -> Self {
        let resource = probe.resource();
        let (probe, measuring) = (Arc::clone(probe), Arc::clone(measuring));
        let has_started = Arc::new(AtomicBool::new(false));
        let started = Arc::clone(&has_started);
        let task = tokio::spawn(async move {
            let _measuring = measuring.lock().await;
            // Relaxed is enough: the flag publishes no data and only selects the kind of fault.
            started.store(true, Ordering::Relaxed);
            probe.measure().await
        });
        Self { resource, task, has_started }
    }

    /// Waits for the result until the deadline. `None` means that the deadline is too far away to be represented.
    pub(super) async fn finish(
        mut self,
        deadline: Option<Instant>,
        probe_deadline: Duration,
    ) -> Result<Measurement, ProbeFault> {
        let joined = match deadline {
            Some(deadline) => timeout_at(deadline, &mut self.task).await,
            None => Ok((&mut self.task).await),
        };
        match joined {
            Ok(Ok(measured)) => measured.map_err(ProbeFault::Failed),
            Ok(Err(error)) => Err(match error.try_into_panic() {
                Ok(payload) => ProbeFault::Panicked { message: panic_message(payload).to_string() },
                // Only the end of the runtime cancels a task that is waited for.
                Err(_) => ProbeFault::Failed(ProbeError::new(self.resource, "the runtime has shut down")),
            }),
            Err(_) if self.has_started.load(Ordering::Relaxed) => {
                Err(ProbeFault::TimedOut { after: probe_deadline })
            }
            Err(_) => Err(ProbeFault::Stuck),
        }
    }
}

impl Drop for MeasurementTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

//! Exports gates, pools and probes to a recorder of the `metrics` facade.
//!
//! ```
//! use std::time::Duration;
//!
//! use concurrency_governor::integration::metrics::Metrics;
//! use concurrency_governor::{Formula, GateSpec, Governor, Resource, probe};
//!
//! const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64));
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! // Install a recorder first, for example the one of `metrics-exporter-prometheus`.
//! let governor = Governor::builder().gate(IO).probes(probe::host()).build().await?;
//! let metrics = Metrics::builder().governor(&governor).build()?;
//! metrics.record(); // once, now
//! let _metrics = metrics.spawn(Duration::from_secs(5)); // every 5 s, until the task is dropped
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Recording adds no cost to a permit: gates and pools keep their own counters, and [`Metrics::record`] reads them. To count busy
//! keys and overdue holders, it visits each key and each holder of a gate while it holds the lock of the gate. Only
//! the hold time of a permit is measured on request, by [`Permit::timed`](crate::Permit::timed).
//!
//! [`ALL`] lists every metric. The labels are `gate`, `reason`, `state`, `stage`, `outcome` and `resource`. The values of `gate` and
//! `resource` are the names of gates and resources, and the other labels have a fixed set of values. No value comes from a request, so a
//! key of a gate is not a label: [`BUSY_KEYS`] has the number of busy keys, and
//! [`Gate::busiest_keys`](crate::Gate::busiest_keys) returns the keys.

mod builder;
mod hold;
#[cfg(feature = "fleet")]
mod lease;
mod names;
mod pool;
mod task;
mod waits;

#[cfg(test)]
mod tests;

pub use builder::{MetricsBuilder, MetricsError, MetricsProblem};
pub use hold::Timed;
pub use names::{
    ADMITTED, ALL, BORROWED, BUSY_KEYS, CANCELLED, DEBT, ENQUEUED, FEEDBACK_CEILING, FEEDBACK_DECISIONS,
    FEEDBACK_FLOOR, FEEDBACK_LIMIT, FEEDBACK_OUTCOMES, FEEDBACK_PAUSED, FLEET_LIMIT, HOLD, HOLDERS_OVERDUE,
    IN_USE, LEASE_PERMITS, LEASE_REMAINING, LEASE_STATE, LEDGER_EXCHANGE, LEDGER_EXCHANGES, LIMIT, Metric,
    MetricKind, PAUSED, POOL_ADDED, POOL_BACKING_OFF, POOL_CREATE, POOL_CREATE_FAILURES, POOL_CREATED,
    POOL_DETACHED, POOL_DISCARDED, POOL_EVICTED, POOL_EXPIRED, POOL_ITEMS, POOL_REUSED, POOL_WAIT,
    POOL_WAITING, PROBE_FAILURES, PROBE_READING, PROBE_STALE, REFRESHES, REFRESHES_REJECTED, REJECTED,
    RESIZED, RETRY_AFTER, SECONDS, STANDING, UNCLAIMED, WAIT, WAITING,
};
pub use task::MetricsTask;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, TryLockError};

use metrics::{SharedString, counter, gauge};

use super::reason;
use crate::gate::{Gate, GateStatus, Histogram};
use crate::governor::{FeedbackStatus, Governor, ProbeStatus};
use crate::plan::{GateName, Reading};
use names::gauge_value;
use pool::{RecordedPool, RecordedPoolHistograms};

/// The governors, gates and pools that are exported; from [`Metrics::builder`].
///
/// A clone is another handle of the same set: however many handles record, each wait is recorded once. Create one set for
/// each recorder.
///
/// Metric names do not change within a minor release. A gate is identified by its name alone, so no two gates of a set have
/// the same name.
#[derive(Clone, Debug)]
#[must_use = "metrics are recorded by `record` or `spawn`"]
pub struct Metrics {
    set: Arc<RecordedSet>,
}

#[derive(Debug)]
struct RecordedSet {
    governors: Vec<RecordedGovernor>,
    /// The gates of the governors as they were added to the set, and those that were added to the set themselves.
    gates: Vec<Gate>,
    pools: Vec<RecordedPool>,
    recorded: Mutex<RecordedHistograms>,
}

/// A governor that is recorded.
#[derive(Debug)]
struct RecordedGovernor {
    governor: Governor,
    /// The gates that it had when it was added to the set.
    gates: BTreeSet<GateName>,
}

/// The histograms as they were last recorded, in the order of the gates and pools. The next recording adds the
/// difference.
#[derive(Debug, Default)]
struct RecordedHistograms {
    gates: Vec<Histogram>,
    /// The gates that were added to a governor later.
    added: BTreeMap<GateName, AddedGate>,
    pools: Vec<RecordedPoolHistograms>,
    /// The times of the exchanges, one after the other for each lease of each governor.
    #[cfg(feature = "fleet")]
    leases: Vec<Histogram>,
}

/// A gate that was added to a governor after the set was built.
#[derive(Debug)]
struct AddedGate {
    /// The index of the governor in the set. A gate of the same name in another governor is not recorded.
    governor: usize,
    recorded: Histogram,
}

impl Metrics {
    /// Records the present values into the recorder of this thread, or else the global one.
    ///
    /// Without a recorder, the new waits are lost; all other values are recorded by the next call. The time of a call
    /// grows with the number of gates and pools, with the number of new waits, and with the keys of each gate that has keys and the
    /// holders of each gate that tracks them. A call that runs at the same time as another one does nothing.
    ///
    /// After a panic of the recorder, the next call may record some waits a second time.
    pub fn record(&self) {
        // `try_lock`, because the recorder is foreign code that may call this method again.
        let mut recorded = match self.set.recorded.try_lock() {
            Ok(recorded) => recorded,
            // The recorder panicked in an earlier call. What is recorded is still valid for each gate and pool.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        recorded.gates.resize_with(self.set.gates.len(), Default::default);
        recorded.pools.resize_with(self.set.pools.len(), Default::default);
        names::describe();
        for (gate, recorded) in self.set.gates.iter().zip(&mut recorded.gates) {
            record_gate_and_more(gate, recorded);
        }
        let known: BTreeSet<GateName> = self.set.gates.iter().map(Gate::name).collect();
        for (index, RecordedGovernor { governor, .. }) in self.set.governors.iter().enumerate() {
            for gate in governor.all_gates().into_iter().filter(|gate| !known.contains(&gate.name())) {
                let new = || AddedGate { governor: index, recorded: Histogram::default() };
                let added = recorded.added.entry(gate.name()).or_insert_with(new);
                if added.governor == index {
                    record_gate_and_more(&gate, &mut added.recorded);
                }
            }
        }
        for (pool, recorded) in self.set.pools.iter().zip(&mut recorded.pools) {
            pool.record(recorded);
        }
        let (mut refreshes, mut rejected) = (0_u64, 0_u64);
        for (index, RecordedGovernor { governor, gates }) in self.set.governors.iter().enumerate() {
            let status = governor.status();
            refreshes = refreshes.saturating_add(status.refreshes);
            rejected = rejected.saturating_add(status.rejected);
            status.probes.iter().for_each(record_probe);
            // Only gates that are recorded: a gate of the same name may be another one.
            let is_recorded = |gate: &GateName| {
                gates.contains(gate) || recorded.added.get(gate).is_some_and(|added| added.governor == index)
            };
            governor.feedbacks().filter(|feedback| is_recorded(&feedback.gate)).for_each(|feedback| {
                record_feedback(&feedback);
            });
        }
        // These counters have no label, so they have the sum of all governors.
        if !self.set.governors.is_empty() {
            counter!(REFRESHES).absolute(refreshes);
            counter!(REFRESHES_REJECTED).absolute(rejected);
        }
        #[cfg(feature = "fleet")]
        lease::record(
            self.set.governors.iter().flat_map(|recorded| recorded.governor.leases()),
            &mut recorded.leases,
        );
    }
}

/// Records everything of a gate. `recorded` has the waits that were recorded before.
fn record_gate_and_more(gate: &Gate, recorded: &mut Histogram) {
    let status = gate.status();
    record_gate(&status, recorded);
    if gate.has_keys() {
        record_busy_keys(&status, gate.busy_keys());
    }
    if gate.sheds() {
        record_shedding(&status);
    }
    if gate.tracks_holders() {
        record_overdue(&status, gate.inspect().overdue.map_or(0, |late| late.count));
    }
    *recorded = status.waits;
}

fn record_gate(status: &GateStatus, recorded_waits: &Histogram) {
    let gate = SharedString::from(status.name.to_string());
    gauge!(LIMIT, "gate" => gate.clone()).set(status.limit.get());
    gauge!(IN_USE, "gate" => gate.clone()).set(status.in_use);
    gauge!(WAITING, "gate" => gate.clone()).set(gauge_value(status.waiting as u64));
    gauge!(DEBT, "gate" => gate.clone()).set(status.debt);
    gauge!(UNCLAIMED, "gate" => gate.clone()).set(gauge_value(status.unclaimed as u64));
    gauge!(PAUSED, "gate" => gate.clone()).set(f64::from(u8::from(status.paused)));
    counter!(RESIZED, "gate" => gate.clone()).absolute(status.resized);

    let (queue, rejected) = (&status.totals.queue, &status.totals.rejected);
    counter!(ADMITTED, "gate" => gate.clone()).absolute(status.totals.admitted);
    counter!(BORROWED, "gate" => gate.clone()).absolute(status.totals.borrowed);
    counter!(ENQUEUED, "gate" => gate.clone()).absolute(queue.enqueued);
    counter!(CANCELLED, "gate" => gate.clone()).absolute(queue.cancelled);
    // A request can be rejected on arrival or while it waits; the metric counts both.
    for (reason, count) in [
        (reason::NO_PERMITS, rejected.no_permits),
        (reason::PAUSED, rejected.paused),
        (reason::QUEUE_FULL, rejected.queue_full),
        (reason::EXPIRED, rejected.expired.saturating_add(queue.expired)),
        (reason::TOO_LARGE, rejected.too_large.saturating_add(queue.too_large)),
        (reason::ZERO_WEIGHT, rejected.zero_weight),
        (reason::CLOSED, rejected.closed.saturating_add(queue.closed)),
        (reason::PUSHED_OUT, queue.pushed_out),
        (reason::TOO_MANY_KEYS, rejected.too_many_keys),
        (reason::SHED, queue.shed),
        (reason::WOULD_EXPIRE, rejected.would_expire),
        (reason::UNLEASED, rejected.unleased.saturating_add(queue.unleased)),
    ] {
        counter!(REJECTED, "gate" => gate.clone(), "reason" => reason).absolute(count);
    }

    waits::record_new(WAIT, &gate, recorded_waits, &status.waits);
}

/// Records whether requests are shed, and when they should be made again.
fn record_shedding(status: &GateStatus) {
    let gate = SharedString::from(status.name.to_string());
    gauge!(STANDING, "gate" => gate.clone()).set(f64::from(u8::from(status.standing)));
    if let Some(retry_after) = status.retry_after {
        gauge!(RETRY_AFTER, "gate" => gate).set(retry_after.as_secs_f64());
    }
}

/// Records how many keys are busy. No key is a label, because clients choose the keys.
fn record_busy_keys(status: &GateStatus, busy_keys: usize) {
    gauge!(BUSY_KEYS, "gate" => status.name.to_string()).set(gauge_value(busy_keys as u64));
}

/// Records how many holders of a gate are overdue.
fn record_overdue(status: &GateStatus, overdue: usize) {
    gauge!(HOLDERS_OVERDUE, "gate" => status.name.to_string()).set(gauge_value(overdue as u64));
}

fn record_feedback(feedback: &FeedbackStatus) {
    let gate = SharedString::from(feedback.gate.to_string());
    gauge!(FEEDBACK_FLOOR, "gate" => gate.clone()).set(feedback.band.floor().get());
    gauge!(FEEDBACK_CEILING, "gate" => gate.clone()).set(feedback.band.ceiling().get());
    gauge!(FEEDBACK_LIMIT, "gate" => gate.clone()).set(feedback.limit.get());
    gauge!(FEEDBACK_PAUSED, "gate" => gate.clone()).set(f64::from(u8::from(feedback.is_paused)));
    let outcomes = &feedback.outcomes;
    for (outcome, count) in
        [("success", outcomes.successes), ("overload", outcomes.overloads), ("ignore", outcomes.ignored)]
    {
        counter!(FEEDBACK_OUTCOMES, "gate" => gate.clone(), "outcome" => outcome).absolute(count);
    }
    for (reason, count) in &feedback.decisions {
        counter!(FEEDBACK_DECISIONS, "gate" => gate.clone(), "reason" => reason.name()).absolute(*count);
    }
}

fn record_probe(probe: &ProbeStatus) {
    let resource = SharedString::from(probe.resource.to_string());
    gauge!(PROBE_READING, "resource" => resource.clone()).set(match probe.reading {
        Reading::Finite(quantity) => gauge_value(quantity.thousandths()) / 1000.0,
        Reading::Unlimited => f64::INFINITY,
        Reading::Unknown => f64::NAN,
    });
    gauge!(PROBE_STALE, "resource" => resource.clone()).set(f64::from(u8::from(probe.stale)));
    counter!(PROBE_FAILURES, "resource" => resource).absolute(probe.failed);
}

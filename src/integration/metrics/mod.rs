//! Gates, pools and probes in a recorder of the `metrics` facade.
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
//! // First install a recorder, such as that of `metrics-exporter-prometheus`.
//! let governor = Governor::builder().gate(IO).probes(probe::host()).build().await?;
//! let metrics = Metrics::new().governor(&governor);
//! metrics.record(); // now, or
//! let _metrics = metrics.spawn(Duration::from_secs(5)); // now and then, until it is dropped
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing of this is in the way of a permit: gates and pools count for themselves anyway, and what they have counted is
//! read when it is recorded. Only how long permits are held is measured where it is asked for, by [`Permit::timed`](crate::Permit::timed).
//!
//! [`ALL`] lists every metric. The labels are `gate`, `reason`, `state` and `resource`, and each has as many values as there
//! are gates, reasons, states of an item and probes: nothing of a request becomes a label.

mod hold;
mod names;
mod pool;
mod task;
mod waits;

pub use hold::Timed;
pub use names::{
    ADMITTED, ALL, CANCELLED, DEBT, ENQUEUED, HOLD, IN_USE, LIMIT, Metric, MetricKind, POOL_BACKING_OFF,
    POOL_CREATE, POOL_CREATE_FAILURES, POOL_CREATED, POOL_DETACHED, POOL_DISCARDED, POOL_EVICTED, POOL_ITEMS,
    POOL_REUSED, POOL_WAIT, POOL_WAITING, PROBE_FAILURES, PROBE_READING, PROBE_STALE, REFRESHES,
    REFRESHES_REJECTED, REJECTED, RESIZED, SECONDS, WAIT, WAITING,
};
pub use task::MetricsTask;

use std::sync::Mutex;
use std::time::Duration;

use metrics::{SharedString, counter, gauge, histogram};

use super::reason;
use crate::gate::{Gate, GateStatus, Histogram};
use crate::governor::{Governor, ProbeStatus};
use crate::plan::Reading;
use crate::pool::{Manager, Pool};

/// Governors, gates and pools to be recorded.
///
/// Names stay the same from one minor release to the next. Two gates of one name in a process are told apart by nothing:
/// give each its own.
#[derive(Debug, Default)]
#[must_use = "metrics are recorded by `record` or `spawn`"]
pub struct Metrics {
    governors: Vec<Governor>,
    gates: Vec<Gate>,
    pools: Vec<pool::Watched>,
    seen: Mutex<Seen>,
}

/// What was recorded already, in the order of what is recorded: the waits of each gate, and what each pool has measured.
#[derive(Debug, Default)]
struct Seen {
    gates: Vec<Histogram>,
    pools: Vec<pool::Seen>,
}

impl Metrics {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a governor: every gate of its plan, its probes and its refreshes.
    pub fn governor(mut self, governor: &Governor) -> Self {
        let resolution = governor.resolution();
        let gates = resolution.explanations().iter().filter_map(|one| governor.gate(one.gate()).ok());
        self.gates.extend(gates);
        self.governors.push(governor.clone());
        self
    }

    /// Adds a gate of your own, or that of a pool.
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.gates.push(gate.clone());
        self
    }

    /// Adds a pool: its items, and how it came by them. Its gate is added by [`gate`](Self::gate), or by
    /// [`governor`](Self::governor) where it is a governor's.
    ///
    /// This is no handle of the pool, which goes with the last of those: one that is gone is recorded as empty.
    pub fn pool<M: Manager>(mut self, pool: &Pool<M>) -> Self {
        self.pools.push(pool::Watched::new(pool));
        self
    }

    /// Records everything as it is now, into the recorder that is installed, or that of this thread. Where there is none,
    /// waits that were to be recorded are lost; all else comes with the next call.
    ///
    /// It takes microseconds a gate or pool, and more after many waits. While another call is under way, it does nothing.
    pub fn record(&self) {
        // Never waited for: the recorder is other people's code, which may come back here.
        let Ok(mut seen) = self.seen.try_lock() else { return };
        seen.gates.resize_with(self.gates.len(), Default::default);
        seen.pools.resize_with(self.pools.len(), Default::default);
        names::describe();
        for (gate, seen) in self.gates.iter().zip(&mut seen.gates) {
            let status = gate.status();
            record_gate(&status, seen);
            *seen = status.waits;
        }
        for (pool, seen) in self.pools.iter().zip(&mut seen.pools) {
            pool.record(seen);
        }
        for governor in &self.governors {
            let status = governor.status();
            counter!(REFRESHES).absolute(status.refreshes);
            counter!(REFRESHES_REJECTED).absolute(status.rejected);
            status.probes.iter().for_each(record_probe);
        }
    }

    /// Records now and every so often, until the task is dropped. At most every millisecond.
    ///
    /// The period is best that of the scrapes, or half of it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    pub fn spawn(self, every: Duration) -> MetricsTask {
        MetricsTask::spawn(self, every)
    }
}

fn record_gate(status: &GateStatus, seen: &Histogram) {
    let gate = SharedString::from(status.name.to_string());
    gauge!(LIMIT, "gate" => gate.clone()).set(status.limit.get());
    gauge!(IN_USE, "gate" => gate.clone()).set(status.in_use);
    gauge!(WAITING, "gate" => gate.clone()).set(number(status.waiting as u64));
    gauge!(DEBT, "gate" => gate.clone()).set(status.debt);
    counter!(RESIZED, "gate" => gate.clone()).absolute(status.resized);

    let (queue, rejected) = (&status.totals.queue, &status.totals.rejected);
    counter!(ADMITTED, "gate" => gate.clone()).absolute(status.totals.admitted);
    counter!(ENQUEUED, "gate" => gate.clone()).absolute(queue.enqueued);
    counter!(CANCELLED, "gate" => gate.clone()).absolute(queue.cancelled);
    for (reason, count) in [
        (reason::NO_PERMITS, rejected.no_permits),
        (reason::QUEUE_FULL, rejected.queue_full),
        (reason::EXPIRED, rejected.expired.saturating_add(queue.expired)),
        (reason::TOO_LARGE, rejected.too_large.saturating_add(queue.too_large)),
        (reason::ZERO_WEIGHT, rejected.zero_weight),
        (reason::CLOSED, rejected.closed.saturating_add(queue.closed)),
    ] {
        counter!(REJECTED, "gate" => gate.clone(), "reason" => reason).absolute(count);
    }

    record_waits(WAIT, &gate, seen, &status.waits);
}

/// What the histogram has gained.
fn record_waits(name: &'static str, gate: &SharedString, seen: &Histogram, now: &Histogram) {
    let histogram = histogram!(name, "gate" => gate.clone());
    for (seconds, count) in waits::since(seen, now) {
        histogram.record_many(seconds, count);
    }
}

fn record_probe(probe: &ProbeStatus) {
    let resource = SharedString::from(probe.resource.to_string());
    gauge!(PROBE_READING, "resource" => resource.clone()).set(match probe.reading {
        Reading::Finite(quantity) => number(quantity.thousandths()) / 1000.0,
        Reading::Unlimited => f64::INFINITY,
        Reading::Unknown => f64::NAN,
    });
    gauge!(PROBE_STALE, "resource" => resource.clone()).set(f64::from(u8::from(probe.stale)));
    counter!(PROBE_FAILURES, "resource" => resource).absolute(probe.failed);
}

#[expect(clippy::cast_precision_loss, reason = "a recorder takes floats, which are exact up to 2^53")]
fn number(number: u64) -> f64 {
    number as f64
}

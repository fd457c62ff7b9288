//! Recording of pools. A recorded pool is not kept alive.

use std::fmt;

use metrics::{SharedString, counter, gauge};

use super::{
    POOL_ADDED, POOL_BACKING_OFF, POOL_CREATE, POOL_CREATE_FAILURES, POOL_CREATED, POOL_DETACHED,
    POOL_DISCARDED, POOL_EVICTED, POOL_EXPIRED, POOL_ITEMS, POOL_REUSED, POOL_WAIT, POOL_WAITING,
    names::gauge_value, waits,
};
use crate::gate::Histogram;
use crate::plan::GateName;
use crate::pool::{Manager, Pool, PoolStatus};

/// A weak reference to a pool whose status is recorded.
pub(super) struct RecordedPool {
    name: GateName,
    gate: SharedString,
    /// Returns `None` once the pool and all of its items are gone.
    pub(super) status: Box<dyn Fn() -> Option<PoolStatus> + Send + Sync>,
}

/// The histograms of a pool as they were last recorded.
#[derive(Debug, Default)]
pub(super) struct RecordedPoolHistograms {
    creates: Histogram,
    waits: Histogram,
}

impl RecordedPool {
    pub(super) fn new<M: Manager>(pool: &Pool<M>) -> Self {
        let name = pool.gate().name();
        Self { name, gate: SharedString::from(name.to_string()), status: Box::new(pool.status_reader()) }
    }

    /// Returns the name of the pool's gate.
    pub(super) fn gate(&self) -> GateName {
        self.name
    }

    pub(super) fn record(&self, recorded: &mut RecordedPoolHistograms) {
        let Some(status) = (self.status)() else { return self.record_items([0; 4], 0, false) };
        let PoolStatus { idle, in_use, creating, dropping, .. } = status;
        self.record_items([idle, in_use, creating, dropping], status.waiting, status.backing_off.is_some());

        let (gate, totals) = (&self.gate, &status.totals);
        counter!(POOL_CREATED, "gate" => gate.clone()).absolute(totals.created);
        counter!(POOL_ADDED, "gate" => gate.clone()).absolute(totals.added);
        counter!(POOL_REUSED, "gate" => gate.clone()).absolute(totals.reused);
        counter!(POOL_EVICTED, "gate" => gate.clone()).absolute(totals.evicted);
        counter!(POOL_DETACHED, "gate" => gate.clone()).absolute(totals.detached);
        let discarded = &totals.discarded;
        for (reason, count) in [
            ("broken", discarded.broken),
            ("incomplete", discarded.incomplete),
            ("panicked", discarded.panicked),
            ("recycle", discarded.recycle),
            ("health", discarded.health),
            ("expired", discarded.expired),
            ("surplus", discarded.surplus),
            ("retain", discarded.retain),
            ("closed", discarded.closed),
        ] {
            counter!(POOL_DISCARDED, "gate" => gate.clone(), "reason" => reason).absolute(count);
        }
        let failures = &totals.create_errors;
        for (reason, count) in [
            ("failed", failures.failed),
            ("timed_out", failures.timed_out),
            ("panicked", failures.panicked),
            ("not_started", failures.not_started),
            ("abandoned", failures.abandoned),
        ] {
            counter!(POOL_CREATE_FAILURES, "gate" => gate.clone(), "reason" => reason).absolute(count);
        }

        let expired = &totals.expired;
        for (stage, count) in [
            ("admission", expired.admission),
            ("item", expired.item),
            ("backoff", expired.backoff),
            ("start", expired.start),
            ("creation", expired.creation),
            ("check", expired.check),
        ] {
            counter!(POOL_EXPIRED, "gate" => gate.clone(), "stage" => stage).absolute(count);
        }

        waits::record_new(POOL_CREATE, gate, &recorded.creates, &status.creates);
        waits::record_new(POOL_WAIT, gate, &recorded.waits, &status.waits);
        *recorded = RecordedPoolHistograms { creates: status.creates, waits: status.waits };
    }

    fn record_items(&self, items: [usize; 4], waiting: usize, is_backing_off: bool) {
        for (state, count) in ["idle", "in_use", "creating", "dropping"].into_iter().zip(items) {
            gauge!(POOL_ITEMS, "gate" => self.gate.clone(), "state" => state).set(gauge_value(count as u64));
        }
        gauge!(POOL_WAITING, "gate" => self.gate.clone()).set(gauge_value(waiting as u64));
        gauge!(POOL_BACKING_OFF, "gate" => self.gate.clone()).set(f64::from(u8::from(is_backing_off)));
    }
}

impl fmt::Debug for RecordedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedPool").field("gate", &self.gate).finish_non_exhaustive()
    }
}

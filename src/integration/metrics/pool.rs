//! Pools, which are read like gates, and kept alive by nobody who only looks at them.

use std::fmt;

use metrics::{SharedString, counter, gauge};

use super::{
    POOL_BACKING_OFF, POOL_CREATE, POOL_CREATE_FAILURES, POOL_CREATED, POOL_DETACHED, POOL_DISCARDED,
    POOL_EVICTED, POOL_ITEMS, POOL_REUSED, POOL_WAIT, POOL_WAITING, number, record_waits,
};
use crate::gate::Histogram;
use crate::pool::{Manager, Pool, PoolStatus};

/// A pool that may be gone by the time it is looked at.
pub(super) struct Watched {
    gate: SharedString,
    /// None once the pool is gone, and all of its items.
    status: Box<dyn Fn() -> Option<PoolStatus> + Send + Sync>,
}

/// What was recorded of a pool already.
#[derive(Debug, Default)]
pub(super) struct Seen {
    creates: Histogram,
    waits: Histogram,
}

impl Watched {
    pub(super) fn new<M: Manager>(pool: &Pool<M>) -> Self {
        Self { gate: SharedString::from(pool.gate().name().to_string()), status: Box::new(pool.onlooker()) }
    }

    pub(super) fn record(&self, seen: &mut Seen) {
        let Some(status) = (self.status)() else { return self.record_items([0; 4], 0, false) };
        let PoolStatus { idle, in_use, creating, dropping, .. } = status;
        self.record_items([idle, in_use, creating, dropping], status.waiting, status.backing_off.is_some());

        let (gate, totals) = (&self.gate, &status.totals);
        counter!(POOL_CREATED, "gate" => gate.clone()).absolute(totals.created);
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
            ("abandoned", failures.abandoned),
        ] {
            counter!(POOL_CREATE_FAILURES, "gate" => gate.clone(), "reason" => reason).absolute(count);
        }

        record_waits(POOL_CREATE, gate, &seen.creates, &status.creates);
        record_waits(POOL_WAIT, gate, &seen.waits, &status.waits);
        *seen = Seen { creates: status.creates, waits: status.waits };
    }

    fn record_items(&self, items: [usize; 4], waiting: usize, is_backing_off: bool) {
        for (state, count) in ["idle", "in_use", "creating", "dropping"].into_iter().zip(items) {
            gauge!(POOL_ITEMS, "gate" => self.gate.clone(), "state" => state).set(number(count as u64));
        }
        gauge!(POOL_WAITING, "gate" => self.gate.clone()).set(number(waiting as u64));
        gauge!(POOL_BACKING_OFF, "gate" => self.gate.clone()).set(f64::from(u8::from(is_backing_off)));
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("gate", &self.gate).finish_non_exhaustive()
    }
}

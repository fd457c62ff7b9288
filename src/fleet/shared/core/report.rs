//! The state of the lease, for people and for the holders of permits.

use std::sync::atomic::Ordering;

use super::{SharedCore, wait_until};
use crate::fleet::boot_clock;
use crate::fleet::lease::LeasePhase;
use crate::fleet::shared::status::{SharedStatus, Unleased};
use crate::fleet::step::Fence;

impl SharedCore {
    pub(in crate::fleet::shared) fn status(&self) -> SharedStatus {
        let state = self.lock();
        let (in_use, now) = (self.gate.in_use(), boot_clock::now());
        let without_lease = match self.without_lease.load(Ordering::Relaxed) {
            0 => self.reserved(),
            permits => permits,
        };
        SharedStatus {
            gate: self.gate.name(),
            name: self.name.clone(),
            in_use,
            waiting: self.gate.waiting(),
            local_limit: state.local_limit,
            cap: if state.lease.is_valid(now) { state.lease.cap() } else { 0 },
            state: state.lease_state(in_use),
            remaining: state.lease.deadline().saturating_sub(now),
            without_lease: without_lease.min(state.local_limit.get()),
            limit: state.lease.limit(),
            fence: state.lease.fence(),
            exchanges: state.exchanges,
            failed_exchanges: state.failed_exchanges,
            exchange_times: state.exchange_times.clone(),
            failures: state.lease.failures(),
            last_error: state.last_error.clone(),
        }
    }

    /// Returns the error of a gate without permits from the ledger.
    pub(in crate::fleet::shared) fn unleased(&self) -> Unleased {
        let (state, now) = (self.lock(), boot_clock::now());
        let reason = match (&state.last_error, state.lease.phase(now)) {
            (Some(error), _) => error.clone(),
            (None, LeasePhase::Unleased) => "the ledger has not answered yet".into(),
            (None, LeasePhase::Learning) => "the ledger learns which leases exist".into(),
            (None, LeasePhase::Draining) => "the lease has ended".into(),
            (None, _) => "other processes have all permits".into(),
        };
        // The thread may not have noted yet that the lease has ended.
        let since = state.unleased_since.unwrap_or_else(|| state.lease.deadline());
        let paused_for = now.saturating_sub(since);
        Unleased { gate: self.gate.name(), name: self.name.clone(), paused_for, reason }
    }

    /// Returns the number of leases that have ended.
    #[inline]
    pub(in crate::fleet::shared) fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Acquire)
    }

    /// Waits until more leases have ended than this number.
    pub(in crate::fleet::shared) async fn wait_for_lapse(&self, lapses: u64) {
        wait_until(&self.lapsed, || self.lapses() != lapses).await;
    }

    /// Returns the last fence of a lease, by the number of leases that had ended before it.
    pub(in crate::fleet::shared) fn fence_of(&self, lapses: u64) -> Fence {
        let state = self.lock();
        match state.fence_of_ended(lapses) {
            Some(fence) => fence,
            None if self.lapses() == lapses => state.lease.fence(),
            // The lease ended so long ago that its fence is forgotten. The lowest fence is safe: a store rejects it.
            None => Fence::default(),
        }
    }
}

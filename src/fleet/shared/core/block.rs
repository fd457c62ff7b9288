//! What the lease allows: the limit of the local gate, and its pauses.

use std::mem;
use std::sync::Weak;
use std::sync::atomic::Ordering;

use super::SharedCore;
use super::state::SharedState;
use crate::fleet::boot_clock;
use crate::gate::{Resize, WakeList};
use crate::plan::{Limit, Unreachable};

impl SharedCore {
    /// Returns the local limit: the upper bound of the block that this process requests from its ledger.
    pub(in crate::fleet::shared) fn local_limit(&self) -> Limit {
        self.lock().local_limit
    }

    /// Sets the local limit. Permits above it are returned to the ledger as work ends. The caller must drop the list after it has released
    /// its locks.
    pub(in crate::fleet::shared) fn set_local_limit(&self, limit: Limit) -> (Resize, WakeList) {
        let mut wake_list = WakeList::default();
        let mut state = self.lock();
        let from = mem::replace(&mut state.local_limit, limit);
        self.cap_by_local_limit(&mut state);
        if self.may_admit_without_lease() {
            // The permits that the policy admits without a lease depend on the local limit.
            self.admit_without_lease(&mut state, &mut wake_list);
        } else {
            self.apply_block(&mut state, &mut wake_list);
        }
        let debt = self.gate.in_use().saturating_sub(limit.get());
        if debt > 0 {
            // Releases of the permits above the limit should be reported early. Relaxed: as in `note_return`.
            self.wants_returns.store(true, Ordering::Relaxed);
        }
        drop(state);
        // The thread then requests more permits, or returns those above the limit.
        self.kick();
        (Resize { from, to: limit, debt }, wake_list)
    }

    /// Pauses the gate until [`resume`](Self::resume), also with a lease.
    pub(in crate::fleet::shared) fn pause(&self) {
        self.change_block(|state| state.is_paused = true);
    }

    /// Ends a pause by [`pause`](Self::pause). The gate stays paused while the block is 0.
    pub(in crate::fleet::shared) fn resume(&self) {
        self.change_block(|state| state.is_paused = false);
        self.kick(); // the thread requests permits for the waiting requests
    }

    fn change_block(&self, change: impl FnOnce(&mut SharedState)) {
        let mut wake_list = WakeList::default();
        let mut state = self.lock();
        change(&mut state);
        self.apply_block(&mut state, &mut wake_list);
        drop(state);
        drop(wake_list); // wakes the waiters
    }

    /// If there is no valid lease, admits as many permits without one as the policy allows.
    pub(super) fn admit_without_lease(&self, state: &mut SharedState, wake_list: &mut WakeList) {
        let is_lost = !state.lease.is_valid(boot_clock::now());
        let without_lease = match self.policy {
            Unreachable::Reserved { permits, .. } if is_lost => permits.min(state.local_limit.get()),
            // A lease also ends if this process is suspended for longer than the `ttl`. Then the next exchange renews it, so the policy
            // applies only after an exchange has failed.
            Unreachable::Local if is_lost && state.lease.failures() > 0 => state.local_limit.get(),
            _ => return,
        };
        // Stored before the limit of the gate rises, so that `SharedHandle::admit` accepts all requests that the gate then admits.
        self.without_lease.store(without_lease, Ordering::Release);
        self.apply_block(state, wake_list);
    }

    /// Sets the limit of the local gate to the number of permits that may be in use. The caller must drop the list after it has released
    /// its locks.
    pub(super) fn apply_block(&self, state: &mut SharedState, wake_list: &mut WakeList) {
        self.most.store(self.most_of(state).get(), Ordering::Relaxed);
        let block = self.block_of(state);
        if self.block.swap(block, Ordering::SeqCst) != block {
            // This notifies a task of the pool, so no foreign code runs here.
            state.items.iter().filter_map(Weak::upgrade).for_each(|items| items.limit_has_changed());
        }
        // The gate is paused before its limit is set, and resumed after that, because the limit stays at least 1 for a block of 0. To
        // pause or to resume a second time changes nothing.
        let must_pause = block == 0 || state.is_paused;
        if must_pause {
            self.gate.pause_without_waking(wake_list);
        }
        self.gate.resize_without_waking(Limit::saturating(block.into()), wake_list);
        if !must_pause {
            self.gate.resume_without_waking(wake_list);
        }
    }

    /// Returns the number of permits that may be in use: the leased and the reserved permits, or those that the policy admits without a
    /// lease if they are more. It is at most the local limit.
    pub(super) fn block_of(&self, state: &SharedState) -> u32 {
        let leased = if state.has_lapsed { 0 } else { state.lease.cap() };
        let without_lease = self.without_lease.load(Ordering::Relaxed);
        leased.saturating_add(self.reserved()).max(without_lease).min(state.local_limit.get())
    }

    /// Returns the largest number of permits that this process can have: the last known limit of the fleet plus the reserved permits, but
    /// at most the local limit.
    pub(super) fn most_of(&self, state: &SharedState) -> Limit {
        let fleet_limit = state.lease.limit().limit.get().saturating_add(self.reserved());
        state.local_limit.min(Limit::saturating(fleet_limit.into()))
    }

    /// Lowers the cap of the lease to the local limit less the reserved permits.
    pub(super) fn cap_by_local_limit(&self, state: &mut SharedState) {
        let most = state.local_limit.get().saturating_sub(self.reserved());
        state.lease.lower_cap(most);
    }

    /// Returns the permits that the process has without the ledger.
    pub(super) const fn reserved(&self) -> u32 {
        match self.policy {
            Unreachable::Reserved { permits, .. } => permits,
            Unreachable::Closed | Unreachable::Local => 0,
        }
    }
}

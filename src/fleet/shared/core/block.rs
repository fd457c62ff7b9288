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
    /// Returns the most permits that this process asks for.
    pub(in crate::fleet::shared) fn local_limit(&self) -> Limit {
        self.lock().local_limit
    }

    /// Sets the most permits that this process asks for. Permits above it are returned to the ledger as work ends. The caller drops the
    /// list after it has released its locks.
    pub(in crate::fleet::shared) fn set_local_limit(&self, limit: Limit) -> (Resize, WakeList) {
        let mut wake_list = WakeList::default();
        let mut state = self.lock();
        let from = mem::replace(&mut state.local_limit, limit);
        self.cap_by_local_limit(&mut state);
        self.apply_block(&mut state, &mut wake_list);
        let debt = self.gate.in_use().saturating_sub(limit.get());
        drop(state);
        // The thread asks for more, or returns the rest.
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
        self.kick(); // the thread asks for what waits
    }

    fn change_block(&self, change: impl FnOnce(&mut SharedState)) {
        let mut wake_list = WakeList::default();
        let mut state = self.lock();
        change(&mut state);
        self.apply_block(&mut state, &mut wake_list);
        drop(state);
        drop(wake_list); // wakes the waiters
    }

    /// Lets permits be in use without a lease, if there is none and the policy allows it.
    pub(super) fn free_if_allowed(&self, state: &mut SharedState, wake_list: &mut WakeList) {
        let is_lost = !state.lease.is_valid(boot_clock::now());
        let free = match self.policy {
            Unreachable::Reserved { permits, .. } if is_lost => permits.min(state.local_limit.get()),
            // A lease can also end because this process was stopped. Then the ledger answers at once.
            Unreachable::Local if is_lost && state.lease.failures() > 0 => state.local_limit.get(),
            _ => return,
        };
        // Before the gate admits more, so that no request that it admits is turned away.
        self.free.store(free, Ordering::Release);
        self.apply_block(state, wake_list);
    }

    /// Gives the local gate its block. The caller drops the list after it has released its locks.
    pub(super) fn apply_block(&self, state: &mut SharedState, wake_list: &mut WakeList) {
        self.most.store(self.most_of(state).get(), Ordering::Relaxed);
        let block = self.block_of(state);
        if self.block.swap(block, Ordering::SeqCst) != block {
            // A task of a pool, so no foreign code runs here.
            state.items.iter().filter_map(Weak::upgrade).for_each(|items| items.limit_has_changed());
        }
        // The gate is paused before its limit is set, and resumed after that: the limit stays at least 1. Both change nothing if they
        // come again.
        let must_pause = block == 0 || state.is_paused;
        if must_pause {
            self.gate.pause_without_waking(wake_list);
        }
        self.gate.resize_without_waking(Limit::saturating(block.into()), wake_list);
        if !must_pause {
            self.gate.resume_without_waking(wake_list);
        }
    }

    /// Returns the permits that may be in use: what is leased, reserved or free, at most the local limit.
    pub(super) fn block_of(&self, state: &SharedState) -> u32 {
        let leased = if state.has_lapsed { 0 } else { state.lease.cap() };
        let free = self.free.load(Ordering::Relaxed);
        leased.saturating_add(self.reserved()).max(free).min(state.local_limit.get())
    }

    /// Returns the most that this process can have: the lower one of its local limit and the limit of the fleet, as far as it is known.
    pub(super) fn most_of(&self, state: &SharedState) -> Limit {
        let fleet_limit = state.lease.limit().limit.get().saturating_add(self.reserved());
        state.local_limit.min(Limit::saturating(fleet_limit.into()))
    }

    /// Lowers the cap of the lease to what the local limit leaves to it.
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

//! Whether a permit counts: what is read for each admission, without the lock.

use std::sync::atomic::Ordering;

use super::SharedCore;
use crate::fleet::boot_clock;
use crate::gate::Gate;
use crate::plan::Limit;

impl SharedCore {
    /// Returns `true` if a permit that was taken before counts as admitted by the lease.
    #[inline]
    pub(in crate::fleet::shared) fn is_valid(&self) -> bool {
        boot_clock::now_nanos() < self.deadline.load(Ordering::Acquire)
    }

    /// Returns `true` if a permit that was taken before counts as admitted by the policy for a ledger that cannot be reached. The permits
    /// in use are read after it was taken, so they include it.
    pub(in crate::fleet::shared) fn is_free(&self) -> bool {
        let in_use = self.gate.in_use();
        // Acquire pairs with the Release that ends it: the request that reads 0 waits anew.
        in_use <= self.free.load(Ordering::Acquire)
    }

    /// Returns `true` if a permit without a lease is one that the policy allows, and not one of a lease that has ended.
    pub(in crate::fleet::shared) fn allows_no_lease(&self) -> bool {
        self.free.load(Ordering::Acquire) > 0
    }

    /// Returns `true` if the gate has permits: from the ledger, or by the policy.
    pub(in crate::fleet::shared) fn is_leased(&self) -> bool {
        self.allows_no_lease() || self.is_valid() && self.lock().lease.cap() > 0
    }

    /// Returns `true` if there are no permits now, and notes the end of the lease if that is the reason.
    pub(in crate::fleet::shared) fn has_no_block(&self) -> bool {
        if !self.allows_no_lease() && !self.is_valid() {
            self.lapse_if_due();
        }
        // Relaxed: a block that has just changed could as well have changed later.
        self.block.load(Ordering::Relaxed) == 0
    }

    /// Returns the largest weight that a gate of the lease can admit, as far as it is known. Relaxed: a limit that is about to change could
    /// as well change after the request that asks.
    pub(in crate::fleet::shared) fn weight_bound_at(&self, gate: &Gate) -> Limit {
        // The limits of the gate of the lease and of its keys follow the present block, which may grow.
        gate.limit_under(Limit::saturating(self.most.load(Ordering::Relaxed).into()))
    }

    /// Returns how many items may be live now: the permits of the block, and none without a lease.
    pub(in crate::fleet::shared) fn item_limit(&self) -> u32 {
        // SeqCst: the caller counts an item first, and then looks here. `apply_block` and `demand` do it the other way round, so either the
        // report counts the item, or the caller sees the lower block.
        let block = self.block.load(Ordering::SeqCst);
        if self.allows_no_lease() || self.is_valid() { block } else { self.reserved().min(block) }
    }

    /// Notes that a permit was returned, and wakes the thread for the first one after an exchange: it then reports all of them, as soon as
    /// the next exchange may be made. Relaxed: a missed flag delays its report to the next renewal.
    #[inline]
    pub(in crate::fleet::shared) fn note_return(&self) {
        if self.wants_returns.load(Ordering::Relaxed) && self.wants_returns.swap(false, Ordering::Relaxed) {
            self.kick();
        }
    }
}

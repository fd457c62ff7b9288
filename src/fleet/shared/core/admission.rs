//! The checks of an admission: whether a permit is valid. The fast path reads only atomics, and takes no lock.

use std::sync::atomic::Ordering;

use super::SharedCore;
use crate::fleet::boot_clock;
use crate::gate::Gate;
use crate::plan::{GateName, Limit};

impl SharedCore {
    /// Returns `true` if the lease admits a permit that was taken before this call.
    #[inline]
    pub(in crate::fleet::shared) fn is_valid(&self) -> bool {
        boot_clock::now_nanos() < self.deadline.load(Ordering::Acquire)
    }

    /// Returns `true` if the policy for an unreachable ledger admits a permit that was taken before this call. The permits in use are read
    /// after the permit was taken, so they include it.
    pub(in crate::fleet::shared) fn is_admitted_without_lease(&self) -> bool {
        let in_use = self.gate.in_use();
        // Acquire pairs with the Release in `take_grant`, which stores 0. A request that reads 0 enters the queue again.
        in_use <= self.without_lease.load(Ordering::Acquire)
    }

    /// Returns `true` if there is no lease now, and the policy allows permits without one.
    pub(in crate::fleet::shared) fn may_admit_without_lease(&self) -> bool {
        self.without_lease.load(Ordering::Acquire) > 0
    }

    /// Returns `true` if there are no permits now, and notes the end of the lease if that is the reason.
    pub(in crate::fleet::shared) fn has_no_block(&self) -> bool {
        if !self.may_admit_without_lease() && !self.is_valid() {
            self.lapse_if_due();
        }
        // Relaxed: reading the block shortly before a change is as correct as reading it after the change.
        self.block.load(Ordering::Relaxed) == 0
    }

    /// Returns the limit that a request of this weight at a gate of the lease can never fit under, by the last known limits, and the gate
    /// that has this limit. Relaxed: reading a limit shortly before a change is as correct as reading it after the change.
    pub(in crate::fleet::shared) fn limit_below_weight(
        &self,
        gate: &Gate,
        weight: u32,
    ) -> Option<(GateName, Limit)> {
        // The limits of the gate of the lease and of its keys follow the present block, which may grow.
        gate.limit_below_weight(weight, Limit::saturating(self.most.load(Ordering::Relaxed).into()))
    }

    /// Returns how many items may be live now: the permits of the block, and none without a lease.
    pub(in crate::fleet::shared) fn item_limit(&self) -> u32 {
        // SeqCst: the caller first counts an item, and then reads the block. The thread of the lease first sets the block in `apply_block`,
        // and then counts the items in `demand`. So either its report counts the item, or the caller reads the lower block.
        let block = self.block.load(Ordering::SeqCst);
        if self.may_admit_without_lease() || self.is_valid() { block } else { self.reserved().min(block) }
    }

    /// Notes that a permit was released. The first release after an exchange wakes the thread, which reports all released permits as soon
    /// as the next exchange may be made. Relaxed: a missed flag delays the report to the next renewal.
    #[inline]
    pub(in crate::fleet::shared) fn note_return(&self) {
        if self.wants_returns.load(Ordering::Relaxed) && self.wants_returns.swap(false, Ordering::Relaxed) {
            self.kick();
        }
    }
}

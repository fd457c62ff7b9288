//! Rules for a pool in a group, whose pools share one limit on their items.

use super::PoolState;
use crate::pool::effects::PoolEffects;
use crate::pool::group::SpareItems;
use crate::pool::group_share::GroupUse;
use crate::pool::manager::Manager;
use crate::pool::status::DiscardReason;

impl<M: Manager> PoolState<M> {
    /// Creates the items that are needed, as far as slots are free.
    pub(in crate::pool) fn fill(&mut self, now: i64, limit: usize, effects: &mut PoolEffects<M>) {
        self.start_attempts(now, limit, effects);
    }

    /// Returns whether a waiter lacks a slot for its item.
    pub(in crate::pool) const fn lacks_slots(&self) -> bool {
        self.unmet > 0
    }

    /// Returns the number of idle items that may be dropped for another pool.
    pub(in crate::pool) fn spare_items(&self, spare: SpareItems) -> usize {
        match spare {
            SpareItems::AboveMinimum => self.idle.len().saturating_sub(self.effective_min_idle()),
            SpareItems::All => self.idle.len(),
        }
    }

    /// Discards the coldest idle item, if one may be dropped for another pool and a waiter there still lacks a slot.
    pub(in crate::pool) fn drop_spare_item(
        &mut self,
        spare: SpareItems,
        effects: &mut PoolEffects<M>,
    ) -> bool {
        let is_needed = self.group.as_ref().is_some_and(super::GroupShare::others_lack_slots);
        if !is_needed || self.spare_items(spare) == 0 {
            return false;
        }
        let Some(record) = self.idle.pop_front() else { return false };
        self.discard(record, DiscardReason::Surplus, effects);
        true
    }

    /// Publishes the counts of the pool to its group, after each step.
    pub(in crate::pool) fn update_group(&mut self, effects: &mut PoolEffects<M>) {
        // A waiter that has left, or that an attempt serves by now, lacks nothing.
        self.unmet = self.unmet.min(self.waiters.len().saturating_sub(self.creating));
        let min_idle = if self.is_closed() { 0 } else { self.rules.min_idle };
        let used = GroupUse { live: self.live(), leaving: self.dropping, unmet: self.unmet, min_idle };
        let Some(share) = &mut self.group else { return };
        effects.fills_group |= share.update(used);
        // An item that became idle may make room for a waiter of another pool.
        effects.fills_group |= effects.has_idled && share.others_lack_slots();
    }

    /// Takes a slot for another item: of the group, or below the limit of a pool without a group. Waiters come before the minimum
    /// of any pool.
    pub(super) fn take_slot(&mut self) -> bool {
        let live = self.live();
        let serves_waiter = self.creating < self.waiters.len();
        let Some(share) = &mut self.group else { return live < self.limit };
        if live >= self.limit || (!serves_waiter && share.others_lack_slots()) {
            return false;
        }
        let has_slot = share.take_slot(live, self.limit);
        // Without a slot, each waiter for which no attempt runs lacks one.
        self.unmet = if has_slot {
            self.unmet.saturating_sub(1)
        } else {
            self.waiters.len().saturating_sub(self.creating)
        };
        has_slot
    }

    /// Returns whether an item may become idle on the fast path: the group is within its limit, and no waiter lacks a slot.
    #[inline]
    pub(super) fn is_group_at_rest(&self) -> bool {
        let is_at_rest = |share: &super::GroupShare| {
            !share.others_lack_slots() && !share.is_above(self.limit, self.dropping)
        };
        self.group.as_ref().is_none_or(is_at_rest)
    }

    /// Returns whether there are no more items than the limit allows, those that are being dropped included: of this pool, and of its
    /// group.
    pub(super) fn is_within_limit(&self) -> bool {
        self.live() <= self.limit && self.group.as_ref().is_none_or(|share| share.is_within(self.limit))
    }

    /// Returns whether there are more items than the limit allows, without those that are being dropped: of this pool, or of
    /// its group.
    pub(super) fn is_above_limit(&self) -> bool {
        let is_group_above = |share: &super::GroupShare| share.is_above(self.limit, self.dropping);
        self.present() > self.limit || self.group.as_ref().is_some_and(is_group_above)
    }
}
